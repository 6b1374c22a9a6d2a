"""Records from a table that was written elsewhere: other columns, other paths, one column per class.

Paths may be Windows', of another machine (`path_maps` says what lies where now), relative to the folder of images, or
bare names with a suffix or without. Classes stand in one column, or in several of 0 and 1.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from multimix.data.columns import LUNGS, find_columns, key
from multimix.data.index import WRITTEN, FolderIndex
from multimix.data.index.evidence import find_masks
from multimix.data.index.lookup import Lookup
from multimix.data.index.pairs import paired
from multimix.data.index.patients import by_pattern, compiled
from multimix.data.index.places import masks_beside, places
from multimix.data.index.tree import Tree
from multimix.data.manifest import cells, unknown_patient
from multimix.data.splits import draw_splits
from multimix.data.table import Line, Table, read_table
from multimix.errors import ManifestError, UsageError
from multimix.io.readers import find_images
from multimix.types import NONE, UNKNOWN, Record

_IMAGES = ("filename", "file", "filepath", "imagename", "imageid", "imageindex", "img", "imgpath", "isicid")
_LABELS = ("class", "classname", "diagnosis", "dx", "category", "target", "findinglabels")
"""How others call the columns, by `columns.key`."""
_ONE, _ZERO = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no", ""}


def index_table(
    file: Path,
    root: Path | None = None,
    seed: int = 0,
    *,
    columns: Mapping[str, str] | None = None,
    path_maps: Sequence[tuple[str, str]] = (),
    mask_suffix: str | None = None,
    patient_pattern: str | None = None,
    patient_per_image: bool = False,
    completed: Callable[[Path, list[Record]], FolderIndex] | None = None,
) -> FolderIndex:
    """The records of a table whose images lie below `root` (default: the table's folder).

    `columns` names columns, ours -> theirs; `path_maps` replaces how paths begin, (old, new). Masks are those of the
    mask columns, or, where there are none, of the folder. Rows without a file are told; without a split column one is
    drawn by patient. Raises ManifestError where the table cannot be read or no row has a file, UsageError for an option
    on what the table says itself.
    """
    file = Path(os.path.abspath(file))
    root = Path(os.path.abspath(root)) if root is not None else file.parent
    pattern = compiled(patient_pattern)
    table = read_table(file)
    known = _columns(table, columns or {})
    refuse = {"--patient-pattern": patient_pattern, "--patient-per-image": patient_per_image}
    if "patient" in known and (given := next((name for name, value in refuse.items() if value), None)):
        raise UsageError(
            f"{given}: the table says who the patients are, in its column {known['patient']!r}; leave the option out, "
            "or rename the column"
        )
    has_masks = any(name == "mask" or name.startswith("mask:") for name in known)
    if has_masks and mask_suffix:
        raise UsageError(
            "--mask-suffix: the table names the masks in a column of its own; leave the option out"
        )
    one_hot = [] if "label" in known else _one_hot(table, set(known.values()))
    files = _Files(root, path_maps)
    records: list[Record] = []
    unmatched: list[str] = []
    for line in table.lines:
        try:
            record = _record(file, line, known, one_hot, files)
        except ManifestError as error:
            unmatched.append(str(error))
            continue
        if pattern is not None:
            who = by_pattern(pattern, os.path.relpath(record.image, root))
            record = replace(record, patient=who)
        elif patient_per_image:
            record = replace(record, patient=record.patient.removeprefix(UNKNOWN))
        records.append(record)
    if not records:
        raise ManifestError(
            f"{unmatched[0] if unmatched else f'{file}: has no rows'}; none of the rows has a file"
        )
    notes = [f"classes are those of the columns {', '.join(one_hot)}"] * bool(one_hot)
    if not has_masks:
        records, lost = _with_masks(root, files.images, records, mask_suffix)
        unmatched += lost
    if completed is not None:
        more = completed(root, records)
        records, unmatched, notes = more.records, unmatched + more.unmatched, notes + more.notes
    if "split" not in known:
        records = draw_splits(records, seed)
    read = {*known.values(), *one_hot}
    free = [name for name in table.header if name not in read]
    notes += [f"columns that nothing is read from: {', '.join(free)}"] * bool(free)
    return FolderIndex(records, unmatched, notes)


def _columns(table: Table, told: Mapping[str, str]) -> dict[str, str]:
    named = dict(told)
    plain = {key(name): name for name in reversed(table.header) if name not in told.values()}
    for ours, theirs, usual in (
        ("image", _IMAGES, ("image", "path")),
        ("label", _LABELS, ("label", "labels")),
    ):
        if ours not in named and not any(word in plain for word in usual):
            named |= next(({ours: plain[word]} for word in theirs if word in plain), {})
    return find_columns(table.file, table.header, named, table.values)


def _one_hot(table: Table, read: set[str]) -> list[str]:
    """Columns of 0 and 1 that are classes: two or more, each with both values."""
    found = []
    for name in table.header:
        values = {value.lower() for value in table.values(name)}
        if name not in read and values <= _ONE | _ZERO and values & _ONE and values & _ZERO:
            found.append(name)
    return found if len(found) > 1 else []


class _Files:
    """Finds the file that a cell means."""

    def __init__(self, root: Path, maps: Sequence[tuple[str, str]]) -> None:
        self.root = root
        self.maps = [(_slashes(old).rstrip("/"), _slashes(new).rstrip("/")) for old, new in maps]
        self.images = [f for f in find_images([root]) if f.relative_to(root).parts[0] != WRITTEN]
        self.lookup = Lookup(self.images)

    def find(self, where: str, text: str) -> Path:
        """ManifestError where there is none, or several."""
        path = _slashes(text)
        for old, new in self.maps:
            if path.lower() == old.lower() or path.lower().startswith(f"{old.lower()}/"):
                path = new + path[len(old) :]
                break
        direct = Path(os.path.normpath(self.root / path))
        if direct.is_file():
            return direct
        found = self.lookup.find(path)
        if len(found) != 1:
            count = f"{len(found)} files" if found else "no file"
            raise ManifestError(
                f"{where}: {text!r} names {count} below {self.root}; say where the images lie by --root FOLDER, or "
                "what replaces the beginning of the paths by --path-map OLD=NEW"
            )
        return found[0]


def _slashes(text: str) -> str:
    return text.replace("\\", "/")


def _record(
    file: Path, line: Line, known: Mapping[str, str], one_hot: Sequence[str], files: _Files
) -> Record:
    cell = cells(line, known)
    image = files.find(line.where, cell["image"])
    masks = {}
    for ours, text in cell.items():
        if text and (ours == "mask" or ours.startswith("mask:")):
            structure = ours.partition(":")[2] or LUNGS
            masks[structure] = tuple(files.find(line.where, part.strip()) for part in text.split("|"))
    label = cell.get("label", "")
    if one_hot:
        label = "|".join(sorted(n for n in one_hot if line.cells[n].lower() in _ONE)) or NONE
    return Record(
        image=image,
        masks=masks,
        label=label or None,
        split=cell["split"],
        patient=cell.get("patient") or unknown_patient(image, files.root),
        source=cell.get("source") or files.root.name,
    )


def _with_masks(
    root: Path, images: Sequence[Path], records: Sequence[Record], suffix: str | None
) -> tuple[list[Record], list[str]]:
    """The records with the masks of the folder that are called after their images."""
    tree = Tree.of(root, images)
    with suppress(ManifestError):  # two versions of the images: the table says which one is meant
        find_masks(tree)
    found = masks_beside(places(tree), suffix)
    masks = [place for place in found if place.is_mask]
    if not masks:
        return list(records), []
    ours = {record.image for record in records}
    # The folder's own idea of data sets is not the table's.
    one_source = [
        replace(place, source=(), inner=place.inner if place.is_mask else "")
        for place in found
        if place.is_mask or place.file in ours
    ]
    pairs, lost = paired([p for p in one_source if not p.is_mask], [p for p in one_source if p.is_mask])
    whole = [
        replace(record, masks={name: tuple(files) for name, files in sorted(pairs[record.image].items())})
        if record.image in pairs
        else record
        for record in records
    ]
    return whole, lost
