"""How good an answer is: class scores over many images, mask scores of one image.

Class scores take `labels`, class indices (N,), or 0/1 (N, K) where labels are not exclusive, and
`probabilities` (N, K) float64. Each also takes `weights` (R, N): how often image n occurs in resample r.
It then returns one score per resample (R,), which is what the bootstrap needs; without weights it returns
one number. An integer weight w gives exactly the score of a data set in which the image occurs w times.

Mask scores take `prediction` and `reference`, bool (H, W), and never skip an image: where one of the two is
empty the score is the worst there is, where both are empty it is perfect.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

Labels = Int[np.ndarray, " N"] | Int[np.ndarray, "N K"]
Probabilities = Float[np.ndarray, "N K"]
Weights = Float[np.ndarray, "R N"] | None
Score = float | Float[np.ndarray, " R"]
Mask = Bool[np.ndarray, "H W"]

MASK_SCORES = ("dice", "jaccard", "precision", "recall", "ssim", "asd_px", "hd95_px", "asd_mm", "hd95_mm")
"""Of each structure, as tables name them before `_<structure>`."""


def membership(cells: Iterable[str], classes: Sequence[str], multi_label: bool) -> Int[np.ndarray, "N K"]:
    """1 where a table's cell names the class; where labels are not exclusive, several are joined by '|'."""
    named = [cell.split("|") if multi_label else [cell] for cell in cells]
    return np.array([[int(known in each) for known in classes] for each in named], int).reshape(
        -1, len(classes)
    )


def _per_resample(weights: Weights, count: int) -> Float[np.ndarray, "*R N"]:
    return np.ones(count) if weights is None else weights


def mean(values: Float[np.ndarray, " N"], weights: Weights = None) -> Score:
    """Mean over images of a score that each image has by itself."""
    each = _per_resample(weights, len(values))
    return each @ values / each.sum(axis=-1)


def truth(labels: Labels, classes: int) -> Int[np.ndarray, "N K"]:
    """1 where the image has the class."""
    return labels if labels.ndim == 2 else np.eye(classes, dtype=int)[labels]


def decisions(labels: Labels, probabilities: Probabilities) -> Int[np.ndarray, "N K"]:
    """1 where the answer says the class: the most probable, or all >= 0.5 where not exclusive."""
    if labels.ndim == 2:
        return (probabilities >= 0.5).astype(int)
    return truth(probabilities.argmax(axis=1), probabilities.shape[1])


def accuracy(labels: Labels, probabilities: Probabilities, weights: Weights = None) -> Score:
    """Share of images whose class is right; of all image-class pairs where labels are not exclusive.

    Paper: supplement, Tables 3 and 4, accuracy.
    """
    right = decisions(labels, probabilities) == truth(labels, probabilities.shape[1])
    return mean(right.mean(axis=1) if labels.ndim == 2 else right.all(axis=1).astype(float), weights)


def f1(labels: Labels, probabilities: Probabilities, weights: Weights = None, *, index: int) -> Score:
    """F1 of class `index`, 2 TP / (2 TP + FP + FN) [van Rijsbergen 1979].

    0 where the class is never predicted, and also where it is neither predicted nor present: a test set
    without the class cannot vouch for it.

    Paper: supplement, Tables 3 and 4, F1.
    """
    answer = decisions(labels, probabilities)[:, index]
    reference = truth(labels, probabilities.shape[1])[:, index]
    each = _per_resample(weights, len(labels))
    hits = each @ (answer * reference)
    total = each @ (answer + reference)  # (TP + FP) + (TP + FN)
    return 2 * hits / np.where(total > 0, total, 1)


def auc_of_class(
    labels: Labels, probabilities: Probabilities, weights: Weights = None, *, index: int
) -> Score:
    """Area under the ROC curve of class `index` against the rest; nan where one of the two sides is absent.

    The share of (positive, negative) pairs that the probability orders rightly, a tie counting half
    [Hanley and McNeil, Radiology 143 (1982) 29-36].
    """
    scores = probabilities[:, index]
    order = np.argsort(scores, kind="stable")
    positive = truth(labels, probabilities.shape[1])[order, index]
    each = _per_resample(weights, len(labels))[..., order]
    # Images of equal probability form one group, so that ties within it count half.
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    positives = np.add.reduceat(each * positive, starts, axis=-1)
    negatives = np.add.reduceat(each * (1 - positive), starts, axis=-1)
    below = negatives.cumsum(axis=-1) - negatives / 2
    pairs = positives.sum(axis=-1) * negatives.sum(axis=-1)
    return (positives * below).sum(axis=-1) / np.where(pairs > 0, pairs, np.nan)


