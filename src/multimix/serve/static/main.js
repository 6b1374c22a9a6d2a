// Wires the page together: a file comes in, the answer is shown, sliders, keys and downloads work on it.

import { ApiError, model, predict, setToken } from "./api.js";
import { decode, heatLayer, maskLayer } from "./layers.js";
import { showCard, showLegend, showResult } from "./panel.js";
import { Viewer } from "./viewer.js";

const at = (id) => document.getElementById(id);
const ON_FILM = ["toolbar", "layers", "downloads", "note"]; // what is only there with an answer
const viewer = new Viewer(at("viewer"), at("canvas"), (scale) => {
  at("zoom").value = `${Math.round(100 * scale)} %`;
});
const before = { mask: 80, saliency: 50 }; // where the sliders return to after being switched off
let answer = null; // the newest answer's document
let asking = null; // AbortController of the request under way
let wanted = null; // the file that waits for a token

async function open(file) {
  asking?.abort();
  asking = new AbortController();
  const mine = asking;
  fail("");
  at("busy").hidden = false;
  try {
    const document = await predict(file, mine.signal);
    if (mine === asking) await show(document);
  } catch (error) {
    if (mine !== asking || error.name === "AbortError") return;
    if (error.status === 401) askToken(file);
    else {
      clear();
      fail(error instanceof ApiError ? `${file.name}: ${error.message}` : "The answer cannot be shown.");
      if (!(error instanceof ApiError)) console.error(error);
    }
  } finally {
    if (mine === asking) at("busy").hidden = true;
  }
}

async function show(document) {
  const [file] = document.files;
  const structures = Object.keys(file.mask ?? {});
  const film = await decode(file.image);
  const masks = await Promise.all(structures.map(async (name, i) => maskLayer(await decode(file.mask[name]), i)));
  const heat = file.saliency ? heatLayer(await decode(file.saliency)) : null;
  answer = document;
  at("empty").hidden = true;
  for (const id of ON_FILM) at(id).hidden = false;
  at("mask-layer").hidden = at("get-mask").hidden = !structures.length;
  at("saliency-layer").hidden = !heat;
  at("layers").hidden = !structures.length && !heat;
  at("structures").textContent = structures.join(", ");
  at("shown-name").textContent = `${file.name}   ${file.width} × ${file.height} px`;
  at("heat-legend").hidden = !heat;
  at("canvas").setAttribute("aria-label", `X-ray ${file.name}, ${file.width} by ${file.height} pixels, with ` +
    ([structures.length && `the outline of ${structures.join(", ")}`, heat && "saliency"].filter(Boolean).join(" and ") || "no layers"));
  showLegend(at("mask-legend"), structures);
  showResult(at("result"), file);
  viewer.show(film, masks, heat);
  at("viewer").focus({ preventScroll: true });
}

function clear() {
  answer = null;
  viewer.clear();
  for (const id of ON_FILM) at(id).hidden = true;
  at("empty").hidden = false;
  at("canvas").setAttribute("aria-label", "No image yet");
  at("result").replaceChildren(Object.assign(document.createElement("p"), { className: "quiet", textContent: "No answer." }));
}

function fail(text) {
  at("error").textContent = text;
  at("error").hidden = !text;
}

function askToken(file) {
  wanted = file;
  at("token-form").hidden = false;
  at("token").focus();
}

async function loadCard() {
  try {
    const card = await model();
    showCard(at("card"), card);
    const parts = [card.classes.join(" / "), card.structures.length ? `mask of ${card.structures.join(", ")}` : ""];
    at("model-line").textContent = `Chest X-ray: ${parts.filter(Boolean).join(" · ")}`;
    at("token-form").hidden = true;
  } catch (error) {
    if (error.status === 401) askToken(wanted);
    else fail(error.message);
  }
}

function slide(layer) {
  const slider = at(`${layer}-opacity`);
  at(`${layer}-value`).value = `${slider.value} %`;
  viewer.setOpacity(layer, slider.value / 100);
}

function toggle(layer, on = Number(at(`${layer}-opacity`).value) === 0) {
  const slider = at(`${layer}-opacity`);
  if (!on && Number(slider.value)) before[layer] = slider.value;
  slider.value = on ? before[layer] : 0;
  slide(layer);
}

function save(blob, ending) {
  const link = document.createElement("a");
  const stem = answer.files[0].name.replace(/\.[^.]*$/, "");
  link.href = URL.createObjectURL(blob);
  link.download = `${stem}_${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function wireDownloads() {
  at("get-mask").addEventListener("click", () => {
    for (const [name, base64] of Object.entries(answer.files[0].mask)) {
      const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
      save(new Blob([bytes], { type: "image/png" }), `mask_${name}.png`);
    }
  });
  at("get-overlay").addEventListener("click", () => {
    const { predicted } = answer.files[0];
    const caption = `multimix${predicted ? `: ${predicted}` : ""}. Not for clinical use.`;
    viewer.picture(caption).toBlob((blob) => save(blob, "overlay.png"));
  });
  at("get-json").addEventListener("click", () => {
    const plain = structuredClone(answer);
    for (const file of plain.files) for (const key of ["image", "mask", "saliency"]) delete file[key];
    save(new Blob([JSON.stringify(plain, null, 2)], { type: "application/json" }), "answer.json");
  });
}

function wireInput() {
  const pick = () => at("file").click();
  at("choose").addEventListener("click", pick);
  at("another").addEventListener("click", pick);
  at("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) open(file);
    event.target.value = ""; // so that the same file can be chosen again
  });
  const frame = at("viewer");
  for (const name of ["dragover", "dragenter"]) {
    window.addEventListener(name, (event) => {
      event.preventDefault();
      frame.classList.add("over");
    });
  }
  window.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) frame.classList.remove("over");
  });
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    frame.classList.remove("over");
    const files = event.dataTransfer.files;
    if (files.length === 1) open(files[0]);
    else fail("Drop one X-ray file at a time; programs can send many at once to /v1/predict.");
  });
  at("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    setToken(at("token").value.trim());
    at("token-form").hidden = true;
    loadCard();
    if (wanted) open(wanted);
    wanted = null;
  });
}

function wireView() {
  for (const layer of ["mask", "saliency"]) {
    at(`${layer}-opacity`).addEventListener("input", () => slide(layer));
    slide(layer);
  }
  at("zoom-in").addEventListener("click", () => viewer.zoom(1.25));
  at("zoom-out").addEventListener("click", () => viewer.zoom(0.8));
  at("fit").addEventListener("click", () => viewer.fit());
  at("viewer").addEventListener("keydown", (event) => {
    if (event.target !== at("viewer") || event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.toLowerCase();
    if (key === "o") at("file").click();
    if (!answer) return;
    if (key === "m") toggle("mask");
    if (key === "s") toggle("saliency");
    if (key === "h") {
      const on = ["mask", "saliency"].every((layer) => Number(at(`${layer}-opacity`).value) === 0);
      for (const layer of ["mask", "saliency"]) toggle(layer, on);
    }
  });
}

wireInput();
wireView();
wireDownloads();
loadCard();
