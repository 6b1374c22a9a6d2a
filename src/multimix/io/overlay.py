"""One picture of an answer: the radiograph in grey, each structure outlined, the saliency as warm heat."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageFilter

LINES = ((40, 190, 255), (0, 220, 150), (220, 120, 230), (240, 228, 66), (255, 255, 255))
"""RGB of the outlines, structure by structure, then from the start again: after the cool and light colours of
Okabe and Ito's colour-blind safe palette (2008), brightened for a grey ground; warm ones are the heat's."""

_HEAT = ((0.0, (190, 30, 20)), (0.5, (240, 110, 10)), (1.0, (255, 215, 80)))
_STRONG = 0.35  # saliency below this share of its peak leaves the radiograph as it is
_OPACITY = 0.55  # so that what lies under the hottest spot can still be judged


def overlay(
    pixels: Float[np.ndarray, "C H W"],
    masks: Mapping[str, Bool[np.ndarray, "H W"]],
    saliency: Float[np.ndarray, "H W"] | None,
) -> UInt8[np.ndarray, "H W 3"]:
    """Draw `masks` and `saliency` (any scale; None for none) over `pixels` in [0, 1], at the same size.

    The grey range is stretched so that dark exposures are legible. Outlines lie inside the mask, one pixel
    wide for every 300 pixels of the shorter side, rounded up.
    """
    grey = _grey(pixels)
    picture = np.repeat(grey[..., None], 3, axis=2) if saliency is None else _blend()[_heat(saliency), grey]
    width = -(-min(picture.shape[:2]) // 300)
    for index, mask in enumerate(masks.values()):
        picture[outline(mask, width)] = LINES[index % len(LINES)]
    return picture


def outline(mask: Bool[np.ndarray, "H W"], width: int) -> Bool[np.ndarray, "H W"]:
    """The pixels of `mask` within `width` of its edge; beyond the picture counts as outside."""
    inner = np.pad(mask, 1)
    for step in range(width):
        # A cross and a square in turn: close to a disc, so that the line is as wide on slopes as on levels.
        inner = _eroded(inner, square=step % 2 == 1)
    return mask & ~inner[1:-1, 1:-1]


def _eroded(mask: Bool[np.ndarray, "H W"], *, square: bool) -> Bool[np.ndarray, "H W"]:
    """`mask`, whose border is False, without the pixels that have a neighbour outside."""
    core = mask[1:-1, 1:-1].copy()
    rows, columns = core.shape
    for dy in (0, 1, 2):
        for dx in (0, 1, 2):
            if square or 1 in (dy, dx):
                core &= mask[dy : dy + rows, dx : dx + columns]
    return np.pad(core, 1)


def _grey(pixels: Float[np.ndarray, "C H W"]) -> UInt8[np.ndarray, "H W"]:
    """Brightness, stretched between its 0.5th and 99.5th percentiles."""
    grey = pixels.mean(axis=0, dtype=np.float32)
    step = -(-max(grey.shape) // 512)  # percentiles of a sample will do, and are 16 times quicker at 2048
    low, high = np.percentile(grey[::step, ::step], (0.5, 99.5))
    if high - low < 1e-3:  # a flat image has no range to stretch
        low, high = 0.0, 1.0
    return np.rint(((grey - low) * (255 / (high - low))).clip(0, 255)).astype(np.uint8)


def _heat(saliency: Float[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """`saliency` blurred over 2.5 % of the longer side and scaled to a peak of 255; zero where there is none.

    The gradient of a single pixel says little; where many strong ones lie together says where to look.
    """
    peak = float(saliency.max())
    if not np.isfinite(peak) or peak <= 0:
        return np.zeros(saliency.shape, dtype=np.uint8)
    height, width = saliency.shape
    # On a small copy: the blur is wide, so nothing is lost and large radiographs stay quick.
    shrink = max(1.0, max(height, width) / 256)
    size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    levels = Image.fromarray((saliency * (255 / peak)).clip(0, 255).astype(np.uint8))
    small = levels.resize(size, Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(0.025 * max(size)))
    smooth = np.asarray(small, dtype=np.float32)
    scaled = np.rint(smooth * (255 / max(float(smooth.max()), 1.0))).astype(np.uint8)
    return np.asarray(Image.fromarray(scaled).resize((width, height), Image.Resampling.BICUBIC))


def _blend() -> UInt8[np.ndarray, "256 256 3"]:
    """Colour of every heat (first axis) over every grey (second): the hotter, the more opaque."""
    strength = ((np.arange(256) / 255 - _STRONG) / (1 - _STRONG)).clip(0, 1)
    stops = [stop for stop, _ in _HEAT]
    colour = np.stack([np.interp(strength, stops, [rgb[i] for _, rgb in _HEAT]) for i in range(3)], axis=1)
    opacity = (_OPACITY * np.sqrt(strength))[:, None, None]
    return np.rint(colour[:, None] * opacity + np.arange(256)[:, None] * (1 - opacity)).astype(np.uint8)
