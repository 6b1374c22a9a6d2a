"""The page in a headless Chromium, for its tests."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import services
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from multimix.inference.predictor import Predictor
from multimix.serve.about import about
from multimix.serve.app import create_app
from multimix.serve.settings import Settings

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--window-size=1200,900"),
)


class Page:
    """The page in a browser."""

    def __init__(self, browser: webdriver.Chrome, folder: Path) -> None:
        self.browser = browser
        self.folder = folder

    def __getitem__(self, name: str) -> WebElement:
        return self.browser.find_element(By.ID, name)

    def open(self, address: str) -> None:
        self.browser.get(address)
        self.wait(lambda: "Loading" not in self["card"].get_attribute("textContent"))

    def wait(self, until: Callable[[], object]) -> None:
        WebDriverWait(self.browser, 30).until(lambda _: until())

    def choose(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.write_bytes(content)
        self["file"].send_keys(str(path))
        self.shows(name)

    def shows(self, name: str) -> None:
        self.wait(lambda: not self["busy"].is_displayed())
        self.wait(lambda: name in self["shown-name"].text or name in self["error"].text)
        # What is shown beside it takes room; a browser that is busy tells the canvas later, which is then drawn anew.
        self.wait(lambda: self.browser.execute_script(FILLED))

    def lies(self, name: str) -> dict[str, float]:
        """Where an element lies, in CSS pixels."""
        script = "return document.getElementById(arguments[0]).getBoundingClientRect().toJSON()"
        return self.browser.execute_script(script, name)

    def level(self, x: float = 0.5, y: float = 0.5) -> list[int]:
        """Red, green and blue of the canvas at a share of its width and height."""
        return self.browser.execute_script(
            "const c = document.getElementById('canvas'); return [...c.getContext('2d')"
            ".getImageData(arguments[0] * c.width, arguments[1] * c.height, 1, 1).data].slice(0, 3)",
            x,
            y,
        )

    def redrawn(self, seen: list[str]) -> bool:
        """Wait until the canvas is none of those seen, which it then is too; false where it stays."""
        try:
            self.wait(lambda: self.canvas() not in seen)
        except TimeoutException:
            return False
        seen.append(self.canvas())
        return True

    def slide(self, name: str, value: int) -> None:
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
        self.browser.execute_script(script, self[name], value)

    def canvas(self) -> str:
        return self.browser.execute_script("return document.getElementById('canvas').toDataURL()")

    def events(self, method: str) -> list[dict]:
        logged = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        return [message["params"] for message in logged if message["method"] == method]


@contextmanager
def served(browser: webdriver.Chrome, run: Path, predictor: Predictor, folder: Path) -> Iterator[Page]:
    """The page of a service with another model."""
    with services.client_of(create_app(predictor, about(run, predictor), Settings())) as client:
        page = Page(browser, folder)
        page.open(f"http://127.0.0.1:{client.base_url.port}")
        yield page


@contextmanager
def chromium(folder: Path) -> Iterator[webdriver.Chrome]:
    """A browser that keeps its profile and downloads in `folder`; skips the test where there is none."""
    driver = shutil.which("chromedriver")
    if driver is None or shutil.which("chromium") is None:
        pytest.skip("chromium or chromedriver is not installed: `apt-get install chromium chromium-driver`")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    downloads = folder / "downloads"
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)}
    )
    browser.downloads = downloads
    try:
        yield browser
    finally:
        browser.quit()


# Whether the canvas is as large as the place that it fills.
FILLED = """
const canvas = document.getElementById("canvas"), ratio = window.devicePixelRatio || 1;
const filled = (side) => Math.max(1, Math.round(canvas.parentElement[`client${side}`] * ratio));
return canvas.width === filled("Width") && canvas.height === filled("Height");
"""

# WCAG 2.1, 1.4.3: at least 4.5 between a text and the nearest opaque ground behind it.
CONTRAST = """
const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = (node) => {
  for (; node; node = node.parentElement) {
    const c = parse(getComputedStyle(node).backgroundColor);
    if (c.length === 3 || c[3] > 0.5) return c;
  }
  return [255, 255, 255];
};
const bad = [];
for (const node of document.querySelectorAll("body *")) {
  const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || !node.checkVisibility() || node.closest(".skip")) continue;
  const [a, b] = [parse(getComputedStyle(node).color), ground(node)].map(light).sort((x, y) => y - x);
  if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(node.outerHTML.slice(0, 80));
}
return bad;
"""
