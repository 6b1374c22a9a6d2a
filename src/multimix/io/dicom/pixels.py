"""From the pixel data of one DICOM frame to [0, 1], as the sender meant it to be seen.

Grey goes through the modality LUT or rescale (PS3.3 C.11.1), then the VOI LUT or the first window (C.11.2).
Then [0, 1] is
  with a window        what the window makes black and white
  with neither, 8 bit  0 to 255, as in a PNG of the same pixels
  otherwise            the image's own minimum to maximum
A window that is none (a width of 0, a centre that is no number), or that makes most of the image black or white, is
not used; a note says so.
All of this depends on the stored value alone, so it is worked out once per level and looked up per pixel.
Padding (C.7.5.1.1.2) and what the shutter hides (C.7.6.11) are black and count for no minimum or maximum.
"""

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Integer

from multimix.errors import ImageError
from multimix.io.dicom.geometry import hidden
from multimix.io.dicom.header import decimals, stated
from multimix.io.dicom.lut import looked_up

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.pixels.decoders.base import Decoder
    from pydicom.uid import UID

_PLUGINS = {
    "1.2.840.10008.1.2.4.50": "pillow",  # JPEG baseline
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pillow",  # JPEG 2000, lossless and lossy
    "1.2.840.10008.1.2.4.91": "pillow",
}
"""Transfer syntax -> pydicom's plug-in for it; those of `dicom_codecs` apart."""

_MOST_WHITE, _MOST_BLACK = 0.4, 0.6
"""A window that makes more than these shares of the image white or black is not the film's; air is wide and dark."""
_ENDS, _OUTLIERS = 0.1, 0.005
"""Levels within a tenth of the image's range (from its 0.5 % to its 99.5 % quantile) from its ends are white or black
by themselves."""
_ROWS_AT_ONCE = 256  # look-up turns indices into 8 bytes each; in strips they do not fill the memory


def decoded(dataset: "Dataset", name: str) -> np.ndarray:
    """Stored values (H W), or RGB (H W 3); ImageError where they cannot be decoded or are of another size."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if not (syntax.is_compressed and syntax.is_encapsulated):
        _cut_native(dataset)
        return np.asarray(dataset.pixel_array)
    _check_compressed(dataset, name)
    from pydicom.pixels.utils import as_pixel_options

    decoder, plugin = _decoder(syntax)
    if plugin not in decoder.available_plugins:
        raise ImageError(
            f"{name}: DICOM pixels compressed with {syntax.name} could not be decoded; `pip install "
            "'multimix[dicom]'` brings JPEG, JPEG-LS, JPEG 2000 and RLE, or save the file uncompressed"
        )
    options = as_pixel_options(dataset)
    # YBR becomes RGB here
    return np.asarray(decoder.as_array(dataset, validate=True, decoding_plugin=plugin, **options)[0])


def _decoder(syntax: "UID") -> "tuple[Decoder, str]":
    """The decoder of pydicom for a transfer syntax, and the name of the plug-in that it shall use.

    Left to itself it would try all that are installed. GDCM is not used: damaged data make it end the process.
    """
    from pydicom.pixels.decoders.base import Decoder, get_decoder

    from multimix.io.dicom.codecs import DECODER_DEPENDENCIES

    if syntax not in DECODER_DEPENDENCIES:
        try:
            return get_decoder(syntax), _PLUGINS.get(str(syntax), "")
        except NotImplementedError:  # video, or a private syntax
            return Decoder(syntax), ""
    decoder = Decoder(syntax)
    decoder.add_plugin("imagecodecs", ("multimix.io.dicom.codecs", "decode_frame"))
    return decoder, "imagecodecs"


def grey(
    dataset: "Dataset", values: Integer[np.ndarray, "H W"], name: str
) -> tuple[Float[np.ndarray, "1 H W"], str]:
    """Pixels in [0, 1], 0 black, of stored `values`, and a note where the header's window was not used.

    Raises ImageError, calling the file `name`, where the header loses the pixels.
    """
    low = int(values.min())
    levels = np.arange(low, int(values.max()) + 1)
    counts = np.zeros(levels.size, dtype=np.int64)
    outside = hidden(dataset, (values.shape[0], values.shape[1]))
    strips = [slice(row, row + _ROWS_AT_ONCE) for row in range(0, values.shape[0], _ROWS_AT_ONCE)]
    for strip in strips:
        shown = values[strip] if outside is None else values[strip][~outside[strip]]
        counts += np.bincount(shown.astype(np.int32).ravel() - low, minlength=levels.size)
    table, note = _table(dataset, levels, counts, name)
    pixels = np.empty((1, *values.shape), dtype=np.float32)
    for strip in strips:
        pixels[0, strip] = table[values[strip].astype(np.int32) - low]
    if outside is not None:
        pixels[0, outside] = 0
    return pixels, note


def colour(dataset: "Dataset", values: np.ndarray) -> Float[np.ndarray, "3 H W"]:
    """RGB in [0, 1] of stored (H W 3)."""
    top = 2 ** int(dataset.BitsStored) - 1
    return np.ascontiguousarray(values.transpose(2, 0, 1)).astype(np.float32) / np.float32(top)


@dataclass(frozen=True)
class _Levels:
    """What the stored levels stand for after the modality LUT or rescale."""

    values: np.ndarray
    counts: Int[np.ndarray, " N"]
    """How many pixels have each; 0 for padding."""

    @property
    def present(self) -> Bool[np.ndarray, " N"]:
        """Levels that the image has."""
        return self.counts > 0


def _table(
    dataset: "Dataset", levels: Int[np.ndarray, " N"], counts: Int[np.ndarray, " N"], name: str
) -> tuple[Float[np.ndarray, " N"], str]:
    """What each stored level is shown as, in [0, 1], and a note where the header's window was not used."""
    padding = _padding(dataset, levels)
    if (counts[~padding] > 0).any():
        counts = np.where(padding, 0, counts)
    meant = _Levels(_modality(dataset, levels, name), counts)
    plain = _without_window(dataset, meant)
    shown, note = _with_window(dataset, meant, name)
    if shown is not None and (lost := _lost(shown, plain, meant)):
        shown, note = (
            None,
            f"the {'VOI LUT' if _has_lut(dataset) else 'window'} of the file makes {lost}; not used",
        )
    shown = (plain if shown is None else shown).clip(0, 1)
    shown = 1 - shown if _inverted(dataset) else shown
    return np.where(padding, 0, shown).astype(np.float32), note


