"""From whatever a Python caller holds to a Radiograph.

Layout  (H W), (1 H W), (3 H W), (H W 1) or (H W 3)
Levels  uint8 and uint16 are divided by 255 and 65535; floats must lie in [0, 1]
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from multimix.errors import ImageError, UsageError
from multimix.io.colour import check_one_film, is_in_colour
from multimix.io.limits import check_size
from multimix.io.raster import of_pillow
from multimix.io.readers import luma, read_image
from multimix.types import Radiograph


def as_radiograph(source: Any, channels: int, name: str) -> Radiograph:
    """A path, a Radiograph, an image of Pillow, or an array or tensor of the kinds above, with 1 or 3 `channels`.

    `name` is what errors call an array. Raises ImageError where the content is wrong, three films stacked as one among
    it, UsageError where the type is.
    """
    if isinstance(source, (str, os.PathLike)):
        return read_image(Path(source), channels, force=True)  # what speaks against it is in the radiograph
    if isinstance(source, Radiograph):
        return replace(source, pixels=_with_channels(source.pixels, channels))
    if isinstance(source, Image.Image):
        raster = of_pillow(source, name, channels)
        return Radiograph(_with_channels(raster.pixels, channels), in_colour=raster.colour_lost)
    if hasattr(source, "detach"):  # a tensor of torch, which need not be installed
        source = source.detach().cpu()
        source = (source.float() if source.is_floating_point() else source).numpy()
    if not isinstance(source, np.ndarray):
        raise UsageError(
            f"{name}: expected a path, an array, a tensor or an image of Pillow, got {type(source).__name__}; convert "
            "it first."
        )
    array = source[None] if source.ndim == 2 else source
    if array.ndim == 3 and array.shape[0] not in (1, 3) and array.shape[2] in (1, 3):
        array = array.transpose(2, 0, 1)
    if array.ndim != 3 or array.shape[0] not in (1, 3):
        raise ImageError(
            f"{name}: expected (H W), (1 H W), (3 H W), (H W 1) or (H W 3), got {source.shape}; reshape it."
        )
    check_size(name, *array.shape[1:])
    pixels = _unit_range(array, name)
    if channels == 1 and source.shape[0] == 3:
        check_one_film(pixels, name)
    in_colour = channels == 1 and len(pixels) == 3 and is_in_colour(pixels)
    return Radiograph(_with_channels(pixels, channels), in_colour=in_colour)


def _unit_range(array: np.ndarray, name: str) -> Float[np.ndarray, "C H W"]:
    """As float32 in [0, 1], from the full range of uint8 and uint16 or from floats that are there already."""
    if array.dtype in (np.uint8, np.uint16):
        return array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max)
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(f"{name}: expected uint8, uint16 or float in [0, 1], got {array.dtype}; convert it.")
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= 1):  # so written, NaN is refused too
        raise ImageError(
            f"{name}: expected floats in [0, 1], got values from {low:g} to {high:g}; scale them."
        )
    return array.astype(np.float32)


def _with_channels(pixels: Float[np.ndarray, "C H W"], channels: int) -> Float[np.ndarray, "{channels} H W"]:
    if pixels.shape[0] == channels:
        return np.ascontiguousarray(pixels)
    if channels == 3:
        return np.repeat(pixels, 3, axis=0)
    return luma(pixels)
