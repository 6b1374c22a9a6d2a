"""Every file that multimix leaves behind: written beside its final place, then moved there in one step.

A reader, a crash or a `kill -9` meets the old file or the new one, never half of one. What a kill may leave
is a hidden file `.multimix-<hex><suffix>` in the same folder, which nothing reads.
"""

import csv
import dataclasses
import errno
import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from multimix.errors import MultimixError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; it becomes `path` when the block ends without error.

    Folders are made as needed. The temporary path keeps the suffix and does not exist yet. On any exception
    it is removed and an existing `path` stays as it was. Raises MultimixError where the disk is full or the
    place cannot be written to.
    """
    path = Path(path)
    temporary = path.parent / f".multimix-{uuid.uuid4().hex}{path.suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if (translated := _translate(error, path, temporary)) is not None:
            raise translated from error
        raise
    with suppress(OSError):  # not every file system syncs folders; the file itself is safe by now
        _sync(path.parent)


def write_json(path: str | os.PathLike[str], obj: Any) -> None:
    """Write `obj` as indented UTF-8 JSON.

    Dataclasses, mappings, sequences, paths, NumPy scalars and arrays are allowed; a number that is not finite
    becomes null, since JSON has no word for it.
    """
    text = json.dumps(_plain(obj), indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def write_csv(
    path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()
) -> None:
    """Write one line per row; a missing key is an empty cell.

    `columns` come first, then all other keys in the order in which they first appear.
    """
    columns = list(dict.fromkeys([*columns, *(key for row in rows for key in row)]))
    with (
        atomic_write(path) as temporary,
        # File names may hold bytes that are no text; the table must stay readable all the same.
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_png(
    path: str | os.PathLike[str], pixels: UInt8[np.ndarray, "H W"] | UInt8[np.ndarray, "H W 3"]
) -> None:
    """Write a grey (H W) or colour (H W 3) image, 8 bits a channel."""
    with atomic_write(path) as temporary:
        # Level 3 takes half the time of the default 6 for a fifth more bytes.
        Image.fromarray(np.ascontiguousarray(pixels)).save(temporary, format="PNG", compress_level=3)


def _sync(path: Path) -> None:
    """Wait until `path`, a file or a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _translate(error: BaseException, path: Path, temporary: Path) -> MultimixError | None:
    """Say what is wrong with the place written to; None where `error` is about something else."""
    number = error.errno if isinstance(error, OSError) else None
    # Writers in Rust and C++ (safetensors, torch) hand on the text of the system error, not its number.
    if number in _FULL or (isinstance(error, Exception) and "No space left on device" in str(error)):
        return MultimixError(
            f"{path}: no space left on the disk; the file was not written and an older one is untouched. "
            "Free some space or choose another folder."
        )
    # An OSError without a number or about another file was raised by what the block read, not by this place.
    if not isinstance(error, OSError) or number is None:
        return None
    ours = {str(temporary), str(path), *map(str, path.parents)}
    if error.filename is not None and os.fsdecode(error.filename) not in ours:
        return None
    return MultimixError(
        f"{path}: cannot be written ({error.strerror}). Choose another folder or change its permissions."
    )


def _plain(obj: Any) -> Any:
    """`obj` in the types that JSON knows."""
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        obj = {field.name: getattr(obj, field.name) for field in dataclasses.fields(obj)}
    if isinstance(obj, (np.ndarray, np.generic)):
        obj = obj.tolist()
    if isinstance(obj, Mapping):
        return {str(key): _plain(value) for key, value in obj.items()}
    if isinstance(obj, (list, tuple, set, frozenset)):
        return [_plain(value) for value in (sorted(obj) if isinstance(obj, (set, frozenset)) else obj)]
    if isinstance(obj, os.PathLike):
        return os.fspath(obj)
    return None if isinstance(obj, float) and not math.isfinite(obj) else obj