def auc(labels: Labels, probabilities: Probabilities, weights: Weights = None) -> Score:
    """AUC of the last class where two are exclusive; else the mean over classes, each against the rest.

    nan where any class has only one side: a mean over the other classes would be another score.

    Paper: figures, AUC.
    """
    classes = probabilities.shape[1]
    if labels.ndim == 1 and classes == 2:
        return auc_of_class(labels, probabilities, weights, index=1)
    each = [auc_of_class(labels, probabilities, weights, index=k) for k in range(classes)]
    return np.stack(each).mean(axis=0)


def brier(labels: Labels, probabilities: Probabilities, weights: Weights = None) -> Score:
    """Brier score, mean of sum_k (p_k - y_k)^2, in [0, 2] [Brier, Mon. Weather Rev. 78 (1950) 1-3].

    With two exclusive classes this is twice the (p - y)^2 of the positive one. Where labels are not exclusive
    each class counts as such a pair, (1 - p, p), and the score is the mean over classes.
    """
    squared = (probabilities - truth(labels, probabilities.shape[1])) ** 2
    return mean(2 * squared.mean(axis=1) if labels.ndim == 2 else squared.sum(axis=1), weights)


def balanced_log_loss(labels: Labels, probabilities: Probabilities, weights: Weights = None) -> Score:
    """Mean over classes of the mean -log p_k of the images that have class k; >= 0.

    What probabilities are worth where every class is as frequent as the others, so it sees an answer that leans to
    the class that was commoner in training. nan where no image has some class. Where labels are not exclusive the
    absence of each class counts as one more class, with 1 - p_k.
    """
    member = truth(labels, probabilities.shape[1])
    if labels.ndim == 2:
        member = np.concatenate([member, 1 - member], axis=1)
        probabilities = np.concatenate([probabilities, 1 - probabilities], axis=1)
    losses = -np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)) * member
    each = _per_resample(weights, len(labels))
    counts = each @ member
    return (each @ losses / np.where(counts > 0, counts, np.nan)).mean(axis=-1)


def _calibration_error(
    right: Bool[np.ndarray, " N"], confidence: Float[np.ndarray, " N"], weights: Weights, bins: int
) -> Score:
    """Sum over bins of |sum of (right - confidence)| / N; bin m is ((m - 1) / bins, m / bins]."""
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.zeros((len(right), bins))
    gaps[np.arange(len(right)), bin_of] = right - confidence
    each = _per_resample(weights, len(right))
    return np.abs(each @ gaps).sum(axis=-1) / each.sum(axis=-1)


NO_INTERVAL = ("ece",)
"""Scores of which few images show too much, and their resamples still more: no bootstrap holds the calibration error
(docs/statistics.md)."""


def calibration_error(
    labels: Labels, probabilities: Probabilities, weights: Weights = None, *, bins: int = 15
) -> Score:
    """Expected calibration error of the top label, equal-width bins [Guo et al., ICML 2017, Eq. (3)].

    Where labels are not exclusive: the mean over classes, each a pair (1 - p, p).
    """
    right = decisions(labels, probabilities) == truth(labels, probabilities.shape[1])
    if labels.ndim == 1:
        return _calibration_error(right.all(axis=1), probabilities.max(axis=1), weights, bins)
    confidence = np.maximum(probabilities, 1 - probabilities)
    each = [_calibration_error(right[:, k], confidence[:, k], weights, bins) for k in range(right.shape[1])]
    return np.stack(each).mean(axis=0)


def _share(part: int, whole: int, empty: float) -> float:
    return part / whole if whole else empty


def dice(prediction: Mask, reference: Mask) -> float:
    """2 |P and R| / (|P| + |R|) [Dice, Ecology 26 (1945) 297-302]; both empty: 1.

    Paper: supplement, Tables 3 and 4, Dice.
    """
    both = int((prediction & reference).sum())
    return _share(2 * both, int(prediction.sum()) + int(reference.sum()), empty=1.0)


def jaccard(prediction: Mask, reference: Mask) -> float:
    """|P and R| / |P or R| [Jaccard, New Phytol. 11 (1912) 37-50]; both empty: 1.

    Paper: supplement, Tables 3 and 4, Jaccard.
    """
    return _share(int((prediction & reference).sum()), int((prediction | reference).sum()), empty=1.0)


