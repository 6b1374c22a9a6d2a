"""Whether a picture is in real colour: a photograph, a microscope's or endoscope's image, a coloured drawing.

A film that was photographed or scanned in colour has a tint: channels follow the brightness, whatever the hue. Arrows,
letters and a ruler in colour are small. Neither counts.
"""

import numpy as np
from jaxtyping import Num

from multimix.errors import ImageError

HUES = 0.05
"""How far, of [0, 1], a channel may be from what the image's other pixels of that brightness have."""
MOST_HUES = 0.1
"""Share of pixels that may be further."""
STRONG, MOST_STRONG = 0.2, 0.35
"""No tint is so strong: channels that differ by more than the first, of [0, 1], in more than this share of pixels."""
_SIDE, _BINS = 256, 32


def is_in_colour(pixels: Num[np.ndarray, "3 H W"]) -> bool:
    """Whether RGB values (of the full range of uint8 or uint16, or in [0, 1]) are of a picture in real colour."""
    step = -(-max(pixels.shape[1:]) // _SIDE)
    some = pixels[:, ::step, ::step].reshape(3, -1)
    if (some == some[:1]).all():
        return False
    top = np.iinfo(some.dtype).max if some.dtype.kind == "u" else 1
    channels = some.astype(np.float64) / top
    strong = float((np.ptp(channels, axis=0) > STRONG).mean())
    brightness = grey(channels)
    bins = (brightness.clip(0, 1) * (_BINS - 0.001)).astype(int)
    many = np.maximum(np.bincount(bins, minlength=_BINS), 1)
    # What a channel has beyond the brightness, and what it has on average at that brightness: the tint.
    excess = channels - brightness
    tint = np.stack([np.bincount(bins, one, _BINS) / many for one in excess])
    hues = float((np.abs(excess - tint[:, bins]).max(axis=0) > HUES).mean())
    return hues > MOST_HUES or strong > MOST_STRONG


def grey(pixels: Num[np.ndarray, "3 ..."]) -> Num[np.ndarray, "..."]:
    """Luma of RGB, ITU-R 601; unsigned integers are rounded as Pillow does, so that equal channels stay as they are."""
    if pixels.dtype.kind != "u":
        return np.tensordot(np.array([0.299, 0.587, 0.114], pixels.dtype), pixels, axes=1)
    red, green, blue = (channel.astype(np.uint32) for channel in pixels)
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(pixels.dtype)


def check_one_film(stack: Num[np.ndarray, "3 H W"], name: str) -> None:
    """ImageError, calling it `name`, where three channels are not of one grey film, but of three or of a photograph."""
    if is_in_colour(stack):
        raise ImageError(
            f"{name}: its three channels {stack.shape} are not those of one grey film; give several films as a list "
            "or as (N 1 H W), and a picture in colour as (H W 3)"
        )
