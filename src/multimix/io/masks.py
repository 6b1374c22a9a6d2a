"""From the levels of a mask file to foreground and background, or to the reason why they cannot be told."""

import numpy as np
from jaxtyping import Bool, Num, UInt

from multimix.errors import ImageError
from multimix.io.colour import grey

_HUE = 0.15
"""How far two colours of full brightness may be apart and still be one: JPEG blurs them."""
_DARK = 0.25
"""Pixels below this share of the brightest one have no hue that could be told."""

_REMEDY = "write one mask file per structure with background 0 and foreground 255"


def foreground(levels: Num[np.ndarray, "..."], top: int | None, name: str) -> Bool[np.ndarray, "H W"]:
    """Where a mask of these levels, (H W) or (H W 3), is set; `top` is the level of white, None where there is none.

    A mask whose only values are 0 and 1, or 0 and the type's largest, is taken as it is meant; soft edges and what
    JPEG leaves are halved, in float and 32 bits at half of 1 or of 255. One colour on black is as good as white.
    Raises ImageError, calling the file `name`, for values that reach no reading (a label map 0, 1, 2 ...), and for
    areas of several levels or colours.
    """
    if levels.ndim == 3:
        levels, top = _of_one_colour(levels, top)
    highest = float(levels.max())
    if levels.min() < 0:
        raise ImageError(f"{name}: mask has values below 0 ({levels.min():g}); {_REMEDY}")
    if top is None:
        # Float and 32 bits do not say their range: it is 0 to 1, or that of 8 bits.
        top = 255 if 255 / 2 <= highest <= 255 else 1
    largest = np.iinfo(levels.dtype).max if levels.dtype.kind in "iu" else 1
    if highest in (1, 255, largest) and np.isin(levels, (0, highest)).all():
        return np.asarray(levels == highest)
    if several := _levels_of_areas(levels, top):
        raise ImageError(
            f"{name}: mask has areas of the levels {', '.join(f'{level:g}' for level in several)}, expected two; "
            f"{_REMEDY}"
        )
    if 0 < highest < top / 2 or highest > top:
        raise ImageError(f"{name}: mask values reach {highest:g} where 0 and {top} are expected; {_REMEDY}")
    return np.asarray(levels >= top / 2)


def ink(levels: Num[np.ndarray, "..."], top: int | None) -> tuple[float, float, float] | None:
    """The colour that a mask is drawn in, RGB in [0, 1] with 1 for white; None where nothing is drawn.

    1 and the type's largest value are white, as in `foreground`. The colour is the median of the pixels above half of
    the brightest one, so that soft edges do not count.
    """
    brightest = levels.max(axis=2) if levels.ndim == 3 else levels
    highest = float(brightest.max())
    if highest <= 0:
        return None
    if levels.ndim == 2 or (levels == levels[..., :1]).all():
        largest = np.iinfo(levels.dtype).max if levels.dtype.kind in "iu" else 1
        white = highest if highest in (1, 255, largest) else top or 255
        level = min(float(np.median(brightest[brightest > highest / 2])) / white, 1.0)
        return level, level, level
    red, green, blue = np.median(levels[brightest > highest / 2], axis=0) / (top or 255)
    return float(red), float(green), float(blue)


def _of_one_colour(
    rgb: UInt[np.ndarray, "H W 3"], top: int | None
) -> tuple[Num[np.ndarray, "H W"], int | None]:
    """One channel of a mask in colour: how much of its one colour each pixel has, or grey where there are several."""
    brightest = rgb.max(axis=2)
    highest = int(brightest.max())
    colours = _colours_of_areas(rgb)
    hues = np.array([colour / colour.max() for colour in colours if colour.max() > max(highest * _DARK, 0)])
    if not len(hues) or (hues > 1 - _HUE).all() or np.ptp(hues, axis=0).max() > _HUE:
        return grey(np.ascontiguousarray(rgb.transpose(2, 0, 1))), top
    return brightest, highest


def _colours_of_areas(rgb: UInt[np.ndarray, "H W 3"]) -> Num[np.ndarray, "N 3"]:
    """The colours that fill a thousandth of the mask; edges, soft or blurred by JPEG, have no area of one colour."""
    flat = rgb[1:-1, 1:-1][_flat(rgb)].astype(np.int64)
    found, counts = np.unique(
        flat @ np.array([2**32, 2**16, 1]), return_counts=True
    )  # one number is sorted quickly
    found = found[counts * 1000 >= rgb.shape[0] * rgb.shape[1]]
    return np.stack([found >> 32, found >> 16 & 0xFFFF, found & 0xFFFF], axis=1)


def _flat(levels: Num[np.ndarray, "..."]) -> Bool[np.ndarray, "h w"]:
    """Pixels like their four neighbours, without the outermost ones."""
    inner = levels[1:-1, 1:-1]
    around = (levels[:-2, 1:-1], levels[2:, 1:-1], levels[1:-1, :-2], levels[1:-1, 2:])
    alike = np.logical_and.reduce([inner == one for one in around])
    return np.asarray(alike.all(axis=2) if levels.ndim == 3 else alike)


def _levels_of_areas(levels: Num[np.ndarray, "H W"], top: int) -> list[float]:
    """The levels that fill areas, where they are more than background and one structure; else empty.

    An area is pixels like their four neighbours, a thousandth of the mask together: edges that are soft have none, at
    any level. Levels within a tenth of black or white are those for this purpose, as JPEG blurs them; but where
    every level fills an area, save one white, nothing is blurred, and dark ones are structures that white would hide.
    """
    found, counts = np.unique(levels[1:-1, 1:-1][_flat(levels)], return_counts=True)
    found = found[counts * 1000 >= levels.size]
    highest = levels.max()
    drawn = np.isin(levels, np.append(found, highest)).all()
    dark, light = found <= top / 10, found >= top - top / 10
    white = [highest] if highest >= top - top / 10 and (drawn or light.any()) else []
    areas = [*found[dark][: None if drawn else 1], *found[~dark & ~light], *white]
    return [float(level) for level in areas] if len(areas) > 2 else []
