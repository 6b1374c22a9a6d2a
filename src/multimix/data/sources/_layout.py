"""What the adapters share: finding a layout's folders, files, reading its tables, naming what is amiss."""

import csv
import os
import re
from collections.abc import Sequence
from pathlib import Path

from multimix.errors import ManifestError

SEED = 0
"""Seed of every split drawn here, so that two users of a set get the same one."""


def absolute(root: Path) -> Path:
    """`root` as an absolute path without '..'; links are kept, so that relative manifests stay short."""
    return Path(os.path.abspath(root))


def unlike(source: str, root: Path, expected: str) -> ManifestError:
    """The error for a folder that does not look like the layout: what was expected, what is there."""
    if not root.is_dir():
        found = "no such folder" if not root.exists() else "a file"
    else:
        names = sorted(p.name + "/" * p.is_dir() for p in root.iterdir() if not p.name.startswith("."))
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        found = ", ".join(names[:5]) + more if names else "an empty folder"
    return ManifestError(
        f"{source}: expected {expected} in {str(root)!r}, found {found}. "
        f"Give the unpacked folder as its authors lay it out, see docs/data/{source}.md."
    )


def find_folder(source: str, root: Path, candidates: Sequence[str], expected: str) -> Path:
    """The first of `candidates` (relative to `root`) that is a folder; ManifestError where none is."""
    for candidate in candidates:
        if (root / candidate).is_dir():
            return root / candidate
    raise unlike(source, root, expected)


def list_files(folder: Path, pattern: str) -> dict[str, Path]:
    """Stem -> file, sorted, for the visible files directly in `folder` whose name matches `pattern`.

    `pattern` is a regular expression for the whole name, case ignored. Hidden files are skipped, among them
    the '._*' shadows that macOS puts into zip files. An absent folder has no files. Where two files share a
    stem the first in order of name is taken.
    """
    if not folder.is_dir():
        return {}
    name = re.compile(pattern, re.IGNORECASE)
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and name.fullmatch(path.name) and path.is_file():
            found.setdefault(path.stem, path)
    return found


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of the CSV file `path` as lower-case column name -> cell, both stripped; each has `columns`.

    Raises ManifestError where the file is absent or not UTF-8, lacks one of `columns`, or a row is cut short.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            header = [name.strip().lower() for name in next(lines, [])]
            rows = [(lines.line_num, line) for line in lines if line]
    except OSError as error:
        raise ManifestError(
            f"{path}: cannot be read ({error.strerror}). Put the table that comes with the set there."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path}: not a UTF-8 CSV table ({error}). Download it again.") from error
    missing = [name for name in columns if name not in header]
    if missing:
        raise ManifestError(
            f"{path}: expected columns {', '.join(columns)}, lacks {', '.join(missing)}. Download it again."
        )
    needed = 1 + max(header.index(name) for name in columns)
    for number, line in rows:
        if len(line) < needed:
            raise ManifestError(
                f"{path}, line {number}: expected {needed} cells or more, got {len(line)}. "
                "The table is cut short; download it again."
            )
    return [dict(zip(header, map(str.strip, line), strict=False)) for _, line in rows]
