"""Small arrays for the tests of readers, whose pixels can be told by hand."""

from pathlib import Path

import numpy as np

from multimix.io.readers import read_image


def columns(*values: int, dtype: type = np.uint16) -> np.ndarray:
    """16 rows of these values, each repeated to make 16 columns or more."""
    return np.repeat(np.array([values] * 16, dtype), -(-16 // len(values)), axis=1)


def levels(file: Path) -> np.ndarray:
    """The first row of what a file reads as."""
    return read_image(file).pixels[0, 0]


def discs(side: int = 64) -> np.ndarray:
    """(side side) bool: two discs side by side, apart from each other and from the border."""
    row, column = np.mgrid[:side, :side] / side
    return ((column - 0.3) ** 2 + (row - 0.45) ** 2 < 0.03) | ((column - 0.7) ** 2 + (row - 0.5) ** 2 < 0.02)
