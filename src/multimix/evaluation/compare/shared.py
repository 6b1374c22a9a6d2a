"""The images that two groups of runs share, and how a metric is computed and tested on them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from multimix.errors import ManifestError, UsageError
from multimix.evaluation.compare.groups import Run
from multimix.metrics.per_image import Scored
from multimix.metrics.table import metric_of
from multimix.statistics import Statistic
from multimix.statistics.significance import delong, mcnemar, wilcoxon
from multimix.types import patients_known

_RIGHT_OR_WRONG = ("accuracy", "sensitivity", "specificity")
"""Metrics of which an image is right or wrong."""


def sources(run: Run) -> list[str]:
    """Sources in the order of the table."""
    return list(run.table["source"].unique())


def metrics_of(run: Run, source: str) -> list[str]:
    """Metrics that the run's images of `source` determine, classes first."""
    return [name for name, score in run.scored(source).items() if not np.isnan(score.value)]


def main_metrics(names: Sequence[str]) -> list[str]:
    """Those compared where none is asked for."""
    return [name for name in names if metric_of(name).main]


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
    runs = (*a, *b)
    scores = [_score(run, metric, source) for run in runs]
    for run, score in zip(runs, scores, strict=True):
        _same_images(a[0], scores[0].rows, run, score.rows, f"{metric} on {source}")
    _same_classes(scores, f"{metric} on {source}")
    statistics = [score.statistic for score in scores]
    patients = scores[0].rows["patient"].tolist()
    test, p = _test(scores, len(a), metric, patients)
    known = p is not None and not np.isnan(p) and patients_known(patients)
    return Shared(
        patients, statistics[: len(a)], statistics[len(a) :], test if known else "", p if known else None
    )


def _test(scores: Sequence[Scored], split: int, metric: str, patients: list[str]) -> tuple[str, float | None]:
    """The name of the metric's own test and its p; None where there is none."""
    kind = scores[0].metric
    if (index := _ranked_class(scores[0], metric)) is not None:
        said = [score.answers for score in scores if score.answers is not None]
        ranks = np.stack([one.probabilities[:, index] for one in said])
        return "DeLong", delong(said[0].member[:, index] == 1, ranks[:split], ranks[split:], patients).p
    if scores[0].values is None or (kind.each != "structure" and kind.name not in _RIGHT_OR_WRONG):
        return "", None
    difference = _difference([score.values for score in scores if score.values is not None], split)
    if kind.each == "structure":
        return "Wilcoxon", wilcoxon(difference, patients)
    return "McNemar", mcnemar(difference, patients)


def _ranked_class(score: Scored, metric: str) -> int | None:
    """The one class whose AUC the metric is; None where it is another metric or a mean over classes."""
    if score.answers is None or score.metric.name != "auc":
        return None
    classes = score.answers.classes
    if not score.metric.each:
        one = len(classes) == 1 or (len(classes) == 2 and not score.answers.multi_label)
        return len(classes) - 1 if one else None
    return classes.index(metric.removeprefix("auc_"))


def _difference(values: Sequence[Float[np.ndarray, " N"]], split: int) -> Float[np.ndarray, " N"]:
    """A minus B of each image, both the mean over seeds."""
    return np.mean(values[:split], axis=0) - np.mean(values[split:], axis=0)


def _score(run: Run, metric: str, source: str) -> Scored:
    """The run's score on the source."""
    if source not in (there := sources(run)):
        raise UsageError(
            f"{run.path}: was not judged on {source}, but on {', '.join(there)}. Name one of them."
        )
    score = run.scored(source).get(metric)
    if score is None or np.isnan(score.value):
        known = ", ".join(metrics_of(run, source)) or "nothing"
        raise UsageError(f"{run.path}: has no {metric} on {source}, but {known}. Name one of them.")
    return score


def _same_classes(scores: Sequence[Scored], what: str) -> None:
    known = list(dict.fromkeys(", ".join(one.answers.classes) for one in scores if one.answers is not None))
    if len(known) > 1:
        raise UsageError(
            f"{what}: the runs know different classes, {' and '.join(known)}. Compare runs with the same classes."
        )


def _same_images(first: Run, mine: pd.DataFrame, other: Run, theirs: pd.DataFrame, what: str) -> None:
    mine, theirs = mine.reset_index(drop=True), theirs.reset_index(drop=True)
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
