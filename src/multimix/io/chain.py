"""A log of JSON lines that are chained by hash.

Every line holds its number, the hash of the line before it, and a hash of all of its own, so that a line that is
edited, dropped or put in between is found. Lines cut off at the end leave a chain that is whole: who keeps a line's
hash elsewhere can tell, and who writes every hash anew cannot be told by the log alone.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multimix.errors import SealError
from multimix.io.writers import atomic_write

Line = Mapping[str, Any]
"""'number' from 1, 'previous' (hash, empty for the first), 'hash', and whatever is logged."""

_RESTORE = "Restore the log, as from version control; until then no count of looks can be believed."


def line_hash(line: Line) -> str:
    """Sha256 (hex) over everything in the line but its 'hash'."""
    plain = {name: value for name, value in line.items() if name != "hash"}
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def append_line(path: Path, values: Mapping[str, Any]) -> Line:
    """Write one more line, in one step, and return it; SealError where the log is broken.

    The caller keeps other processes out. Raises MultimixError where the place cannot be written to.
    """
    lines = read_chain(path) if path.exists() else []
    line = {"number": len(lines) + 1, "previous": lines[-1]["hash"] if lines else "", **values}
    line["hash"] = line_hash(line)
    with atomic_write(path) as temporary:
        temporary.write_text("".join(_written(each) for each in [*lines, line]), "utf-8")
    return line


def read_chain(path: Path) -> list[Line]:
    """All lines; SealError naming the first that is not as it was written or does not follow the one before it."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SealError(f"{path}: cannot be read ({error}). {_RESTORE}") from error
    lines: list[Line] = []
    for number, written in enumerate(text.splitlines(), start=1):
        try:
            line = json.loads(written)
        except ValueError:
            line = None
        if not isinstance(line, dict) or line.get("hash") != line_hash(line):
            raise SealError(f"{path}, line {number}: is not as it was written; it was edited. {_RESTORE}")
        before = lines[-1]["hash"] if lines else ""
        if line.get("number") != number or line.get("previous") != before:
            raise SealError(
                f"{path}, line {number}: does not follow the line before it; a line was dropped, added or edited. "
                f"{_RESTORE}"
            )
        lines.append(line)
    if not lines:
        raise SealError(f"{path}: is empty, expected the seal in its first line. {_RESTORE}")
    return lines


def _written(line: Line) -> str:
    return json.dumps(line, ensure_ascii=False) + "\n"
