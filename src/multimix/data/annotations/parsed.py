"""What the readers of annotations share: JSON and XML from files, and one error for what is damaged."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from multimix.errors import ManifestError, MultimixError

_LARGEST = 2**31
"""Bytes of a file that are read."""


@contextmanager
def broken(file: Path) -> Iterator[None]:
    """ManifestError naming the file for whatever a reader meets in one that is not as its format says."""
    try:
        yield
    except MultimixError:
        raise
    except (
        Exception
    ) as error:  # a missing key, a text for a number, a list for a mapping, damaged run lengths
        what = f"no {error}" if isinstance(error, KeyError) else str(error)[:120]
        raise ManifestError(
            f"{file}: is not as its format says ({type(error).__name__}: {what}); export it again"
        ) from error


def json_of(file: Path) -> Any:
    """The content of a JSON file; ManifestError where it is none."""
    text = _text(file)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{file}: is not JSON ({str(error)[:80]}); export it again") from error


def xml_of(file: Path) -> ElementTree.Element:
    """The root of an XML file; ManifestError where it is none, or declares entities, which can fill the memory."""
    text = _text(file)
    if "<!ENTITY" in text:
        raise ManifestError(f"{file}: declares XML entities, which are not read; export it again")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ManifestError(f"{file}: is not XML ({error}); export it again") from error


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > _LARGEST:
            raise ManifestError(f"{file}: holds more than {_LARGEST >> 30} GB; split it")
        return file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{file}: cannot be read ({error}); check the file") from error


def number(value: Any) -> int:
    """A number of pixels, which some programs write as a float or text."""
    return int(float(value))


def pairs(values: list[float]) -> list[tuple[float, float]]:
    """[x1, y1, x2, y2, ...] as points."""
    return list(zip(values[::2], values[1::2], strict=True))
