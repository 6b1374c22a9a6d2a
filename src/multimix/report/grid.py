"""The grid: every score of every setting on every source, mean over seeds, from the per-image tables alone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from multimix.errors import ManifestError
from multimix.experiment.cells import Benchmark, Cell, Setting
from multimix.metrics import classification, segmentation
from multimix.reliability.calibration import covered
from multimix.statistics import Statistic, estimate
from multimix.statistics.paired import paired_difference
from multimix.types import Estimate

_TITLES = {
    "accuracy": "accuracy", "auc": "AUC", "brier": "Brier", "ece": "ECE", "dice": "Dice", "jaccard": "Jaccard",
    "precision": "precision", "recall": "recall", "ssim": "SSIM", "asd_px": "surface distance, px",
    "hd95_px": "Hausdorff 95 %, px", "asd_mm": "surface distance, mm", "hd95_mm": "Hausdorff 95 %, mm",
    "coverage": "coverage of sets", "set_size": "classes in a set",
}  # fmt: skip


@dataclass(frozen=True)
class Score:
    """One score of one setting on one source."""

    estimate: Estimate
    """Mean over seeds with its 95 % interval over patients and, where there are several, seeds; beside it the
    trivial answer's mean over seeds."""
    seeds: tuple[float, ...]
    """The score of each seed."""


Grid = Mapping[tuple[Setting, str, str], Score]
"""(setting, source, metric) -> score."""


def title(metric: str, structures: Sequence[str]) -> str:
    """A metric as printed; the structure is named where there are several."""
    for score, structure in product(segmentation.MASK_SCORES, structures):
        if metric == f"{score}_{structure}":
            return _TITLES[score] if len(structures) == 1 else f"{_TITLES[score]} of {structure}"
    return f"F1 of {metric.removeprefix('f1_')}" if metric.startswith("f1_") else _TITLES[metric]


def grid(
    benchmark: Benchmark, progress: Callable[[int, int], None] | None = None, *, samples: int = 1000
) -> Grid:
    """Compute every score; `progress` is called with settings done and settings in all."""
    scores: dict[tuple[Setting, str, str], Score] = {}
    settings = benchmark.settings()
    for done, setting in enumerate(settings, 1):
        cells = benchmark.of(setting)
        for source in sources(cells):
            for metric, score in _of_source(cells, source, samples):
                scores[setting, source, metric] = score
        if progress is not None:
            progress(done, len(settings))
    return scores


def sources(cells: Sequence[Cell]) -> list[str]:
    """All sources that any cell was judged on, in-domain first, then in the order of the cells."""
    named = [s for cell in cells for s in (*cell.class_sources, *cell.mask_sources)]
    inside = {s for cell in cells for s in cell.in_domain}
    return sorted(dict.fromkeys(named), key=lambda source: source not in inside)


def images_of(cell: Cell, source: str) -> pd.DataFrame:
    """The cell's rows of one source, by image, so that cells go together."""
    rows = cell.table[cell.table["source"] == source]
    return rows.sort_values("image", kind="stable").reset_index(drop=True)


def class_rows(cell: Cell, source: str) -> pd.DataFrame:
    """Rows of `source` that were judged by class; none where the source is not judged so."""
    rows = images_of(cell, source)
    first = f"p_{cell.classes[0]}" if cell.classes else ""
    if source not in cell.class_sources or first not in rows:
        return rows.iloc[:0]
    return rows[(rows["label"] != "") & rows[first].notna()].reset_index(drop=True)


def mask_rows(cell: Cell, source: str, structure: str) -> pd.DataFrame:
    """Rows of `source` with a reference mask of `structure`; none where the source is not judged so."""
    rows = images_of(cell, source)
    column = f"dice_{structure}"
    if source not in cell.mask_sources or column not in rows:
        return rows.iloc[:0]
    return rows[rows[column].notna()].reset_index(drop=True)


