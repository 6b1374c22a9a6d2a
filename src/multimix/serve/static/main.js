// Wires the page together: files come in, answers are shown, sliders, keys and downloads work on them.

import { ApiError, model, predict, setToken } from "./api.js";
import { showCard, showWhatFor } from "./card.js";
import { filmOf } from "./film.js";
import { bitmapOf, blobOf, heatLayer, maskLayer } from "./layers.js";
import { inShort, patientLine, showFiles, showLegend, showResult } from "./panel.js";
import { wireTheme } from "./theme.js";
import { Viewer } from "./viewer.js";
import { Worklist } from "./worklist.js";

const at = (id) => document.getElementById(id);
const LAYERS = ["mask", "saliency"];
const before = { mask: 60, saliency: 50 }; // where the sliders return to after being switched off
const viewer = new Viewer(at("viewer"), at("stage"), at("canvas"), {
  onZoom: (scale) => { at("zoom").value = `${Math.round(100 * scale)} %`; },
  onWindow: (dx, dy) => {
    const { width, level } = viewer.film.window;
    setWindow({ width: width * Math.exp(dx / 200), level: level + dy / 500 });
  },
});
const worklist = new Worklist(predict, { changed, unauthorised: askToken });
let card = { decision: "" }; // until it is there
let shown = null; // the document that is looked at

// The images

async function changed(entry) {
  showFiles(at("file-list"), worklist.entries, worklist.selected, (one) => worklist.select(one));
  at("files").hidden = worklist.entries.length < 2;
  const { selected } = worklist;
  if (entry !== selected) return;
  at("force").hidden = true;
  at("busy").hidden = !selected || Boolean(selected.document) || selected.state === "failed";
  if (selected?.document) await show(selected);
  else if (selected?.state === "failed") {
    clear();
    const known = selected.error instanceof ApiError;
    fail(known ? `${selected.file.name}: ${selected.error.message}` : "The answer cannot be shown.");
    if (!known) console.error(selected.error);
  } else if (!selected) {
    clear();
    fail("");
  }
}

async function show(entry) {
  const { document: answer } = entry;
  const [file] = answer.files;
  const structures = Object.keys(file.mask ?? {});
  const film = await filmOf(file.pixels);
  const masks = await Promise.all(structures.map(async (name, i) => maskLayer(await bitmapOf(file.mask[name]), i)));
  const heat = file.saliency ? heatLayer(await bitmapOf(file.saliency)) : null;
  if (entry !== worklist.selected) return;
  shown = answer;
  fail("");
  at("empty").hidden = true;
  at("toolbar").hidden = at("note").hidden = at("layers").hidden = false;
  at("downloads").hidden = file.status !== "ok";
  at("force").hidden = file.status !== "rejected";
  at("mask-layer").hidden = at("get-mask").hidden = !structures.length;
  at("saliency-layer").hidden = !heat;
  at("structures").textContent = structures.join(", ");
  at("shown-name").textContent = `${file.name}   ${file.width} × ${file.height} px`;
  at("shown-patient").textContent = patientLine(file.header);
  at("shown-patient").hidden = !at("shown-patient").textContent;
  at("canvas").setAttribute("aria-label", `Image ${file.name}, ${file.width} by ${file.height} pixels`);
  showResult(at("result"), file, card);
  viewer.show(film, masks, heat);
  windowed();
  legend();
  at("viewer").focus({ preventScroll: true });
}

function clear() {
  shown = null;
  viewer.clear();
  for (const id of ["toolbar", "layers", "downloads", "note", "force"]) at(id).hidden = true;
  at("empty").hidden = false;
  at("canvas").setAttribute("aria-label", "No image yet");
  at("result").replaceChildren(Object.assign(document.createElement("p"), { className: "quiet", textContent: "No answer." }));
}

function fail(text) {
  at("error").textContent = text;
  at("error").hidden = !text;
}

// The token

function askToken() {
  at("busy").hidden = true;
  at("token-form").hidden = false;
  at("token").focus();
}

async function loadCard() {
  try {
    card = await model();
    showCard(at("card"), card);
    showWhatFor(at, card);
    at("token-form").hidden = true;
    worklist.work();
  } catch (error) {
    if (error.status === 401) askToken();
    else fail(error.message);
  }
}

// What lies on the image

const value = (layer) => Number(at(`${layer}-opacity`).value);

