"""From a file to pixels: the only place where an image or a mask is decoded.

On disk   PNG, JPEG, TIFF, GIF, BMP; raw JSRT .IMG; DICOM where pydicom is installed
Reads as  float32 (C H W) in [0, 1] at the file's own size; 0 is black
Masks     bool (H W), the union of their files

Levels    integer images are divided by the full range of their type (255, 65535), so 12-bit data in a 16-bit
          PNG stays dark; a TIFF that says 12 bits is divided by 4095. Float and 32-bit images are kept where
          they lie in [0, 1] and stretched from their minimum to their maximum otherwise.
Colour    grey is luma (ITU-R 601) of RGB; palette, CMYK and YCbCr become RGB first, alpha is laid over black.
Turned    an EXIF orientation is applied, so that pixels lie as a viewer shows them.
Frames    the first one of a file with several.
"""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Num
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
)

from multimix.errors import ImageError, UsageError
from multimix.io.limits import check_size, explained
from multimix.types import Radiograph

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
RASTER_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp"})
IMAGE_SUFFIXES = RASTER_SUFFIXES | DICOM_SUFFIXES | {".img"}
"""What `find_images` looks for in a folder, lower case."""

JSRT_SIDE = 2048
JSRT_SPACING_MM = 0.175
JSRT_MAX_LEVEL = 4095

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


def read_image(path: Path | str, channels: int = 1) -> Radiograph:
    """Read one radiograph as float32 (C H W) in [0, 1] with `channels` = 1 (grey) or 3 (RGB).

    Raises ImageError naming the file where it is missing, damaged, of another kind, smaller than 16 x 16 or
    larger than 100 megapixels (told from the header, before anything is decoded).
    """
    if channels not in (1, 3):
        raise UsageError(
            f"{path}: images are read with 1 or 3 channels, not {channels}; use --channels 1 or 3"
        )
    file, head = Path(path), _first_bytes(Path(path))
    spacing = None
    if file.suffix.lower() == ".img":
        pixels, spacing = _read_jsrt(file), (JSRT_SPACING_MM, JSRT_SPACING_MM)
    elif file.suffix.lower() in DICOM_SUFFIXES or _is_dicom(head):
        from multimix.io.dicom import read_dicom

        pixels, spacing = read_dicom(file)
    else:
        pixels = _read_raster(file, head, channels)
    if channels == 1 and pixels.shape[0] == 3:
        pixels = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), pixels, axes=1)[None]
    elif channels == 3 and pixels.shape[0] == 1:
        pixels = np.repeat(pixels, 3, axis=0)
    return Radiograph(pixels=pixels, path=str(path), spacing=spacing)


def read_mask(paths: Sequence[Path | str], size: tuple[int, int] | None = None) -> Bool[np.ndarray, "H W"]:
    """Read the union of mask files of one size: foreground is half of the file's range (128 of 255) or more.

    A mask whose only values are 0 and 1 is taken as it is meant. Values that reach neither reading (a label
    map 0, 1, 2 ...) are refused rather than read as empty. `size` is the (height, width) of the mask's image;
    a mask of another size is refused, except that SCR gives its masks of JSRT's 2048 x 2048 films as GIFs of
    1024 x 1024, which are doubled. Raises ImageError.
    """
    if not paths:
        raise ImageError("no mask file was given; name at least one file in the manifest's mask column")
    masks = [_foreground(Path(path)) for path in paths]
    for path, mask in zip(paths, masks, strict=True):
        if mask.shape != masks[0].shape:
            raise ImageError(
                f"{path}: mask is {_size(mask)} but {paths[0]}, of the same image, is {_size(masks[0])}; "
                "masks of one image must have one size: export them again"
            )
    union = np.logical_or.reduce(masks)
    if size is None or union.shape == size:
        return union
    if size == (2048, 2048) and union.shape == (1024, 1024) and Path(paths[0]).suffix.lower() == ".gif":
        return union.repeat(2, axis=0).repeat(2, axis=1)
    raise ImageError(
        f"{paths[0]}: mask is {_size(union)} but its image is {size[1]} x {size[0]}; export the mask at the "
        "image's size"
    )


def find_images(paths: Sequence[Path | str]) -> list[Path]:
    """Files among `paths`, folders expanded recursively, in natural order (2.png before 10.png), each once.

    Hidden files and folders are skipped. In a folder, files count by suffix (IMAGE_SUFFIXES), those without
    one where they are DICOM; a file named outright is kept whatever it is, and a missing one too, so that
    reading it says what is wrong while the others go on. Raises ImageError for a folder without images.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            found[path] = None
            continue
        inside = sorted(_walk(path), key=lambda file: natural_key(file.as_posix()))
        if not inside:
            raise ImageError(f"{path}: no image in this folder; expected {', '.join(sorted(IMAGE_SUFFIXES))}")
        found.update(dict.fromkeys(inside))
    return list(found)


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sort key under which runs of digits compare as numbers."""
    parts = re.split(r"(\d+)", text)
    return [(1, int(p), p) if p.isdecimal() else (0, 0, p) for p in parts]


