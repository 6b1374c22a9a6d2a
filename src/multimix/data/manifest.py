"""The one interchange: a table of images and what is known about them, in CSV, Parquet or Excel.

    image    file, relative to the manifest's folder; the only column that must be there
    mask     file of the structure "lungs", or several joined by '|' whose union is meant; may be empty
    mask:X   the same for a further structure X; mask:finding says where the disease is, which `multimix explain` asks
             maps for and nothing learns unless it is told to
    label    class, or several joined by '|' where they are not exclusive; empty where unlabelled; `none` where
             classes are not exclusive and the image is known to show none of them
    split    train, val or test, as people write them; without the column everything is train
    patient  unique within its source; without it nobody knows, and scores get no interval
    source   data set; without it the name of the manifest's folder

`columns` says which other names are read as these; any other column is free. Parquet's cells may be lists, which '|'
joins. Files are not looked at here: `multimix data check` and the cache do that.
"""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from multimix.data.columns import FINDING, LUNGS, SPLITS, find_columns, split_of
from multimix.data.table import Line, Table, read_table
from multimix.errors import ManifestError
from multimix.io.writers import atomic_write
from multimix.types import NONE, UNKNOWN, Record

__all__ = ["FINDING", "LUNGS", "SPLITS", "read_manifest", "read_rows", "unread_columns", "write_manifest"]

_EMPTY = {"nan", "null", "n/a", "<na>"}
"""How programs write a cell that was empty, in lower case."""


def read_manifest(path: Path | str) -> list[Record]:
    """Read a manifest, or FOLDER/manifest.csv where `path` is a folder, into records with absolute paths.

    Raises ManifestError naming the manifest and, for a row, its line.
    """
    records = []
    for row in read_rows(path):
        if isinstance(row, ManifestError):
            raise row
        records.append(row)
    return records


def read_rows(path: Path | str) -> Iterator[Record | ManifestError]:
    """The record of each row, or why it has none; the rest as `read_manifest`."""
    table = read_table(_table(path))
    file = table.file
    columns = _columns(table)
    if not table.lines:
        raise ManifestError(f"{file}: has no rows; write one with `multimix data index FOLDER`")
    first_line: dict[tuple[str, Path], str] = {}
    for line in table.lines:
        try:
            record = _record(file, line, columns)
            key = (record.source, record.image)
            if key in first_line:
                raise ManifestError(
                    f"{line.where}: image {line.cells[columns['image']]!r} of source {record.source!r} is already in "
                    f"{first_line[key].removeprefix(f'{file}, ')}; keep one of the two rows"
                )
        except ManifestError as error:
            yield error
            continue
        first_line[key] = line.where
        yield record


def all_cells(path: Path | str) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """The image and all cells, free columns included, of each row that can be read; errors as `read_manifest`."""
    table = read_table(_table(path))
    columns = _columns(table)
    for line in table.lines:
        if not line.problem:
            yield table.file.parent / line.cells[columns["image"]], line.cells


def unread_columns(path: Path | str) -> list[str]:
    """The columns of a manifest that nothing is read from; errors as `read_manifest`."""
    table = read_table(_table(path))
    read = set(_columns(table).values())
    return [name for name in table.header if name not in read]


def _columns(table: Table) -> dict[str, str]:
    return find_columns(table.file, table.header, {}, table.values) if table.header else {}


def _table(path: Path | str) -> Path:
    file = Path(os.path.abspath(path))
    return file / "manifest.csv" if file.is_dir() else file


def write_manifest(path: Path | str, records: Sequence[Record], base: Path | str | None = None) -> None:
    """Write records as CSV or Parquet, by suffix; read_manifest gives the same records back.

    Paths are written relative to `base` (default: the folder of `path`), which must hold every file.
    Raises ManifestError where it does not, or the suffix is another.
    """
    file = Path(os.path.abspath(path))
    folder = Path(os.path.abspath(base)) if base is not None else file.parent
    structures = list(dict.fromkeys(name for record in records for name in record.masks))
    mask_columns = {"mask" if name == LUNGS else f"mask:{name}": name for name in [LUNGS, *structures]}
    rows = []
    for record in records:
        _refuse_unwritable(file, record)
        row = {"image": _relative(file, record.image, folder)}
        for column, structure in mask_columns.items():
            files = [_relative(file, m, folder) for m in record.masks.get(structure, ())]
            if bar := next((name for name in files if "|" in name), None):
                raise ManifestError(f"{file}: mask {bar!r}: '|' joins masks in a manifest; rename the file")
            row[column] = "|".join(files)
        row |= {"label": record.label or "", "split": record.split}
        rows.append(row | {"patient": record.patient, "source": record.source})
    header = ["image", *mask_columns, "label", "split", "patient", "source"]
    if _suffix(file) == ".csv":
        with atomic_write(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, header, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in header})
        with atomic_write(file) as temporary:
            pq.write_table(table, temporary)


