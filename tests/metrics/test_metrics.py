import numpy as np
import pytest

from multimix.errors import MultimixError
from multimix.metrics import classification, segmentation

HAND_LABELS = np.array([0, 0, 1, 1, 1])
HAND = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.4, 0.6], [0.8, 0.2]])


def random_answers(rng, images=200, classes=2, levels=20):
    """Labels and probabilities that know a little about them; few levels, so that there are ties."""
    labels = rng.integers(classes, size=images)
    logits = rng.normal(size=(images, classes)) + 1.5 * np.eye(classes)[labels]
    probabilities = np.exp(np.round(logits * levels / 4) / levels * 4)
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True)


def square(top, left, side=4, size=(20, 30)):
    mask = np.zeros(size, dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def blobs(rng, size=(40, 50)):
    """Irregular masks that touch the image's edges."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.normal(size=(2, *size)), (0, 3, 3))
    return noise[0] > 0.02, noise[0] + 0.3 * noise[1] > 0.02


def test_class_scores_by_hand():
    # Decisions: 0 1 1 1 0, so 3 of 5 are right.
    assert classification.accuracy(HAND_LABELS, HAND) == pytest.approx(3 / 5)
    assert classification.f1(HAND_LABELS, HAND, index=0) == pytest.approx(2 * 1 / (2 * 1 + 1 + 1))
    assert classification.f1(HAND_LABELS, HAND, index=1) == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    # Pairs of .1 and .6 against .7, .6 and .2: 3 right with .1; 1 right and 1 tie with .6.
    assert classification.auc(HAND_LABELS, HAND) == pytest.approx((3 + 1 + 0.5) / 6)
    squares = np.array([0.1, 0.6, 0.3, 0.4, 0.8]) ** 2
    assert classification.brier(HAND_LABELS, HAND) == pytest.approx(2 * squares.mean())


def test_balanced_log_loss_by_hand():
    labels, probabilities = np.array([0, 1, 1]), np.array([[0.5, 0.5], [0.75, 0.25], [0.0, 1.0]])
    expected = (np.log(2) + (np.log(4) + 0) / 2) / 2
    assert classification.balanced_log_loss(labels, probabilities) == pytest.approx(expected)
    # One more of a class counts as one more of it, not as more of the class.
    again = np.repeat(probabilities, [3, 1, 1], axis=0)
    assert classification.balanced_log_loss(np.array([0, 0, 0, 1, 1]), again) == pytest.approx(expected)


def test_balanced_log_loss_of_classes_that_are_not_exclusive():
    labels, probabilities = np.array([[1], [0], [0]]), np.array([[0.5], [0.5], [0.75]])
    expected = (np.log(2) + (np.log(2) + np.log(4)) / 2) / 2
    assert classification.balanced_log_loss(labels, probabilities) == pytest.approx(expected)


def test_balanced_log_loss_needs_every_class_and_stays_finite():
    assert np.isnan(classification.balanced_log_loss(np.array([0, 0]), np.array([[0.9, 0.1], [0.4, 0.6]])))
    assert np.isfinite(classification.balanced_log_loss(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]])))


def test_calibration_error_by_hand():
    # Confidences .9, .6, .7, .6, .8. Ceil(15 c) = 14, 9, 11, 9, 12: only the two of .6 share a bin.
    gaps = [abs(1 - 0.9), abs((0 + 1) - 2 * 0.6), abs(1 - 0.7), abs(0 - 0.8)]
    assert classification.calibration_error(HAND_LABELS, HAND) == pytest.approx(sum(gaps) / 5)
    # In one bin the signs cancel: 3 right, 3.6 claimed.
    assert classification.calibration_error(HAND_LABELS, HAND, bins=1) == pytest.approx(0.6 / 5)


def test_calibration_bins_hold_their_upper_edge():
    # With 5 bins .6 belongs to (.4, .6] and not to (.6, .8], so it is alone.
    labels, probabilities = np.array([0, 1]), np.array([[0.6, 0.4], [0.7, 0.3]])
    assert classification.calibration_error(labels, probabilities, bins=5) == pytest.approx((0.4 + 0.7) / 2)
    assert classification.calibration_error(np.array([1]), np.array([[0.0, 1.0]])) == 0


@pytest.mark.parametrize("classes", [2, 4])
def test_class_scores_agree_with_scikit_learn(classes):
    from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

    labels, probabilities = random_answers(np.random.default_rng(0), classes=classes)
    answers = probabilities.argmax(axis=1)
    assert classification.accuracy(labels, probabilities) == pytest.approx(accuracy_score(labels, answers))
    for k, expected in enumerate(f1_score(labels, answers, average=None)):
        assert classification.f1(labels, probabilities, index=k) == pytest.approx(expected)
    given = probabilities[:, 1] if classes == 2 else probabilities
    expected = roc_auc_score(labels, given, multi_class="ovr", average="macro")
    assert classification.auc(labels, probabilities) == pytest.approx(expected)


def test_brier_agrees_with_scikit_learn():
    from sklearn.metrics import brier_score_loss

    labels, probabilities = random_answers(np.random.default_rng(1))
    expected = 2 * brier_score_loss(labels, probabilities[:, 1])
    assert classification.brier(labels, probabilities) == pytest.approx(expected)


def test_labels_that_are_not_exclusive():
    from sklearn.metrics import f1_score, roc_auc_score

    rng = np.random.default_rng(2)
    labels = (rng.random((150, 3)) < [0.2, 0.5, 0.7]).astype(int)
    probabilities = np.round(0.99 * (labels * 0.3 + rng.random((150, 3)) * 0.7), 2) + 0.001  # never 1/2
    answers = probabilities >= 0.5
    assert classification.accuracy(labels, probabilities) == pytest.approx((answers == labels).mean())
    for k, expected in enumerate(f1_score(labels, answers, average=None)):
        assert classification.f1(labels, probabilities, index=k) == pytest.approx(expected)
    expected = roc_auc_score(labels, probabilities, average="macro")
    assert classification.auc(labels, probabilities) == pytest.approx(expected)
    # Each class is a pair (1 - p, p), which the exclusive scores can judge.
    pairs = [np.stack([1 - p, p], axis=1) for p in probabilities.T]
    for metric in (classification.brier, classification.calibration_error):
        each = [metric(labels[:, k], pair) for k, pair in enumerate(pairs)]
        assert metric(labels, probabilities) == pytest.approx(np.mean(each))


def test_probability_one_half_is_a_yes_where_labels_are_not_exclusive():
    assert classification.accuracy(np.array([[1]]), np.array([[0.5]])) == 1


def test_absent_class_is_a_failure():
    labels, probabilities = np.array([0, 0, 1]), np.array([[0.9, 0.1, 0.0]] * 3)
    assert classification.f1(labels, probabilities, index=1) == 0  # present, never predicted
    assert classification.f1(labels, probabilities, index=2) == 0  # neither present nor predicted
    assert classification.f1(labels, probabilities, index=0) == pytest.approx(2 * 2 / (2 * 2 + 1))


def test_auc_is_nan_without_both_sides():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6]])
    assert np.isnan(classification.auc(np.array([0, 0]), probabilities))
    assert np.isnan(classification.auc(np.array([1, 1]), probabilities))
    three = np.array([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.6, 0.2, 0.2]])
    assert np.isnan(
        classification.auc(np.array([0, 1, 0]), three)
    )  # class 2 is absent, the mean is undefined
    assert classification.auc_of_class(np.array([0, 1, 0]), three, index=1) == 1


def _f1_of_the_second(labels, probabilities, weights=None):
    return classification.f1(labels, probabilities, weights, index=1)


@pytest.mark.parametrize(
    "metric",
    [
        classification.accuracy,
        _f1_of_the_second,
        classification.auc,
        classification.brier,
        classification.balanced_log_loss,
        classification.calibration_error,
    ],
)
@pytest.mark.parametrize("kind", ["two", "three", "not exclusive"])
def test_weights_are_repetitions(metric, kind):
    rng = np.random.default_rng(3)
    labels, probabilities = random_answers(rng, images=40, classes=2 if kind == "two" else 3)
    if kind == "not exclusive":
        labels = (rng.random(probabilities.shape) < 0.4).astype(int)
    times = rng.integers(4, size=(5, 40))
    expected = [metric(np.repeat(labels, t, axis=0), np.repeat(probabilities, t, axis=0)) for t in times]
    np.testing.assert_allclose(metric(labels, probabilities, times.astype(float)), expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["two", "three", "not exclusive"])
@pytest.mark.parametrize(
    "metric",
    [
        classification.accuracy,
        _f1_of_the_second,
        classification.auc,
        classification.brier,
        classification.balanced_log_loss,
        classification.calibration_error,
    ],
)
def test_probabilities_that_are_nan_are_an_error(metric, kind):
    # NaN is sorted last, so it used to be the surest answer there is: AUC 1 where it stands with a positive image.
    labels, probabilities = random_answers(np.random.default_rng(4), 6, classes=2 if kind == "two" else 3)
    labels[:3] = range(3) if kind != "two" else [0, 1, 1]
    if kind == "not exclusive":
        labels = np.eye(3, dtype=int)[labels]
    metric(labels, probabilities)
    for broken in (np.nan, np.inf):
        probabilities[2, 1] = broken
        with pytest.raises(
            MultimixError, match="1 of 6 images has a probability that is not a finite number"
        ):
            metric(labels, probabilities)


def test_a_mean_over_nan_is_nan():
    assert np.isnan(classification.mean(np.array([1.0, np.nan])))


def test_mean_with_weights():
    weights = np.array([[1.0, 1.0, 1.0], [0.0, 2.0, 1.0]])
    np.testing.assert_allclose(classification.mean(np.array([3.0, 6.0, 0.0]), weights), [3, 4])


def test_overlap_of_shifted_squares():
    prediction, reference = square(5, 5), square(5, 6)  # 16 pixels each, 12 in common
    assert segmentation.dice(prediction, reference) == pytest.approx(24 / 32)
    assert segmentation.jaccard(prediction, reference) == pytest.approx(12 / 20)
    half = square(5, 5, side=2)  # 4 pixels, all within the reference
    assert segmentation.precision(half, square(5, 5)) == 1
    assert segmentation.recall(half, square(5, 5)) == pytest.approx(4 / 16)


def test_distances_of_shifted_squares():
    # A 4 x 4 square has 12 outline pixels. Shifted right by one, the near edge column (4 pixels) is 1 away
    # from the other outline; the top and bottom rows (2 inner pixels and the far corner each) lie on it; the
    # far column's 2 middle pixels are 1 away from the other's.
    distances = segmentation.surface_distances(square(5, 5), square(5, 6))
    assert sorted(distances.to_reference) == [0] * 6 + [1] * 6
    assert sorted(distances.to_prediction) == [0] * 6 + [1] * 6
    assert segmentation.average_surface_distance(distances) == pytest.approx(0.5)
    assert segmentation.hausdorff_95(distances) == 1


def test_hausdorff_95_takes_the_worse_direction():
    # One stray pixel 10 columns from a square: it alone is far, yet of the prediction's 13 outline pixels
    # it is the 95th percentile by interpolation: position .95 * 12 = 11.4 between 0 and 10.
    prediction = square(5, 5)
    prediction[5, 18] = True
    distances = segmentation.surface_distances(prediction, square(5, 5))
    assert segmentation.hausdorff_95(distances) == pytest.approx(0.4 * 10)
    assert segmentation.average_surface_distance(distances) == pytest.approx(10 / 25)


def test_spacing_scales_each_axis():
    up, left = np.zeros((2, 9, 9), dtype=bool)
    up[1, 4] = left[4, 1] = True
    centre = np.zeros((9, 9), dtype=bool)
    centre[4, 4] = True
    assert segmentation.hausdorff_95(segmentation.surface_distances(up, centre, (0.5, 2.0))) == pytest.approx(
        1.5
    )
    assert segmentation.hausdorff_95(
        segmentation.surface_distances(left, centre, (0.5, 2.0))
    ) == pytest.approx(6)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.7, 1.3)])
def test_distances_agree_with_brute_force(spacing):
    from scipy.ndimage import binary_erosion

    def outline(mask):
        return np.argwhere(mask & ~binary_erosion(mask)) * spacing

    for seed in range(4):
        prediction, reference = blobs(np.random.default_rng(seed))
        between = np.linalg.norm(outline(prediction)[:, None] - outline(reference)[None], axis=2)
        distances = segmentation.surface_distances(prediction, reference, spacing)
        np.testing.assert_allclose(distances.to_reference, between.min(axis=1))
        np.testing.assert_allclose(distances.to_prediction, between.min(axis=0))


def test_similarity_is_that_of_the_whole_image():
    from skimage.metrics import structural_similarity

    pairs = [blobs(np.random.default_rng(seed)) for seed in range(4)]
    pairs += [(square(0, 0), square(1, 2)), (square(16, 26), square(9, 9)), (square(8, 12), square(9, 12))]
    for prediction, reference in pairs:
        expected = structural_similarity(prediction.astype(float), reference.astype(float), data_range=1.0)
        assert segmentation.structural_similarity(prediction, reference) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("side", "expected"), [(1, 0), (2, 0)])
def test_similarity_of_images_too_small_for_a_window(side, expected):
    full, corner = np.ones((side, side), dtype=bool), np.zeros((side, side), dtype=bool)
    corner[0, 0] = side > 1
    assert segmentation.structural_similarity(full, corner) == expected
    assert segmentation.structural_similarity(full, full) == 1


def test_empty_masks():
    empty, some = np.zeros((30, 40), dtype=bool), square(5, 5, size=(30, 40))
    overlaps = (
        segmentation.dice,
        segmentation.jaccard,
        segmentation.precision,
        segmentation.recall,
        segmentation.structural_similarity,
    )
    for metric in overlaps:
        assert metric(empty, some) == 0
        assert metric(some, empty) == 0
        assert metric(empty, empty) == 1
    for pair in ((empty, some), (some, empty)):
        distances = segmentation.surface_distances(*pair)  # the diagonal of 30 x 40
        assert segmentation.average_surface_distance(distances) == segmentation.hausdorff_95(distances) == 50
        assert segmentation.hausdorff_95(segmentation.surface_distances(*pair, (2.0, 2.0))) == 100
    nothing = segmentation.surface_distances(empty, empty)
    assert segmentation.average_surface_distance(nothing) == segmentation.hausdorff_95(nothing) == 0


def test_masks_that_fill_the_image_end_at_its_edge():
    full = np.ones((20, 20), dtype=bool)
    distances = segmentation.surface_distances(full, square(8, 8, size=(20, 20)))
    assert len(distances.to_reference) == 4 * 20 - 4
    assert segmentation.hausdorff_95(distances) > 8


def test_covered_is_the_share_of_true_classes():
    inside = np.array([[True, False], [True, False], [True, True], [False, False]])
    share = classification.covered(inside, np.array([[1, 0], [1, 1], [0, 1], [0, 0]]))
    np.testing.assert_array_equal(share, [1, 0.5, 1, np.nan])
