"""How good one mask is.

Scores take `prediction` and `reference`, bool (H, W), and never skip an image: where one of the two is empty
the score is the worst there is, where both are empty it is perfect.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

Mask = Bool[np.ndarray, "H W"]


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
