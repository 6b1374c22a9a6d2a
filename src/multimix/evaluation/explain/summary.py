"""From the table per image to figures with intervals over patients; each can be had again from the stored table."""

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Float

from multimix import statistics
from multimix.data.manifest import FINDING
from multimix.evaluation.explain.faithfulness import MEASURES
from multimix.evaluation.explain.images import BORDER, REGIONS, STRUCTURES
from multimix.evaluation.explain.references import GRADIENT, OWN, RANDOM, REFERENCES
from multimix.types import UNKNOWN, Estimate

SAMPLES = 2000

_Weights = Float[np.ndarray, "R N"]


def summarise(table: pd.DataFrame, *, seed: int = 0, samples: int = SAMPLES) -> dict[str, Estimate]:
    """Every figure of a table of `measure`, by name, with its 95 % interval over patients.

    'lift_R_X' is the share of map X in region R over R's share of the image, both means over images; 'F_own_minus_X'
    the difference of figure F, on the same images. All other figures are means of the column of their name.
    """
    figures: dict[str, Estimate] = {}
    for name, rows, statistic in _statistics(table):
        patients = patients_of(table.loc[rows])
        figures[name] = statistics.estimate(patients, statistic, samples=samples, seed=seed)
    return figures


def patients_of(table: pd.DataFrame) -> list[str]:
    """Who each row is of; patients of two sources are not the same, and one who is not known stays so."""
    known = ~table["patient"].str.startswith(UNKNOWN)
    return ((table["source"] + "/").where(known, UNKNOWN) + table["patient"]).tolist()


def _statistics(table: pd.DataFrame) -> Iterator[tuple[str, pd.Series, statistics.Statistic]]:
    """(name, rows that have it, the figure as a function of the rows' weights)."""
    columns = table.select_dtypes("number").columns
    for name in columns:
        rows = table[name].notna()
        if rows.any():
            yield name, rows, partial(_mean, table.loc[rows, name].to_numpy(np.float64))
    for region in REGIONS:
        if f"area_{region}" in columns:
            yield from _of_region(table, region)
    for measure in MEASURES:
        if f"{measure}_{OWN}" in columns:
            yield from _differences(table, measure, (*REFERENCES, RANDOM))


def _of_region(table: pd.DataFrame, region: str) -> Iterator[tuple[str, pd.Series, statistics.Statistic]]:
    rows = table[f"area_{region}"].notna()
    area = table.loc[rows, f"area_{region}"].to_numpy(np.float64)
    inside = {
        kind: table.loc[rows, f"inside_{region}_{kind}"].to_numpy(np.float64)
        for kind in (OWN, GRADIENT, *REFERENCES)
        if f"inside_{region}_{kind}" in table  # the gradient is not in older tables, where it is the own map
    }
    for kind, share in inside.items():
        yield f"lift_{region}_{kind}", rows, partial(_lift, share, area)
    for kind in REFERENCES:
        # A lift is linear in the share, so a difference of lifts is the lift of a difference.
        yield f"lift_{region}_{OWN}_minus_{kind}", rows, partial(_lift, inside[OWN] - inside[kind], area)
    if region != BORDER:
        yield from _differences(table, f"pointing_{region}", REFERENCES)
        hits = table.loc[rows, f"pointing_{region}_{OWN}"].to_numpy(np.float64)
        yield f"pointing_{region}_{OWN}_minus_area", rows, partial(_mean, hits - area)


def _mean(values: Float[np.ndarray, " N"], weights: _Weights) -> np.ndarray:
    return (weights @ values) / weights.sum(axis=1)


def _lift(share: Float[np.ndarray, " N"], area: Float[np.ndarray, " N"], weights: _Weights) -> np.ndarray:
    return (weights @ share) / (weights @ area)


def _differences(
    table: pd.DataFrame, figure: str, kinds: tuple[str, ...]
) -> Iterator[tuple[str, pd.Series, statistics.Statistic]]:
    rows = table[f"{figure}_{OWN}"].notna()
    own = table.loc[rows, f"{figure}_{OWN}"].to_numpy(np.float64)
    for kind in kinds:
        other = table.loc[rows, f"{figure}_{kind}"].to_numpy(np.float64)
        yield f"{figure}_{OWN}_minus_{kind}", rows, partial(_mean, own - other)


def main_figures(figures: Mapping[str, Estimate]) -> dict[str, float]:
    """Those that a verdict carries: place, faithfulness, sensitivity and bridge, without references."""
    names = [f"area_{region}" for region in (STRUCTURES, FINDING)]
    names += [f"{what}_{region}_{OWN}" for region in (STRUCTURES, FINDING) for what in ("lift", "pointing")]
    names += [f"{measure}_{OWN}_minus_{kind}" for measure in MEASURES for kind in (*REFERENCES, RANDOM)]
    names += ["cascade_block1", "noise", "bridge_dice_zeros", "bridge_dice_another_patient"]
    return {name: figures[name].value for name in names if name in figures}
