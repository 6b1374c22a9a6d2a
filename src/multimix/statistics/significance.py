"""Tests of two sets of answers to the same images, and Holm's correction for many of them.

All take the trained models as given: with several seeds their answers are averaged, and nothing is said of
other seeds. Patients, not images, are independent.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from multimix.statistics.bootstrap import ALIKE


class DeLong(NamedTuple):
    """AUC of A minus AUC of B, both the mean over seeds."""

    difference: float
    error: float
    """Standard error of the difference."""
    p: float
    """Two-sided."""


def _placements(positive: Bool[np.ndarray, " N"], scores: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Share of the other class that each image is ordered rightly with, a tie counting half."""
    ranks, found = stats.rankdata(scores), np.empty(len(scores))
    for side, count in ((positive, (~positive).sum()), (~positive, positive.sum())):
        found[side] = (ranks[side] - stats.rankdata(scores[side])) / count
    return np.where(positive, found, 1 - found)


def delong(
    positive: Bool[np.ndarray, " N"],
    a: Float[np.ndarray, "S N"],
    b: Float[np.ndarray, "S N"],
    patients: Sequence[str],
) -> DeLong:
    """Test of two correlated AUCs [DeLong et al., Biometrics 44 (1988) 837-845], images within patients.

    `a`, `b`: scores of each seed's model, high for positive. Both classes must be present. Placements by
    ranks [Sun and Xu, IEEE SPL 21 (2014) 1389-1393]; an AUC is linear in them, so that of a mean over seeds
    uses their mean. Images of one patient are summed [Obuchowski, Biometrics 53 (1997) 567-578], which is
    DeLong's test where every patient has one image. p is nan where the error cannot be had: a class of which
    one patient alone has images; without any scatter it is the sign test's.
    """
    placed = np.mean(
        [_placements(positive, x) - _placements(positive, y) for x, y in zip(a, b, strict=True)], 0
    )
    difference = float(placed[positive].mean())
    _, patient_of = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    centred = placed - difference

    def sums(side: Bool[np.ndarray, " N"]) -> Float[np.ndarray, " P"]:
        return np.bincount(patient_of[side], centred[side], minlength=int(patient_of.max()) + 1) / side.sum()

    def scale(clusters: int) -> float:
        return clusters / (clusters - 1) if clusters > 1 else float("nan")

    up, down = sums(positive), sums(~positive)
    variance = sum(
        scale(len(np.unique(patient_of[s]))) * (x @ x) for s, x in ((positive, up), (~positive, down))
    )
    variance += 2 * scale(len(up)) * (up @ down)
    error = float(np.sqrt(max(variance, 0.0))) if not np.isnan(variance) else float("nan")
    if error < ALIKE:
        return DeLong(difference, error, 1.0 if difference == 0 else all_alike(len(up)))
    return DeLong(difference, error, float(2 * stats.norm.sf(abs(difference) / error)))


def all_alike(patients: int) -> float:
    """Two-sided p where A is better than B by the same for each patient: all signs of fair coins alike."""
    return 2.0 ** (1 - patients)


def _per_patient(differences: Float[np.ndarray, " N"], patients: Sequence[str]) -> Float[np.ndarray, " P"]:
    """Mean difference of each patient's images."""
    _, patient_of = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    return np.bincount(patient_of, differences) / np.bincount(patient_of)


def wilcoxon(differences: Float[np.ndarray, " N"], patients: Sequence[str]) -> float:
    """Two-sided p of the signed-rank test over patients [Wilcoxon, Biometrics Bull. 1 (1945) 80-83].

    `differences`: A minus B of each image, averaged over seeds; images of a patient are averaged. Zeros are
    left out; p is 1 where nothing else is there.
    """
    # Rounded, since a mean that differs in the last bit would count as a difference and break ties.
    each = np.round(_per_patient(differences, patients), 12)
    each = each[each != 0]
    if not len(each):
        return 1.0
    ties = len(np.unique(np.abs(each))) < len(each)
    # SciPy's exact distribution knows no ties.
    if ties or len(each) > 50:
        return float(stats.wilcoxon(each, correction=True, method="approx").pvalue)
    return float(stats.wilcoxon(each, method="exact").pvalue)


def mcnemar(differences: Float[np.ndarray, " N"], patients: Sequence[str]) -> float:
    """Two-sided p of McNemar's exact test over patients [McNemar, Psychometrika 12 (1947) 153-157].

    `differences`: (A right) - (B right) of each image, summed over seeds. A patient speaks for the side that
    was right more often; where each patient has one image and there is one seed, this is McNemar's test. nan where
    a difference is: left out, it would count for neither side.
    """
    each = np.round(_per_patient(differences, patients), 12)
    if np.isnan(each).any():
        return float("nan")
    ahead, behind = int((each > 0).sum()), int((each < 0).sum())
    return float(stats.binomtest(ahead, ahead + behind).pvalue) if ahead + behind else 1.0


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """p-values corrected for being a family [Holm, Scand. J. Stat. 6 (1979) 65-70], in the given order."""
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(np.asarray(p, float)[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(steps, 1)
    return tuple(map(float, corrected))
