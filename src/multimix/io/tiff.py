"""TIFFs that Pillow cannot read, or would read wrongly: by tifffile.

BigTIFF; floats of 16 and 64 bits; signed and unsigned integers beyond 8 and 16 bits unsigned; several channels of
more than 8 bits; JPEG 2000 and its like.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Num

from multimix.errors import ImageError
from multimix.io.limits import Stream, check_size, explained

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How TIFF and BigTIFF begin."""

_BY_PILLOW = {1, 5, 6, 7, 32773, 8, 32946, 2, 3, 4}
"""Compressions that libtiff decodes for Pillow: none, LZW, JPEG, PackBits, Deflate, fax."""
_WHITE_IS_ZERO = 0


@dataclass(frozen=True)
class Tiff:
    """What the header of a TIFF says."""

    size: tuple[int, int]
    """Height and width in pixels, as stored."""
    deep: bool
    """Whether `read_deep` must read it."""
    one_bit_by_tifffile: bool
    """Whether tifffile wrote a bool array, True as 1, and called 0 white all the same."""
    inverted_by_imagej: bool
    """Whether ImageJ wrote it to be shown with an inverting look-up table."""
    frames: int = 1
    """Images of the first one's size; smaller copies are not counted."""


def look(stream: Stream, name: str) -> Tiff | None:
    """Read the header of a TIFF; its place in `stream` is the beginning, before and after.

    None where it cannot be read, for Pillow to say why. Raises ImageError for a size that is no radiograph's.
    """
    from tifffile import TiffFile

    head = stream.read(4)
    stream.seek(0)
    try:
        with TiffFile(stream) as file:
            page = file.pages.first
            white_is_zero = int(page.photometric) == _WHITE_IS_ZERO
            found = Tiff(
                size=(int(page.imagelength), int(page.imagewidth)),
                deep=b"+" in head or int(page.compression) not in _BY_PILLOW or _is_deep(page),
                one_bit_by_tifffile=page.bitspersample == 1 and str(page.software).startswith("tifffile"),
                inverted_by_imagej=white_is_zero and str(page.description).startswith("ImageJ="),
                frames=_frames(file, page),
            )
    except Exception:  # damaged in one of many ways
        stream.seek(0)
        return None
    stream.seek(0)
    if found.deep:
        check_size(name, *found.size)
    return found


def _frames(file: "TiffFile", page: "TiffPage") -> int:
    try:
        return max(1, file.series[0].size // page.size)
    except Exception:  # of a layout that tifffile does not know: its first page is read all the same
        return 1


def read_deep(stream: Stream, name: str) -> tuple[Num[np.ndarray, "..."], int | None]:
    """Values (H W) or (H W 3) as stored, but 0 black, and the value of white; None where the type has no such value.

    Raises ImageError where the compression needs an extra or the layout is another.
    """
    from tifffile import TiffFile

    with explained(name), TiffFile(stream) as file:
        page = file.pages.first
        try:
            values = page.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            kind = getattr(page.compression, "name", page.compression)
            raise ImageError(
                f"{name}: TIFF compressed with {kind}, which needs imagecodecs; run `pip install "
                "'multimix[dicom]'`, or save it uncompressed"
            ) from error
        values = _grey_or_rgb(values, page, name)
        if values.dtype.kind in "iu" and values.dtype.itemsize == 8:
            values = values.astype(np.float64)
        white = 4095 if page.bitspersample == 12 else _WHITE.get(values.dtype.name)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise ImageError(
                f"{name}: {bad} pixels are NaN or infinite, expected finite values; replace them and save the image "
                "again"
            )
        if int(page.photometric) == _WHITE_IS_ZERO:
            values = inverted(values, white)
        return values, white


def inverted(values: np.ndarray, white: int | None) -> np.ndarray:
    """Black for white: from `white`, or, where the type has none, from 1 in [0, 1] and from the maximum elsewhere."""
    if white is None:
        white = 1 if values.min() >= 0 and values.max() <= 1 else values.max()
    return np.asarray(white - values, dtype=values.dtype)


_WHITE = {"uint8": 255, "uint16": 65535}


def _is_deep(page: "TiffPage") -> bool:
    kind = page.dtype
    if kind is None:  # of so many bits that no type has them, which reading it will say
        return True
    name = kind.name
    many = int(page.samplesperpixel) > 1
    return not (name in ("uint8", "bool") or (not many and name in ("uint16", "int16", "int32", "float32")))


def _grey_or_rgb(values: np.ndarray, page: "TiffPage", name: str) -> np.ndarray:
    """(H W) or (H W 3) of whatever axes the file has; alpha is laid over black."""
    if page.axes == "SYX":
        values = values.transpose(1, 2, 0)
    elif page.axes not in ("YX", "YXS"):
        raise ImageError(
            f"{name}: TIFF with the axes {page.axes}, expected one image; save it as a plain image"
        )
    if values.ndim == 2:
        return values
    samples, white = values.shape[2], _WHITE.get(values.dtype.name, 1)
    if samples in (2, 4) and page.extrasamples and values.dtype.kind == "u":
        values = np.rint(values[..., :-1] * (values[..., -1:] / white)).astype(values.dtype)
    if values.shape[2] == 1:
        return values[..., 0]
    if values.shape[2] != 3:
        raise ImageError(
            f"{name}: TIFF with {samples} channels of {values.dtype}, expected grey or RGB; save it as one of them"
        )
    return values
