"""Small copies of images: cheap to compare, to find one picture twice and negatives among positives."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

SIDE = 48
"""Side in pixels of the copies in which one picture is looked for twice."""
NEAR = 0.95
"""Correlation of two high-passed copies from which they are one picture: copies at another size or quality are
above it, radiographs of two patients below 0.9."""
_AT_ONCE = 1024

COARSE = 16
"""Side of the copies in which negatives are looked for."""
_FEWEST, _COMMON, _AGAINST = 20, 0.5, -0.4
"""Images of a kind from which on negatives are looked for; correlation with their mean that most of them have, so that
they have a look in common; correlation of a negative."""


def thumbnail(pixels: Float[np.ndarray, "C H W"], side: int) -> Float[np.ndarray, "{side} {side}"]:
    """A grey copy of an image in [0, 1]; each pixel is the mean of what it covers."""
    grey = Image.fromarray(pixels.mean(axis=0, dtype=np.float32))
    return np.asarray(grey.resize((side, side), Image.Resampling.BOX))


def high_passed(small: Float[np.ndarray, "N side side"]) -> Float[np.ndarray, "N pixels"]:
    """Thumbnails less their own blur, each with mean 0 and norm 1, so that a product is a correlation.

    What all radiographs of a view share is coarse; what is left is of the one image. An image of one grey
    level becomes zeros.
    """
    from scipy.ndimage import uniform_filter

    fine = small - uniform_filter(small, size=(0, 7, 7), mode="nearest")
    flat = fine.reshape(len(small), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return (flat / np.where(norm > 1e-6, norm, np.inf)).astype(np.float32)


def copies(
    small: Float[np.ndarray, "N side side"], left: Sequence[int], right: Sequence[int]
) -> dict[tuple[int, int], tuple[float, bool]]:
    """Pairs of thumbnails (one of `left`, one of `right`) of one picture -> correlation, whether one is mirrored.

    The correlation is at least NEAR in amount, and below 0 where one is the negative of the other.
    """
    if not len(left) or not len(right):
        return {}
    if len(left) < len(right):  # the shorter side is kept whole
        return {(i, j): how for (j, i), how in copies(small, right, left).items()}
    others = small[np.asarray(right, int)].astype(np.float32)
    straight, mirrored = (np.ascontiguousarray(high_passed(o).T) for o in (others, others[:, :, ::-1]))
    found: dict[tuple[int, int], tuple[float, bool]] = {}
    for start in range(0, len(left), _AT_ONCE):
        block = np.asarray(left[start : start + _AT_ONCE], int)
        prints = high_passed(small[block].astype(np.float32))
        for against, turned in ((mirrored, True), (straight, False)):
            products = prints @ against
            for i, j in zip(*np.nonzero(np.abs(products) >= NEAR), strict=True):
                found[int(block[i]), int(right[j])] = float(products[i, j]), turned
    return found


def negatives(small: Float[np.ndarray, "N side side"]) -> Bool[np.ndarray, " N"]:
    """Which of the thumbnails of one kind of image are negatives of the others.

    They are where they are far more like the common look when inverted. Nothing is where there are few images, or
    where they have no look in common.
    """
    flat = small.reshape(len(small), -1).astype(np.float64)
    flat = flat - flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1)
    known = norm > 1e-6
    none = np.zeros(len(small), bool)
    if known.sum() < _FEWEST:
        return none
    unit = flat / np.where(known, norm, np.inf)[:, None]
    sign = np.ones(len(unit))
    for _ in range(10):  # the mean of both kinds first, then of all the right way round
        common = (sign[:, None] * unit).mean(axis=0)
        like = unit @ common / max(float(np.linalg.norm(common)), 1e-9)
        if np.array_equal(turned := np.where(like < 0, -1.0, 1.0), sign):
            break
        sign = turned
    if np.median(np.abs(like[known])) < _COMMON:
        return none
    against = known & (like < _AGAINST)
    return against if against.sum() <= known.sum() / 2 else known & (like > -_AGAINST)
