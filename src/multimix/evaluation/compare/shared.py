"""The images that two groups of runs share, and how a metric is computed and tested on them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from multimix.errors import ManifestError, UsageError
from multimix.evaluation.compare.groups import Run
from multimix.metrics import classification, segmentation
from multimix.statistics import Statistic
from multimix.statistics.significance import delong, mcnemar, wilcoxon
from multimix.types import patients_known

_LOWER = ("asd_", "hd95_", "brier", "ece")


def lower_is_better(metric: str) -> bool:
    """Whether the metric is an error: distances, Brier score, calibration error."""
    return metric.startswith(_LOWER)


def sources(run: Run) -> list[str]:
    """Sources in the order of the table."""
    return list(run.table["source"].unique())


def metrics_of(run: Run, source: str) -> list[str]:
    """Metrics that the run's images of `source` determine, classes first."""
    rows = run.table[run.table["source"] == source]
    names = []
    judged = _class_rows(rows)
    if classes := _classes(judged):
        multi = _multi_label(run, judged, classes)
        member = classification.membership(judged["label"], classes, multi)
        defined = [0 < count < len(judged) for count in member.sum(axis=0)]
        names = ["auc"] if all(defined) else []
        names += ["accuracy", *(f"f1_{name}" for name in classes)]
        if multi or len(classes) > 2:
            names += [f"auc_{name}" for name, has in zip(classes, defined, strict=True) if has]
        names += ["brier", "ece"]
    for column in map(str, rows):
        score = next((s for s in segmentation.MASK_SCORES if column.startswith(f"{s}_")), None)
        if score is None:
            continue
        masks = (
            rows[f"dice_{column.removeprefix(score + '_')}"].notna()
            if score.endswith("_mm")
            else rows[column].notna()
        )
        if masks.any() and rows.loc[masks, column].notna().all():
            names.append(column)
    return names


def main_metrics(names: Sequence[str]) -> list[str]:
    """Those compared where none is asked for: AUC, accuracy and Dice."""
    return [name for name in names if name in {"auc", "accuracy"} or name.startswith("dice_")]


def _class_rows(rows: pd.DataFrame) -> pd.DataFrame:
    probabilities = [name for name in map(str, rows) if name.startswith("p_")]
    return rows[(rows["label"] != "") & rows[probabilities].notna().any(axis=1)]


def _classes(judged: pd.DataFrame) -> tuple[str, ...]:
    columns = [name for name in map(str, judged) if name.startswith("p_")]
    return tuple(name.removeprefix("p_") for name in columns if judged[name].notna().any())


def _multi_label(run: Run, judged: pd.DataFrame, classes: tuple[str, ...]) -> bool:
    """As cell.json says; else labels are exclusive where probabilities add up to one."""
    if run.multi_label is not None:
        return run.multi_label
    total = judged[[f"p_{name}" for name in classes]].sum(axis=1)
    return bool((total - 1).abs().max() > 1e-3)


@dataclass(frozen=True)
class Shared:
    """One metric on the images of one source, for all runs of both sides."""

    patients: list[str]
    """Patient of each image (N,)."""
    a: list[Statistic]
    """One per seed."""
    b: list[Statistic]
    test: str
    """Name of the test of these trained models; empty where there is none for the metric."""
    p: float | None


def shared(a: Sequence[Run], b: Sequence[Run], metric: str, source: str) -> Shared:
    """Line up the images and answers.

    Raises UsageError where a run has no such metric or source or the runs were judged on different images,
    ManifestError where they disagree on an image's patient, label or reference.
    """
    tables = [_rows(run, metric, source) for run in (*a, *b)]
    for run, table in zip((*a, *b), tables, strict=True):
        _same_images(a[0], tables[0], run, table, f"{metric} on {source}")
    patients = tables[0]["patient"].tolist()
    if metric in tables[0]:
        values = np.stack([table[metric].to_numpy(np.float64) for table in tables])
        p = wilcoxon(_difference(values, len(a)), patients)
        return _make(patients, [_mean(row) for row in values], len(a), "Wilcoxon", p)
    runs = [_ClassAnswers.of(run, table) for run, table in zip((*a, *b), tables, strict=True)]
    if len({run.classes for run in runs}) > 1:
        raise UsageError(
            f"{metric} on {source}: the runs know different classes, {' and '.join(_named(runs))}. Compare runs "
            "with the same classes."
        )
    statistics = [run.statistic(metric) for run in runs]
    if metric == "accuracy":
        values = np.stack([run.right() for run in runs])
        return _make(patients, statistics, len(a), "McNemar", mcnemar(_difference(values, len(a)), patients))
    if (index := runs[0].ranked_class(metric)) is not None:
        scores = np.stack([run.probabilities[:, index] for run in runs])
        positive = runs[0].member[:, index] == 1
        p = delong(positive, scores[: len(a)], scores[len(a) :], patients).p
        return _make(patients, statistics, len(a), "DeLong", None if np.isnan(p) else p)
    return _make(patients, statistics, len(a), "", None)


