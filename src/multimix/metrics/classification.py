"""How good class probabilities are, over many images.

Scores take `labels`, class indices (N,), or 0/1 (N, K) where labels are not exclusive, and `probabilities` (N,
K) float64. Each also takes `weights` (R, N): how often image n occurs in resample r. It then returns one score
per resample (R,), which is what the bootstrap needs; without weights it returns one number. An integer weight w
gives exactly the score of a data set in which the image occurs w times. A probability that is not finite is a
MultimixError: sorted or compared it would pass for a sure answer.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from multimix.errors import MultimixError

Labels = Int[np.ndarray, " N"] | Int[np.ndarray, "N K"]
Probabilities = Float[np.ndarray, "N K"]
Weights = Float[np.ndarray, "R N"] | None
Score = float | Float[np.ndarray, " R"]

NONE = "none"
"""Label and answer for an image that shows no class; where classes are exclusive it is the name of a class like any
other."""


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


def _finite(probabilities: Probabilities) -> Probabilities:
    broken = int((~np.isfinite(probabilities)).any(axis=1).sum())
    if broken:
        raise MultimixError(
            f"{broken} of {len(probabilities)} images {'has' if broken == 1 else 'have'} a probability that is not a "
            "finite number, expected numbers in [0, 1]. The model's weights or the table are damaged; use others."
        )
    return probabilities


def truth(labels: Labels, classes: int) -> Int[np.ndarray, "N K"]:
    """1 where the image has the class."""
    return labels if labels.ndim == 2 else np.eye(classes, dtype=int)[labels]


def decisions(labels: Labels, probabilities: Probabilities) -> Int[np.ndarray, "N K"]:
    """1 where the answer says the class: the most probable, or all >= 0.5 where not exclusive."""
    if labels.ndim == 2:
        return (_finite(probabilities) >= 0.5).astype(int)
    return truth(_finite(probabilities).argmax(axis=1), probabilities.shape[1])


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


def balanced_accuracy(labels: Labels, probabilities: Probabilities, weights: Weights = None) -> Score:
    """Mean over classes of the share of its images that are told to have it [Brodersen et al., ICPR 2010].

    It sees an answer that leans to the commoner class, which accuracy rewards. nan where no image has some class.
    Where labels are not exclusive the absence of each class counts as one more class.
    """
    member, said = truth(labels, probabilities.shape[1]), decisions(labels, probabilities)
    if labels.ndim == 2:
        member, said = (np.concatenate([x, 1 - x], axis=1) for x in (member, said))
    return _mean_over_classes(member * said, member, weights)


def _mean_over_classes(
    values: Float[np.ndarray, "N K"] | Int[np.ndarray, "N K"],
    member: Int[np.ndarray, "N K"],
    weights: Weights,
) -> Score:
    """Mean over classes of the mean of the images that have it; nan where a class has none."""
    each = _per_resample(weights, len(member))
    counts = each @ member
    return (each @ values / np.where(counts > 0, counts, np.nan)).mean(axis=-1)


def covered(
    inside: Bool[np.ndarray, "N K"] | Int[np.ndarray, "N K"], member: Int[np.ndarray, "N K"]
) -> Float[np.ndarray, " N"]:
    """Per image the share of its true classes that its prediction set holds; nan where it has none."""
    return (inside * member).sum(axis=1) / np.where(member.any(axis=1), member.sum(axis=1), np.nan)


def auc_of_class(
    labels: Labels, probabilities: Probabilities, weights: Weights = None, *, index: int
) -> Score:
    """Area under the ROC curve of class `index` against the rest; nan where one of the two sides is absent.

    The share of (positive, negative) pairs that the probability orders rightly, a tie counting half
    [Hanley and McNeil, Radiology 143 (1982) 29-36].
    """
    scores = _finite(probabilities)[:, index]
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
    squared = (_finite(probabilities) - truth(labels, probabilities.shape[1])) ** 2
    return mean(2 * squared.mean(axis=1) if labels.ndim == 2 else squared.sum(axis=1), weights)


def balanced_log_loss(labels: Labels, probabilities: Probabilities, weights: Weights = None) -> Score:
    """Mean over classes of the mean -log p_k of the images that have class k; >= 0.

    What probabilities are worth where every class is as frequent as the others, so it sees an answer that leans to
    the class that was commoner in training. nan where no image has some class. Where labels are not exclusive the
    absence of each class counts as one more class, with 1 - p_k.
    """
    member = truth(labels, _finite(probabilities).shape[1])
    if labels.ndim == 2:
        member = np.concatenate([member, 1 - member], axis=1)
        probabilities = np.concatenate([probabilities, 1 - probabilities], axis=1)
    losses = -np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)) * member
    return _mean_over_classes(losses, member, weights)


def _calibration_error(
    right: Bool[np.ndarray, " N"], confidence: Float[np.ndarray, " N"], weights: Weights, bins: int
) -> Score:
    """Sum over bins of |sum of (right - confidence)| / N; bin m is ((m - 1) / bins, m / bins]."""
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.zeros((len(right), bins))
    gaps[np.arange(len(right)), bin_of] = right - confidence
    each = _per_resample(weights, len(right))
    return np.abs(each @ gaps).sum(axis=-1) / each.sum(axis=-1)


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
