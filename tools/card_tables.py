"""The tables of docs/model_card.md, in Markdown, from stored scores and per-image tables."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from multimix.metrics import classification
from multimix.statistics import estimate

TERMS = {"kermany": "CC BY 4.0", "kermany_v7": "CC BY 4.0 (images and masks)", "nih": "no restriction; cite"}
ROLES = {
    "labelled_classes": "labelled with classes",
    "unlabelled_classes": "class images without their labels",
    "labelled_masks": "with masks",
    "unlabelled_masks": "mask images without their masks",
    "val_classes": "choosing the checkpoint, by class",
    "val_masks": "choosing the checkpoint, by mask",
}
CONVENTION = {"kermany_v7": "V7", "covidcxr_v7": "V7"}
"""Mask source -> convention; all others leave out heart and mediastinum."""
AIMS = (
    ("kermany_v7", "dice_lungs", 0.96, "Dice against V7's masks on test images of Kermany"),
    ("kermany", "auc", 0.97, "AUC on test patients of Kermany"),
)
AXES = {
    "shape": "shape of the original",
    "subtype": "kind of pneumonia",
    "view": "view",
    "sex": "sex",
    "age": "age",
    "finding": "finding",
}
CALIBRATION = {
    "ece": "calibration error",
    "brier": "Brier score",
    "coverage": "coverage",
    "set_size": "classes in a set",
    "rejected": "rejected",
}


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """A table whose first `words` columns are text and whose others are numbers."""
    rule = ["---" if i < words else "---:" for i in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def written(value: float | None, low: float | None = None, high: float | None = None, digits: int = 3) -> str:
    """'.964 [.960, .968]'; "" for no value."""
    if value is None or not np.isfinite(value):
        return ""
    if low is None or high is None or not np.isfinite([low, high]).all():
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _cell(entry: dict[str, Any], metric: str, digits: int = 3) -> str:
    found = entry["metrics"].get(metric)
    return "" if found is None else written(found["value"], found["low"], found["high"], digits)


def _trivial(entry: dict[str, Any], metric: str) -> str:
    return written(entry["metrics"].get(metric, {}).get("trivial"))


def data_table(images: Sequence[dict[str, Any]]) -> str:
    """What each source was used for."""
    rows = [
        [
            one["source"],
            ROLES.get(one["role"], one["role"].replace("_", " ")),
            TERMS[one["source"]],
            f"{one['images']:,}",
        ]
        for one in sorted(images, key=lambda one: (one["source"], one["role"]))
    ]
    return markdown(["source", "used for", "terms", "images"], rows, 3)


def aims(by_source: dict[str, Any]) -> list[str]:
    """What was aimed at, and whether it was reached."""
    lines = []
    for source, metric, aim, words in AIMS:
        found = by_source[source]["metrics"][metric]
        reached = "reached" if found["value"] >= aim else "not reached"
        value = written(found["value"], found["low"], found["high"])
        lines.append(f"- {words}: {value}; the aim of {aim:.2f} is {reached}.")
    return lines


def class_table(by_source: dict[str, Any], table: pd.DataFrame, classes: tuple[str, ...]) -> str:
    """A row for each source that was judged by class."""
    rows = []
    for source, entry in by_source.items():
        if "auc" not in entry["metrics"]:
            continue
        mine = table[table["source"] == source]
        trivial = f"{_trivial(entry, 'accuracy')}, {_trivial(entry, 'auc')}"
        each = [right(mine[mine["label"] == name]) for name in classes]
        counts = f"{entry['images']} ({entry['patients']})"
        rows.append([source, counts, _cell(entry, "auc"), _cell(entry, "accuracy"), *each, trivial])
    header = [
        "source",
        "images (patients)",
        "AUC",
        "right",
        *(f"right of {name}" for name in classes),
        "no model",
    ]
    return markdown(header, rows)


def mask_table(by_source: dict[str, Any]) -> str:
    """A row for each source that was judged by mask, V7's convention first."""
    rows = []
    for source, entry in sorted(by_source.items(), key=lambda item: (item[0] not in CONVENTION, item[0])):
        if "dice_lungs" in entry["metrics"]:
            counts = f"{entry['images']} ({entry['patients']})"
            kind = CONVENTION.get(source, "without heart")
            distance = _cell(entry, "hd95_px_lungs", 1)
            rows.append(
                [source, kind, counts, _cell(entry, "dice_lungs"), distance, _trivial(entry, "dice_lungs")]
            )
    return markdown(["source", "masks", "images (patients)", "Dice", "distance", "no model, Dice"], rows, 2)


