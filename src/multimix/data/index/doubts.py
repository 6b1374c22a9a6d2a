"""Layouts that can be read in two ways: refused until the user says which, so that none becomes a class problem."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from multimix.data.index.places import Place
from multimix.data.index.tree import LEVELS, Parts, Tree
from multimix.errors import ManifestError
from multimix.types import Record, patients_known

_FEW_IMAGES, _MANY_CLASSES = 5, 10
"""So many folders of so few images each are patients rather than classes."""
_EXAMPLES = 3


def refuse_unclear(tree: Tree, images: Sequence[Place]) -> None:
    """Raise ManifestError where it is not clear which folders are classes."""
    if deep := next((place for place in images if place.deeper), None):
        raise ManifestError(
            f"{deep.file.parent}: what is the folder {deep.deeper[0]!r} below {deep.inner!r}? Say what the folders are "
            f"from the top down, as in {_suggested(tree, deep, 'patient')} or {_suggested(tree, deep, '*')}"
        )
    sources = {place.source for place in images if not place.marked}
    for outer in sources:
        inside = next((s for s in sources if s[: len(outer)] == outer and s != outer), None)
        if inside is not None and any(p.inner for p in images if not p.marked and p.source == outer):
            raise ManifestError(
                f"{tree.root.joinpath(*inside)}: holds folders of images and lies beside folders that hold images "
                "alone; move the images to one depth, or say what the folders are from the top down, as in --folders "
                "class/*"
            )
    classes: dict[Parts, set[str]] = defaultdict(set)
    for place in images:
        if not place.marked and place.source:
            classes[place.source].add(place.inner)
    named = {source: {name for name in inner if name} for source, inner in classes.items()}
    if len(named) > 1 and all(named.values()) and _disjoint(named):
        which = ", ".join(repr("/".join(source)) for source in sorted(named)[:_EXAMPLES])
        raise ManifestError(
            f"{tree.root}: are {which} classes or data sets? No folder in one is called as one in another. "
            "Say what the folders are from the top down: --folders class/patient, class/* or source/class"
        )


def _disjoint(named: Mapping[Parts, set[str]]) -> bool:
    return len(set().union(*named.values())) == sum(map(len, named.values()))


def _suggested(tree: Tree, place: Place, last: str) -> str:
    """The --folders that reads the path of a place as its roles say, with `last` for the folder not understood."""
    where = place.file.parent.relative_to(tree.root).parts
    words = {kind: level for level, kind in LEVELS.items()} | {"masks": "images", "unlabelled": "*"}
    levels = []
    for depth, name in enumerate(where, start=1):
        kind = tree.roles[where[:depth]].kind
        known = "class" if name == place.inner else last if name in place.deeper else "source"
        levels.append(known if kind == "plain" else words[kind])
    return f"--folders {'/'.join(levels)}"


def refuse_patients_as_classes(folder: Path, records: Sequence[Record]) -> None:
    """Raise ManifestError where classes look like patients: one image or one patient each, or many of few images."""
    for source, problem in patients_as_classes(records):
        raise ManifestError(
            f"{folder}: {problem} in {source!r}. Are the folders patients? Say what they are from the top down: "
            "--folders patient, or, where they are classes all the same, --folders class"
        )


def patients_as_classes(records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Source and problem, for each source whose classes look like patients or single images."""
    by_source: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.label:
            by_source[record.source][record.label].append(record)
    for source, classes in sorted(by_source.items()):
        if len(classes) < 2:
            continue
        some = ", ".join(repr(name) for name in sorted(classes)[:_EXAMPLES])
        sizes = sorted(map(len, classes.values()))
        if all(_one_patient(members) for members in classes.values()):
            what = "image" if sizes[-1] == 1 else "patient"
            yield source, f"each of the {len(classes)} classes ({some}, ...) is of one {what}"
        elif len(classes) >= _MANY_CLASSES and sizes[len(sizes) // 2] <= _FEW_IMAGES:
            yield (
                source,
                f"{len(classes)} classes ({some}, ...) have {sizes[0]} to {sizes[-1]} images each, few of most",
            )


def _one_patient(members: Sequence[Record]) -> bool:
    patients = {record.patient for record in members}
    return len(members) == 1 or (len(patients) == 1 and patients_known(patients))