def _of_source(cells: Sequence[Cell], source: str, samples: int) -> Iterator[tuple[str, Score]]:
    each = [_statistics(cell, source) for cell in cells]
    # A score that one seed lacks has no mean over seeds.
    for name in [name for name in each[0] if all(name in one for one in each)]:
        judged = each[0][name].rows
        for cell, one in zip(cells, each, strict=True):
            if one[name].rows["image"].tolist() != judged["image"].tolist():
                raise ManifestError(
                    f"{cell.folder}: judged on other images of {source!r} than {cells[0].folder.name}. Run the "
                    "benchmark again for one of them, on the same data."
                )
        patients = judged["patient"].tolist()
        parts = [one[name].score for one in each]
        trivial = [cell.trivial[source, name] for cell in cells if (source, name) in cell.trivial]
        seeds = tuple(float(part(np.ones((1, len(patients))))[0]) for part in parts)
        if name in classification.NO_INTERVAL:
            result = Estimate(float(np.mean(seeds)), float("nan"), float("nan"))
        else:
            result = _over_patients_and_seeds(patients, parts, samples)
        low, high = np.clip([result.low, result.high], *_range(name))
        beside = float(np.mean(trivial)) if len(trivial) == len(cells) else None
        yield name, Score(Estimate(result.value, float(low), float(high), beside), seeds)


def _over_patients_and_seeds(patients: Sequence[str], parts: Sequence[Statistic], samples: int) -> Estimate:
    """Mean of the seeds' scores with its interval; of one seed alone over patients, as `multimix evaluate` has it."""
    if len(parts) == 1:
        return estimate(patients, parts[0])

    value = float(np.mean([part(np.ones((1, len(patients))))[0] for part in parts]))

    def same(weights: Float[np.ndarray, "R N"]) -> Float[np.ndarray, " R"]:
        return np.full(len(weights), value)

    # The difference from a number that no draw changes, so the interval is made as those of the comparisons.
    found = paired_difference(patients, parts, [same] * len(parts), samples=samples)
    if found.low == found.high:  # every image and seed alike, which determines no interval
        return Estimate(value, float("nan"), float("nan"))
    return Estimate(value, value + found.low, value + found.high)


def _range(metric: str) -> tuple[float, float]:
    """The values that a score can have; an interval that is symmetric does not know them."""
    if metric.startswith(("asd_", "hd95_")) or metric == "set_size":
        return 0.0, float("inf")
    return 0.0, 2.0 if metric == "brier" else 1.0


class _Judged(NamedTuple):
    """The images that a score is about, and the score as a function of their weights."""

    rows: pd.DataFrame
    score: Callable[..., Any]
    """A Statistic; with weights the functions of `metrics` are."""


def _statistics(cell: Cell, source: str) -> dict[str, _Judged]:
    """Every metric of one cell on one source."""
    found: dict[str, _Judged] = {}
    rows = class_rows(cell, source)
    if len(rows):
        found |= {name: _Judged(rows, score) for name, score in _class_statistics(cell, rows).items()}
    for structure in cell.structures:
        rows = mask_rows(cell, source, structure)
        for name in segmentation.MASK_SCORES if len(rows) else ():
            column = f"{name}_{structure}"
            if column in rows and rows[column].notna().all():
                values = rows[column].to_numpy(np.float64)
                found[column] = _Judged(rows, partial(classification.mean, values))
    return found


def _class_statistics(cell: Cell, rows: pd.DataFrame) -> dict[str, Callable[..., Any]]:
    """As `evaluate` computes them."""
    truth = classification.membership(rows["label"].tolist(), cell.classes, cell.multi_label)
    labels = truth if cell.multi_label else truth.argmax(axis=1)
    probabilities = rows[[f"p_{name}" for name in cell.classes]].to_numpy(np.float64)
    # What the model decided need not be the most probable class, so accuracy and F1 take its own word.
    decided = classification.membership(rows["predicted"].tolist(), cell.classes, cell.multi_label).astype(
        np.float64
    )
    scores: dict[str, Callable[..., Any]] = {"accuracy": partial(classification.accuracy, labels, decided)}
    for index, name in enumerate(cell.classes):
        scores[f"f1_{name}"] = partial(classification.f1, labels, decided, index=index)
    scores["auc"] = partial(classification.auc, labels, probabilities)
    scores["brier"] = partial(classification.brier, labels, probabilities)
    scores["ece"] = partial(classification.calibration_error, labels, probabilities)
    if "prediction_set" in rows:
        inside = classification.membership(rows["prediction_set"].tolist(), cell.classes, multi_label=True)
        share = covered(inside > 0, truth)
        if not np.isnan(share).any():  # an image without a class has nothing to be covered
            scores["coverage"] = partial(classification.mean, share)
        scores["set_size"] = partial(classification.mean, inside.sum(axis=1).astype(np.float64))
    return scores
