"""What --structures says: the names of structures, and by which values, colours or labels each is told.

NAME                    a structure of that name; alone, the name of masks that have none
NAME=VALUE[,NAME=...]   a level, the number of a palette entry or YOLO class, a colour #rrggbb, or a label
FILE                    nnU-Net's dataset.json, CVAT's labelmap.txt, a JSON mapping, or lines 'NAME VALUE'

A name that is given twice is a union. `background` and `ignore` are no structures.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multimix.data.annotations.parsed import broken, json_of
from multimix.data.index import names as words
from multimix.errors import UsageError

NONE = ("background", "ignore", "unlabeled", "unlabelled", "void")
"""Names of values that are no structure."""
_FILES = ("dataset.json", "labelmap.txt")
"""Files that name the values of a folder's label maps by themselves."""


@dataclass(frozen=True)
class Structures:
    """Names, and what tells each."""

    told: tuple[tuple[str, str], ...] = ()
    """(structure, value): a value may be '' where only the name is known."""
    where: str = "--structures"
    """What said so, for errors."""

    @property
    def names(self) -> tuple[str, ...]:
        """The structures, each once."""
        return tuple(dict.fromkeys(name for name, _ in self.told if name.lower() not in NONE))

    @property
    def only_name(self) -> str:
        """The one name where nothing else is said; else ''."""
        return self.told[0][0] if len(self.told) == 1 and not self.told[0][1] else ""

    @property
    def values(self) -> tuple[str, ...]:
        """All values that are named, background among them."""
        return tuple(value for _, value in self.told if value)

    def of(self, label: str) -> tuple[str, ...]:
        """The structures that a label of an annotation stands for; none where it is not asked for."""
        return tuple(
            dict.fromkeys(name for name, value in self.told if (value or name) == label and name not in NONE)
        )


def parse(text: str) -> Structures:
    """What a user wrote; UsageError where it cannot be read."""
    if Path(text).is_file():
        return from_file(Path(text))
    told = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.rpartition("="))
        told.append((name, value) if equals else (value, ""))
    return _checked(told, "--structures")


def from_labels(labels: Iterable[str]) -> Structures:
    """All labels of annotations, each called as folders and tables are; UsageError for a name that no structure has."""
    return _checked([(label, label) for label in labels], "the annotations") if labels else Structures()


def in_folder(folder: Path) -> Structures | None:
    """What a file that lies in a folder says of its label maps; None where there is none."""
    for name in _FILES:
        if (folder / name).is_file() and (found := _known(folder / name)) is not None:
            return found
    return None


def from_file(file: Path) -> Structures:
    """What a file says; UsageError or ManifestError where it cannot be read."""
    found = _known(file)
    if found is not None:
        return found
    told = []
    for number, line in enumerate(file.read_text("utf-8-sig").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        pieces = [piece.strip() for piece in re.split(r"[,;\t=]|\s+(?=\S+$)", line.strip()) if piece.strip()]
        if len(pieces) != 2:
            raise UsageError(
                f"{file}, line {number}: {line!r}, expected a name and a value; correct the line"
            )
        name, value = pieces if not _is_value(pieces[0]) else pieces[::-1]
        if number == 1 and not _is_value(value):
            continue  # a header
        told.append((name, value))
    return _checked(told, str(file))


def _known(file: Path) -> Structures | None:
    """What nnU-Net's, CVAT's or any mapping in JSON says; None for other files."""
    if file.suffix.lower() == ".json":
        content = json_of(file)
        with broken(file):
            mapping = content.get("labels", content) if isinstance(content, dict) else None
            return None if not isinstance(mapping, dict) else _checked(_of_mapping(mapping), str(file))
    if file.name == "labelmap.txt":
        lines = [
            line.split(":") for line in file.read_text("utf-8-sig").splitlines() if line[:1] not in ("#", "")
        ]
        with broken(file):
            return _checked(
                [(name, "#" + bytes(map(int, rgb.split(","))).hex()) for name, rgb, *_ in lines],
                str(file),
            )
    return None


def _of_mapping(mapping: dict[str, Any]) -> list[tuple[str, str]]:
    told = []
    for key, value in mapping.items():
        if str(key).isdigit() and isinstance(value, str):  # the first version of nnU-Net: number -> name
            key, value = value, key  # noqa: PLW2901
        told += [(str(key), str(one)) for one in (value if isinstance(value, list) else [value])]
    return told


def _is_value(text: str) -> bool:
    return bool(re.fullmatch(r"\d+|#[0-9a-fA-F]{6}", text))


def _checked(told: Iterable[tuple[str, str]], where: str) -> Structures:
    found = []
    for name, value in told:
        if not name or "/" in name or "|" in name:
            raise UsageError(
                f"{where}: {name!r} is no name of a structure, expected NAME=VALUE and no '/' or '|' in it; correct it"
            )
        found.append(
            (
                name if name.lower() in NONE else words.structure(name),
                value.lower() if "#" in value else value,
            )
        )
    if not found:
        raise UsageError(f"{where}: names no structure, expected NAME=VALUE[,NAME=VALUE]; correct it")
    return Structures(tuple(found), where)
