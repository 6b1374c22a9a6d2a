"""Frames as DICOM codes them and few others do: JPEG lossless (T.81 process 14), JPEG with 12 bits, HTJ2K and RLE.

A decoding plug-in in pydicom's sense (the names `is_available` and `DECODER_DEPENDENCIES` are pydicom's) on
imagecodecs. GDCM would decode the JPEGs too, but ends the process on damaged data; pydicom's own RLE is slow
and decodes more than the image holds where the data say so.
"""

from typing import TYPE_CHECKING

from pydicom.uid import (
    HTJ2K,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    RLELossless,
)

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import DecodeRunner

_HTJ2K = (HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL)
DECODER_DEPENDENCIES = dict.fromkeys(
    (JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, *_HTJ2K, RLELossless), ("imagecodecs>=2024.1.1",)
)
"""Transfer syntaxes that `decode_frame` decodes -> what it needs."""


def is_available(uid: str) -> bool:
    """Whether frames of this transfer syntax can be decoded here."""
    try:
        import imagecodecs
    except ImportError:
        return False
    codecs = (imagecodecs.JPEG8, imagecodecs.JPEGSOF3, imagecodecs.JPEG2K, imagecodecs.DICOMRLE)
    return uid in DECODER_DEPENDENCIES and all(codec.available for codec in codecs)


def decode_frame(source: bytes, runner: "DecodeRunner") -> bytes:
    """Samples of one frame, in the colour space they were coded in; raises on damaged data."""
    from imagecodecs import dicomrle_decode, jpeg2k_decode, jpeg8_decode, jpegsof3_decode

    if runner.transfer_syntax == RLELossless:
        runner.set_option("planar_configuration", 1)
        size = runner.rows * runner.columns * runner.samples_per_pixel * runner.bits_allocated // 8
        # Told how much to expect, it stops where the data hold more.
        samples = dicomrle_decode(source, f"uint{runner.bits_allocated}", out=size)
        if len(samples) != size:
            raise ValueError(f"{len(samples)} bytes of pixels where the header says {size}")
        return bytes(samples)
    if runner.transfer_syntax == JPEGExtended12Bit:
        as_coded = "YCBCR" if runner.samples_per_pixel == 3 else None
        values = jpeg8_decode(source, colorspace=as_coded, outcolorspace=as_coded)
    elif runner.transfer_syntax in _HTJ2K:
        values = jpeg2k_decode(source)
        if runner.samples_per_pixel == 3:  # OpenJPEG undoes the colour transform
            runner.set_option("photometric_interpretation", "RGB")
    else:
        values = jpegsof3_decode(source)
    runner.set_option("bits_allocated", 8 * values.itemsize)
    return bytes(values.tobytes())
