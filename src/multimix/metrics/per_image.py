"""From a per-image table to scores: the one way there is, of `evaluate`, `compare`, `report` and `audit`.

A table has a line per image of one source and split: `label`, `predicted` and `p_<class>` of a classifier,
`dice_<structure>` and the like of a mask.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from multimix.errors import ManifestError
from multimix.metrics import classification
from multimix.metrics.classification import NONE, Score, Weights
from multimix.metrics.table import METRICS, Answers, Metric, metric_of


class Scored(NamedTuple):
    """A score of the images of one source."""

    metric: Metric
    rows: pd.DataFrame
    """The table's lines that it is about."""
    statistic: Callable[..., Any]
    """The score as a function of the weights of `classification`: how often each of them occurs."""
    values: Float[np.ndarray, " N"] | None
    """Of each of them, where the score is their mean."""
    baseline: float | None
    """The score of the answer that needs no model: the base rates, the mean training mask; None where none is known."""
    answers: Answers | None = None
    """Of a classifier, what it is computed from."""

    @property
    def value(self) -> float:
        """Of the images as they are; nan where they do not determine it."""
        return float(self.statistic())


def classes_of(table: pd.DataFrame) -> tuple[str, ...]:
    """Classes of which an image has a probability."""
    columns = [name for name in map(str, table) if name.startswith("p_")]
    return tuple(name.removeprefix("p_") for name in columns if table[name].notna().any())


def structures_of(table: pd.DataFrame) -> tuple[str, ...]:
    """Structures of which an image has a Dice."""
    columns = [name for name in map(str, table) if name.startswith("dice_")]
    return tuple(name.removeprefix("dice_") for name in columns if table[name].notna().any())


def exclusive(table: pd.DataFrame) -> bool:
    """Whether the probabilities add up to 1, as those of exclusive classes do."""
    judged = class_rows(table, classes := classes_of(table))
    total = judged[[f"p_{name}" for name in classes]].sum(axis=1)
    return not len(total) or bool((total - 1).abs().max() <= 1e-3)


