"""DICOM radiographs (CR, DX, secondary capture): one frame, as the sender meant it to be seen.

Pixels go through the modality LUT (or rescale), then the VOI LUT (or the first window), PS3.3 C.11.1 and
C.11.2; MONOCHROME1 is inverted, so that 0 is black. Then [0, 1] is
  with a window      the range the window maps to
  with neither, 8 bit  0 to 255, as in a PNG of the same pixels
  otherwise          the image's own minimum to maximum
Spacing is PixelSpacing, else ImagerPixelSpacing, else NominalScannedPixelSpacing: (row, column) in mm.
Needs the extra `multimix[dicom]`; files are never written and patient data is not read.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from multimix.errors import ImageError
from multimix.io.limits import check_size, explained

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


def read_dicom(path: Path) -> tuple[Float[np.ndarray, "C H W"], tuple[float, float] | None]:
    """Read pixels in [0, 1] (one channel, or three where the file has colour) and mm per pixel, if known.

    Raises ImageError where pydicom is missing, or the file is damaged, has several frames, no pixels, or a
    compression or colour space that cannot be decoded.
    """
    try:
        import pydicom
    except ImportError as error:
        raise ImageError(
            f"{path}: DICOM needs pydicom, which is not installed; run `pip install 'multimix[dicom]'`"
        ) from error
    with explained(path):
        dataset = pydicom.dcmread(path)
        _check(path, dataset)
        values = _decoded(path, dataset)
        pixels = _colour(dataset, values) if values.ndim == 3 else _grey(path, dataset, values)
        return pixels, _spacing(dataset)


def _check(path: Path, dataset: "Dataset") -> None:
    """Refuse, from the header alone, what is not one frame of grey or RGB pixels of a sensible size."""
    if "PixelData" not in dataset or not dataset.get("Rows") or not dataset.get("Columns"):
        raise ImageError(
            f"{path}: DICOM object of modality {dataset.get('Modality', 'unknown')} has no image; "
            "give a CR or DX file"
        )
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise ImageError(f"{path}: DICOM has {frames} frames, expected one; export the frame as its own file")
    check_size(path, int(dataset.Rows), int(dataset.Columns))
    colours = ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
    found = dataset.get("PhotometricInterpretation", "none")
    if found not in colours:
        raise ImageError(
            f"{path}: DICOM colours are {found}, expected MONOCHROME1/2 or RGB; convert it to PNG"
        )


def _decoded(path: Path, dataset: "Dataset") -> np.ndarray:
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        return np.asarray(dataset.pixel_array)  # YBR becomes RGB here
    except RuntimeError as error:
        if not syntax.is_compressed:
            raise
        raise ImageError(
            f"{path}: DICOM pixels compressed with {syntax.name} could not be decoded; "
            "install pylibjpeg[all], or save the file uncompressed"
        ) from error


def _grey(path: Path, dataset: "Dataset", values: np.ndarray) -> Float[np.ndarray, "1 H W"]:
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    shown = np.asarray(apply_voi_lut(apply_modality_lut(values, dataset), dataset), dtype=np.float64)
    if not np.isfinite(shown).all():
        raise ImageError(f"{path}: DICOM rescale gives values that are not finite; convert it to PNG")
    low, high = float(shown.min()), float(shown.max())
    if dataset.get("VOILUTSequence"):
        pass  # its output has no range of its own: the descriptor's bits are often more than the entries use
    elif dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        low, high = _window_range(dataset)
    elif int(dataset.BitsStored) == 8 and low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    pixels = np.clip((shown - low) / ((high - low) or 1), 0, 1).astype(np.float32)
    return (1 - pixels if dataset.PhotometricInterpretation == "MONOCHROME1" else pixels)[None]


def _window_range(dataset: "Dataset") -> tuple[float, float]:
    """What black and white of a window become in pydicom's `apply_windowing`: (low, high)."""
    bits, signed = int(dataset.BitsStored), int(dataset.PixelRepresentation) == 1
    low, high = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)
    if dataset.get("ModalityLUTSequence"):
        low, high = 0.0, 2.0 ** int(dataset.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope is not None and intercept is not None:
        low, high = low * float(slope) + float(intercept), high * float(slope) + float(intercept)
    return low, high


def _colour(dataset: "Dataset", values: np.ndarray) -> Float[np.ndarray, "3 H W"]:
    top = 2 ** int(dataset.BitsStored) - 1
    return np.ascontiguousarray(values.transpose(2, 0, 1)).astype(np.float32) / np.float32(top)


def _spacing(dataset: "Dataset") -> tuple[float, float] | None:
    for name in _SPACINGS:
        value: Any = dataset.get(name)
        if value is not None and len(value) == 2 and all(float(v) > 0 for v in value):
            return float(value[0]), float(value[1])
    return None
