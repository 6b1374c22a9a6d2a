// Light or dark: the system's, unless the reader has chosen.

const KEY = "multimix-theme";
const light = matchMedia("(prefers-color-scheme: light)");

function stored() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // storage is off; then the choice lasts until the page is left
  }
}

export function wireTheme(button) {
  let chosen = stored();
  const apply = () => {
    const now = chosen ?? (light.matches ? "light" : "dark");
    document.documentElement.dataset.theme = now;
    button.textContent = now === "light" ? "Dark theme" : "Light theme";
  };
  button.addEventListener("click", () => {
    chosen = document.documentElement.dataset.theme === "light" ? "dark" : "light";
    try {
      localStorage.setItem(KEY, chosen);
    } catch {
      // as above
    }
    apply();
  });
  light.addEventListener("change", apply);
  apply();
}