def _estimated(rows: pd.DataFrame, statistic: Callable[..., Any]) -> str:
    found = estimate(rows["patient"].tolist(), statistic)
    return written(found.value, found.low, found.high)


def right(rows: pd.DataFrame) -> str:
    """Share of images whose answer is the label."""
    if rows.empty:
        return ""
    return _estimated(
        rows, partial(classification.mean, (rows["predicted"] == rows["label"]).to_numpy(np.float64))
    )


def auc(rows: pd.DataFrame, classes: tuple[str, ...]) -> str:
    """AUC of the last of two classes; "" where the rows hold one class alone."""
    if set(rows["label"]) != set(classes):
        return ""
    labels = np.array([classes.index(name) for name in rows["label"]])
    probabilities = rows[[f"p_{name}" for name in classes]].to_numpy(np.float64)
    return _estimated(rows, partial(classification.auc, labels, probabilities))


def group_tables(table: pd.DataFrame, classes: tuple[str, ...]) -> list[str]:
    """A table of classes and one of masks, a row for each source and group."""
    by_class, by_mask = [], []
    for axis, title in AXES.items():
        for (source, group), rows in table[table[axis] != ""].groupby(["source", axis]):
            start = [source, title, group, f"{len(rows)} ({rows['patient'].nunique()})"]
            if f"p_{classes[0]}" in rows and rows[f"p_{classes[0]}"].notna().all():
                # One kind of pneumonia against all normal images of the source.
                others = table[(table["source"] == source) & (table["label"] == classes[0])]
                kind = axis == "subtype" and set(rows["label"]) == {classes[-1]}
                pair = pd.concat([others, rows]) if kind else rows
                by_class.append([*start, right(rows), auc(pair, classes)])
            elif rows["dice_lungs"].notna().all():
                dice = rows["dice_lungs"].to_numpy(np.float64)
                by_mask.append(
                    [*start, _estimated(rows, partial(classification.mean, dice)), f"{dice.min():.3f}"]
                )
    start = ["source", "by", "group", "images (patients)"]
    return [
        markdown([*start, "right", "AUC (a kind of pneumonia: against normal)"], by_class, 3),
        markdown([*start, "Dice", "lowest"], by_mask, 3),
    ]


def calibration_table(by_source: dict[str, Any]) -> tuple[str, str]:
    """Scores of CALIBRATION, where there are any, a row for each source, and what they mean."""
    for entry in by_source.values():  # stored under this name before
        if "refused" in entry["metrics"]:
            entry["metrics"]["rejected"] = entry["metrics"].pop("refused")
    has = [key for key in CALIBRATION if any(key in entry["metrics"] for entry in by_source.values())]
    rows = [
        [source, *(_cell(entry, key) for key in has)]
        for source, entry in by_source.items()
        if any(key in entry["metrics"] for key in has)
    ]
    notes = {
        "ece": "Calibration error: mean gap between confidence and share right, 15 bins.",
        "coverage": "Coverage: share of images whose conformal set holds the label, 0.900 wanted.",
        "rejected": "Rejected: share of images taken for no frontal chest X-ray; each of these is one.",
    }
    return (markdown(["source", *(CALIBRATION[key] for key in has)], rows) if has else ""), " ".join(
        text for key, text in notes.items() if key in has
    )
