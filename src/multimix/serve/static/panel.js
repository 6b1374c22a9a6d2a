// The words beside the film. Everything from the service is set as text, never as HTML.

import { COLOURS } from "./layers.js";

export function element(tag, { text, className, ...attributes } = {}, ...children) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export function percent(p) {
  if (p > 0 && p < 0.001) return "< 0.1 %";
  if (p < 1 && p > 0.999) return "> 99.9 %";
  return `${(100 * p).toFixed(1)} %`;
}

/** "82.0 to 90.3 %", or one number where both ends read the same. */
function between(low, high) {
  const [from, to] = [percent(low), percent(high)];
  return from === to ? `range ${to}` : `range ${from.replace(" %", "")} to ${to}`;
}

const count = (n) => n.toLocaleString("en").replaceAll(",", "\u202f");

/** Fill `box` with the answer for one file. */
export function showResult(box, file) {
  const parts = [];
  if (file.probabilities) {
    const names = file.predicted.split("|").filter((name) => name in file.probabilities);
    const verdict = element("p", { className: "verdict" });
    verdict.append(element("small", { text: "Decided among the classes it knows" }));
    verdict.append(names.join(", ") || "None of them");
    parts.push(verdict, classes(file, names));
    if (file.p_range) {
      const note = element("p", { className: "quiet" }, element("span", { className: "bracket", text: "├─┤ " }));
      note.append("range over six small changes of this image: how stable the answer is, not how right.");
      parts.push(note);
    }
  }
  parts.push(facts(file));
  parts.push(element("p", {
    className: "next quiet",
    text: "Next: does the outline follow the anatomy? Then, where are the warm spots? H hides both.",
  }));
  box.replaceChildren(...parts);
}

function classes(file, chosen) {
  const list = element("ul", { className: "classes" });
  const sorted = Object.entries(file.probabilities).sort((a, b) => b[1] - a[1]);
  for (const [name, p] of sorted) {
    const range = file.p_range?.[name];
    const track = element("div", { className: "track", "aria-hidden": "true" });
    const fill = element("div", { className: "fill" });
    fill.style.width = `${100 * p}%`;
    track.append(fill);
    if (range) {
      const mark = element("div", { className: "range" });
      mark.style.left = `${100 * range[0]}%`;
      mark.style.width = `${100 * (range[1] - range[0])}%`;
      track.append(mark);
    }
    const top = element("div", { className: "top" }, element("span", { text: name }), element("span", { text: percent(p) }));
    if (range) top.append(element("span", { className: "between", text: between(...range) }));
    list.append(element("li", { className: chosen.includes(name) ? "chosen" : "" }, top, track));
  }
  return list;
}

function facts(file) {
  const list = element("dl", { className: "facts" });
  const fact = (name, text) => list.append(element("dt", { text: name }), element("dd", { text }));
  if (file.on_request) fact("Caution", file.on_request);
  for (const [name, area] of Object.entries(file.area_px ?? {})) {
    const square = file.area_mm2?.[name];
    fact(`Area, ${name}`, square === undefined ? `${count(area)} px` : `${(square / 100).toFixed(1)} cm² (${count(area)} px)`);
  }
  if (file.spacing_mm) {
    fact("Spacing", `${file.spacing_mm.map((mm) => +mm.toFixed(4)).join(" × ")} mm. ${file.spacing_note ?? ""}`);
  } else if (file.area_px) {
    fact("Spacing", "not in the file: no area in cm²");
  }
  return list;
}

export function showLegend(list, structures) {
  list.replaceChildren(...structures.map((name, i) => {
    const swatch = element("span", { className: "swatch", "aria-hidden": "true" });
    const colour = COLOURS[i % COLOURS.length].join(" ");
    swatch.style.borderColor = `rgb(${colour})`;
    swatch.style.background = `rgb(${colour} / .25)`;
    return element("li", {}, swatch, element("span", { text: name }));
  }));
}

/** The model's card, with its scores as a table where the run carries some. */
export function showCard(box, card) {
  const facts = element("dl", { className: "facts" });
  const fact = (name, text, className = "") =>
    facts.append(element("dt", { text: name }), element("dd", { text, className }));
  fact("Classes", card.classes.join(", ") || "none");
  fact("Structures", card.structures.join(", ") || "none");
  fact("Sees", `${card.size} × ${card.size} px`);
  fact("Version", `${card.name} ${card.version}`);
  fact("Weights", card.weights, "hash");
  box.replaceChildren(facts, ...(card.scores.length ? [scores(card.scores)] : [element("p", {
    className: "quiet",
    text: "How good it is is not known here: the run holds no scores. `multimix evaluate` writes them.",
  })]));
}

function scores(lines) {
  const number = (value) => (value === null ? "–" : value.toFixed(3));
  const head = element("tr", {}, ...["Images", "Score", "Value, 95 % interval", "Without a model"].map((text) => element("th", { text, scope: "col" })));
  const rows = lines.map((s) => element("tr", {},
    element("td", { text: `${s.source}, ${s.split} (${s.images})` }),
    element("td", { text: s.metric.replaceAll("_", " ") }),
    element("td", { text: `${number(s.value)} (${number(s.low)} to ${number(s.high)})` }),
    element("td", { text: number(s.trivial) })));
  const caption = element("caption", { text: "Judged on labelled images by multimix evaluate" });
  return element("table", {}, caption, element("thead", {}, head), element("tbody", {}, ...rows));
}
