from functools import partial

import numpy as np
import pytest

from multimix import metrics
from multimix.statistics import bootstrap_by_patient, estimate


def names(groups):
    return [f"patient {g}" for g in groups]


def test_interval_of_a_mean_is_that_of_theory():
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap_by_patient(names(range(400)), partial(metrics.mean, values))
    error = 1.96 * values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + error, abs=0.1 * error)


def test_two_patients_by_enumeration():
    # Two patients with means 0 (three images) and 1 (one image). Draws: (0, 0), (1, 1) and twice (0, 1),
    # means 0, 1 and 1/4 with chances 1/4, 1/4, 1/2. An interval of 40 % holds the middle one alone.
    patients, statistic = ["a", "b", "a", "a"], partial(metrics.mean, np.array([0.0, 1.0, 0.0, 0.0]))
    assert bootstrap_by_patient(patients, statistic, level=0.4) == (0.25, 0.25)
    assert bootstrap_by_patient(patients, statistic, level=0.95) == (0, 1)


def test_repeated_images_of_a_patient_add_no_certainty():
    values = np.random.default_rng(1).normal(size=50)
    once = bootstrap_by_patient(names(range(50)), partial(metrics.mean, values))
    often = bootstrap_by_patient(names(np.repeat(range(50), 4)), partial(metrics.mean, np.repeat(values, 4)))
    assert often == pytest.approx(once)


def covered(resample_patients):
    """Share of 400 simulated studies of 60 patients with 1 to 5 alike images whose interval is right."""
    rng = np.random.default_rng(2)
    hits = 0
    for study in range(400):
        patient_of = np.repeat(np.arange(60), rng.integers(1, 6, size=60))
        values = rng.normal(size=60)[patient_of] + 0.3 * rng.normal(size=len(patient_of))
        groups = patient_of if resample_patients else range(len(values))
        low, high = bootstrap_by_patient(
            names(groups), partial(metrics.mean, values), samples=400, seed=study
        )
        hits += low <= 0 <= high
    return hits / 400


def test_coverage_is_as_stated_by_patient_and_not_by_image():
    assert 0.92 <= covered(resample_patients=True) <= 0.98
    assert covered(resample_patients=False) < 0.85


def test_same_seed_same_interval():
    patients, statistic = names(range(30)), partial(metrics.mean, np.random.default_rng(3).normal(size=30))
    assert bootstrap_by_patient(patients, statistic, seed=1) == bootstrap_by_patient(
        patients, statistic, seed=1
    )
    assert bootstrap_by_patient(patients, statistic, seed=1) != bootstrap_by_patient(
        patients, statistic, seed=2
    )


def test_many_images_come_in_pieces_of_weights():
    seen = []

    def statistic(weights):
        seen.append(weights.shape)
        assert weights.sum() == weights.size  # as many patients as there are, one image each
        return weights.mean(axis=1)

    assert bootstrap_by_patient(names(range(3000)), statistic, samples=2000) == (1, 1)
    assert len(seen) > 1
    assert sum(rows for rows, _ in seen) == 2000
    assert {images for _, images in seen} == {3000}


def test_resamples_without_a_value_are_left_out():
    # One of 6 patients is positive: (5/6)^6 = 33 % of resamples have none, too many to say anything.
    labels, probabilities = np.array([0, 0, 0, 0, 0, 1]), np.linspace(0, 1, 6)
    answers = np.stack([1 - probabilities, probabilities], axis=1)
    few = bootstrap_by_patient(names(range(6)), partial(metrics.auc, labels, answers))
    assert np.isnan(few).all()
    # Four of 16: (12/16)^16 = 1 %, and the others agree that the order is perfect.
    labels, probabilities = np.repeat([0, 1], [12, 4]), np.linspace(0, 1, 16)
    answers = np.stack([1 - probabilities, probabilities], axis=1)
    assert bootstrap_by_patient(names(range(16)), partial(metrics.auc, labels, answers)) == (1, 1)


def test_one_patient_has_no_interval():
    assert np.isnan(bootstrap_by_patient(["a", "a"], partial(metrics.mean, np.array([0.0, 1.0])))).all()


def test_estimate_holds_value_interval_and_trivial_answer():
    values = np.array([0.0, 1.0, 1.0, 0.0])
    found = estimate(names(range(4)), partial(metrics.mean, values), trivial=0.25)
    assert (found.value, found.trivial) == (0.5, 0.25)
    assert (found.low, found.high) == bootstrap_by_patient(names(range(4)), partial(metrics.mean, values))


def test_estimate_without_a_value_is_nan():
    answers = np.array([[0.2, 0.8], [0.6, 0.4]])
    found = estimate(["a", "b"], partial(metrics.auc, np.array([1, 1]), answers))
    assert np.isnan([found.value, found.low, found.high]).all()
