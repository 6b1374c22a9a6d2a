"""What every decoder keeps to: sizes that are a radiograph's, and errors that name the file."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from multimix.errors import ImageError, MultimixError

Stream = BinaryIO | BytesIO
"""What images are decoded from: an open file, or bytes in memory. Can seek."""

MIN_SIDE = 16
MAX_PIXELS = 100_000_000
MAX_FILE_BYTES = 3 * MAX_PIXELS + 2**24
"""Largest content that is read into memory at once: a colour image of MAX_PIXELS and its header."""

_OF_PROGRAMS = (AttributeError, AssertionError, LookupError, NotImplementedError, TypeError, struct.error)
"""Errors whose words are about a program and not about a file."""


def check_size(path: Path | str, height: int, width: int) -> None:
    """Refuse a size that is no radiograph's, or that would fill the memory. Raises ImageError."""
    if min(height, width) < MIN_SIDE:
        raise ImageError(
            f"{path}: {width} x {height} pixels is too small, expected at least {MIN_SIDE} x {MIN_SIDE}; "
            "give the original image, or remove it from the list"
        )
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"{path}: the header says {width} x {height} pixels, more than {MAX_PIXELS // 1_000_000} "
            "megapixels; the file is damaged or must be made smaller first"
        )


def check_bytes(path: Path | str, size: int) -> None:
    """Refuse content of more than MAX_FILE_BYTES. Raises ImageError."""
    if size > MAX_FILE_BYTES:
        raise ImageError(
            f"{path}: holds {size / 1e6:,.0f} MB or more, expected at most {MAX_FILE_BYTES // 1_000_000} MB for "
            "one image; the file is damaged or must be made smaller first"
        )


@contextmanager
def explained(path: Path | str) -> Iterator[None]:
    """Turn whatever a decoder raises on a damaged file into an ImageError that names the file."""
    try:
        yield
    except MultimixError:
        raise
    except MemoryError as error:
        raise ImageError(f"{path}: not enough memory to decode it; make the image smaller") from error
    except Exception as error:  # Pillow alone raises a dozen kinds on damaged data, struct.error among them
        reason = "" if isinstance(error, _OF_PROGRAMS) else str(error)[:120].strip().rstrip(".")
        raise ImageError(
            f"{path}: damaged or incomplete{f' ({reason})' if reason else ''}; copy or export the file again"
        ) from error
