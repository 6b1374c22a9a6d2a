"""Intervals: how far a score could move had other patients come.

Images of one patient resemble each other, so patients are resampled, not images.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float

from multimix.types import Estimate

Statistic = Callable[[Float[np.ndarray, "R N"]], Float[np.ndarray, " R"]]
"""Weights (R, N), how often each image occurs in each resample -> the score of each resample (R,)."""


def _resamples(
    patients: Sequence[str], samples: int, rng: np.random.Generator
) -> Iterator[Float[np.ndarray, "R N"]]:
    """Weights of `samples` resamples in pieces of about 32 MB.

    Each draws as many patients as there are, with replacement; an image weighs as often as its patient came.
    """
    _, patient_of = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    count = int(patient_of.max()) + 1
    piece = max(1, 2**22 // len(patient_of))
    for start in range(0, samples, piece):
        rows = min(piece, samples - start)
        drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        yield times[:, patient_of].astype(np.float64)


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
    are more than 1 - level of all, or there is a single patient, the interval is (nan, nan): such data do
    not determine it.
    """
    if len(set(patients)) < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    values = np.concatenate([statistic(weights) for weights in _resamples(patients, samples, rng)])
    defined = values[~np.isnan(values)]
    if len(defined) < level * samples:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def estimate(
    patients: Sequence[str],
    statistic: Statistic,
    *,
    trivial: float | None = None,
    samples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """The statistic of the images as they are, with its 95 % interval, beside `trivial`."""
    value = float(statistic(np.ones((1, len(patients))))[0])
    low, high = bootstrap_by_patient(patients, statistic, samples=samples, seed=seed)
    return Estimate(value, low, high, trivial)
