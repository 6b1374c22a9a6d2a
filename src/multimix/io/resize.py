"""One way to another size, shared by the training cache, the predictor and the out-of-distribution detector."""

import numpy as np
from jaxtyping import Float
from PIL import Image


def resized(maps: Float[np.ndarray, "N h w"], size: tuple[int, int]) -> Float[np.ndarray, "N H W"]:
    """Every map at `size` (height, width): bilinear, antialiased where it becomes smaller, float32.

    The value range is kept: bilinear weights are positive and sum to one. Maps of the right size are returned as they
    are. Equal to torch's antialiased interpolation within 1e-5 for values in [0, 1].
    """
    if maps.shape[1:] == size:
        return maps
    scaled = [
        Image.fromarray(one).resize((size[1], size[0]), Image.Resampling.BILINEAR)
        for one in maps.astype(np.float32, copy=False)
    ]
    return np.stack([np.asarray(one) for one in scaled]) if scaled else np.zeros((0, *size), np.float32)


def to_model_size(pixels: Float[np.ndarray, "C H W"], size: int) -> Float[np.ndarray, "C {size} {size}"]:
    """Resize to a square of `size` pixels; the aspect ratio is not kept."""
    return resized(pixels, (size, size))
