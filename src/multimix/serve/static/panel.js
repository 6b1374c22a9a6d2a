// The words beside the image. Everything from the service is set as text, never as HTML.

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

/** 0.9 as "90 %". */
export const share = (p) => `${+(100 * p).toFixed(1)} %`;

/** "82.0 to 90.3 %", or one number where both ends read the same. */
function between(low, high) {
  const [from, to] = [percent(low), percent(high)];
  return from === to ? `range ${to}` : `range ${from.replace(" %", "")} to ${to}`;
}

const quiet = (text, className = "") => element("p", { className: `quiet ${className}`.trim(), text });

/** The classes that an answer decides. */
export function decided(file) {
  if (file.predicted in file.probabilities) return [file.predicted];
  return file.predicted.split("|").filter((name) => name in file.probabilities);
}

/** An answer in a few words: "PNEUMONIA 46.7 %". */
export function inShort(file) {
  if (!file.probabilities) return "answered";
  return decided(file).map((name) => `${name} ${percent(file.probabilities[name])}`).join(", ") || "none of the classes";
}

/** Fill `box` with what is known about one file. */
export function showResult(box, file, card) {
  box.replaceChildren(...(file.status === "rejected" ? rejected(file) : answered(file, card)));
}

function rejected(file) {
  return [
    element("p", { className: "verdict", text: "Rejected" }),
    element("p", { className: "reason", text: `${file.rejection}.` }),
    quiet("The model is not for such an image, so what it would say means little. Check that it is the right image, " +
      "whole and upright."),
  ];
}

function answered(file, card) {
  const parts = [];
  if (file.rejection) {
    parts.push(element("p", { className: "caution", text: `Answered on request, although rejected: ${file.rejection}.` }));
  }
  if (file.probabilities) {
    const names = decided(file);
    const verdict = element("p", { className: "verdict" });
    verdict.append(element("small", { text: "Decided among the classes it knows" }), names.join(", ") || "None of them");
    parts.push(verdict, ...against(file, names), classes(file, names));
    parts.push(...explained(file, card));
  }
  parts.push(facts(file, card));
  return parts;
}

/** Why a class is decided that is not the most probable one. */
function against(file, names) {
  const [likeliest, p] = Object.entries(file.probabilities).reduce((a, b) => (b[1] > a[1] ? b : a));
  if (!names.length || names.includes(likeliest) || !file.thresholds) return [];
  const from = names.map((name) => `${name} is decided from ${percent(file.thresholds[name])} on`).join(", ");
  return [element("p", { className: "reason", text: `${likeliest} is more probable (${percent(p)}), but ${from}.` })];
}

function classes(file, chosen) {
  const list = element("ul", { className: "classes" });
  const sorted = Object.entries(file.probabilities)
    .sort(([a, p], [b, q]) => chosen.includes(b) - chosen.includes(a) || q - p);
  for (const [name, p] of sorted) {
    const [range, threshold] = [file.p_range?.[name], file.thresholds?.[name]];
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
    if (threshold !== undefined) {
      const mark = element("div", { className: "threshold" });
      mark.style.left = `${100 * threshold}%`;
      track.append(mark);
    }
    const top = element("div", { className: "top" }, element("span", { text: name }), element("span", { text: percent(p) }));
    const words = [threshold !== undefined && `decided from ${percent(threshold)}`, range && between(...range)].filter(Boolean);
    if (words.length) top.append(element("span", { className: "between", text: words.join(" · ") }));
    list.append(element("li", { className: chosen.includes(name) ? "chosen" : "" }, top, track));
  }
  return list;
}

/** What the marks on the bars are, and what is not ruled out. */
function explained(file, card) {
  const parts = [];
  if (file.thresholds) {
    const note = quiet("", "marks");
    note.append(element("span", { className: "tick", "aria-hidden": "true" }), card.decision);
    parts.push(note);
  } else if (card.decision) {
    parts.push(quiet(card.decision));
  }
  if (file.p_range) {
    const note = quiet("", "marks");
    note.append(element("span", { className: "bracket", "aria-hidden": "true", text: "├─┤" }),
      " range over six small changes of this image: how stable the answer is, not how right.");
    parts.push(note);
  }
  return parts;
}

function facts(file, card) {
  const list = element("dl", { className: "facts" });
  const fact = (name, text) => list.append(element("dt", { text: name }), element("dd", { text }));
  if (file.prediction_set) fact("Not ruled out", `${file.prediction_set.join(", ")} (coverage ${share(card.coverage)})`);
  for (const [name, area] of Object.entries(file.area_mm2 ?? {})) fact(`Area, ${name}`, `${(area / 100).toFixed(1)} cm²`);
  if (file.spacing_mm) {
    fact("Spacing", `${file.spacing_mm.map((mm) => +mm.toFixed(4)).join(" × ")} mm. ${file.spacing_note ?? ""}`);
  }
  if (file.note) fact("Note", file.note);
  list.hidden = !list.children.length;
  return list;
}

/** Patient, date and view in one line; "" where the file says nothing. */
export function patientLine(header = {}) {
  const born = [header.birth_date && `born ${header.birth_date}`, header.age, header.sex].filter(Boolean).join(", ");
  const who = [header.patient, header.patient_id && `ID ${header.patient_id}`, born];
  const when = [header.date, header.time].filter(Boolean).join(" ");
  const side = ["L", "R", "B"].includes(header.laterality) ? `side ${header.laterality}` : "";
  return [...who, when, header.view && `view ${header.view}`, side, header.body_part].filter(Boolean).join(" · ");
}

/** What lies over the image: structures by colour, and the heat. */
export function showLegend(list, structures, heat) {
  const items = structures.map((name, i) => {
    const swatch = element("span", { className: "swatch", "aria-hidden": "true" });
    swatch.style.borderColor = `rgb(${COLOURS[i % COLOURS.length].join(" ")})`;
    return element("li", {}, swatch, element("span", { text: name }));
  });
  if (heat) items.push(element("li", {}, element("span", { className: "ramp", "aria-hidden": "true" }), element("span", { text: "saliency" })));
  list.replaceChildren(...items);
}

/** The images, each a button with its state. */
export function showFiles(list, entries, selected, select) {
  const states = { waiting: "waiting", rejected: "rejected", failed: "cannot be used" };
  list.replaceChildren(...entries.map((entry) => {
    const answer = entry.state === "ok" && `${entry.line.rejection ? "on request: " : ""}${inShort(entry.line)}`;
    const said = answer || states[entry.state];
    const button = element("button", { type: "button", className: `plain ${entry.state}` },
      element("span", { text: entry.file.name }), element("span", { className: "said", text: said }));
    if (entry === selected) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => select(entry));
    return element("li", {}, button);
  }));
}
