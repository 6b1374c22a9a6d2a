"""Intervals of one score: how far it could move had other patients come.

Images of one patient resemble each other, so patients are resampled, not images.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from multimix.types import Estimate, patients_known

Statistic = Callable[[Float[np.ndarray, "R N"]], Float[np.ndarray, " R"]]
"""Weights (R, N), how often each image occurs in each resample -> the score of each resample (R,)."""

PIECE = 2**22
"""Weights computed with at once."""
ALIKE = 1e-12
"""Scores that differ by less are one, but for the order in which they were summed."""
LEFT_OUT = 1000
"""Groups of patients that are left out in turn where there are more patients: one by one, cost is quadratic."""


def resamples(
    patients: Sequence[str], samples: int, rng: np.random.Generator
) -> Iterator[Float[np.ndarray, "R N"]]:
    """Weights of `samples` resamples in pieces of about 32 MB.

    Each draws as many patients as there are, with replacement; an image weighs as often as its patient came.
    """
    patient_of, count = _numbered(patients)
    piece = max(1, PIECE // len(patient_of))
    for start in range(0, samples, piece):
        rows = min(piece, samples - start)
        drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        yield times[:, patient_of].astype(np.float64)


def _numbered(patients: Sequence[str]) -> tuple[Int[np.ndarray, " N"], int]:
    """The number of each image's patient, and how many there are."""
    _, patient_of = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    return patient_of, int(patient_of.max()) + 1


def _values(
    patients: Sequence[str], statistic: Statistic, samples: int, seed: int, level: float
) -> Float[np.ndarray, " V"]:
    """The defined values of the statistic over resamples; none where they do not determine an interval."""
    if len(set(patients)) < 2 or not patients_known(patients):
        return np.empty(0)
    rng = np.random.default_rng(seed)
    values = np.concatenate([statistic(weights) for weights in resamples(patients, samples, rng)])
    defined = values[~np.isnan(values)]
    if len(defined) < level * samples or np.ptp(defined) < ALIKE:
        return np.empty(0)
    return defined


def _leaving_out(patient_of: Int[np.ndarray, " N"], count: int) -> Iterator[Float[np.ndarray, "R N"]]:
    """Weights of all images but those of one patient, or of one of LEFT_OUT groups, in pieces of about 32 MB."""
    groups = min(count, LEFT_OUT)
    group_of = patient_of * groups // count
    piece = max(1, PIECE // len(patient_of))
    for start in range(0, groups, piece):
        out = np.arange(start, min(start + piece, groups))
        yield (group_of != out[:, None]).astype(np.float64)


def bootstrap_by_patient(
    patients: Sequence[str],
    statistic: Statistic,
    *,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of `statistic` over resampled patients [Efron and Tibshirani 1993, ch. 13].

    `patients` names the patient of each image (N,). The same seed and patients give the same resamples to
    every statistic. A resample in which the statistic is nan (AUC of one class only) is left out; where these
    are more than 1 - level of all, there is a single patient, or every resample gives the same (none of 50 images
    is refused, which does not mean that none ever would be), the interval is (nan, nan): such data do
    not determine it. Nor do images whose patients are not known.
    """
    values = _values(patients, statistic, samples, seed, level)
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bca_by_patient(
    patients: Sequence[str],
    statistic: Statistic,
    *,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """BCa interval of `statistic` over resampled patients, widened for few of them; arguments as above.

    Bias correction from the resamples, acceleration from leaving out one patient at a time [Efron, JASA 82
    (1987) 171-185], of more than LEFT_OUT as many groups of patients. The normal quantiles in it are replaced by
    sqrt(n / (n - 1)) t_(n-1), n the number of patients: resamples spread by that much too little [Hesterberg,
    Am. Stat. 69 (2015) 371-386, sec. 3.3].
    """
    from scipy import stats

    values = _values(patients, statistic, samples, seed, level)
    if not len(values):
        return float("nan"), float("nan")
    patient_of, count = _numbered(patients)
    value = statistic(np.ones((1, len(patient_of))))[0]
    # Half of the ties, and never 0 or 1, so that the correction is finite.
    below = ((values < value).sum() + (values == value).sum() / 2) / len(values)
    bias = stats.norm.ppf(np.clip(below, 1 / len(values), 1 - 1 / len(values)))
    without = np.concatenate([statistic(weights) for weights in _leaving_out(patient_of, count)])
    pull = np.nan_to_num(np.nanmean(without) - without)
    spread = float((pull**2).sum())
    acceleration = float((pull**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    shifted = bias + np.sqrt(count / (count - 1)) * stats.t.ppf(tails, count - 1)
    # Beyond the pole of the acceleration the order of the two ends would turn round.
    room = np.maximum(1 - acceleration * shifted, 1e-9)
    low, high = np.quantile(values, stats.norm.cdf(bias + shifted / room))
    return float(low), float(high)


def estimate(
    patients: Sequence[str],
    statistic: Statistic,
    *,
    trivial: float | None = None,
    samples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """The statistic of the images as they are, with its 95 % BCa interval, beside `trivial`."""
    value = float(statistic(np.ones((1, len(patients))))[0])
    low, high = bca_by_patient(patients, statistic, samples=samples, seed=seed)
    return Estimate(value, low, high, trivial)
