"""Containment: how much of a map lies in a region, against how much of the image the region is."""

import numpy as np
from jaxtyping import Bool, Float

from multimix.evaluation.explain.maps import Maps


def share_inside(maps: Maps, region: Bool[np.ndarray, "N H W"]) -> Float[np.ndarray, " N"]:
    """Share of each map's mass that lies in the region; 0 where the map is zero."""
    mass = maps.sum(axis=(1, 2), dtype=np.float64)
    inside = (maps * region).sum(axis=(1, 2), dtype=np.float64)
    return np.divide(inside, mass, out=np.zeros(len(maps)), where=mass > 0)
