"""Temperature, operating point and prediction sets, by hand and against simulations with known truth."""

import dataclasses
import math

import numpy as np
import pytest

from multimix.metrics.classification import calibration_error
from multimix.reliability.calibration import (
    ENOUGH,
    Reliability,
    best_temperature,
    best_threshold,
    conformal_quantile,
    measure_classes,
    names,
)


def drawn(count: int, classes: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (count classes) whose softmax is the true chance of each label."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (count, classes))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (rng.random((count, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(0, classes - 1)
    return logits, labels


def test_by_default_nothing_changes():
    plain = Reliability()
    p = plain.probabilities(np.array([[0.0, math.log(3)]]), False)
    np.testing.assert_allclose(p, [[0.25, 0.75]])
    np.testing.assert_allclose(
        plain.probabilities(np.array([[0.0, math.log(3)]]), True), [[0.5, 0.75]], rtol=1e-12
    )
    np.testing.assert_array_equal(plain.decide(np.array([[0.4, 0.35, 0.25]]), False), [[True, False, False]])
    np.testing.assert_array_equal(plain.decide(np.array([[0.4, 0.5, 0.9]]), True), [[False, True, True]])
    assert not plain.sets(np.array([[0.4, 0.6]]), False).any()


def test_temperature_divides_the_logits():
    p = Reliability(temperature=2.0).probabilities(np.array([[0.0, 2 * math.log(3)]]), False)
    np.testing.assert_allclose(p, [[0.25, 0.75]])


def test_large_logits_stay_finite():
    for multi_label in (False, True):
        p = Reliability(temperature=0.05).probabilities(np.array([[-900.0, 900.0]]), multi_label)
        np.testing.assert_allclose(p, [[0, 1]])


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_a_factor(factor: float, classes: int):
    logits, labels = drawn(20_000, classes)
    assert best_temperature(factor * logits, labels) == pytest.approx(factor, rel=0.06)


def test_the_temperature_of_labels_that_are_not_exclusive():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (20_000, 3))
    labels = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(int)
    assert best_temperature(2.5 * logits, labels) == pytest.approx(2.5, rel=0.06)


def test_calibrated_probabilities_come_true():
    logits, labels = drawn(3000)
    known = measure_classes(4 * logits[:1000], labels[:1000])
    before = Reliability().probabilities(4 * logits[1000:], False)
    after = known.probabilities(4 * logits[1000:], False)
    assert calibration_error(labels[1000:], before) > 0.1
    assert calibration_error(labels[1000:], after) < 0.04


def test_images_that_are_all_right_make_nobody_infinitely_sure():
    labels = np.arange(100) % 2
    logits = np.stack([1 - labels, labels], axis=1).astype(float)
    temperature = best_temperature(logits, labels)
    # 51 / 52, as Platt has it: ln 51 = 1 / T
    assert temperature == pytest.approx(1 / math.log(51), rel=1e-3)


def test_few_images_or_one_class_leave_the_temperature():
    logits, labels = drawn(ENOUGH - 1)
    assert best_temperature(9 * logits, labels) == 1
    assert best_temperature(9 * drawn(100)[0], np.zeros(100, int)) == 1


def test_threshold_by_hand():
    p = np.array([0.1, 0.2, 0.3, 0.6, 0.7, 0.9])
    positive = np.array([False, False, True, False, True, True])
    # From 0.2 to 0.3: sensitivity 1, specificity 2/3. From 0.6 to 0.7: 2/3 and 1. Both 5/6; the later is the middle.
    assert best_threshold(p, positive) == pytest.approx(0.65)
    # A single gap.
    assert best_threshold(p, p > 0.5) == pytest.approx(0.45)


def test_threshold_never_lies_between_equal_probabilities():
    p = np.repeat([0.2, 0.5, 0.5, 0.5, 0.8], 4)
    positive = np.repeat([False, False, True, True, True], 4)
    # t = 0.35: sensitivity 1, specificity 1/2; t = 0.65: 1/3 and 1.
    assert best_threshold(p, positive) == pytest.approx(0.35)


def test_threshold_finds_what_balances():
    # Nine in ten are positive and p is their true chance: the best balanced accuracy is had at p = 0.9.
    rng = np.random.default_rng(0)
    p = rng.beta(9, 1, 40_000)
    assert best_threshold(p, rng.random(40_000) < p) == pytest.approx(0.9, abs=0.03)


