"""Decoded images and masks at the model's size: uint8, on disk, memory-mapped, built once.

A cache is keyed by what it was made from: path and identity of every file (size, time of modification, time of
change, inode) and the target size, so a changed or replaced file makes a new cache and never a stale answer. Folder:
`MULTIMIX_CACHE`, or the user's cache folder of the operating system.

Before one is built, those that were not used for longest are removed until all fit into `MULTIMIX_CACHE_GB`
(20 where it is not set). A cache in use holds a shared lock on its index, so that no process removes it.
"""

import hashlib
import io
import json
import math
import os
import re
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs

from multimix.errors import ImageError, ManifestError, MultimixError, UsageError
from multimix.io.locks import lock_exclusive, lock_shared
from multimix.io.readers import read_image, read_mask
from multimix.io.resize import to_model_size
from multimix.types import Record

DECODER = 3
"""Raised when decoding or resizing changes, so that older caches are left alone and built anew."""

ABANDONED_SECONDS = 24 * 3600
"""Age from which a half-built cache is what a kill left behind, and is removed."""

DEFAULT_GB = 20.0
"""Gigabytes (10^9 bytes) of all caches together, where `MULTIMIX_CACHE_GB` does not say otherwise."""

ALL_AT_ONCE = (
    "`multimix data check MANIFEST --good FILE` lists all such files and writes a manifest without them."
)

_NAME = re.compile(r"[0-9a-f]{32}")
"""Of a cache. The folder may hold other things, which are not ours to remove."""


def cache_folder() -> Path:
    """Where caches lie on this machine."""
    return Path(os.environ.get("MULTIMIX_CACHE") or platformdirs.user_cache_path("multimix"))


def cache_limit() -> float:
    """Bytes that all caches together may take; UsageError where `MULTIMIX_CACHE_GB` is no number from 0 on."""
    text = os.environ.get("MULTIMIX_CACHE_GB") or str(DEFAULT_GB)
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not limit >= 0:  # nan is not
        raise UsageError(
            f"MULTIMIX_CACHE_GB: expected gigabytes, a number from 0 on, or inf; got {text!r}. Correct or unset it."
        )
    return limit * 1e9


@dataclass(frozen=True)
class ImageCache:
    """Decoded rows, in the order of the records they were opened with."""

    images: np.ndarray
    """(N C size size) uint8, memory-mapped."""
    masks: np.ndarray
    """(N S size size) uint8, 0 or 1, memory-mapped; all 0 where the record names no mask."""
    digests: tuple[str, ...]
    """Per record a hash of its decoded image and masks; without structures, equal digests are the same picture."""
    folder: Path


def open_cache(
    records: Sequence[Record],
    *,
    size: int,
    channels: int,
    structures: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
) -> ImageCache:
    """The cache of `records`, built now unless it is there; `progress(done, total)` while building.

    ImageError names the first file that cannot be decoded; ManifestError one that is missing.
    """
    target, limit = cache_folder() / _key(records, size, channels, structures), cache_limit()
    with _disk_errors(target.parent):
        while (index := _held(target)) is None:
            _make_room(target.parent, limit - len(records) * (channels + len(structures)) * size * size)
            _build(target, records, size, channels, structures, progress)
    try:
        found = ImageCache(
            images=np.load(target / "images.npy", mmap_mode="r"),
            masks=np.load(target / "masks.npy", mmap_mode="r" if structures else None),
            digests=tuple(json.load(index)["digests"]),
            folder=target,
        )
    except (OSError, EOFError, ValueError, KeyError) as error:
        index.close()
        raise MultimixError(
            f"{target}: a damaged cache ({error}). Delete this folder; it is built anew."
        ) from error
    weakref.finalize(found, index.close)
    return found


def _held(target: Path) -> io.BufferedReader | None:
    """The index of a cache, marked as used now and locked against removal until it is closed; None without one."""
    path = target / "index.json"
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    lock_shared(file)
    with suppress(FileNotFoundError):
        # It may have been removed, and even built anew, before the lock was had.
        if os.path.samestat(os.fstat(file.fileno()), path.stat()):
            with suppress(PermissionError):  # another user's, in a folder that is shared
                os.utime(path)
            return file
    file.close()
    return None


