// What the page says of the model, from its card: what it is for, how to read it, how good it is, where it ends.

import { element, percent, share } from "./panel.js";

const count = (n) => n.toLocaleString("en").replaceAll(",", "\u202f");
const list = (words) => words.join(", ").replace(/, ([^,]*)$/, " and $1");
const article = (noun) => (/^[aeiou]/i.test(noun) ? "an" : "a");

/** "kermany (3 660 with classes) and kermany_v7 (320 with masks)"; "" where it is not known. */
function sources(card) {
  return list(card.trained_on.map((line) => `${line.source} (${count(line.images)} with ${line.taught})`));
}

export function showWhatFor(at, card) {
  const [kind, from] = [card.input, sources(card)];
  const parts = [card.classes.join(" / "), card.structures.length ? `outline of ${card.structures.join(", ")}` : ""];
  const line = parts.filter(Boolean).join(" · ");
  at("model-line").textContent = kind === "image" ? line : `${kind[0].toUpperCase()}${kind.slice(1)}: ${line}`;
  document.title = `multimix: ${line}`;
  at("invitation").textContent = `Drop ${article(kind)} ${kind} here`;
  at("trained-for").textContent = from ? `This model was trained on images of ${from}. It was not trained for others.` : "";
  at("saliency-note").textContent = card.saliency;
  at("limits").textContent = limits(card);
  at("reading-steps").replaceChildren(...steps(card).map(([first, rest]) =>
    element("li", {}, element("strong", { text: first }), ` ${rest}`)));
}

function limits(card) {
  const known = card.classes.length ? "It knows only the classes above and sorts other diseases among them. " : "";
  return known + (card.rejects
    ? "Images unlike those it was trained on are rejected, but not all of them: some that it is not for are answered."
    : "It cannot tell which images it is not for and answers any.");
}

function steps(card) {
  const made = [];
  if (card.structures.length) {
    made.push(["Look at the outline first.", "It is where the network sees the structure. If it does not follow the " +
      "anatomy, trust neither the area nor the rest."]);
  }
  if (!card.classes.length) return made;
  const calibrated = card.calibrated
    ? "It was calibrated on validation images like those of training; yours may differ."
    : "It is the network's own and was not calibrated.";
  made.push(["Then the probability and its threshold.", `${calibrated} ${card.decision}`]);
  const sets = card.coverage === null ? ""
    : `Of images of each class that are like those of validation, ${share(card.coverage)} have it among what is not ruled out. `;
  made.push(["How sure?", `${sets}The bracket is the range of the probability over six small changes of the same image ` +
    "(shifts, exposure): narrow means stable, not right."]);
  made.push(["The saliency is off at first.", `${card.saliency} Warmth on labels, lines or the image's edge is a warning sign.`]);
  return made;
}

/** The model's card, with its scores as a table where they are known. */
export function showCard(box, card) {
  const facts = element("dl", { className: "facts" });
  const fact = (name, text, className = "") =>
    facts.append(element("dt", { text: name }), element("dd", { text, className }));
  fact("Trained on", sources(card) || "not known");
  fact("Classes", card.classes.join(", ") || "none");
  fact("Structures", card.structures.join(", ") || "none");
  if (card.decision) fact("Decides", thresholds(card));
  fact("Sees", `${card.size} × ${card.size} px`);
  fact("Version", `${card.name} ${card.version}`);
  fact("Weights", card.weights, "hash");
  box.replaceChildren(facts, ...(card.scores.length ? [scores(card.scores)] : [element("p", {
    className: "quiet",
    text: "How good it is is not known here: no scores lie beside the weights. `multimix evaluate` writes them into a run.",
  })]));
}

function thresholds(card) {
  const from = Object.entries(card.thresholds).map(([name, t]) => `${name} from ${percent(t)}`);
  return [from.length ? `${list(from)}.` : "", card.decision].filter(Boolean).join(" ");
}

function scores(lines) {
  const number = (value) => (value === null ? "–" : value.toFixed(3));
  const interval = (s) => (s.low === null ? number(s.value) : `${number(s.value)} (${number(s.low)} to ${number(s.high)})`);
  const head = element("tr", {}, ...["Images", "Score", "Value, 95 % interval", "Without a model"].map((text) => element("th", { text, scope: "col" })));
  const rows = lines.map((s) => element("tr", {},
    element("td", { text: `${s.source}, ${s.split} (${s.images})` }),
    element("td", { text: s.metric.replaceAll("_", " ") }),
    element("td", { text: interval(s) }),
    element("td", { text: number(s.trivial) })));
  const caption = element("caption", { text: "As evaluated on labelled images" });
  return element("table", {}, caption, element("thead", {}, head), element("tbody", {}, ...rows));
}