def precision(prediction: Mask, reference: Mask) -> float:
    """|P and R| / |P|; prediction empty: 0, both empty: 1.

    Paper: supplement, Tables 3 and 4, precision.
    """
    both = int((prediction & reference).sum())
    return _share(both, int(prediction.sum()), empty=0.0 if reference.any() else 1.0)


def recall(prediction: Mask, reference: Mask) -> float:
    """|P and R| / |R|; reference empty: 0, both empty: 1.

    Paper: supplement, Tables 3 and 4, recall.
    """
    return precision(reference, prediction)


def _common_box(prediction: Mask, reference: Mask, margin: int = 0) -> tuple[slice, slice]:
    """Bounding box of the union, wider by `margin` on each side as far as the image goes."""

    def reach(inside: Bool[np.ndarray, " L"]) -> slice:
        where = np.flatnonzero(inside)
        return slice(max(0, int(where[0]) - margin), int(where[-1]) + 1 + margin)

    either = prediction | reference
    return reach(either.any(axis=1)), reach(either.any(axis=0))


def structural_similarity(prediction: Mask, reference: Mask) -> float:
    """SSIM of the two masks as 0/1 images, 7 x 7 windows [Wang et al., IEEE TIP 13 (2004) 600-612].

    Computed by scikit-image. Most of it is background agreeing with background, so an empty mask beside one
    that is not would still score high: that is a failure and counts 0. Both empty: 1. An image less than
    7 pixels wide has smaller windows, and below 3 it is 1 where the masks are equal, else 0.

    Paper: supplement, Tables 3 and 4, SSIM.
    """
    if np.array_equal(prediction, reference):
        return 1.0
    window = min(7, *prediction.shape)
    if window < 3 or not prediction.any() or not reference.any():
        return 0.0
    from skimage.metrics import structural_similarity as ssim

    window -= 1 - window % 2  # scikit-image wants it odd
    # Windows that meet neither mask score 1, so only those near the masks need computing.
    box = _common_box(prediction, reference, margin=window - 1)
    near = ssim(prediction[box].astype(float), reference[box].astype(float), win_size=window, data_range=1.0)
    windows = [(h - window + 1) * (w - window + 1) for h, w in (prediction[box].shape, prediction.shape)]
    return 1.0 - (1.0 - float(near)) * windows[0] / windows[1]


class SurfaceDistances(NamedTuple):
    """Distance of each outline pixel of one mask to the nearest outline pixel of the other."""

    to_reference: Float[np.ndarray, " P"]
    to_prediction: Float[np.ndarray, " R"]


def _outline(mask: Mask) -> Int[np.ndarray, "P 2"]:
    """Pixels (row, column) of the mask that touch the outside by an edge; beyond the image is outside."""
    wide = np.pad(mask, 1)
    inside = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return np.argwhere(mask & ~inside)


def surface_distances(
    prediction: Mask, reference: Mask, spacing: tuple[float, float] = (1.0, 1.0)
) -> SurfaceDistances:
    """Distances between the two outlines, in pixels, or in mm where `spacing` is mm per pixel (row, column).

    One of the two empty: the image's diagonal, the largest error there can be. Both empty: 0.
    """
    if not prediction.any() or not reference.any():
        same = prediction.any() == reference.any()
        height, width = prediction.shape
        diagonal = float(np.hypot(height * spacing[0], width * spacing[1]))
        worst = np.array([0.0 if same else diagonal])
        return SurfaceDistances(worst, worst)
    from scipy.spatial import KDTree

    # Outlines are thin: a tree over their pixels gives the exact distances of a distance transform, sooner.
    # Beyond the box there is neither mask, so the outlines within it are those of the whole image.
    box = _common_box(prediction, reference)
    predicted, true = _outline(prediction[box]) * spacing, _outline(reference[box]) * spacing
    to_reference, to_prediction = KDTree(true).query(predicted)[0], KDTree(predicted).query(true)[0]
    return SurfaceDistances(np.asarray(to_reference), np.asarray(to_prediction))


def average_surface_distance(distances: SurfaceDistances) -> float:
    """Mean distance over the pixels of both outlines [Heimann et al., IEEE TMI 28 (2009) 1251-1265].

    Paper: supplement, Tables 3 and 4, Hausdorff.
    """
    return float(np.concatenate(distances).mean())


def hausdorff_95(distances: SurfaceDistances) -> float:
    """The larger of the two directions' 95th percentiles [Huttenlocher et al., IEEE TPAMI 15 (1993) 850]."""
    return float(max(np.percentile(direction, 95) for direction in distances))
