"""DICOM radiographs (CR, DX, secondary capture): one frame, at the size it was stored, 0 black.

How values become grey: `pixels`. What is refused, and what spacing is worth: `header`. Which way is up: `geometry`.
Needs the extra `multimix[dicom]`; patient data is not looked at.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from multimix.errors import ImageError
from multimix.io.dicom.geometry import turn
from multimix.io.dicom.header import refuse, spacing, text, unusable_spacing
from multimix.io.dicom.pixels import colour, decoded, grey
from multimix.io.limits import MAX_FILE_BYTES, Stream, check_bytes, check_size, explained
from multimix.types import Turn

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

_COLOURS = ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_DELIMITER = b"\xfe\xff\xdd\xe0"  # ends compressed pixels, PS3.5 A.4
_NEEDED = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored")
_LARGE = 2**20  # an element of the header that is larger is left in the file until the header is approved


@dataclass(frozen=True)
class DicomImage:
    """What one file holds and says of it."""

    pixels: Float[np.ndarray, "C H W"]
    """In [0, 1], as stored; one channel, or three where the file has colour."""
    spacing: tuple[float, float] | None
    spacing_note: str
    """Millimetres per pixel (row, column), and what that is worth."""
    turn: Turn
    """What makes it upright."""
    against: str
    """Why it would have been rejected without `force`."""
    note: str
    """What the header says that was not followed."""


def read_dicom(stream: Stream, name: str, *, force: bool = False) -> DicomImage:
    """Decode the image in `stream`, which is at its beginning; errors call it `name`.

    Raises ImageError where pydicom is missing, or the file is damaged, has several frames, no pixels, a compression or
    colour space that cannot be decoded, or, unless `force`, shows something else than a frontal chest. OwnResult, an
    ImageError, where multimix wrote it.
    """
    header = read_header(stream, name)
    with explained(name):
        against = refuse(header, name, force=force)
    with _besides(name, against), explained(name):
        _check(name, header)
        dataset = read_whole(stream, name, header)
        values = decoded(dataset, name)
        pixels, note = (colour(dataset, values), "") if values.ndim == 3 else grey(dataset, values, name)
        distance, worth = spacing(dataset)
        if distance is None:
            note = "; ".join(filter(None, (note, unusable_spacing(dataset))))
        return DicomImage(pixels, distance, worth, turn(dataset), against, note)


@contextmanager
def _besides(name: str, against: str) -> Iterator[None]:
    """Where an image cannot be read, say first why nobody wants it: to export it again would be of no use."""
    try:
        yield
    except ImageError as error:
        if not against:
            raise
        reason = str(error).removeprefix(f"{name}: ")
        raise ImageError(f"{name}: {against}; nor can it be read: {reason}") from error


def read_whole(stream: Stream, name: str, header: "FileDataset") -> "FileDataset":
    """The data set with its pixels, which are there and not cut off. Raises ImageError or ValueError."""
    from pydicom import dcmread

    check_bytes(name, _bytes(stream))
    stream.seek(0)
    if header.file_meta.TransferSyntaxUID.is_encapsulated and _DELIMITER not in stream.read():
        raise ValueError("its compressed pixels are cut off")  # pydicom would say so in a warning
    stream.seek(0)
    dataset = _completed(dcmread(stream))
    if "PixelData" not in dataset:
        raise ImageError(
            f"{name}: DICOM object of modality {text(dataset, 'Modality') or 'unknown'} has no image, or is cut "
            "off before it; give a CR or DX file, or copy this one again"
        )
    if dataset["PixelData"].is_undefined_length and not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        raise ImageError(
            f"{name}: DICOM has no Transfer Syntax UID (0002,0010), so its compressed pixels cannot be decoded; "
            "export it again"
        )
    return dataset


def read_header(stream: Stream, name: str) -> "FileDataset":
    """Everything before the pixels; ImageError where it is not DICOM or pydicom is missing."""
    pydicom = require_pydicom(name)
    with explained(name):
        if stream.read(132)[128:] != b"DICM":  # before pydicom says so, in words about an argument of its own
            raise ImageError(
                f"{name}: is not a DICOM file (it has no preamble, PS3.10 7.1); export it as a DICOM file again"
            )
        stream.seek(0)
        _check_deflated(stream, name)
        stream.seek(0)
        return _completed(pydicom.dcmread(stream, stop_before_pixels=True, defer_size=_LARGE))


def require_pydicom(name: str | Path) -> ModuleType:
    """The library, imported late because the core works without it; ImageError where it is missing."""
    try:
        import pydicom
    except ImportError as error:
        raise ImageError(
            f"{name}: DICOM needs pydicom, which is not installed; run `pip install 'multimix[dicom]'`"
        ) from error
    return pydicom


def _completed(dataset: "FileDataset") -> "FileDataset":
    """With what files leave out and their bytes or other attributes tell: the transfer syntax, a bit depth."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if not dataset.file_meta.get("TransferSyntaxUID"):
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    if "PixelRepresentation" not in dataset:
        dataset.PixelRepresentation = 0
    if "SamplesPerPixel" not in dataset and text(dataset, "PhotometricInterpretation").startswith("MONO"):
        dataset.SamplesPerPixel = 1
    if "BitsStored" not in dataset and "BitsAllocated" in dataset:
        dataset.BitsStored = dataset.BitsAllocated
    if "HighBit" not in dataset and "BitsStored" in dataset:
        dataset.HighBit = dataset.BitsStored - 1
    return dataset


def _check(name: str, header: "FileDataset") -> None:
    """Refuse, from the header alone, what is not one frame of grey or RGB pixels of a sensible size."""
    if lacking := [keyword for keyword in _NEEDED if header.get(keyword) in (None, "")]:
        raise ImageError(f"{name}: DICOM does not state {', '.join(lacking)}; export it again, or as PNG")
    frames = int(header.get("NumberOfFrames") or 1)
    if frames != 1:
        raise ImageError(f"{name}: DICOM has {frames} frames, expected one; export the frame as its own file")
    check_size(name, int(header.Rows), int(header.Columns))
    found = text(header, "PhotometricInterpretation") or "none"
    if found not in _COLOURS:
        raise ImageError(
            f"{name}: DICOM colours are {found}, expected MONOCHROME1/2 or RGB; convert it to PNG"
        )
    allocated, stored = int(header.BitsAllocated), int(header.BitsStored)
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise ImageError(
            f"{name}: DICOM pixels have {stored} bits in {allocated}, expected 8 to 16 bits in 8 or 16; "
            "convert it to PNG"
        )
    high = int(header.get("HighBit", stored - 1))
    if high != stored - 1:
        raise ImageError(
            f"{name}: DICOM pixels have High Bit {high}, expected {stored - 1} for {stored} bits (PS3.5 8.1.1); export "
            "it again, or convert it to PNG"
        )


def _check_deflated(stream: Stream, name: str) -> None:
    """Refuse a data set that is deflated (PS3.5 A.5) to more than a file may hold, without holding it."""
    from pydicom.filereader import read_dataset, read_preamble
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    read_preamble(stream, False)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    check_bytes(name, _bytes(stream))
    inflater, rest, size = zlib.decompressobj(-zlib.MAX_WBITS), stream.read(), 0
    while rest and size <= MAX_FILE_BYTES:
        size += len(inflater.decompress(rest, _LARGE))
        rest = inflater.unconsumed_tail
    check_bytes(name, size)


def _bytes(stream: Stream) -> int:
    """How many bytes `stream` holds; its place is kept."""
    here = stream.tell()
    size = stream.seek(0, 2)
    stream.seek(here)
    return size
