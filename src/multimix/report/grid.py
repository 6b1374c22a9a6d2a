"""The grid: every score of every setting on every source, mean over seeds, from the per-image tables alone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from multimix.errors import ManifestError
from multimix.experiment.cells import Benchmark, Cell, Setting
from multimix.metrics import per_image
from multimix.metrics.per_image import Scored
from multimix.statistics import Statistic, estimate
from multimix.statistics.paired import paired_difference
from multimix.types import Estimate


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
    known = cell.classes if source in cell.class_sources else ()
    return per_image.class_rows(rows, known).reset_index(drop=True)


def mask_rows(cell: Cell, source: str, structure: str) -> pd.DataFrame:
    """Rows of `source` with a reference mask of `structure`; none where the source is not judged so."""
    rows = images_of(cell, source)
    rows = rows if source in cell.mask_sources else rows.iloc[:0]
    return per_image.mask_rows(rows, structure).reset_index(drop=True)


def _of_source(cells: Sequence[Cell], source: str, samples: int) -> Iterator[tuple[str, Score]]:
    each = [_scored(cell, source) for cell in cells]
    # A score that one seed lacks has no mean over seeds.
    for name in [name for name in each[0] if all(name in one for one in each)]:
        judged, metric = each[0][name].rows, each[0][name].metric
        for cell, one in zip(cells, each, strict=True):
            if one[name].rows["image"].tolist() != judged["image"].tolist():
                raise ManifestError(
                    f"{cell.folder}: judged on other images of {source!r} than {cells[0].folder.name}. Run the "
                    "benchmark again for one of them, on the same data."
                )
        seeds = tuple(one[name].value for one in each)
        if metric.interval:
            parts = [one[name].statistic for one in each]
            result = _over_patients_and_seeds(judged["patient"].tolist(), parts, samples)
        else:
            result = Estimate(float(np.mean(seeds)), float("nan"), float("nan"))
        # An interval that is symmetric does not know where a score ends.
        low, high = np.clip([result.low, result.high], metric.low, metric.high)
        beside = [one[name].baseline for one in each]
        if name == "auc":  # of thumbnails, which the per-image table does not have
            beside = [cell.floors.get(source, value) for cell, value in zip(cells, beside, strict=True)]
        known = [value for value in beside if value is not None]
        trivial = float(np.mean(known)) if len(known) == len(beside) else None
        yield name, Score(Estimate(result.value, float(low), float(high), trivial), seeds)


def _scored(cell: Cell, source: str) -> Mapping[str, Scored]:
    """Every score of one cell on one source."""
    return per_image.scored(
        images_of(cell, source),
        cell.classes if source in cell.class_sources else (),
        cell.structures if source in cell.mask_sources else (),
        multi_label=cell.multi_label,
    )


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
