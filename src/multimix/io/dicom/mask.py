"""Masks that lie in DICOM files: Segmentations (PS3.3 A.51), our own among them, and plain grey images.

Of a Segmentation exactly one segment of one frame is read: it does not say which of several is meant.
"""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Num

from multimix.errors import ImageError
from multimix.io.dicom.header import text
from multimix.io.dicom.pixels import decoded
from multimix.io.dicom.read import read_header, read_whole
from multimix.io.limits import Stream, check_size, explained

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_EXPORT = "write one mask file per structure, such as a PNG with background 0 and foreground 255"


def read_dicom_levels(stream: Stream, name: str) -> tuple[Num[np.ndarray, "..."], int]:
    """Levels (H W) or (H W 3) of the mask in `stream` and that of white; errors call it `name`. Raises ImageError."""
    header = read_header(stream, name)
    with explained(name):
        if not header.get("Rows") or not header.get("Columns"):
            kind = text(header, "Modality") or "unknown"
            raise ImageError(f"{name}: DICOM object of modality {kind} has no image, so no mask; {_EXPORT}")
        check_size(name, int(header.Rows), int(header.Columns))
        is_segmentation = str(header.get("SOPClassUID") or "") in _SEGMENTATIONS
        frames = int(header.get("NumberOfFrames") or 1)
        if frames != 1:
            what = f"the segments {_labels(header)}" if is_segmentation else f"{frames} frames"
            raise ImageError(f"{name}: DICOM mask has {what}, expected one; {_EXPORT}")
        dataset = read_whole(stream, name, header)
        if is_segmentation:
            return _segment(dataset)
        values = decoded(dataset, name)
        white = 2 ** int(dataset.BitsStored) - 1
        if text(dataset, "PhotometricInterpretation") == "MONOCHROME1":
            values = white - values
        return values, white


def _segment(dataset: "Dataset") -> tuple[Num[np.ndarray, "H W"], int]:
    """The one frame of a Segmentation, whichever type it has."""
    values = np.asarray(dataset.pixel_array)
    kind = text(dataset, "SegmentationType")
    if kind == "FRACTIONAL":
        return values, int(dataset.MaximumFractionalValue)
    if kind == "LABELMAP":
        labels = np.unique(values[values > 0])
        return (values > 0).astype(np.uint8) if len(labels) < 2 else values, 1 if len(labels) < 2 else 255
    return (values > 0).astype(np.uint8), 1


def _labels(dataset: "Dataset") -> str:
    labels = [text(item, "SegmentLabel") or "unnamed" for item in dataset.get("SegmentSequence") or []]
    return ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else "")