function legend() {
  const structures = Object.keys(shown?.files[0].mask ?? {});
  showLegend(at("legend"), value("mask") ? structures : [], Boolean(viewer.heat) && value("saliency") > 0);
}

function slide(layer) {
  at(`${layer}-value`).value = `${value(layer)} %`;
  viewer.setOpacity(layer, value(layer) / 100);
  legend();
}

function toggle(layer, on = value(layer) === 0) {
  if (!on && value(layer)) before[layer] = value(layer);
  at(`${layer}-opacity`).value = on ? before[layer] : 0;
  slide(layer);
}

/** Both off, or back to what they were. */
function toggleAll() {
  const on = LAYERS.filter((layer) => value(layer) > 0);
  if (on.length) toggleAll.off = on;
  for (const layer of on.length ? on : toggleAll.off ?? LAYERS) toggle(layer, !on.length);
}

// Window and level

function windowed() {
  const { width, level } = viewer.film.window;
  for (const [name, share] of [["width", width], ["level", level]]) {
    at(`window-${name}`).value = 100 * share;
    at(`${name}-value`).value = `${Math.round(100 * share)} %`;
  }
  at("invert").setAttribute("aria-pressed", viewer.film.inverted);
  viewer.draw();
}

function setWindow(window) {
  viewer.film.setWindow(window);
  windowed();
}

function invert() {
  viewer.film.invert();
  windowed();
}

function resetWindow() {
  viewer.film.reset();
  windowed();
}

// Downloads

function save(blob, ending) {
  const link = document.createElement("a");
  const stem = shown.files[0].name.replace(/\.[^.]*$/, "");
  link.href = URL.createObjectURL(blob);
  link.download = `${stem}_${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function wireDownloads() {
  at("get-mask").addEventListener("click", () => {
    for (const [name, base64] of Object.entries(shown.files[0].mask)) save(blobOf(base64), `mask_${name}.png`);
  });
  at("get-overlay").addEventListener("click", () => {
    const [file] = shown.files;
    const caption = ["multimix", file.rejection ? "rejected, answered on request" : "", file.predicted ? inShort(file) : "",
      "Not for clinical use."];
    viewer.picture(caption.filter(Boolean).join(". ")).toBlob((blob) => save(blob, "overlay.png"));
  });
  at("get-json").addEventListener("click", () => {
    const plain = structuredClone(shown); // without pictures, and without the patient
    for (const file of plain.files) for (const key of ["pixels", "mask", "saliency", "header"]) delete file[key];
    save(new Blob([JSON.stringify(plain, null, 2)], { type: "application/json" }), "answer.json");
  });
}

function wireInput() {
  const pick = () => at("file").click();
  at("choose").addEventListener("click", pick);
  at("another").addEventListener("click", pick);
  at("file").addEventListener("change", (event) => {
    worklist.add(event.target.files);
    event.target.value = ""; // so that the same file can be chosen again
  });
  at("clear").addEventListener("click", () => worklist.clear());
  at("force").addEventListener("click", () => worklist.force(worklist.selected));
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
    worklist.add(event.dataTransfer.files);
  });
  at("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    setToken(at("token").value.trim());
    at("token-form").hidden = true;
    loadCard();
  });
}

function wireView() {
  for (const layer of LAYERS) {
    at(`${layer}-opacity`).addEventListener("input", () => slide(layer));
    slide(layer);
  }
  for (const name of ["width", "level"]) {
    at(`window-${name}`).addEventListener("input", () =>
      setWindow({ ...viewer.film.window, [name]: at(`window-${name}`).value / 100 }));
  }
  at("window-reset").addEventListener("click", resetWindow);
  at("invert").addEventListener("click", invert);
  at("zoom-in").addEventListener("click", () => viewer.zoom(1.25));
  at("zoom-out").addEventListener("click", () => viewer.zoom(0.8));
  at("fit").addEventListener("click", () => viewer.fit());
  at("viewer").addEventListener("keydown", (event) => {
    if (event.target !== at("viewer") || event.ctrlKey || event.metaKey || event.altKey) return;
    const always = { o: () => at("file").click(), n: () => worklist.step(1), p: () => worklist.step(-1) };
    const withImage = {
      m: () => toggle("mask"), s: () => toggle("saliency"), h: toggleAll, i: invert, w: resetWindow,
    };
    ({ ...always, ...(shown ? withImage : {}) })[event.key.toLowerCase()]?.();
  });
}

wireTheme(at("theme"));
wireInput();
wireView();
wireDownloads();
loadCard();