def _mean(values: Float[np.ndarray, " N"]) -> Callable[..., Any]:
    return partial(classification.mean, values)


def _make(patients: list[str], each: list[Statistic], split: int, test: str, p: float | None) -> Shared:
    p = p if patients_known(patients) else None
    return Shared(patients, each[:split], each[split:], test if p is not None else "", p)


def _difference(values: Float[np.ndarray, "R N"], split: int) -> Float[np.ndarray, " N"]:
    """A minus B of each image, both the mean over seeds."""
    return values[:split].mean(axis=0) - values[split:].mean(axis=0)


def _named(runs: Sequence["_ClassAnswers"]) -> list[str]:
    return list(dict.fromkeys(", ".join(run.classes) for run in runs))


def _rows(run: Run, metric: str, source: str) -> pd.DataFrame:
    """The run's images of the source that the metric is computed from, by image."""
    if source not in (there := sources(run)):
        raise UsageError(
            f"{run.path}: was not judged on {source}, but on {', '.join(there)}. Name one of them."
        )
    if metric not in (known := metrics_of(run, source)):
        raise UsageError(
            f"{run.path}: has no {metric} on {source}, but {', '.join(known) or 'nothing'}. Name one of them."
        )
    rows = run.table[run.table["source"] == source]
    rows = rows[rows[metric].notna()] if metric in rows else _class_rows(rows)
    return rows.sort_values("image", kind="stable", ignore_index=True)


def _same_images(first: Run, mine: pd.DataFrame, other: Run, theirs: pd.DataFrame, what: str) -> None:
    if mine["image"].tolist() != theirs["image"].tolist():
        common = len(set(mine["image"]) & set(theirs["image"]))
        raise UsageError(
            f"{what}: {first.path} was judged on {len(mine)} images, {other.path} on {len(theirs)}; {common} are "
            "common. A paired comparison needs the same images; evaluate both on the same data and split."
        )
    references = [name for name in map(str, mine) if name.startswith("reference_area_px_") and name in theirs]
    for name in ("patient", "label", *references):
        differs = (mine[name] != theirs[name]) & ~(mine[name].isna() & theirs[name].isna())
        if differs.any():
            row = int(differs.to_numpy().argmax())
            raise ManifestError(
                f"{what}: {mine['image'][row]} has {name} {mine[name][row]} in {first.path} but {theirs[name][row]} in "
                f"{other.path}. Evaluate both with the same manifest."
            )


@dataclass(frozen=True)
class _ClassAnswers:
    """Labels and answers of one run."""

    classes: tuple[str, ...]
    multi_label: bool
    member: Int[np.ndarray, "N K"]
    decided: Int[np.ndarray, "N K"]
    """The model's own decision, which need not be the most probable class."""
    probabilities: Float[np.ndarray, "N K"]

    @classmethod
    def of(cls, run: Run, rows: pd.DataFrame) -> "_ClassAnswers":
        classes = _classes(rows)
        multi = _multi_label(run, rows, classes)
        return cls(
            classes,
            multi,
            classification.membership(rows["label"], classes, multi),
            classification.membership(rows["predicted"], classes, multi),
            rows[[f"p_{name}" for name in classes]].to_numpy(np.float64),
        )

    def ranked_class(self, metric: str) -> int | None:
        """The one class whose AUC the metric is; None where it is another metric or a mean over classes."""
        if metric == "auc" and (len(self.classes) == 1 or (len(self.classes) == 2 and not self.multi_label)):
            return len(self.classes) - 1
        name = metric.removeprefix("auc_")
        return self.classes.index(name) if name != metric and name in self.classes else None

    def right(self) -> Float[np.ndarray, " N"]:
        """1 where the decision is right; the share of classes decided rightly where not exclusive."""
        same = self.decided == self.member
        return same.mean(axis=1) if self.multi_label else same.all(axis=1).astype(np.float64)

    def statistic(self, metric: str) -> Callable[..., Any]:
        """As `evaluate` computes it."""
        labels = self.member if self.multi_label else self.member.argmax(axis=1)
        if metric == "accuracy":
            return _mean(self.right())
        if metric.startswith("f1_"):
            index = self.classes.index(metric.removeprefix("f1_"))
            return partial(classification.f1, labels, self.decided.astype(np.float64), index=index)
        if metric.startswith("auc_"):
            index = self.classes.index(metric.removeprefix("auc_"))
            return partial(classification.auc_of_class, labels, self.probabilities, index=index)
        scores: dict[str, Callable[..., classification.Score]] = {
            "auc": classification.auc,
            "brier": classification.brier,
            "ece": classification.calibration_error,
        }
        return partial(scores[metric], labels, self.probabilities)
