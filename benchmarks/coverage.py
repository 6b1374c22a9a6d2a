"""Do 95 % intervals hold the truth 95 % of the time? 1,000 simulated studies of each kind, as a table.

    python benchmarks/coverage.py [studies]

Every study draws patients (and seeds) anew from a population whose true value is known, and asks the functions
of multimix.statistics that `evaluate` and `compare` use. Rows in brackets are methods that are not used.
"""

import sys
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.stats import norm

from multimix.metrics import classification
from multimix.statistics import Statistic, bca_by_patient, bootstrap_by_patient
from multimix.statistics.bootstrap import resamples
from multimix.statistics.paired import paired_difference

IMAGES = {1: 273, 2: 26, 3: 17, 4: 10, 5: 5, 6: 3, 7: 2, 8: 1, 9: 1}
"""Images of a patient -> patients, as among Kermany's test images: 490 images of 338 patients."""

SEED = 20
Study = tuple[list[str], Statistic, float]
"""Patient of each image, statistic, true value."""


def patients_of(images: int) -> np.ndarray:
    """Patient of each image (images,): one image each, or Kermany's clusters where there are 490."""
    sizes = np.repeat(list(IMAGES), list(IMAGES.values())) if images == 490 else np.ones(images, int)
    return np.repeat(np.arange(len(sizes)), sizes)


def shared(rng: np.random.Generator, patient_of: np.ndarray, share: float) -> np.ndarray:
    """Standard normal (N,), of which `share` of the variance is common to the images of a patient."""
    common = rng.normal(size=patient_of.max() + 1)[patient_of]
    return np.sqrt(share) * common + np.sqrt(1 - share) * rng.normal(size=len(patient_of))


def dice(rng: np.random.Generator, images: int) -> Study:
    """1 - Dice is lognormal with skewness 2.3, as measured on JSRT; mean Dice 0.966."""
    patient_of = patients_of(images)
    values = 1 - 0.034 * np.exp(0.6 * shared(rng, patient_of, 0.5) - 0.18)
    return patient_of.astype(str).tolist(), partial(classification.mean, values), 1 - 0.034


def auc(rng: np.random.Generator, images: int, shift: float = 2.0) -> Study:
    """Two normal classes apart by `shift`: 37 % negative patients, half of the variance the patient's own."""
    patient_of = patients_of(images)
    labels = (np.arange(patient_of.max() + 1) >= 0.37 * patient_of.max()).astype(int)[patient_of]
    scores = shift * labels + shared(rng, patient_of, 0.5)
    truth = float(phi(shift / np.sqrt(2)))
    return patient_of.astype(str).tolist(), auc_statistic(labels, scores), truth


def accuracy(rng: np.random.Generator, images: int) -> Study:
    """Right in 90 % of images, where a normal shared by the patient lies under its 90 % quantile."""
    patient_of = patients_of(images)
    right = (shared(rng, patient_of, 0.5) < 1.2815515655446004).astype(float)
    return patient_of.astype(str).tolist(), partial(classification.mean, right), 0.9


def calibration(rng: np.random.Generator, images: int, gap: float = 0.03) -> Study:
    """Right by `gap` less often than the confidence says, at five confidences, most of them high."""
    patient_of = patients_of(images)
    confidence = rng.choice([0.55, 0.65, 0.75, 0.85, 0.95], size=images, p=[0.08, 0.08, 0.1, 0.14, 0.6])
    right = norm.cdf(shared(rng, patient_of, 0.5)) < confidence - gap
    answers = np.stack([1 - confidence, confidence], axis=1)
    return (
        patient_of.astype(str).tolist(),
        partial(classification.calibration_error, right.astype(np.int64), answers),
        gap,
    )


def auc_statistic(labels: np.ndarray, scores: np.ndarray) -> Statistic:
    """AUC of scores of any range."""
    ranked = scores.argsort().argsort() / len(scores)
    return partial(classification.auc, labels, np.stack([1 - ranked, ranked], axis=1))


def phi(x: float) -> float:
    """Standard normal distribution function."""
    return float(norm.cdf(x))


def single(make: Callable[[np.random.Generator, int], Study], images: int, studies: int) -> dict[str, float]:
    """Share of studies whose interval holds the truth: BCa, and where it is quick the percentile bootstrap."""
    methods = {"BCa, widened": bca_by_patient}
    if images < 200:
        methods["(percentile)"] = bootstrap_by_patient
    rng, hits = np.random.default_rng(SEED), dict.fromkeys(methods, 0)
    for _ in range(studies):
        patients, statistic, truth = make(rng, images)
        for name, interval in methods.items():
            low, high = interval(patients, statistic, samples=1000 if images < 200 else 600)
            hits[name] += low <= truth <= high
    return {name: count / studies for name, count in hits.items()}


