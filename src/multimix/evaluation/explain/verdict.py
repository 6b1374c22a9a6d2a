"""What the figures say of a map: which tests it passes.

localises   lift and brightest point are better than those of edges, of a centred Gaussian and of randomised networks,
            and the brightest point better than chance; in the structures and, where the manifest says where it is, in
            the disease
faithful    by insertion and by ROAD its order is better than that of edges, a Gaussian, a randomised network and
            chance. Deletion is reported and not judged: the network may answer to the grey and not to what is gone
sensitive   the map of a wholly randomised network is another one, and so is that of one that learned shuffled labels
repeatable  the map is the same one under noise that nobody sees
bridge      another patient's map gives other masks

Better means that the 95 % interval of the difference over patients is above zero.
"""

import math
from collections.abc import Iterable, Mapping

import pandas as pd

from multimix.data.manifest import FINDING
from multimix.evaluation.explain.bridge import ANOTHER
from multimix.evaluation.explain.images import STRUCTURES
from multimix.evaluation.explain.references import OWN, RANDOM, REFERENCES
from multimix.evaluation.explain.summary import main_figures, patients_of
from multimix.reliability.map_verdict import BRIDGE, TESTS, UNMOVED, MapVerdict
from multimix.types import Estimate, patients_known

FEWEST = 20
"""Patients below which nothing is said."""
ALIKE = 0.5
"""SSIM from which two maps are called the same."""

Figures = Mapping[str, Estimate]


def judge(table: pd.DataFrame, figures: Figures, sample: str) -> MapVerdict:
    """The verdict of the figures that `summarise` gives of `table`; `sample` says which images these are."""
    results = outcomes(table, figures)
    return MapVerdict(
        images=len(table),
        sample=sample,
        failed=tuple(test for test, passed in results.items() if passed is False),
        untested=tuple(test for test, passed in results.items() if passed is None),
        figures=main_figures(figures),
    )


def outcomes(table: pd.DataFrame, figures: Figures) -> dict[str, bool | None]:
    """Test -> whether it is passed; None where the images do not tell."""
    if not enough(table):
        return dict.fromkeys((*TESTS, BRIDGE))
    return {
        "localises": _all(localises(table, figures, region) for region in (STRUCTURES, FINDING)),
        "faithful": _all(
            _above(figures.get(f"{measure}_{OWN}_minus_{kind}"), 0.0)
            for measure in ("insertion", "road")
            for kind in (*REFERENCES, RANDOM)
        ),
        "sensitive": _all(_below(figures.get(name), ALIKE) for name in ("cascade_block1", "shuffled_labels")),
        "repeatable": _all([_above(figures.get("noise"), ALIKE)]),
        BRIDGE: _all([_below(figures.get(f"bridge_dice_{ANOTHER}"), UNMOVED)]),
    }


def enough(table: pd.DataFrame) -> bool:
    """Whether the rows are of enough patients, and it is known of which, for an interval to mean something."""
    patients = set(patients_of(table))
    return len(patients) >= FEWEST and patients_known(patients)


def localises(table: pd.DataFrame, figures: Figures, region: str) -> bool | None:
    """Whether the map lies in the region more than maps that know nothing; None where too few images have one."""
    column = f"area_{region}"
    if column not in table or not enough(table[table[column].notna()]):
        return None
    differences = [
        f"{what}_{region}_{OWN}_minus_{kind}" for what in ("lift", "pointing") for kind in REFERENCES
    ]
    return _all(_above(figures.get(n), 0.0) for n in (*differences, f"pointing_{region}_{OWN}_minus_area"))


def _all(results: Iterable[bool | None]) -> bool | None:
    """Whether all that could be tested passed; None where nothing could."""
    known = [passed for passed in results if passed is not None]
    return all(known) if known else None


def _above(figure: Estimate | None, limit: float) -> bool | None:
    if figure is None or math.isnan(figure.value):
        return None
    # The same in every image, it has no interval.
    return (figure.value if math.isnan(figure.low) else figure.low) > limit


def _below(figure: Estimate | None, limit: float) -> bool | None:
    if figure is None or math.isnan(figure.value):
        return None
    return (figure.value if math.isnan(figure.high) else figure.high) < limit
