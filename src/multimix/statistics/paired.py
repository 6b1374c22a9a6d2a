"""The difference of two groups of runs on the same patients, with an interval over patients and seeds.

The difference of seed s and patient i is taken to be  delta + seed_s + patient_i + noise_si,  each part
drawn anew in another study. Patients are many, so the bootstrap resamples them, the same for A and B and for
all seeds. Seeds are few: resampling 3 of them gives intervals far too narrow (docs/statistics.md), so their
part of the variance is estimated in closed form and the interval uses quantiles of t. Of few seeds that part
is often estimated too small, or as 0; so no interval is narrower, and no p smaller, than that of a t-test over
the seeds' differences.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import optimize, special

from multimix.statistics.bootstrap import ALIKE, Statistic, resamples
from multimix.statistics.significance import all_alike
from multimix.types import patients_known

MOST = 1_000_000
"""More patients or seeds than this are not searched for."""


@dataclass(frozen=True)
class Difference:
    """A minus B, mean over seeds, and what its variance is made of."""

    value: float
    low: float
    high: float
    """95 % interval over patients and, where there are several, seeds; nan where not determined."""
    p: float
    """Two-sided: the level at which the interval would end at zero; nan where not determined."""
    patients: int
    seeds: int
    patient_variance: float
    """Of patient_i; with one seed, of patient_i + noise_i."""
    seed_variance: float
    """Of seed_s; 0 with one seed, which cannot show it."""
    noise_variance: float
    """Of noise_si; 0 with one seed."""

    def variances(self, patients: int, seeds: int) -> tuple[float, float]:
        """Variance of the mean difference with so many patients and seeds: what many patients, what seeds show.

        Where seeds differ beyond noise, all that their spread is made of is known from them alone.
        """
        noise = self.noise_variance / patients
        if self.seed_variance == 0:
            return self.patient_variance / patients + noise / seeds, 0.0
        return self.patient_variance / patients, (self.seed_variance + noise) / seeds


def paired_difference(
    patients: Sequence[str],
    a: Sequence[Statistic],
    b: Sequence[Statistic],
    *,
    samples: int = 2000,
    seed: int = 0,
) -> Difference:
    """The mean over seeds of a[s] - b[s], statistics of the images of `patients` (N,).

    Resamples in which a statistic is nan are left out, as in `bootstrap_by_patient`. There is no interval, and are 0
    patients, where these are not known.
    """

    def differences(weights: Float[np.ndarray, "R N"]) -> Float[np.ndarray, "R S"]:
        return np.stack(
            [first(weights) - second(weights) for first, second in zip(a, b, strict=True)], axis=1
        )

    count = len(set(patients)) if patients_known(patients) else 0
    observed = differences(np.ones((1, len(patients))))[0]
    if count < 2 or np.isnan(observed).any():
        return from_resamples(observed, np.empty((0, len(a))), count)
    rng = np.random.default_rng(seed)
    drawn = np.concatenate([differences(weights) for weights in resamples(patients, samples, rng)])
    drawn = drawn[~np.isnan(drawn).any(axis=1)]
    return from_resamples(observed, drawn if len(drawn) >= 0.95 * samples else drawn[:0], count)


def from_resamples(
    observed: Float[np.ndarray, " S"], drawn: Float[np.ndarray, "R S"], patients: int
) -> Difference:
    """The same from the difference of each seed, observed and in each resample of the patients.

    Variances are those of a table of seeds by patients without replication: the bootstrap gives the mean
    square of the patients and that of the noise, the observed differences that of the seeds. The seeds' part
    is what their spread exceeds the noise by, at least 0. The interval is value +- q sqrt(V), q the t
    quantiles of the parts weighted by their variances [Cochran and Cox, Experimental Designs, 1957, 4.14]:
    where the spread of seeds exceeds the noise, all of it has the seeds' few degrees of freedom, else none.
    With several seeds it is at least as wide as the t interval of the observed differences, which is exact where
    patients have nothing in common over seeds, and p is the larger of the two.
    """
    value, seeds, nan = float(observed.mean()), len(observed), float("nan")
    if not len(drawn):
        return Difference(value, nan, nan, nan, patients, seeds, nan, nan, nan)
    unbiased = patients / (patients - 1)  # a resample of n patients spreads like n - 1
    of_mean = unbiased * float(drawn.mean(axis=1).var())
    noise = spread = 0.0
    if seeds > 1:
        apart = drawn - drawn.mean(axis=1, keepdims=True)
        noise = unbiased * float(apart.var(axis=0).sum()) / (seeds - 1)
        spread = float(observed.var(ddof=1))
    own, beyond = max(0.0, of_mean - noise / seeds) * patients, max(0.0, spread - noise)
    parts = Difference(value, value, value, 1.0, patients, seeds, own, beyond, noise * patients)
    variances = parts.variances(patients, seeds)
    reach = _reach(0.025, variances, patients, seeds, spread / seeds)
    p = max(cochran_cox_p(value, variances, patients, seeds), _seeds_p(value, spread / seeds, seeds))
    return replace(parts, low=value - reach, high=value + reach, p=p)


def _reach(tail: float, variances: tuple[float, float], patients: int, seeds: int, of_seeds: float) -> float:
    """Half the interval; at least that of a t-test over seeds, whose mean has the variance `of_seeds`."""
    weighted = _quantile(tail, variances, patients, seeds) * float(np.sqrt(sum(variances)))
    if seeds == 1:
        return weighted
    return max(weighted, _t_quantile(tail, seeds - 1) * float(np.sqrt(of_seeds)))


def _seeds_p(value: float, of_seeds: float, seeds: int) -> float:
    """Two-sided p of the t-test over seeds; 0, which decides nothing, where seeds show no scatter."""
    if value == 0:
        return 1.0
    if of_seeds < ALIKE**2:
        return 0.0
    return 2 * _t_tail(abs(value) / float(np.sqrt(of_seeds)), seeds - 1)


def _quantile(tail: float, variances: tuple[float, float], patients: int, seeds: int) -> float:
    """Upper `tail` quantile of the mean over its error, whose variances are those of patients and of seeds."""
    if variances[1] == 0:
        return _t_quantile(tail, patients - 1)
    own, of_seeds = variances
    both = own * _t_quantile(tail, patients - 1) + of_seeds * _t_quantile(tail, seeds - 1)
    return both / (own + of_seeds)


# Of scipy.special: the distribution of scipy.stats checks its arguments, which takes a hundred times as long.
def _t_quantile(tail: float, freedom: int) -> float:
    """Upper `tail` quantile of Student's t."""
    return -float(special.stdtrit(freedom, tail))


