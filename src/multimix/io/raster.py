"""PNG, JPEG, TIFF, GIF and BMP by Pillow: from an open file to levels and to pixels in [0, 1].

Levels    integer images are divided by the full range of their type (255, 65535), so 12-bit data in a 16-bit
          PNG stays dark; a TIFF that says 12 bits is divided by 4095. Float and 32-bit images are kept where
          they lie in [0, 1] and stretched from their minimum to their maximum otherwise.
Colour    grey is luma (ITU-R 601) of RGB; palette, CMYK and YCbCr become RGB first, alpha is laid over black.
Turned    an EXIF orientation is applied, so that pixels lie as a viewer shows them.
Frames    the first one of an image with several; a mask with several is refused.
"""

import numpy as np
from jaxtyping import Float, Num
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
)

from multimix.errors import ImageError
from multimix.io.limits import Stream, check_size, explained

# Decoders are chosen by the first bytes and called directly: Image.open would try every format it knows and
# warn about large headers before check_size can refuse them, and silencing a warning is not thread-safe.
_DECODERS = (
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (b"II*\0", TiffImagePlugin.TiffImageFile),
    (b"MM\0*", TiffImagePlugin.TiffImageFile),
    (b"GIF8", GifImagePlugin.GifImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
)
_TIFF_BITS, _TIFF_PHOTOMETRIC = 258, 262


def is_raster(head: bytes) -> bool:
    """Whether a file that starts with `head` is of a kind that `read_raster` decodes."""
    return any(head.startswith(magic) for magic, _ in _DECODERS)


def read_raster(stream: Stream, name: str, head: bytes, channels: int) -> Float[np.ndarray, "C H W"]:
    """Pixels of the image in `stream`, which starts with `head`; errors call it `name`. Raises ImageError."""
    with _open(stream, name, head) as image, explained(name):
        values, top = _levels(image, name, "L" if channels == 1 else "RGB")
    pixels = _stretched(values) if top is None else values.astype(np.float32) / np.float32(top)
    if _white_is_zero(image):
        pixels = 1 - pixels
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def read_levels(stream: Stream, name: str, head: bytes) -> tuple[Num[np.ndarray, "H W"], int | None]:
    """Grey levels of a mask as they are stored, and the level of white (None where the type has none).

    ImageError where the file has several frames, which are structures as a rule.
    """
    with _open(stream, name, head) as image, explained(name):
        if (frames := getattr(image, "n_frames", 1)) > 1:
            raise ImageError(
                f"{name}: mask has {frames} frames, expected one; save each as a file of its own"
            )
        return _levels(image, name, "L")


def _open(stream: Stream, name: str, head: bytes) -> Image.Image:
    """Image whose header has been read and found sensible; nothing is decoded yet."""
    for magic, decoder in _DECODERS:
        if head.startswith(magic):
            with explained(name):
                image = decoder(stream)
            try:
                check_size(name, image.height, image.width)
            except ImageError:
                image.close()
                raise
            return image
    raise ImageError(
        f"{name}: is not a PNG, JPEG, TIFF, GIF, BMP or DICOM file (it starts with {head[:8]!r}); "
        "export it as one of these"
    )


def _levels(image: Image.Image, name: str, colour: str) -> tuple[Num[np.ndarray, "..."], int | None]:
    """Decoded values, (H W) or (H W 3), and the value of white; None where the type has no such value.

    `colour` is what images with colour are turned into, 'L' or 'RGB'; grey ones stay grey.
    """
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I;16"):
        bits = image.tag_v2.get(_TIFF_BITS, (16,))[0] if hasattr(image, "tag_v2") else 16
        return np.asarray(image).astype(np.uint16), 4095 if bits == 12 else 65535
    if image.mode in ("I", "F"):
        values = np.asarray(image)
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise ImageError(
                f"{name}: {bad} pixels are NaN or infinite, expected finite values; "
                "replace them and save the image again"
            )
        return values, None
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA"))
    if image.mode not in ("1", "L"):
        image = image.convert("RGB").convert(colour)
    return np.asarray(image.convert("L") if image.mode == "1" else image), 255


def _stretched(values: Num[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    values = values.astype(np.float64)
    low, high = values.min(), values.max()
    if low < 0 or high > 1:
        values = (values - low) / ((high - low) or 1)
    return values.astype(np.float32)


def _white_is_zero(image: Image.Image) -> bool:
    # Pillow inverts TIFFs with PhotometricInterpretation 0 only up to 8 bits.
    deep = image.mode.startswith("I") or image.mode == "F"
    return deep and hasattr(image, "tag_v2") and image.tag_v2.get(_TIFF_PHOTOMETRIC) == 0