def _make_room(folder: Path, limit: float) -> None:
    """Remove caches, first what was not used for longest, until all take `limit` bytes or none is left but those
    in use, by whatever process.
    """
    total, caches = 0, []
    for place in folder.iterdir() if folder.is_dir() else ():
        whole = _NAME.fullmatch(place.name)
        if whole or place.name.startswith("building-"):
            with suppress(OSError):  # removed meanwhile, by another process
                size = sum(file.stat().st_size for file in place.iterdir())
                total += size
                if whole:
                    caches.append(((place / "index.json").stat().st_mtime, size, place))
    for _, size, place in sorted(caches):
        if total <= limit:
            return
        total -= size if _removed(place) else 0


def _removed(place: Path) -> bool:
    """Whether the cache could be removed: not where it is in use, another user's, or locks are not to be had."""
    gone = place.with_name(f"building-{place.name}")  # so that what a kill leaves of it goes with its like
    try:
        with (place / "index.json").open("r+b") as file:
            if not lock_exclusive(file):
                return False
            place.rename(gone)
    except OSError:
        return False
    shutil.rmtree(gone, ignore_errors=True)
    return True


def _key(records: Sequence[Record], size: int, channels: int, structures: Sequence[str]) -> str:
    key = hashlib.blake2b(repr((DECODER, size, channels, tuple(structures))).encode(), digest_size=16)
    for record in records:
        for path in (record.image, *_mask_files(record, structures)):
            try:
                stat = os.stat(path)
            except OSError as error:
                raise ManifestError(
                    f"{path}: {error.strerror or error}; the manifest names it. Restore the file. {ALL_AT_ONCE}"
                ) from error
            # Copies and unpacked archives keep the time of modification; they cannot keep the other two.
            identity = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
            key.update(f"{path}|{identity}\n".encode())
        key.update(repr([len(record.masks.get(s, ())) for s in structures]).encode())
    return key.hexdigest()


def _mask_files(record: Record, structures: Sequence[str]) -> Iterator[Path]:
    for structure in structures:
        yield from record.masks.get(structure, ())


def _build(
    target: Path,
    records: Sequence[Record],
    size: int,
    channels: int,
    structures: Sequence[str],
    progress: Callable[[int, int], None] | None,
) -> None:
    """Decode everything beside `target` and move it there in one rename."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob("building-*"):
        with suppress(FileNotFoundError):  # another process has just moved it to its place
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="building-", dir=target.parent))
    try:
        images = _empty(folder / "images.npy", (len(records), channels, size, size))
        masks = _empty(folder / "masks.npy", (len(records), len(structures), size, size))

        def decode(row: int) -> str:
            record = records[row]
            try:
                images[row], masks[row] = decode_record(record, size, channels, structures)
            except ImageError as error:
                raise ImageError(f"{error}. {ALL_AT_ONCE}") from error
            return hashlib.blake2b(images[row].tobytes() + masks[row].tobytes(), digest_size=16).hexdigest()

        digests = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for digest in pool.map(decode, range(len(records))):
                digests.append(digest)
                if progress is not None:
                    progress(len(digests), len(records))
        for array in (images, masks):
            if isinstance(array, np.memmap):
                array.flush()
        (folder / "index.json").write_text(json.dumps({"digests": digests}), "utf-8")
        try:
            folder.rename(target)
        except OSError:
            # Another process finished the very same cache first; anything else is a real error.
            if not (target / "index.json").is_file():
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _empty(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A memory-mapped array of zeros; one without elements cannot be mapped and is written as it is."""
    if 0 in shape:
        array = np.zeros(shape, np.uint8)
        np.save(path, array)
        return array
    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    if hasattr(os, "posix_fallocate"):
        # A mapped file has holes; filling one on a full disk kills the process instead of raising an OSError.
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def decode_record(
    record: Record, size: int, channels: int, structures: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Image (C size size) and masks (S size size), both uint8, as the cache stores them."""
    radiograph = read_image(record.image, channels, force=True)
    image = to_model_size(radiograph.pixels, size)
    masks = np.zeros((len(structures), size, size), np.uint8)
    for row, structure in enumerate(structures):
        files = record.masks.get(structure)
        if files:
            mask = read_mask(files, radiograph.size)
            resized = to_model_size(mask[None].astype(np.float32), size)
            masks[row] = resized[0] >= 0.5
    # Square by now, so that being turned and being resized come to the same.
    upright = radiograph.turn.upright
    return upright(np.rint(image * 255).astype(np.uint8)), upright(masks)


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MultimixError(
            f"{folder}: the cache cannot be written ({error.strerror or error}). Free some space, or set "
            "MULTIMIX_CACHE to a folder with room."
        ) from error