def _t_tail(far: float, freedom: int) -> float:
    """The share of Student's t above `far`."""
    return float(special.stdtr(freedom, -far))


def cochran_cox_p(value: float, variances: tuple[float, float], patients: int, seeds: int) -> float:
    """Two-sided p by the weighted quantile alone; without any scatter the sign test's."""
    if value == 0:
        return 1.0
    if sum(variances) < ALIKE**2:
        return all_alike(patients)
    far = abs(value) / float(np.sqrt(sum(variances)))
    least = _t_tail(far, patients - 1)
    if variances[1] == 0:
        return 2 * least

    def beyond(log_tail: float) -> float:
        return _quantile(float(np.exp(log_tail)), variances, patients, seeds) - far

    # The tail is between that of the t with more degrees of freedom and one half.
    lowest = float(np.log(max(min(least, _t_tail(far, seeds - 1)), 1e-300))) - 0.01
    return 2 * (float(np.exp(optimize.brentq(beyond, lowest, np.log(0.5)))) if beyond(lowest) > 0 else least)


@dataclass(frozen=True)
class Needed:
    """How much data would tell a difference of the observed size; None where no number up to MOST would."""

    patients: int | None
    """In all, with the seeds as they are."""
    seeds: int | None
    """In all, on the same patients; None also with one seed, which cannot show how seeds differ."""


def needed(difference: Difference, *, power: float = 0.8, level: float = 0.05) -> Needed:
    """Patients, or seeds, at which a two-sided test at `level` finds the observed difference with `power`.

    Takes the observed difference and variances for the true ones, new patients and seeds for alike, and the
    error for normal: |delta| >= reach + z_power sqrt(V), reach half the interval. With few seeds the variances
    themselves are uncertain by a factor of several, and so are the numbers.
    """
    if np.isnan(difference.p) or difference.value == 0:
        return Needed(None, None)

    def tells(patients: int, seeds: int) -> bool:
        variances = difference.variances(patients, seeds)
        of_seeds = (difference.seed_variance + difference.noise_variance / patients) / seeds
        reach = _reach(level / 2, variances, patients, seeds, of_seeds)
        return bool(abs(difference.value) >= reach + float(special.ndtri(power)) * np.sqrt(sum(variances)))

    patients = _smallest(lambda count: tells(count, difference.seeds))
    seeds = _smallest(lambda count: tells(difference.patients, count)) if difference.seeds > 1 else None
    return Needed(patients, seeds)


def _smallest(enough: Callable[[int], bool]) -> int | None:
    """The smallest number from 2 to MOST that is enough, by bisection: what is enough stays so with more."""
    if not enough(MOST):
        return None
    short, plenty = 1, MOST
    while plenty - short > 1:
        middle = (short + plenty) // 2
        short, plenty = (short, middle) if enough(middle) else (middle, plenty)
    return plenty
