"""Label maps: one file per image whose levels, palette entries or colours are structures."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int
from PIL import PngImagePlugin

from multimix.errors import ImageError
from multimix.io.limits import explained
from multimix.io.readers import read_mask_levels

_MOST = 64
"""Values of a label map; more are of a picture, or of one that JPEG has blurred."""


@dataclass(frozen=True)
class LabelMap:
    """One file."""

    file: Path
    values: Int[np.ndarray, "H W"]
    """Levels, numbers of palette entries, or colours as 0xrrggbb."""
    colours: dict[int, int] = field(default_factory=dict)
    """Value -> its colour 0xrrggbb, where the file has colours."""
    by_number: bool = True
    """Whether its values may be named by number: not where they are colours."""

    def where(self, value: str) -> Bool[np.ndarray, "H W"]:
        """The pixels of a value: a number, or a colour as '#rrggbb'; ImageError where the file has none of its kind."""
        if value.startswith("#"):
            colour = int(value[1:], 16)
            fitting = [one for one, known in self.colours.items() if known == colour]
            if not self.colours and colour >> 16 == colour & 0xFF == colour >> 8 & 0xFF:
                fitting = [colour & 0xFF]
            elif not self.colours:
                raise ImageError(
                    f"{self.file}: has levels and no colours, expected {value}; name structures by number"
                )
            return np.isin(self.values, fitting)
        if not self.by_number:
            raise ImageError(
                f"{self.file}: has colours, expected {value}; name structures by colour, as #ff0000"
            )
        return np.asarray(self.values == int(value))

    def present(self) -> Iterator[str]:
        """The values that it holds, background left out, as `where` takes them."""
        for value in np.unique(self.values).tolist():
            if value != 0:
                yield str(value) if self.by_number else f"#{value:06x}"


def read_label_map(file: Path) -> LabelMap:
    """Read a PNG, TIFF or any mask file as a label map.

    Raises ImageError where it cannot be read, is a JPEG, which blurs values, or holds more than 64 values.
    """
    if file.suffix.lower() in (".jpg", ".jpeg"):
        raise ImageError(f"{file}: is a JPEG, which blurs the values of a label map; export it as PNG")
    found = _palette(file)
    if found is None:
        levels, _ = read_mask_levels(file)
        if levels.ndim == 3 and (levels == levels[..., :1]).all():
            levels = levels[..., 0]
        if levels.ndim == 3:
            packed = levels.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
            found = LabelMap(file, packed, {int(c): int(c) for c in np.unique(packed)}, by_number=False)
        else:
            if (levels != np.rint(levels)).any():
                raise ImageError(f"{file}: has levels that are no whole numbers; export it as whole numbers")
            found = LabelMap(file, levels.astype(np.int64))
    if (count := len(np.unique(found.values))) > _MOST:
        raise ImageError(
            f"{file}: has {count} values, expected a label map of at most {_MOST}; name the right folder"
        )
    return found


def _palette(file: Path) -> LabelMap | None:
    """The label map of a PNG with a palette, None of any other file."""
    try:
        with file.open("rb") as stream:
            head = stream.read(8)
    except OSError:
        return None  # reading it as a mask says why
    if head != b"\x89PNG\r\n\x1a\n":
        return None
    with explained(file), PngImagePlugin.PngImageFile(file) as image:
        if image.mode != "P":
            return None
        values = np.asarray(image).astype(np.int64)
        entries = np.array((image.getpalette("RGB") or []), np.int64).reshape(-1, 3)
    packed = entries @ np.array([1 << 16, 1 << 8, 1])
    return LabelMap(file, values, {i: int(c) for i, c in enumerate(packed) if (values == i).any()})