def _refuse_unwritable(file: Path, record: Record) -> None:
    """ManifestError for names that would be read as others."""
    for what, cell in (("class", record.label), ("patient", record.patient), ("source", record.source)):
        if cell and (cell != cell.strip() or cell.lower() in _EMPTY):
            raise ManifestError(
                f"{file}: {what} {cell!r} of {record.image.name} would not be read as it is from a table, where spaces "
                "at the ends are taken off and 'nan' means empty; rename the folder or file that it comes from"
            )


def _suffix(file: Path) -> str:
    suffix = file.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise ManifestError(
            f"{file}: a manifest ends in .csv or .parquet, not {suffix!r}; rename or convert it"
        )
    return suffix


def cells(line: Line, columns: Mapping[str, str]) -> dict[str, str]:
    """The cells of a row by our names of its columns, with the split as 'train', 'val' or 'test'.

    `columns`: ours -> the table's. ManifestError for a row that is damaged, names no image or no split there is, or has
    text that means an empty cell.
    """
    where = line.where
    if line.problem:
        raise ManifestError(f"{where}: {line.problem}")
    cell = {ours: line.cells[theirs] for ours, theirs in columns.items()}
    if odd := [ours for ours, text in cell.items() if text.lower() in _EMPTY]:
        raise ManifestError(
            f"{where}: {odd[0]} is {cell[odd[0]]!r}, which is how programs write an empty cell; leave it empty"
        )
    if not cell["image"]:
        raise ManifestError(f"{where}: the image cell is empty; name the file or remove the line")
    split = split_of(cell.get("split", "train"))
    if split is None:
        raise ManifestError(
            f"{where}: split is {cell['split']!r}, expected train, val or test; correct the cell"
        )
    return cell | {"split": split}


def _record(file: Path, line: Line, columns: Mapping[str, str]) -> Record:
    cell, where = cells(line, columns), line.where
    image = _inside(file, where, cell["image"])
    classes = sorted(set(_parts(cell.get("label", ""))))
    if NONE in classes and len(classes) > 1:
        raise ManifestError(
            f"{where}: label {cell['label']!r}: {NONE!r} says that the image shows no class, and stands alone; remove "
            "it or the others"
        )
    masks = {}
    for column, text in cell.items():
        if text and (column == "mask" or column.startswith("mask:")):
            structure = column.partition(":")[2] or LUNGS
            masks[structure] = tuple(_inside(file, where, name) for name in _parts(text))
    return Record(
        image=image,
        masks=masks,
        label="|".join(classes) or None,
        split=cell["split"],
        patient=cell.get("patient") or unknown_patient(image, file.parent),
        source=cell.get("source") or file.parent.name,
    )


def unknown_patient(image: Path, folder: Path) -> str:
    """What stands for the patient of an image below `folder` where nobody knows who it is."""
    return UNKNOWN + Path(os.path.relpath(image, folder)).with_suffix("").as_posix()


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split("|") if part.strip()]


def _inside(file: Path, where: str, name: str) -> Path:
    # Compared as text: resolving links would cost a system call per file.
    folder = str(file.parent)
    path = os.path.normpath(os.path.join(folder, name))
    if "\0" in name or not path.startswith(folder.rstrip(os.sep) + os.sep):
        raise ManifestError(
            f"{where}: {name!r} lies outside the manifest's folder; "
            "move the manifest to a folder above its images, and write paths relative to it"
        )
    return Path(path)


def _relative(file: Path, target: Path, folder: Path) -> str:
    name = os.path.relpath(target, folder)
    if name == os.pardir or name.startswith(os.pardir + os.sep):
        raise ManifestError(
            f"{file}: {target} lies outside {folder}; write the manifest to a folder above its images, or, where that "
            "cannot be written to, make a symbolic link to them beside the manifest and index the link"
        )
    try:
        name.encode("utf-8")
        if name != name.strip():
            raise ManifestError(
                f"{file}: the file name {name!r} has spaces at its ends, which a manifest does not keep; rename it"
            )
    except UnicodeEncodeError as error:
        raise ManifestError(
            f"{file}: the file name {name!a} is not UTF-8, as a manifest is; rename the file"
        ) from error
    return Path(name).as_posix()