def test_quantile_by_hand():
    scores = np.arange(1, 20) / 100
    # ceil(20 * 0.9) = 18th of 19.
    assert conformal_quantile(scores, 0.9) == pytest.approx(0.18)
    assert conformal_quantile(scores[:9], 0.9) == pytest.approx(0.09)
    assert conformal_quantile(scores[:8], 0.9) == 1


def test_decisions_follow_the_thresholds():
    known = Reliability(thresholds=(0.7, 0.3))
    p = np.array([[0.69, 0.31], [0.71, 0.29], [0.2, 0.8]])
    np.testing.assert_array_equal(known.decide(p, False)[:, 1], [True, False, True])
    np.testing.assert_array_equal(known.decide(p, True), [[False, True], [True, False], [False, True]])


def test_sets_by_hand():
    known = Reliability(thresholds=(0.5, 0.5), quantiles=(0.6, 0.2))
    # First class from p 0.4 on, second from 0.8 on; the decided class is always in.
    p = np.array([[0.9, 0.1], [0.45, 0.55], [0.1, 0.9], [0.35, 0.65]])
    expected = [[True, False], [True, True], [False, True], [False, True]]
    np.testing.assert_array_equal(known.sets(p, False), expected)
    # Not exclusive: nothing is put in that the limits leave out.
    np.testing.assert_array_equal(
        known.sets(np.array([[0.3, 0.7], [0.5, 0.9]]), True), [[False] * 2, [True] * 2]
    )


@pytest.mark.parametrize("classes", [2, 4])
def test_sets_cover_what_they_state(classes: int):
    logits, labels = drawn(12_000, classes)
    known = measure_classes(2 * logits[:6000], labels[:6000])
    inside = known.sets(known.probabilities(2 * logits[6000:], False), False)
    assert inside.any(axis=1).all()
    for k in range(classes):  # of every class, not just on average
        # Two standard deviations of 1,500 images' quantile and another 1,500's share are 0.022.
        assert inside[labels[6000:] == k, k].mean() == pytest.approx(0.9, abs=0.035)
    assert 1 < inside.sum(axis=1).mean() < classes


def test_sets_cover_labels_that_are_not_exclusive():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (12_000, 3))
    labels = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(int)
    known = measure_classes(logits[:6000], labels[:6000])
    inside = known.sets(known.probabilities(logits[6000:], True), True)
    for k in range(3):
        assert inside[labels[6000:, k] == 1, k].mean() == pytest.approx(0.9, abs=0.025)


def test_a_class_with_few_images_leaves_what_it_would_decide():
    logits, _ = drawn(100)
    labels = (np.arange(100) < ENOUGH - 1).astype(int)
    known = measure_classes(logits, labels)
    assert (known.thresholds, known.quantiles) == ((), ())
    both = measure_classes(logits, np.stack([labels, 1 - np.arange(100) % 2], axis=1))
    assert both.thresholds[0] == 0.5
    assert both.thresholds[1] != 0.5
    assert both.quantiles == ()


def test_thresholds_of_two_exclusive_classes_add_up_to_one():
    logits, labels = drawn(500)
    assert sum(measure_classes(logits, labels).thresholds) == pytest.approx(1)
    assert measure_classes(*drawn(500, 3)).thresholds == ()


def test_names():
    assert names(np.array([True, False, True]), ("a", "b", "c")) == ("a", "c")


def test_it_comes_back_as_it_was():
    known = Reliability(1.5, (0.3, 0.7), 0.9, (0.25, 0.5))
    numbers, tensors = known.pack()
    assert tensors == {}
    assert Reliability.unpack(numbers, tensors) == known


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.0},
        {"temperature": math.nan},
        {"coverage": 1.0},
        {"thresholds": (0.0, 1.0)},
        {"quantiles": (0.5, 1.5)},
        {"thresholds": (0.5,)},
        {"quantiles": (0.5, 0.5, 0.5)},
    ],
)
def test_impossible_numbers_are_refused(change: dict):
    known = Reliability(1.5, (0.3, 0.7), 0.9, (0.25, 0.5))
    known.check(2)
    with pytest.raises(ValueError, match=r"temperature|thresholds"):
        dataclasses.replace(known, **change).check(2)