def _first_bytes(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(f"{path}: is a folder, expected an image file; name the files in it")
        if not stat.S_ISREG(mode):
            raise ImageError(f"{path}: is not an ordinary file; name an image file")
        with path.open("rb") as stream:
            head = stream.read(132)
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file; check the path and the manifest's folder") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(
            f"{path}: cannot be opened ({reason}); check the file and its permissions"
        ) from error
    if not head:
        raise ImageError(f"{path}: is empty (0 bytes); copy or export the file again")
    return head


def _is_dicom(head: bytes) -> bool:
    return head[128:132] == b"DICM"


def _open(path: Path, head: bytes) -> Image.Image:
    """Image whose header has been read and found sensible; nothing is decoded yet."""
    for magic, decoder in _DECODERS:
        if head.startswith(magic):
            with explained(path):
                image = decoder(path)
            try:
                check_size(path, image.height, image.width)
            except ImageError:
                image.close()
                raise
            return image
    raise ImageError(
        f"{path}: is not a PNG, JPEG, TIFF, GIF, BMP or DICOM file (it starts with {head[:8]!r}); "
        "export it as one of these"
    )


def _read_raster(path: Path, head: bytes, channels: int) -> Float[np.ndarray, "C H W"]:
    with _open(path, head) as image, explained(path):
        levels, top = _levels(image, path, "L" if channels == 1 else "RGB")
    pixels = _stretched(levels) if top is None else levels.astype(np.float32) / np.float32(top)
    if _white_is_zero(image):
        pixels = 1 - pixels
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _levels(image: Image.Image, path: Path, colour: str) -> tuple[Num[np.ndarray, "..."], int | None]:
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
                f"{path}: {bad} pixels are NaN or infinite, expected finite values; "
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


def _foreground(path: Path) -> Bool[np.ndarray, "H W"]:
    with _open(path, _first_bytes(path)) as image, explained(path):
        levels, top = _levels(image, path, "L")
    top = 1 if top is None else top
    highest = float(levels.max())
    if highest == 1:
        return np.asarray(levels == 1) if np.isin(levels, (0, 1)).all() else np.asarray(levels >= 0.5)
    if 0 < highest < top / 2 or highest > top:
        raise ImageError(
            f"{path}: mask values reach {highest:g} where 0 and {top} are expected; "
            "write one mask file per structure with background 0 and foreground 255"
        )
    return np.asarray(levels >= top / 2)


def _read_jsrt(path: Path) -> Float[np.ndarray, "1 H W"]:
    """Raw JSRT film: 2048 x 2048 big-endian uint16, 12 bits; 0 is white (least dense), so it is inverted.

    Shiraishi J. et al., AJR 174 (2000) 71-74.
    """
    expected, found = JSRT_SIDE * JSRT_SIDE * 2, path.stat().st_size
    if found != expected:
        raise ImageError(
            f"{path}: a raw JSRT .IMG has {expected} bytes (2048 x 2048, 16 bits), this file has {found}; "
            "copy it again, or convert it to PNG if it is of another kind"
        )
    with explained(path):
        levels = np.fromfile(path, dtype=">u2").reshape(JSRT_SIDE, JSRT_SIDE)
    if levels.max() > JSRT_MAX_LEVEL:
        raise ImageError(
            f"{path}: values reach {levels.max()}, expected 12-bit big-endian values up to {JSRT_MAX_LEVEL}; "
            "use the official .IMG file, or convert this one to PNG"
        )
    return 1 - levels.astype(np.float32)[None] / np.float32(JSRT_MAX_LEVEL)


def _walk(folder: Path) -> Iterator[Path]:
    """Image files below `folder`; links are followed, but no folder is entered twice."""
    seen: set[str] = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            file = Path(here, name)
            suffix = file.suffix.lower()
            if not name.startswith(".") and (
                suffix in IMAGE_SUFFIXES or (not suffix and _sniffs_dicom(file))
            ):
                yield file


def _sniffs_dicom(path: Path) -> bool:
    try:
        return _is_dicom(_first_bytes(path))
    except ImageError:
        return False


def _size(mask: Bool[np.ndarray, "H W"]) -> str:
    return f"{mask.shape[1]} x {mask.shape[0]}"