def class_rows(table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Lines that have a label and probabilities; ManifestError where some of an image's probabilities are missing."""
    columns = [f"p_{name}" for name in classes]
    if not columns or not {*columns, "label"} <= set(table):
        return table.iloc[:0]
    known = table[columns].notna()
    labelled = table["label"] != ""
    partly = labelled & known.any(axis=1) & ~known.all(axis=1)
    if partly.any():
        at = int(partly.to_numpy().argmax())
        missing = next(name for name in columns if not known[name].iloc[at])
        raise ManifestError(
            f"{table['image'].iloc[at]}: has no number as {missing}, but other probabilities, expected all or none. "
            "Evaluate again."
        )
    return table[labelled & known.all(axis=1)]


def mask_rows(table: pd.DataFrame, structure: str) -> pd.DataFrame:
    """Lines that have a reference mask of the structure."""
    column = f"dice_{structure}"
    return table[table[column].notna()] if column in table else table.iloc[:0]


def members(
    cells: Sequence[str],
    images: Sequence[str],
    classes: Sequence[str],
    multi_label: bool,
    what: str = "label",
) -> Int[np.ndarray, "N K"]:
    """`classification.membership` of cells that name known classes, or none; ManifestError where one names another."""
    known = {"", *classes, *([NONE] if multi_label else [])}
    for cell, image in zip(cells, images, strict=True):
        if unknown := [name for name in (cell.split("|") if multi_label else [cell]) if name not in known]:
            raise ManifestError(
                f"{image}: {what} {unknown[0]!r} is not among the model's classes {', '.join(classes)}. "
                f"Correct the {what}, or do not name this source as a class source."
            )
    return classification.membership(cells, classes, multi_label)


def answers(rows: pd.DataFrame, classes: Sequence[str], multi_label: bool) -> Answers:
    """Of the lines of `class_rows`.

    ManifestError where a label or an answer is no class of these, or one of exclusive classes is not decided.
    """
    images = rows["image"].tolist()
    member = members(rows["label"].tolist(), images, classes, multi_label)
    probabilities = rows[[f"p_{name}" for name in classes]].to_numpy(np.float64)
    labels = member if multi_label else member.argmax(axis=1)
    if "predicted" in rows:
        decided = members(rows["predicted"].fillna("").tolist(), images, classes, multi_label, "answer")
        if not multi_label and not (some := decided.any(axis=1)).all():
            raise ManifestError(
                f"{images[int(some.argmin())]}: has probabilities but no class as `predicted`, expected one of "
                f"{', '.join(classes)}. Evaluate again."
            )
    else:
        decided = classification.decisions(labels, probabilities)
    inside = None
    if "prediction_set" in rows:  # several names, whatever the labels, and of classes only
        inside = members(rows["prediction_set"].fillna("").tolist(), images, classes, True, "answer")
    return Answers(tuple(classes), multi_label, member, decided, probabilities, inside)


def scored(
    table: pd.DataFrame, classes: Sequence[str], structures: Sequence[str], *, multi_label: bool = False
) -> Mapping[str, Scored]:
    """Every score that the images of one source and split determine, by name; errors as `answers`.

    Class scores are over the images that have a label and probabilities, mask scores over those that have a
    reference mask. A mask score that some of these lack, as millimetres without a spacing, is left out: a mean over
    the others is another score.
    """
    found: dict[str, Scored] = {}
    rows = class_rows(table, classes)
    if len(rows):
        found |= _class_scores(rows, answers(rows, classes, multi_label))
    for structure in structures:
        found |= _mask_scores(mask_rows(table, structure), structure)
    for name in ("rejected", "refused"):
        if name in table and table[name].notna().all():
            values = table[name].to_numpy(np.float64)
            found[name] = Scored(metric_of(name), table, partial(classification.mean, values), values, None)
    return found


def _class_scores(rows: pd.DataFrame, said: Answers) -> dict[str, Scored]:
    pair = not said.multi_label and len(said.classes) == 2
    beside = said.baseline()
    found = {}
    for metric in METRICS:
        if metric.each == "structure" or (pair and not metric.of_pair):
            continue
        for index, name in enumerate(said.classes if metric.each else ("",)):
            known = "_".join(filter(None, (metric.name, name)))
            if metric.whole is not None:
                score = _of_all(metric.whole, said, index)
                baseline = float(metric.whole(beside, index, None))
                found[known] = Scored(metric, rows, score, None, baseline, said)
            elif metric.values is not None:
                values, rates = metric.values(said, index), metric.values(beside, index)
                if values is None or rates is None or not (counts := ~np.isnan(values)).any():
                    continue
                score = partial(classification.mean, values[counts])
                baseline = float(rates[counts].mean())
                found[known] = Scored(metric, rows[counts], score, values[counts], baseline, said)
    return found


def _of_all(
    whole: Callable[[Answers, int, Weights], Score], said: Answers, index: int
) -> Callable[..., Score]:
    return lambda weights=None: whole(said, index, weights)


def _mask_scores(rows: pd.DataFrame, structure: str) -> dict[str, Scored]:
    if not len(rows):
        return {}
    baselines: dict[str, float] = {}
    if (column := f"mean_mask_dice_{structure}") in rows:
        dice = rows[column].to_numpy(np.float64)
        baselines = {"dice": float(dice.mean()), "jaccard": float((dice / (2 - dice)).mean())}
    found = {}
    for metric in METRICS:
        name = f"{metric.name}_{structure}"
        if metric.each == "structure" and name in rows and rows[name].notna().all():
            values = rows[name].to_numpy(np.float64)
            statistic = partial(classification.mean, values)
            found[name] = Scored(metric, rows, statistic, values, baselines.get(metric.name))
    return found
