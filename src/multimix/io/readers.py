"""From a file to pixels: the only place where an image or a mask is decoded.

On disk   PNG, JPEG, TIFF, GIF, BMP; raw JSRT .IMG; DICOM where pydicom is installed; NIfTI, NRRD and MetaImage of
          one plane where SimpleITK is; .npy
Reads as  float32 (C H W) in [0, 1] at the file's own size; 0 is black
Masks     bool (H W), the union of their files

Levels and colour of PNG and its like: `raster`; of DICOM: `dicom`; of NIfTI and its like: `planes`.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path, PurePath

import numpy as np
from jaxtyping import Bool, Float, Num

from multimix.errors import ImageError, UsageError
from multimix.io.colour import grey, is_in_colour
from multimix.io.endings import ending
from multimix.io.limits import Stream, explained
from multimix.io.masks import foreground, ink
from multimix.io.planes import PLANE_SUFFIXES, Plane, is_plane, read_plane
from multimix.io.raster import is_raster, read_levels, read_raster, stretched
from multimix.types import Radiograph

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
RASTER_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp"})
IMAGE_SUFFIXES = RASTER_SUFFIXES | DICOM_SUFFIXES | PLANE_SUFFIXES | {".img"}
"""What `find_images` looks for in a folder, lower case."""

JSRT_SIDE = 2048
JSRT_SPACING_MM = 0.175
JSRT_MAX_LEVEL = 4095

HEAD = 132
"""So many first bytes tell the kind of a file."""


def read_image(path: Path | str, channels: int = 1, force: bool = False) -> Radiograph:
    """Read one radiograph as float32 (C H W) in [0, 1] with `channels` = 1 (grey) or 3 (RGB).

    Raises ImageError naming the file where it is missing, damaged, of another kind, smaller than 16 x 16 or
    larger than 100 megapixels (told from the header, before anything is decoded), or where its DICOM header
    says that it is no frontal chest radiograph; `force` reads the latter all the same.
    """
    with _opened(Path(path)) as stream:
        return _read(stream, str(path), channels, force)


def read_image_bytes(data: bytes, name: str, channels: int = 1, force: bool = False) -> Radiograph:
    """Read one radiograph from the content of a file, as `read_image` does from its path.

    `name` is what errors and the radiograph's `path` call it; its suffix counts as a file's does.
    """
    if not data:
        raise ImageError(f"{name}: is empty (0 bytes); copy or export the file again")
    return _read(BytesIO(data), name, channels, force)


def is_dicom(head: bytes) -> bool:
    """Whether a file that starts with `head` (132 bytes or more) is DICOM, PS3.10 section 7.1."""
    return head[128:132] == b"DICM"


def read_mask(paths: Sequence[Path | str], size: tuple[int, int] | None = None) -> Bool[np.ndarray, "H W"]:
    """Read the union of mask files of one size: foreground is half of the file's range (128 of 255) or more.

    A mask whose only values are 0 and 1, or 0 and 255, is taken as it is meant, whatever its type; soft edges and
    what JPEG leaves are halved, in float and 32 bits at half of 1 or of 255. Values that reach no reading (a label
    map 0, 1, 2 ...), areas of several levels or colours (left and right, 'ignore') and files of several frames or
    segments are refused rather than read as half of what is meant; one colour on black is as good as white. DICOM
    Segmentations and grey DICOM images are masks like any other. `size` is the
    (height, width) of the mask's image; a mask of another size is refused, except that SCR gives its masks of
    JSRT's 2048 x 2048 films as GIFs of 1024 x 1024, which are doubled. Raises ImageError.
    """
    return read_mask_and_inks(paths, size)[0]


def read_mask_and_inks(
    paths: Sequence[Path | str], size: tuple[int, int] | None = None
) -> tuple[Bool[np.ndarray, "H W"], list[tuple[float, float, float]]]:
    """`read_mask`, and the colours (RGB in [0, 1]) that its files are drawn in, without those that are empty."""
    if not paths:
        raise ImageError("no mask file was given; name at least one file in the manifest's mask column")
    found = [(path, *read_mask_levels(Path(path))) for path in paths]
    masks = [foreground(levels, top, str(path)) for path, levels, top in found]
    inks = [one for _, levels, top in found if (one := ink(levels, top)) is not None]
    return _union(paths, masks, size), inks


def read_mask_levels(path: Path) -> tuple[Num[np.ndarray, "..."], int | None]:
    """Levels of a mask file as stored, but 0 black, (H W) or (H W 3), and that of white, None where there is none.

    Raises ImageError.
    """
    with _opened(path) as stream:
        head = _head(stream, str(path))
        if path.suffix.lower() in DICOM_SUFFIXES or is_dicom(head):
            from multimix.io.dicom.mask import read_dicom_levels

            return read_dicom_levels(stream, str(path))
        if is_plane(path.name):
            plane = read_plane(stream, str(path))
            return plane.values, plane.top
        return read_levels(stream, str(path), head)


def _union(
    paths: Sequence[Path | str], masks: Sequence[np.ndarray], size: tuple[int, int] | None
) -> Bool[np.ndarray, "H W"]:
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

    Hidden files and folders are skipped. In a folder, files count by suffix (IMAGE_SUFFIXES), others where
    they are DICOM, DICOMDIR aside, and those without a suffix by how they begin; a file named outright is kept
    whatever it is, and a missing one too, so that reading it says what is wrong while the others go on. Raises
    ImageError for a folder without images.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            found[path] = None
            continue
        inside = sorted(filter(_is_image, _walk(path)), key=lambda file: natural_key(file.as_posix()))
        if not inside:
            raise ImageError(f"{path}: no image in this folder; expected {', '.join(sorted(IMAGE_SUFFIXES))}")
        found.update(dict.fromkeys(inside))
    return list(found)


def other_kinds(folder: Path, images: Collection[Path]) -> str:
    """What `find_images` passed over where it found `images`: '3 files of other kinds (2 .txt, 1 .webp)', or ''."""
    count = Counter(ending(file) or "without suffix" for file in _walk(folder) if file not in images)
    if not count:
        return ""
    kinds = ", ".join(f"{number} {suffix}" for suffix, number in sorted(count.items()))
    return f"{count.total()} {'file of another kind' if count.total() == 1 else 'files of other kinds'} ({kinds})"


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sort key under which runs of digits compare as numbers."""
    parts = re.split(r"(\d+)", text)
    return [(1, int(p), p) if p.isdecimal() else (0, 0, p) for p in parts]


