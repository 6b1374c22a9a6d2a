"""Planes in the formats of volumes: NIfTI, NRRD, MetaImage and NumPy's .npy that hold one image or mask.

Planes    an axis of one element does not count; a file with more than two others is a volume and is refused
Levels    as of PNG and TIFF: unsigned values are divided by the range of their type, others kept where they lie in
          [0, 1] and stretched from their minimum to their maximum elsewhere
Turned    pixels lie as they are stored, so that image and mask fit; the header says how they are looked at: patient's
          left at the right side, and anterior or superior at the top
Spacing   that of the header; 1 mm by 1 mm is what a header says where nobody knew, so it counts as unknown

SimpleITK decodes, from files alone: it takes no bytes.
"""

import gzip
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from jaxtyping import Num

from multimix.errors import ImageError
from multimix.io.endings import ending
from multimix.io.limits import Stream, check_bytes, check_size, explained
from multimix.types import Turn

PLANE_SUFFIXES = frozenset({".nii", ".nii.gz", ".nrrd", ".mha", ".npy"})
"""By these a file is known to be one of this kind."""


_AS_STORED = Turn()


@dataclass(frozen=True)
class Plane:
    """One image as it is stored."""

    values: Num[np.ndarray, "..."]
    """(H W) or (H W 3)."""
    top: int | None
    """The level of white; None where the type has no such value."""
    spacing: tuple[float, float] | None = None
    """Millimetres per pixel (row, column)."""
    turn: Turn = _AS_STORED


@dataclass(frozen=True)
class _Header:
    size: tuple[int, int]
    """Height and width, as stored."""
    spacing: tuple[float, float] | None
    turn: Turn


def is_plane(name: str) -> bool:
    """Whether a file of this name is of a kind that is read here."""
    return ending(PurePath(name)) in PLANE_SUFFIXES


def read_plane(stream: Stream, name: str) -> Plane:
    """The one image in `stream`; errors call it `name`.

    Raises ImageError where it is damaged, holds a volume, has values that are not finite or, but for .npy, does not
    come from a file on the disk.
    """
    if ending(PurePath(name)) == ".npy":
        values, spacing, turn = _array(stream, name), None, Turn()
    else:
        reader = _reader(stream, name)
        header = _header(reader, name)
        _check_whole(reader, stream, name)
        with explained(name):
            image = reader.Execute()
            values = _sitk().GetArrayFromImage(image).reshape(*header.size, -1)
        values = values[..., 0] if values.shape[2] == 1 else values
        spacing, turn = header.spacing, header.turn
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    if not (np.issubdtype(values.dtype, np.integer) or np.issubdtype(values.dtype, np.floating)):
        raise ImageError(f"{name}: has values of type {values.dtype}, expected real numbers; convert it")
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise ImageError(
            f"{name}: {bad} pixels are NaN or infinite, expected finite values; replace them and save the image again"
        )
    top = int(np.iinfo(values.dtype).max) if values.dtype in (np.uint8, np.uint16) else None
    if values.ndim == 3 and top is None and not (values.min() >= 0 and values.max() <= 1):
        raise ImageError(
            f"{name}: has colours from {values.min():g} to {values.max():g} of type {values.dtype}, expected 8 or 16 "
            "bits without sign, or 0 to 1; convert it"
        )
    return Plane(values, top, spacing, turn)


def plane_size(path: Path) -> tuple[int, int]:
    """Height and width as stored, from the header. Raises ImageError."""
    with explained(path), path.open("rb") as stream:
        if ending(path) == ".npy":
            height, width = _array_shape(stream, str(path))[:2]
            return height, width
        return _header(_reader(stream, str(path)), str(path)).size


def plane_turn(path: Path) -> Turn | None:
    """What the header says makes it upright; None where the file has no such header. Raises ImageError."""
    if not is_plane(path.name) or ending(path) == ".npy":
        return None
    with explained(path), path.open("rb") as stream:
        return _header(_reader(stream, str(path)), str(path)).turn


def _array(stream: Stream, name: str) -> Num[np.ndarray, "..."]:
    shape = _array_shape(stream, name)
    with explained(name):
        stream.seek(0)
        found = np.load(stream, allow_pickle=False)
    return np.asarray(found).reshape(shape)


