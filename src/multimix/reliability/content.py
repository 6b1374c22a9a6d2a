"""Whether a picture can be a film at all, told by its pixels alone: no colour, and grey between black and white.

Asked where a model rejects images unlike those learned from, before any comparison with them.
"""

import numpy as np

from multimix.types import Radiograph

IN_COLOUR = "is a picture in colour, which no film is"
CLIPPED = "is almost all black and white without grey between, a drawing or a clipped image"

MOST_CLIPPED = 0.9
"""Share of pixels that may be black or white, as a film between wide borders; in real ones it is .6 at most."""
FEWEST_LEVELS = 16
"""Of 256 grey levels; films have a hundred."""
_SIDE = 512


def not_a_film(radiograph: Radiograph) -> str:
    """Why a radiograph for a model of grey images is none, in plain words; empty where nothing speaks against it."""
    if radiograph.in_colour:
        return IN_COLOUR
    step = -(-max(radiograph.size) // _SIDE)
    grey = radiograph.pixels[:, ::step, ::step].mean(axis=0)
    low, high = float(grey.min()), float(grey.max())
    if high - low < 1e-4:  # of one level, which is said in words of its own
        return ""
    levels = np.rint((grey - low) * (255 / (high - low))).astype(np.int64)
    counts = np.bincount(levels.ravel(), minlength=256)
    clipped = (counts[0] + counts[255]) / counts.sum() > MOST_CLIPPED
    return CLIPPED if clipped or (counts > 0).sum() < FEWEST_LEVELS else ""
