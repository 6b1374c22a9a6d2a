"""Files by the names that tables and annotations give them: of other folders, in other case, without a suffix."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

from multimix.io.endings import stem


class Lookup:
    """Finds files by the end of their paths."""

    def __init__(self, files: Iterable[Path], ignored: Collection[str] = ()) -> None:
        """`ignored` are folders, in lower case, that say only what kind a file is, and are not compared."""
        self._ignored = ignored
        self._named: dict[str, list[Path]] = defaultdict(list)
        for file in files:
            for name in {file.name.lower(), stem(file).lower()}:
                self._named[name].append(file)

    def find(self, path: str) -> list[Path]:
        """The files that a '/'-separated path may mean: one, none, or several that agree with it equally far.

        The file's name must agree, and of several files the most folders above it, without a gap.
        """
        name = path.rpartition("/")[2].lower()
        found = self._named.get(name, [])
        if len(found) < 2:
            return found
        folders = self._folders(path)
        agreed = [_agreed(folders, self._folders(file.as_posix())) for file in found]
        return [file for file, count in zip(found, agreed, strict=True) if count == max(agreed)]

    def _folders(self, path: str) -> list[str]:
        """From the file upwards."""
        parts = [part.lower() for part in path.split("/") if part not in ("", ".")]
        return [part for part in parts[-2::-1] if part not in self._ignored]


def _agreed(one: list[str], other: list[str]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count
