"""The pointing game: whether the brightest point lies in a region [Zhang et al., IJCV 126 (2018) 1084-1102].

Without a tolerance around the point. By chance it is hit as often as the region's share of the image.
"""

import numpy as np
from jaxtyping import Bool, Float

from multimix.evaluation.explain.maps import Maps, smoothed


def hits(maps: Maps, region: Bool[np.ndarray, "N H W"]) -> Float[np.ndarray, " N"]:
    """1 where the brightest point of the blurred map lies in the region, else 0; a map of zeros points nowhere.

    Blurred as it is shown: the gradient of a single pixel points at nothing that people see.
    """
    shown = smoothed(maps).reshape(len(maps), -1)
    hit = region.reshape(len(maps), -1)[np.arange(len(maps)), shown.argmax(axis=1)]
    return (hit & (shown.max(axis=1) > 0)).astype(np.float64)