def _without_window(dataset: "Dataset", meant: _Levels) -> Float64[np.ndarray, " N"]:
    seen = meant.values[meant.present]
    if int(dataset.BitsStored) == 8 and seen.min() >= 0 and seen.max() <= 255:
        return meant.values / 255
    return _stretched(meant.values, meant.present)


def _with_window(
    dataset: "Dataset", meant: _Levels, name: str
) -> tuple[Float64[np.ndarray, " N"] | None, str]:
    """As the VOI LUT or the first window shows the levels, None without one; and a note where it is none."""
    if _has_lut(dataset):
        # Its output has no range of its own: the descriptor's bits are often more than the entries use.
        entries = looked_up(meant.values, "VOILUTSequence", dataset, name)
        return _stretched(entries, meant.present), ""
    centre, width = (decimals(dataset, keyword) for keyword in ("WindowCenter", "WindowWidth"))
    if not centre or not width:
        said = [keyword for keyword in ("WindowCenter", "WindowWidth") if stated(dataset, keyword)]
        return None, "the window of the file is no number; not used" if len(said) == 2 else ""
    if width[0] <= 0:
        return None, f"the window of the file has a width of {width[0]:g}; not used"
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    note = ""
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        note = f"the window of the file has the unknown function {function[:16]}; used as LINEAR"
    return _windowed(meant.values, centre[0], width[0], function), note


def _has_lut(dataset: "Dataset") -> bool:
    return bool(dataset.get("VOILUTSequence"))


def _lost(shown: np.ndarray, plain: np.ndarray, meant: _Levels) -> str:
    """Which share of the image a window makes white or black although it is neither, where that is too much.

    Levels next to the ends of what the image has, air and what lies beside the film, lose nothing by it.
    """
    share = meant.counts / meant.counts.sum()
    below = np.cumsum(share)
    low, high = (plain[np.searchsorted(below, at)] for at in (_OUTLIERS, 1 - _OUTLIERS))
    low, high = min(low, high), max(low, high)  # a modality LUT may turn the order of the levels over
    where = (plain - low) / ((high - low) or 1)
    white = float(share[(shown >= 1) & (where < 1 - _ENDS)].sum())
    black = float(share[(shown <= 0) & (where > _ENDS)].sum())
    if white > _MOST_WHITE:
        return f"{white:.0%} of the image white"
    return f"{black:.0%} of the image black" if black > _MOST_BLACK else ""


def _modality(
    dataset: "Dataset", levels: Int[np.ndarray, " N"], name: str
) -> Integer[np.ndarray, " N"] | Float64[np.ndarray, " N"]:
    if dataset.get("ModalityLUTSequence"):
        return looked_up(levels, "ModalityLUTSequence", dataset, name)
    slopes, intercepts = (decimals(dataset, keyword) for keyword in ("RescaleSlope", "RescaleIntercept"))
    slope, intercept = slopes[0] if slopes else 1.0, intercepts[0] if intercepts else 0.0
    if (slope, intercept) == (1.0, 0.0):
        return levels
    if slope == 0:
        raise ImageError(
            f"{name}: DICOM has Rescale Slope 0, which makes all pixels alike; correct the header, or export the "
            "image as PNG"
        )
    return levels * slope + intercept


def _windowed(shown: np.ndarray, centre: float, width: float, function: str) -> Float64[np.ndarray, " N"]:
    """PS3.3 C.11.2.1.2 (linear), C.11.2.1.3.1 (sigmoid), C.11.2.1.3.2 (exact), to [0, 1] where finite."""
    x = shown.astype(np.float64)
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (x - centre) / width, -700, 700))))
    if function == "LINEAR_EXACT" or width < 1:  # LINEAR knows no width below 1, but files have them
        return (x - centre) / width + 0.5
    if width == 1:
        return (x > centre - 0.5).astype(np.float64)
    return (x - (centre - 0.5)) / (width - 1) + 0.5