def dice_pairs(
    rng: np.random.Generator, seeds: int, share: float, noise: float, images: int = 74
) -> tuple[list[str], list[Statistic], list[Statistic], float]:
    """Differences of Dice: patients skewed, `share` of the mean's variance from seeds, `noise` per patient's 1.

    Paired differences are all that matters, so B is 0.
    """
    skewed = (np.exp(0.5 * rng.normal(size=images)) - np.exp(0.125)) / np.sqrt(
        np.exp(0.25) * (np.exp(0.25) - 1)
    )
    of_patients = (1 + noise / seeds) / images
    of_seeds = np.sqrt(seeds * of_patients * share / (1 - share)) * rng.normal(size=(seeds, 1))
    table = 0.3 + of_seeds - skewed + np.sqrt(noise) * rng.normal(size=(seeds, images))
    zero = partial(classification.mean, np.zeros(images))
    return (
        [str(i) for i in range(images)],
        [partial(classification.mean, row) for row in table],
        [zero] * seeds,
        0.3,
    )


def auc_pairs(
    rng: np.random.Generator, seeds: int, spread: float, noise: float, images: int = 100
) -> tuple[list[str], list[Statistic], list[Statistic], float]:
    """A and B see the same patients; each seed of each has a shift with standard deviation `spread`.

    Scores vary among patients by 1 in common, by `noise` anew in each seed, and by 1 - noise in the same way in
    all seeds of A, or of B. Given a shift m, AUC is Phi(m / 2); over normal shifts of variance v its mean is
    Phi(m / sqrt(4 + v)). A spread of 0.35 is 0.04 in AUC, as measured on Kermany.
    """
    labels = (np.arange(images) >= 0.4 * images).astype(int)
    common = rng.normal(size=images)
    models, truths = [], []
    for mean in (2.0, 1.6):
        shifts = mean + spread * rng.normal(size=seeds)
        own = np.sqrt(1 - noise) * rng.normal(size=images)
        scores = shifts[:, None] * labels + common + own + np.sqrt(noise) * rng.normal(size=(seeds, images))
        models.append([auc_statistic(labels, row) for row in scores])
        truths.append(phi(mean / np.sqrt(4 + spread**2)))
    return [str(i) for i in range(images)], models[0], models[1], truths[0] - truths[1]


def both_resampled(
    patients: list[str], a: list[Statistic], b: list[Statistic], samples: int
) -> tuple[float, float]:
    """Percentiles where seeds are resampled too: what `compare` would print without its correction."""
    rng = np.random.default_rng(0)
    weights = np.concatenate(list(resamples(patients, samples, rng)))
    drawn = np.stack([x(weights) - y(weights) for x, y in zip(a, b, strict=True)], axis=1)
    chosen = rng.multinomial(len(a), np.full(len(a), 1 / len(a)), size=samples)
    low, high = np.quantile((drawn * chosen).sum(axis=1) / len(a), [0.025, 0.975])
    return float(low), float(high)


def paired(make: Callable, seeds: int, spread: float, noise: float, studies: int) -> dict[str, float]:
    """The same for the difference of two groups of runs; where it is quick also with seeds resampled."""
    rng, hits = np.random.default_rng(SEED), {"compare": 0}
    quick = make is dice_pairs
    samples = 600 if quick else 250
    for _ in range(studies):
        patients, a, b, truth = make(rng, seeds, spread, noise)
        found = paired_difference(patients, a, b, samples=samples)
        hits["compare"] += found.low <= truth <= found.high
        if seeds > 1 and quick:
            low, high = both_resampled(patients, a, b, samples)
            hits["(seeds resampled)"] = hits.get("(seeds resampled)", 0) + (low <= truth <= high)
    return {name: count / studies for name, count in hits.items()}


def main(studies: int) -> None:
    """Print the table."""
    print(f"{studies} studies, seed {SEED}; share of 95 % intervals that hold the truth")
    print("(four times as many studies in the first line)\n")
    for name, make in (("Dice", dice), ("AUC", auc), ("accuracy", accuracy)):
        for images in (74, 490):
            times = 4 if (make, images) == (dice, 74) else 1  # close to the limit, and quick
            found = single(make, images, times * studies)
            report(f"{name}, {images} images of {patients_of(images).max() + 1} patients", found)
    for images in (74, 490):
        what = f"(calibration error, {images} images of {patients_of(images).max() + 1} patients)"
        report(what, single(calibration, images, studies))
    report("difference of Dice, 74 images, 1 seed", paired(dice_pairs, 1, 0.0, 1.0, studies))
    report("difference of AUC, 100 images, 1 seed", paired(auc_pairs, 1, 0.0, 1.0, studies))
    for seeds in (3, 5, 15):
        for share in (0.0, 0.5, 0.9):
            for noise in (0.25, 1.0):
                what = f"difference of Dice, 74 images, {seeds} seeds, their share {share:.0%}, noise {noise}"
                report(what, paired(dice_pairs, seeds, share, noise, studies))
        for images, spread, noise in ((100, 0.0, 0.5), (100, 0.35, 0.5), (100, 0.35, 1.0), (300, 0.35, 1.0)):
            what = f"difference of AUC, {images} images, {seeds} seeds, their spread {spread}, noise {noise}"
            report(what, paired(partial(auc_pairs, images=images), seeds, spread, noise, studies))


def report(what: str, found: dict[str, float]) -> None:
    """One line."""
    print(f"{what:76s}" + "  ".join(f"{name} {value:.3f}" for name, value in found.items()), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
