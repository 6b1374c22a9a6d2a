"""PNG, JPEG, TIFF, GIF and BMP: from an open file to levels and to pixels in [0, 1].

Levels    unsigned images are divided by the full range of their type (255, 65535), so 12-bit data in a 16-bit
          PNG stays dark; a TIFF that says 12 bits is divided by 4095. Float, signed and 32-bit images are kept where
          they lie in [0, 1] and stretched from their minimum to their maximum otherwise.
Colour    grey is luma (ITU-R 601) of RGB; palette, CMYK and YCbCr become RGB first, alpha is laid over black.
White     0 is black in what is read, also of a TIFF that says otherwise (WhiteIsZero), at every depth.
Turned    an EXIF orientation is applied, so that pixels lie as a viewer shows them.
Frames    the first one of an image with several; a mask with several is refused.

Pillow decodes; TIFFs that it cannot read, or reads wrongly, are `tiff`'s.
"""

from typing import Any, NamedTuple

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
from multimix.io import tiff
from multimix.io.colour import grey, is_in_colour
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
    return any(head.startswith(magic) for magic, _ in _DECODERS) or head.startswith(tiff.MAGIC)


class Raster(NamedTuple):
    """The first image of a file."""

    pixels: Float[np.ndarray, "C H W"]
    """In [0, 1]."""
    colour_lost: bool
    """Whether its colour was lost to one channel."""
    frames: int
    """Images that the file holds."""


def read_raster(stream: Stream, name: str, head: bytes, channels: int) -> Raster:
    """The image in `stream`, which starts with `head`.

    With `channels` = 1 an image in colour has one channel; with 3 a grey one has one all the same. Errors call it
    `name`. Raises ImageError.
    """
    return _raster(*_decoded(stream, name, head), channels)


def of_pillow(image: Image.Image, name: str, channels: int) -> Raster:
    """An image of Pillow, as a file of its pixels is read; it stays as it is. Raises ImageError."""
    check_size(name, image.height, image.width)
    with explained(name):
        return _raster(*_levels(image.copy(), name), getattr(image, "n_frames", 1), channels)


def _raster(values: Num[np.ndarray, "..."], top: int | None, frames: int, channels: int) -> Raster:
    lost = False
    if values.ndim == 3 and channels == 1:
        rgb = values.transpose(2, 0, 1)
        values, lost = grey(rgb), is_in_colour(rgb)
    pixels = stretched(values) if top is None else values.astype(np.float32) / np.float32(top)
    pixels = pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return Raster(pixels, lost, frames)


def read_levels(stream: Stream, name: str, head: bytes) -> tuple[Num[np.ndarray, "..."], int | None]:
    """Levels of a mask as they are stored but 0 black, (H W) or (H W 3), and that of white (None where there is none).

    ImageError where the file has several frames, which are structures as a rule, or where its white may be meant as
    black.
    """
    found = tiff.look(stream, name) if head.startswith(tiff.MAGIC) else None
    if found is not None and found.inverted_by_imagej:
        raise ImageError(
            f"{name}: mask was saved by ImageJ with an inverting LUT, which leaves open whether black or white is the "
            "structure; use Image > Lookup Tables > Invert LUT (and Edit > Invert, if need be) there and save it again"
        )
    if found is None or not found.deep:
        with _open(stream, name, head) as image:
            if (frames := getattr(image, "n_frames", 1)) > 1:
                raise ImageError(
                    f"{name}: mask has {frames} frames, expected one; save each as a file of its own"
                )
    stream.seek(0)
    values, top, _ = _decoded(stream, name, head)
    if found is not None and found.one_bit_by_tifffile and top is not None:
        values = top - values
    return values, top


def _decoded(stream: Stream, name: str, head: bytes) -> tuple[Num[np.ndarray, "..."], int | None, int]:
    """Levels as `_levels` gives them, by whichever decoder keeps them whole, and the number of images in the file."""
    found = tiff.look(stream, name) if head.startswith(tiff.MAGIC) else None
    if found is not None and found.deep:
        return *tiff.read_deep(stream, name), found.frames
    with _open(stream, name, head) as image, explained(name):
        frames = int(getattr(image, "n_frames", 1)) if found is None else found.frames
        if not _is_deep_png(image):
            return *_levels(image, name), frames
    with explained(name):
        return _deep_png(stream), 65535, frames


def _is_deep_png(image: Image.Image) -> bool:
    tiles: Any = getattr(image, "tile", ())
    deep = bool(tiles) and tiles[0].args in ("RGB;16B", "RGBA;16B", "LA;16B")
    return deep and isinstance(image, PngImagePlugin.PngImageFile) and "transparency" not in image.info


def _deep_png(stream: Stream) -> Num[np.ndarray, "..."]:
    """A PNG of 16 bits a channel, with alpha over black, (H W) or (H W 3) uint16.

    Pillow keeps the upper 8 bits of each value. Read as if its bytes were the other way round, it keeps the lower 8.
    """
    halves = []
    for order in ("B", "L"):
        stream.seek(0)
        with PngImagePlugin.PngImageFile(stream) as image:
            tile = image.tile[0]
            if tile.args == "LA;16B":  # which has no other way round, but as many bytes as RGBA
                image._mode, image.tile = "RGBA", [tile._replace(args="RGBA")]
                plain = ImageOps.exif_transpose(image)
                first = 0 if order == "B" else 1
                halves.append(np.asarray(plain)[..., first::2].astype(np.uint16))
                continue
            image.tile = [tile._replace(args=str(tile.args).replace("16B", f"16{order}"))]
            halves.append(np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16))
    values = halves[0] << 8 | halves[1]
    if values.shape[2] in (2, 4):
        values = np.rint(values[..., :-1] * (values[..., -1:] / 65535)).astype(np.uint16)
    return values[..., 0] if values.shape[2] == 1 else values


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


def _levels(image: Image.Image, name: str) -> tuple[Num[np.ndarray, "..."], int | None]:
    """Decoded values, (H W) or (H W 3), and the value of white; None where the type has no such value."""
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I;16"):
        bits = image.tag_v2.get(_TIFF_BITS, (16,))[0] if hasattr(image, "tag_v2") else 16
        values, top = np.asarray(image).astype(np.uint16), 4095 if bits == 12 else 65535
        return tiff.inverted(values, top) if _white_is_zero(image) else values, top
    if image.mode in ("I", "F"):
        values = np.asarray(image)
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise ImageError(
                f"{name}: {bad} pixels are NaN or infinite, expected finite values; "
                "replace them and save the image again"
            )
        return tiff.inverted(values, None) if _white_is_zero(image) else values, None
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA"))
    if image.mode not in ("1", "L"):
        image = image.convert("RGB")
    return np.asarray(image.convert("L") if image.mode == "1" else image), 255


def stretched(values: Num[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Values without a level of white in [0, 1]: kept if they lie there, else from their minimum to their maximum."""
    values = values.astype(np.float64)
    low, high = values.min(), values.max()
    if low < 0 or high > 1:
        values = (values - low) / ((high - low) or 1)
    return values.astype(np.float32)


def _white_is_zero(image: Image.Image) -> bool:
    # Asked of deep images alone: Pillow itself inverts those of up to 8 bits.
    return hasattr(image, "tag_v2") and image.tag_v2.get(_TIFF_PHOTOMETRIC) == 0