def _stretched(shown: np.ndarray, counted: Bool[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
    low, high = float(shown[counted].min()), float(shown[counted].max())
    return (shown.astype(np.float64) - low) / ((high - low) or 1)


def _inverted(dataset: "Dataset") -> bool:
    """Whether low values are white.

    MONOCHROME1 says so (PS3.3 C.7.6.3.1.2). Presentation LUT Shape INVERSE says the same thing once more: in
    DX it must accompany MONOCHROME1 (C.8.11.3.1.2), so the two together invert once. INVERSE with MONOCHROME2
    has only one meaning, C.11.6.1.2: invert. IDENTITY with MONOCHROME1 contradicts itself; files that have it
    are meant as their photometric interpretation says.
    """
    shape = str(dataset.get("PresentationLUTShape") or "").strip().upper()
    return dataset.PhotometricInterpretation == "MONOCHROME1" or shape == "INVERSE"


def _padding(dataset: "Dataset", levels: Int[np.ndarray, " N"]) -> Bool[np.ndarray, " N"]:
    """Which levels are no image: Pixel Padding Value, up to Pixel Padding Range Limit."""
    value = _first(dataset, "PixelPaddingValue")
    if value is None:
        return np.zeros(levels.size, dtype=bool)
    limit = _first(dataset, "PixelPaddingRangeLimit")
    ends = sorted((value, value if limit is None else limit))
    return np.asarray((levels >= ends[0]) & (levels <= ends[1]))


def _first(dataset: "Dataset", keyword: str) -> float | None:
    """A number, the first where there are several; None where there is none."""
    try:
        value = dataset.get(keyword)
        if isinstance(value, (bytes, str)) or value is None:
            return float(value) if value else None
        return float(value[0] if hasattr(value, "__getitem__") else value)
    except (ValueError, TypeError, IndexError):
        return None


def _cut_native(dataset: "Dataset") -> None:
    """Cut padding from behind uncompressed pixels (PS3.5 8.1.1); ValueError where they are not what the header says."""
    samples = 2 if dataset.PhotometricInterpretation == "YBR_FULL_422" else int(dataset.SamplesPerPixel)
    row = int(dataset.Columns) * samples * int(dataset.BitsAllocated) // 8
    size, found = int(dataset.Rows) * row, len(dataset.PixelData)
    # What is no padding is more of the image: then the size is wrong.
    if found < size or (found - size >= row and len(set(dataset.PixelData[size:])) > 1):
        raise ValueError(
            f"{found} bytes of pixels where {dataset.Columns} x {dataset.Rows} of {samples} samples need {size}"
        )
    if found > size + size % 2:
        dataset.PixelData = dataset.PixelData[: size + size % 2]


def _check_compressed(dataset: "Dataset", name: str) -> None:
    """Refuse compressed pixels that are not of the header's size, before they are decoded."""
    from pydicom.encaps import get_frame

    rows, columns, samples = int(dataset.Rows), int(dataset.Columns), int(dataset.SamplesPerPixel)
    expected = rows * columns * samples * int(dataset.BitsAllocated) // 8
    if len(dataset.PixelData) > 2 * expected + 2**16:
        raise ImageError(
            f"{name}: {len(dataset.PixelData)} bytes of compressed pixels for {columns} x {rows} pixels, far more "
            "than they need; the file is damaged: export it again"
        )
    found = coded_size(get_frame(dataset.PixelData, 0, number_of_frames=1))
    if found is not None and found != (rows, columns, samples):
        raise ImageError(
            f"{name}: the header says {columns} x {rows} pixels of {samples} samples, the compressed pixels are "
            f"{found[1]} x {found[0]} of {found[2]}; the file is damaged: export it again"
        )


def coded_size(frame: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and samples per pixel that a JPEG, JPEG-LS or JPEG 2000 codestream itself states.

    None for RLE, which states none. Raises ValueError where a codestream ends before it does.
    JPEG: ITU-T T.81 B.2.2 (frame header); JPEG-LS the same with its own marker, T.87 C.2.2; JPEG 2000:
    T.800 A.5.1 (SIZ).
    """
    start = frame.find(b"\xff\x4f\xff\x51") if frame[:8] == b"\0\0\0\x0cjP  " else 0
    if frame[start : start + 4] == b"\xff\x4f\xff\x51":
        if len(frame) < start + 42:
            raise ValueError("JPEG 2000 data end within their header")
        right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
        return bottom - top, right - left, struct.unpack_from(">H", frame, start + 40)[0]
    if frame[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 < len(frame):
        marker = frame[at + 1]
        if frame[at] != 0xFF:
            break
        if marker == 0xFF:  # fill byte
            at += 1
        elif (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            height, width, samples = struct.unpack_from(">HHB", frame, at + 5)
            return height, width, samples
        else:
            at += 2 + struct.unpack_from(">H", frame, at + 2)[0]
    raise ValueError("JPEG data have no frame header")
