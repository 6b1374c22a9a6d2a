"""How often does `compare` call one of seven equal pairs better or worse, and how often does it find one that differs?

    python benchmarks/false_verdicts.py [families]

A family is seven differences of scores, as a comparison prints them, each with its own patients and seeds, drawn anew
from a population in which A and B are equal. It counts as false where any of the seven gets a verdict after Holm's
correction. Power: the share of families in which the first of the seven, truly different, gets one. Both are as for
Dice, where the larger p of the interval and of Wilcoxon's test goes on. The interval alone decides of F1, the Brier
score and balanced accuracy. In brackets the interval without its t-test over seeds, which is not used.
"""

import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from multimix.statistics.bootstrap import resamples
from multimix.statistics.paired import Difference, cochran_cox_p, from_resamples
from multimix.statistics.significance import holm, wilcoxon

IMAGES, PAIRS, LEVEL, SEED = 100, 7, 0.05, 26
PATIENTS = [str(i) for i in range(IMAGES)]
SEEDS = (3, 5, 7, 15)
EFFECTS = (1.0, 2.0, 4.0)
"""True differences, in standard deviations of the difference of one pair of runs."""


class Population(NamedTuple):
    """What differences of runs are made of, as shares of the variance of their mean over three seeds."""

    name: str
    patients: float
    seeds: float
    noise: float


POPULATIONS = (
    Population("seeds alone", 0.0, 1.0, 0.0),
    Population("mostly seeds", 0.05, 0.80, 0.15),
    Population("seeds and noise", 0.10, 0.40, 0.50),
    Population("mostly patients", 0.70, 0.25, 0.05),
    Population("noise alone", 0.0, 0.0, 1.0),
)


def families(
    population: Population, seeds: int, count: int, *, samples: int = 400
) -> Iterator[list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Of each family the seven differences: observed (S,), in resamples of the patients (R, S), of each patient (N,).

    The difference of one pair of runs has a standard deviation of 1, the true difference is 0.
    """
    rng = np.random.default_rng(SEED)
    weights = np.concatenate(list(resamples(PATIENTS, samples, rng))) / IMAGES
    of_patients = population.patients * IMAGES
    of_seeds, noise = 3 * population.seeds, 3 * IMAGES * population.noise
    unit = np.sqrt((of_patients + noise) / IMAGES + of_seeds)
    skewness = np.sqrt(np.exp(0.25) * (np.exp(0.25) - 1))  # of a lognormal, as differences of Dice have it
    for _ in range(count):
        skewed = (np.exp(0.125) - np.exp(0.5 * rng.normal(size=(PAIRS, 1, IMAGES)))) / skewness
        table = np.sqrt(of_patients) * skewed + np.sqrt(of_seeds) * rng.normal(size=(PAIRS, seeds, 1))
        table = (table + np.sqrt(noise) * rng.normal(size=(PAIRS, seeds, IMAGES))) / unit
        yield [(one.mean(axis=1), (one @ weights.T).T, one.mean(axis=0)) for one in table]


def weighted_p(found: Difference) -> float:
    """The p-value without the t-test over seeds."""
    variances = found.variances(found.patients, found.seeds)
    return cochran_cox_p(found.value, variances, found.patients, found.seeds)


def with_wilcoxon(found: Difference, each: np.ndarray) -> float:
    """The larger p of the interval and of Wilcoxon's test, which is not asked where the interval finds nothing."""
    return found.p if found.p >= LEVEL else max(found.p, wilcoxon(each, PATIENTS))


def study(population: Population, seeds: int, count: int) -> dict[str, float]:
    """Shares of `count` families: false verdicts as for Dice, by the interval, without its t-test; power by effect."""
    hits = dict.fromkeys(["false", "interval", "(interval)", *map(str, EFFECTS)], 0)
    for family in families(population, seeds, count):
        equal = [from_resamples(observed, drawn, IMAGES) for observed, drawn, _ in family]
        own = [with_wilcoxon(found, each) for found, (_, _, each) in zip(equal, family, strict=True)]
        hits["false"] += min(holm(own)) < LEVEL
        hits["interval"] += min(holm([found.p for found in equal])) < LEVEL
        hits["(interval)"] += min(holm([weighted_p(found) for found in equal])) < LEVEL
        observed, drawn, each = family[0]
        for effect in EFFECTS:
            apart = from_resamples(observed + effect, drawn + effect, IMAGES)
            hits[str(effect)] += holm([with_wilcoxon(apart, each + effect), *own[1:]])[0] < LEVEL
    return {name: number / count for name, number in hits.items()}


def main(count: int) -> None:
    """Print the table."""
    print(f"{count} families of {PAIRS} pairs, {IMAGES} patients, seed {SEED}")
    effects = " | ".join(f"power at {effect:g}" for effect in EFFECTS)
    print(f"| population | seeds | false verdicts | interval alone | (without its t-test) | {effects} |")
    print("| --- | ---: | ---: | ---: | ---: |" + " ---: |" * len(EFFECTS))
    for population in POPULATIONS:
        for seeds in SEEDS:
            found = " | ".join(f"{share:.3f}" for share in study(population, seeds, count).values())
            print(f"| {population.name} | {seeds} | {found} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
