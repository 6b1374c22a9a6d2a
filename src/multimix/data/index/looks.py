"""What the pixels say about a folder of files: masks have few levels, and two versions of one image look alike."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from jaxtyping import Float

from multimix.errors import ImageError
from multimix.io.readers import read_image

Kind = Literal["mask", "picture", "unknown"]
Item = TypeVar("Item")

_SAMPLES = 3
"""Files of a folder that are looked at."""
_SIDE = 512
"""Rows and columns of a file that are looked at, at most."""
_FEW = 16
"""Colours that a mask or a label map has at most."""
_NEAR, _TWO_COLOURED = 0.06, 0.95
"""JPEG blurs a mask of two colours, but so much of it stays so near to one of them."""
_PAIRS, _THUMBNAIL, _ALIKE, _ONE = 6, 16, 0.8, 0.98
"""Pairs that are compared; side of the copies; correlation of two versions of one image, and where one pair is all."""


class Looks:
    """Looks at files, at each at most once."""

    def __init__(self) -> None:
        self._kinds: dict[Path, Kind] = {}
        self._copies: dict[Path, Float[np.ndarray, " D"] | None] = {}

    def kind_of(self, files: Sequence[Path]) -> Kind:
        """Whether files are masks or pictures, judged by a few of them; 'unknown' where none can be read."""
        seen = {self._kind(file) for file in _spread(files, _SAMPLES)} - {"unknown"}
        if not seen:
            return "unknown"
        return "mask" if seen == {"mask"} else "picture"

    def _kind(self, file: Path) -> Kind:
        if file not in self._kinds:
            try:
                pixels = read_image(file, channels=3, force=True).pixels
            except ImageError:
                self._kinds[file] = "unknown"
            else:
                flat = np.ptp(pixels) == 0
                self._kinds[file] = "unknown" if flat else "mask" if few_levels(pixels) else "picture"
        return self._kinds[file]

    def versions(self, pairs: Sequence[tuple[Path, Path]]) -> bool:
        """Whether each of some pairs of files shows one image twice, and files of different pairs do not."""
        ones: list[Float[np.ndarray, " D"]] = []
        others: list[Float[np.ndarray, " D"]] = []
        for a, b in _spread(pairs, _PAIRS):
            one, other = self._copy(a), self._copy(b)
            if one is None or other is None:
                continue
            if one @ other < (_ALIKE if len(pairs) > 1 else _ONE):
                return False
            ones.append(one)
            others.append(other)
        if not ones:
            return False
        alike = np.stack(ones) @ np.stack(others).T
        # Radiographs of one view are all alike: two versions of one are more alike than any is to another.
        itself = np.arange(len(alike))
        return bool((alike.argmax(axis=0) == itself).all() and (alike.argmax(axis=1) == itself).all())

    def _copy(self, file: Path) -> Float[np.ndarray, " D"] | None:
        """A standardised thumbnail, so that a product is a correlation; None where there is nothing to compare."""
        if file not in self._copies:
            try:
                self._copies[file] = _thumbnail(read_image(file, force=True).pixels[0])
            except ImageError:
                self._copies[file] = None
        return self._copies[file]


def few_levels(pixels: Float[np.ndarray, "3 H W"]) -> bool:
    """Whether an image in [0, 1] has the few colours of a mask or label map, or two that JPEG has blurred."""
    step = max(1, max(pixels.shape[1:]) // _SIDE)
    levels = np.rint(pixels[:, ::step, ::step] * 65535).astype(np.int64)
    colours = np.unique((levels[0] << 32) + (levels[1] << 16) + levels[2])
    if len(colours) <= _FEW:
        return True
    grey = pixels[:, ::step, ::step].mean(axis=0)
    near = (grey - grey.min() < _NEAR) | (grey.max() - grey < _NEAR)
    return bool(near.mean() >= _TWO_COLOURED)


def _thumbnail(grey: Float[np.ndarray, "H W"]) -> Float[np.ndarray, " D"] | None:
    rows, columns = (np.linspace(0, side - 1, 4 * _THUMBNAIL).astype(int) for side in grey.shape)
    blocks = grey[np.ix_(rows, columns)].reshape(_THUMBNAIL, 4, _THUMBNAIL, 4).mean(axis=(1, 3)).ravel()
    offset = blocks - blocks.mean()
    norm = float(np.linalg.norm(offset))
    return offset / norm if norm > 1e-6 else None


def _spread(items: Sequence[Item], count: int) -> Sequence[Item]:
    """At most `count` of the items, from all over."""
    return items[:: max(1, len(items) // count)][:count]
