"""What the files of one row look like: readable, of one size, neither empty nor inverted, no outline."""

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from multimix.data.check.findings import Finding
from multimix.data.index.patients import header_patient
from multimix.data.thumbnails import SIDE, thumbnail
from multimix.errors import ImageError
from multimix.io.planes import plane_turn
from multimix.io.readers import read_image, read_mask_and_inks
from multimix.types import Record

COLOURED = 0.1
"""Difference of the channels, of [0, 1], in some pixel: less is what JPEG makes of grey."""
_THICK, _HOLLOW = 0.01, 2.0
"""An outline is thinner than this share of the image's side, and encloses so many times its own area."""


Ink = tuple[float, float, float]
"""RGB in [0, 1]."""


@dataclass(frozen=True)
class Look:
    """One record's files, decoded."""

    record: Record
    digest: str | None
    """Of the pixels at 8 bits, so that the same image in two formats is one; None where unreadable."""
    findings: tuple[Finding, ...]
    brightest: int = 0
    """The largest of those grey pixels where the image has levels between them, as at 16 bits; else 0."""
    coloured: bool = False
    small: Float[np.ndarray, "side side"] | None = None
    """A grey copy; None where the image is unreadable or no larger than that."""
    patient: str = ""
    """The patient in the header of a DICOM file."""
    outlines: tuple[str, ...] = ()
    """Structures whose mask is an outline."""
    inks: Mapping[str, tuple[Ink, ...]] = field(default_factory=dict)
    """Structure -> the colours that the files of its mask are drawn in."""


def look(record: Record) -> Look:
    """Decode a record's image and masks once."""
    findings = []
    size, digest, brightest, coloured, small = None, None, 0, False, None
    try:
        image = read_image(record.image, channels=3, force=True)
        size = image.size
        coloured = bool(np.ptp(image.pixels, axis=0).max() > COLOURED)
        levels = (image.pixels if coloured else image.pixels[:1]) * 255
        grey = levels.round().astype(np.uint8)
        digest = hashlib.sha256(repr(size).encode() + grey.tobytes()).hexdigest()
        small = thumbnail(image.pixels, SIDE).astype(np.float16) if min(size) >= SIDE else None
        if np.abs(levels - grey).max() > 1e-3:
            brightest = int(grey.max())
        if image.note:
            message = f"{image.note}; correct the header, or export the image as PNG as it should be seen"
            findings.append(Finding("warning", str(record.image), message))
        if grey.min() == grey.max():
            message = "every pixel has the same value; replace the image or remove its row"
            findings.append(Finding("warning", str(record.image), message))
    except ImageError as error:
        findings.append(Finding("error", str(record.image), _why(record.image, error), record.image))
    outlines = []
    inks: dict[str, tuple[Ink, ...]] = {}
    for structure, files in record.masks.items():
        try:
            mask, drawn = read_mask_and_inks(files, size)
        except ImageError as error:
            where = "|".join(map(str, files))
            findings.append(Finding("error", where, _why(files[0], error), record.image))
            continue
        findings += _turned(record.image, files)
        inks[structure] = tuple(drawn)
        findings += _look_at_mask(mask, "|".join(map(str, files)), structure)
        outlines += [structure] if is_outline(mask) else []
    patient = header_patient(record.image) if digest is not None else ""
    return Look(record, digest, tuple(findings), brightest, coloured, small, patient, tuple(outlines), inks)


def _turned(image: Path, masks: Iterable[Path]) -> Iterator[Finding]:
    """Masks whose header says that they lie another way than their image, with which they are compared as stored."""
    try:
        own = plane_turn(image)
        for mask in masks if own is not None else ():
            if plane_turn(mask) not in (None, own):
                message = f"its header has other directions than that of {image}; save it with the header of the image"
                yield Finding("error", str(mask), message, image)
    except ImageError:
        return  # told already


def _look_at_mask(mask: Bool[np.ndarray, "H W"], where: str, structure: str) -> Iterator[Finding]:
    if not mask.any():
        yield Finding("warning", where, f"mask of {structure!r} is empty; draw it or clear the cell")
    elif mask.mean() > 0.95:
        yield Finding(
            "warning", where, f"mask of {structure!r} covers the whole image; draw it or clear the cell"
        )
    elif _holds_the_border(mask):
        message = f"mask of {structure!r} holds the border: background and structure may be exchanged; invert it if so"
        yield Finding("warning", where, message)


def _holds_the_border(mask: Bool[np.ndarray, "H W"]) -> bool:
    """Whether a mask covers most of the border, and more of it than of the middle half of the image."""
    height, width = mask.shape
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).mean()
    middle = mask[height // 4 : height - height // 4, width // 4 : width - width // 4].mean()
    return bool(border > max(middle, 0.5))


def is_outline(mask: Bool[np.ndarray, "H W"]) -> bool:
    """Whether a mask is a thin line around what it should fill."""
    from scipy.ndimage import binary_fill_holes

    area = int(mask.sum())
    framed = np.pad(mask, 1)
    inner = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:] & mask
    edge = area - int(inner.sum())
    # A line has an edge on both sides, so half its thickness is its area over its edge.
    if not area or 2 * area > max(3.0, _THICK * max(mask.shape)) * edge:
        return False
    return bool(binary_fill_holes(mask).sum() > _HOLLOW * area)


def _why(path: Path, error: ImageError) -> str:
    """The error without the path, and another Unicode form of the name where the folder has that."""
    message = str(error).removeprefix(f"{path}: ")
    for form in ("NFC", "NFD"):
        other = path.parent.parent / unicodedata.normalize(form, path.parent.name)
        for folder in (path.parent, other):
            found = folder / unicodedata.normalize(form, path.name)
            if found != path and found.is_file() and not path.is_file():
                return (
                    f"no such file, but one whose name differs in its Unicode form ({form}), as macOS writes names; "
                    "write the manifest again with `multimix data index`, or rename the file"
                )
    return message