@contextmanager
def _opened(path: Path) -> Iterator[Stream]:
    """The file, at its beginning; ImageError where it cannot be opened or is empty."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(f"{path}: is a folder, expected an image file; name the files in it")
        if not stat.S_ISREG(mode):
            raise ImageError(f"{path}: is not an ordinary file; name an image file")
        stream = path.open("rb")
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file; check the path and the manifest's folder") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(
            f"{path}: cannot be opened ({reason}); check the file and its permissions"
        ) from error
    with stream:
        if path.stat().st_size == 0:
            raise ImageError(f"{path}: is empty (0 bytes); copy or export the file again")
        yield stream


def _head(stream: Stream, name: str) -> bytes:
    with explained(name):
        head = stream.read(HEAD)
        stream.seek(0)
    return head


def _read(stream: Stream, name: str, channels: int, force: bool) -> Radiograph:
    """`read_image` for whatever holds the bytes."""
    if channels not in (1, 3):
        raise UsageError(
            f"{name}: images are read with 1 or 3 channels, not {channels}; use --channels 1 or 3"
        )
    head, suffix = _head(stream, name), PurePath(name).suffix.lower()
    if suffix == ".img":
        note = "of the digitised film (0.175 mm), not corrected for magnification"
        spacing = (JSRT_SPACING_MM, JSRT_SPACING_MM)
        image = Radiograph(_read_jsrt(stream, name), name, spacing=spacing, spacing_note=note)
    elif suffix in DICOM_SUFFIXES or is_dicom(head):
        from multimix.io.dicom.read import read_dicom

        found = read_dicom(stream, name, force=force)
        image = Radiograph(
            found.pixels,
            name,
            spacing=found.spacing,
            spacing_note=found.spacing_note,
            against=found.against,
            turn=found.turn,
            note=found.note,
        )
    elif is_plane(name):
        image = _of_plane(read_plane(stream, name), name)
    else:
        raster = read_raster(stream, name, head, channels)
        note = f"holds {raster.frames} frames, of which the first was read" if raster.frames > 1 else ""
        image = Radiograph(raster.pixels, name, in_colour=raster.colour_lost, note=note)
    return _with_channels(image, channels)


def _of_plane(plane: Plane, name: str) -> Radiograph:
    values = plane.values
    pixels = stretched(values) if plane.top is None else values.astype(np.float32) / np.float32(plane.top)
    pixels = pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    note = "of the file's header" if plane.spacing else ""
    return Radiograph(pixels, name, spacing=plane.spacing, spacing_note=note, turn=plane.turn)


def _with_channels(image: Radiograph, channels: int) -> Radiograph:
    """`image` with 1 or 3 channels; where colour is lost, it is said that there was some."""
    pixels = image.pixels
    if len(pixels) == channels:
        return image
    if channels == 3:
        return replace(image, pixels=np.repeat(pixels, 3, axis=0))
    return replace(image, pixels=luma(pixels), in_colour=is_in_colour(pixels))


def luma(pixels: Float[np.ndarray, "3 H W"]) -> Float[np.ndarray, "1 H W"]:
    """Grey of RGB, ITU-R 601."""
    return grey(pixels)[None]


def _read_jsrt(stream: Stream, name: str) -> Float[np.ndarray, "1 H W"]:
    """Raw JSRT film: 2048 x 2048 big-endian uint16, 12 bits; 0 is white (least dense), so it is inverted.

    Shiraishi J. et al., AJR 174 (2000) 71-74.
    """
    expected, found = JSRT_SIDE * JSRT_SIDE * 2, stream.seek(0, os.SEEK_END)
    if found != expected:
        raise ImageError(
            f"{name}: a raw JSRT .IMG has {expected} bytes (2048 x 2048, 16 bits), this file has {found}; "
            "copy it again, or convert it to PNG if it is of another kind"
        )
    with explained(name):
        stream.seek(0)
        levels = np.frombuffer(stream.read(), dtype=">u2").reshape(JSRT_SIDE, JSRT_SIDE)
    if levels.max() > JSRT_MAX_LEVEL:
        raise ImageError(
            f"{name}: values reach {levels.max()}, expected 12-bit big-endian values up to {JSRT_MAX_LEVEL}; "
            "use the official .IMG file, or convert this one to PNG"
        )
    return 1 - levels.astype(np.float32)[None] / np.float32(JSRT_MAX_LEVEL)


def _walk(folder: Path) -> Iterator[Path]:
    """Files below `folder` but for hidden ones and DICOMDIR; links are followed, but no folder is entered twice."""
    seen: set[str] = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(here, name) for name in files if name[0] != "." and name.upper() != "DICOMDIR")


def _is_image(path: Path) -> bool:
    # DICOM files are often named by their UIDs, whose last number looks like a suffix.
    return ending(path) in IMAGE_SUFFIXES or _begins_as_image(path)


def _begins_as_image(path: Path) -> bool:
    try:
        with _opened(path) as stream:
            head = _head(stream, str(path))
            return is_dicom(head) or (not path.suffix and is_raster(head))
    except ImageError:
        return False


def _size(mask: Bool[np.ndarray, "H W"]) -> str:
    return f"{mask.shape[1]} x {mask.shape[0]}"