def _array_shape(stream: Stream, name: str) -> tuple[int, ...]:
    """(H W) or (H W 3)."""
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with explained(name):
        version = np.lib.format.read_magic(stream)
        if version not in read:
            raise ImageError(f"{name}: is of version {version} of .npy; save it again with numpy.save")
        shape, _, dtype = read[version](stream)
    if dtype.hasobject:
        raise ImageError(f"{name}: holds objects of Python, expected numbers; save it as an array of numbers")
    colours = (3,) if len(shape) > 2 and shape[-1] == 3 else ()
    plane = _one_plane(shape[: len(shape) - len(colours)], name)
    height, width = (shape[axis] for axis in plane)
    check_size(name, height, width)
    check_bytes(name, int(np.prod(shape)) * dtype.itemsize)
    return (height, width, *colours)


def _one_plane(sizes: tuple[int, ...], name: str) -> tuple[int, int]:
    """The two axes that have more than one element. Raises ImageError where there are not two."""
    axes = [axis for axis, size in enumerate(sizes) if size > 1]
    if len(axes) != 2:
        raise ImageError(
            f"{name}: is {' x '.join(map(str, sizes))}, expected one image of two dimensions; a volume is not read: "
            "save each slice that is wanted as a file of its own"
        )
    return axes[0], axes[1]


def _sitk() -> Any:
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # it prints, past Python, to the terminal
    return SimpleITK


def _reader(stream: Stream, name: str) -> Any:
    """A reader that knows the header."""
    if isinstance(stream, BytesIO):
        raise ImageError(
            f"{name}: files of this kind are read from the disk only; unpack it, or save the image as PNG"
        )
    try:
        reader = _sitk().ImageFileReader()
    except ImportError as error:
        raise ImageError(
            f"{name}: needs an extra; install it with `pip install 'multimix[formats]'`"
        ) from error
    reader.SetFileName(str(stream.name))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:  # whose words are about a line of C++
        raise ImageError(
            f"{name}: damaged, or of another kind than its name says; copy or export the file again"
        ) from error
    return reader


def _check_whole(reader: Any, stream: Stream, name: str) -> None:
    """Refuse a NIfTI file that was cut short: the decoder fills up what is missing and says nothing."""
    kind = ending(PurePath(name))
    if kind not in (".nii", ".nii.gz"):
        return
    sitk = _sitk()
    one = sitk.GetArrayFromImage(sitk.Image([1, 1], reader.GetPixelID(), reader.GetNumberOfComponents()))
    # Stored with a scale, values take fewer bytes than they are decoded to.
    stored = int(reader.GetMetaData("bitpix")) // 8 if reader.HasMetaDataKey("bitpix") else one.itemsize
    needed = int(np.prod(reader.GetSize())) * one.size * stored
    with explained(name):
        stream.seek(0)
        packed = gzip.GzipFile(fileobj=stream) if kind == ".nii.gz" else stream
        found = sum(
            map(len, iter(lambda: packed.read(2**20), b""))
        )  # also checks what gzip knows of its content
        if found < needed:
            raise ValueError(f"has {found} bytes, expected {needed}")


def _header(reader: Any, name: str) -> _Header:
    sizes = reader.GetSize()
    column, row = _one_plane(sizes, name)  # ITK names the fastest axis first
    check_size(name, sizes[row], sizes[column])
    if (channels := reader.GetNumberOfComponents()) not in (1, 3):
        raise ImageError(f"{name}: has {channels} values per pixel, expected 1 or 3; save it in grey or RGB")
    spacing = reader.GetSpacing()[row], reader.GetSpacing()[column]
    directions = np.array(reader.GetDirection()).reshape(len(sizes), len(sizes))[:3]
    turn = _turn(directions[:, row], directions[:, column])
    return _Header((sizes[row], sizes[column]), None if spacing == (1, 1) else spacing, turn)


def _turn(row: Num[np.ndarray, " d"], column: Num[np.ndarray, " d"]) -> Turn:
    """What makes a plane upright whose rows and columns grow in these directions, towards left, posterior, superior."""
    down, right = int(np.abs(row).argmax()), int(np.abs(column).argmax())
    if down == right:
        return Turn()  # oblique by 45 degrees: neither way is nearer
    transposed = right > down
    if transposed:
        row, column, down, right = column, row, right, down
    return Turn(transposed, bool(column[right] < 0), bool((row[down] > 0) == (down == 2)))
