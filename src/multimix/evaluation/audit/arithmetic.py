"""Check of stored scores by arithmetic: relations that hold for any set of images, whatever the model.

J = D / (2 - D) and D = 2 P R / (P + R) for each mask, hence D / (2 - D) <= J <= D for the means (Jensen)
two exclusive classes: the F1 scores give the accuracy, (1 - a) (1 + sum of F / (2 (1 - F))) = 1
more classes: accuracy is a weighted mean of the F1 scores
accuracy lies between the sensitivities, whose mean is the balanced accuracy; AUC is at least the product of two
a score is what its per-image table says
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from multimix.errors import MultimixError
from multimix.evaluation.audit.findings import Finding, Unchecked
from multimix.evaluation.audit.run_folder import RunFolder
from multimix.metrics.per_image import classes_of, scored, structures_of
from multimix.metrics.table import find

ROUNDING = 0.006
"""What three rounded digits can shift a relation between means by."""
EXACT = 1e-3
"""The same for numbers of one image, and for a score beside its table."""

Problem = tuple[str, Mapping[str, float]]
"""What contradicts what, and the numbers."""


def impossible_scores(material: RunFolder) -> Iterator[Finding | Unchecked]:
    """Numbers that contradict each other, or the table that they were computed from."""
    for one, entry, where in material.scored():
        values, rows = one.metrics(entry), one.rows(entry)
        exclusive = _exclusive(values, rows)
        problems = [*_out_of_range(values), *impossible_means(values)]
        problems += _class_scores(values) if exclusive else []
        if rows is None:
            reason = f"{where}: has no per-image rows, so its scores were checked against each other only."
            yield Unchecked("impossible-scores", reason)
        else:
            problems += [
                *_each_mask(rows),
                *_each_answer(rows, exclusive),
                *_recomputed(values, rows, exclusive),
            ]
        if problems:
            yield Finding(
                "impossible-scores",
                "wrong",
                where,
                "These cannot be true together: " + "; ".join(what for what, _ in problems) + ".",
                "Compute the scores again with `multimix evaluate`, and use none of these until they agree.",
                {name: number for _, numbers in problems for name, number in numbers.items()},
            )


def _exclusive(values: Mapping[str, float], rows: pd.DataFrame | None) -> bool:
    """Whether an image is known to have one class: by probabilities that sum to 1, else by the scores there are."""
    answers = _answers(rows) if rows is not None else None
    if answers is not None and answers.size:
        return bool(np.median(np.abs(answers.sum(axis=1) - 1)) < 0.01)
    # A pair of exclusive classes has one AUC; of three and more the names of the scores are the same either way.
    return sum(n.startswith("f1_") for n in values) == 2 and not any(n.startswith("auc_") for n in values)


def _answers(rows: pd.DataFrame) -> np.ndarray:
    """Probabilities (N K) of the images that have any."""
    names = [name for name in rows if str(name).startswith("p_")]
    return rows[names].dropna().to_numpy(np.float64)


def _out_of_range(values: Mapping[str, float]) -> Iterator[Problem]:
    for name, value in values.items():
        if (found := find(name)) is None:
            continue
        low, high = found[0].low, found[0].high
        if not low - 1e-9 <= value <= high + 1e-9:
            yield f"{name} lies outside [{low:g}, {high:g}]", {name: value}


def impossible_means(values: Mapping[str, float]) -> Iterator[Problem]:
    """Mask scores that no set of images can have together; also true of means over runs, as papers print them."""
    for structure in [name.removeprefix("dice_") for name in values if name.startswith("dice_")]:
        names = {kind: f"{kind}_{structure}" for kind in ("dice", "jaccard", "precision", "recall")}
        dice = values[names["dice"]]
        jaccard, precision, recall = (values.get(names[kind]) for kind in ("jaccard", "precision", "recall"))
        both = {names["jaccard"]: jaccard or 0.0, names["dice"]: dice}
        if jaccard is not None and jaccard > dice + EXACT / 10:
            yield f"the mean Jaccard of {structure} exceeds the mean Dice", both
        elif jaccard is not None and jaccard < dice / (2 - dice) - ROUNDING:
            yield f"the mean Jaccard of {structure} is too low for the mean Dice", both
        if precision is not None and recall is not None and dice > (precision + recall) / 2 + ROUNDING:
            yield (
                f"the mean Dice of {structure} exceeds the mean of precision and recall",
                {names["dice"]: dice, names["precision"]: precision, names["recall"]: recall},
            )


def _class_scores(values: Mapping[str, float]) -> Iterator[Problem]:
    """Accuracy, F1, sensitivities and AUC of exclusive classes."""
    accuracy = values.get("accuracy")
    f1 = {name: value for name, value in values.items() if name.startswith("f1_")}
    if accuracy is not None and len(f1) >= 2:
        low, high = min(f1.values()), max(f1.values())
        if len(f1) == 2 and high < 1:
            low = high = 1 - 1 / (1 + sum(score / (2 * (1 - score)) for score in f1.values()))
        if not low - ROUNDING <= accuracy <= high + ROUNDING:
            yield "accuracy does not fit the F1 scores", {"accuracy": accuracy, **f1, "accuracy from F1": low}
    yield from _sensitivities(values)


def _sensitivities(values: Mapping[str, float]) -> Iterator[Problem]:
    """Of every class, as `evaluate` has them, or one and the specificity, as others print them."""
    each = {name: value for name, value in values.items() if name.startswith("sensitivity_")}
    if {"sensitivity", "specificity"} <= set(values):
        each = {name: values[name] for name in ("sensitivity", "specificity")}
    if len(each) < 2:
        return
    low, high = min(each.values()), max(each.values())
    accuracy, balanced = values.get("accuracy"), values.get("balanced_accuracy")
    if accuracy is not None and not low - ROUNDING <= accuracy <= high + ROUNDING:
        yield f"accuracy lies outside {' and '.join(each)}", {"accuracy": accuracy, **each}
    if balanced is not None and abs(balanced - sum(each.values()) / len(each)) > ROUNDING:
        yield (
            f"balanced accuracy is not the mean of {' and '.join(each)}",
            {"balanced_accuracy": balanced, **each},
        )
    if len(each) == 2 and values.get("auc", 1.0) < low * high - ROUNDING:
        yield f"AUC is below {' x '.join(each)}", {"auc": values["auc"], **each}


def _each_mask(rows: pd.DataFrame) -> Iterator[Problem]:
    for name in [str(column) for column in rows if str(column).startswith("dice_")]:
        structure = name.removeprefix("dice_")
        dice = rows[name].to_numpy(np.float64)
        if (jaccard := f"jaccard_{structure}") in rows:
            off = np.abs(rows[jaccard].to_numpy(np.float64) - dice / (2 - dice))
            yield from _images_off(off, f"the Jaccard of {structure} is not D / (2 - D)")
        if {precision := f"precision_{structure}", recall := f"recall_{structure}"} <= set(rows):
            p, r = (rows[column].to_numpy(np.float64) for column in (precision, recall))
            off = np.abs(dice - 2 * p * r / np.where(p + r > 0, p + r, 1))
            yield from _images_off(off, f"the Dice of {structure} is not 2PR / (P + R)")


def _each_answer(rows: pd.DataFrame, exclusive: bool) -> Iterator[Problem]:
    answers = _answers(rows)
    if answers.size:
        off = np.maximum(answers - 1, -answers).max(axis=1)
        yield from _images_off(off, "a probability lies outside [0, 1]")
        if exclusive:
            yield from _images_off(np.abs(answers.sum(axis=1) - 1), "probabilities do not sum to 1")


def _images_off(off: np.ndarray, what: str) -> Iterator[Problem]:
    count = int((off > EXACT).sum())
    if count:
        yield (
            f"{what} in {count} images",
            {f"images: {what}": count, "largest difference": float(np.nanmax(off))},
        )


def _recomputed(values: Mapping[str, float], rows: pd.DataFrame, exclusive: bool) -> Iterator[Problem]:
    """Scores that are not those of the per-image table, or a table that gives none."""
    try:
        again = scored(rows, classes_of(rows), structures_of(rows), multi_label=not exclusive)
    except MultimixError as error:
        yield f"no score can be had from the per-image table ({error})", {}
        return
    for name in [name for name in values if name in again]:
        value = again[name].value
        # Distances are larger numbers, of which the same share may be lost to rounding.
        if not abs(values[name] - value) <= EXACT * max(1.0, abs(value)):
            yield (
                f"{name} is not what the per-image table gives",
                {name: values[name], f"{name} of the table": value},
            )
