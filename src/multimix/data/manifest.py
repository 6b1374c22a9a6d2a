"""The one interchange: a table of images and what is known about them, in CSV or Parquet.

    image    file, relative to the manifest's folder, '/'-separated; the only column that must be there
    mask     file of the structure "lungs", or several joined by '|' whose union is meant; may be empty
    mask:X   the same for a further structure X; mask:finding says where the disease is, which `multimix explain` asks
             maps for and nothing learns unless it is told to
    label    class, or several joined by '|' where they are not exclusive; empty where unlabelled; `none` where
             classes are not exclusive and the image is known to show none of them
    split    train, val or test; without the column everything is train
    patient  unique within its source; without it the image's stem
    source   data set; without it the name of the manifest's folder

`path`, `mask_path` and `patient_id` are read as image, mask and patient; any other column is free, but for one whose
name is nearly one of these. Parquet's cells may be lists, which '|' joins. Files are not looked at here: `multimix
data check` and the cache do that.
"""

import csv
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from multimix.errors import ManifestError
from multimix.io.writers import atomic_write
from multimix.types import NONE, Record

SPLITS = ("train", "val", "test")
LUNGS = "lungs"
"""Structure of the plain `mask` column."""
FINDING = "finding"
"""Structure of the column mask:finding: where the disease is, as masks or filled boxes. Explanations are tested against
it; it is learned only where it is asked for by name."""
ALIASES = {"path": "image", "mask_path": "mask", "patient_id": "patient"}
_COLUMNS = ("image", "mask", "label", "split", "patient", "source")
_EMPTY = {"nan", "null", "n/a", "<na>"}
"""How programs write a cell that was empty, in lower case."""

_SEPARATORS = {";": "semicolons", "\t": "tabs"}
"""Of tables that are no CSV as it is read here, with their names."""

Row = Mapping[str, str]


def read_manifest(path: Path | str) -> list[Record]:
    """Read a manifest, or FOLDER/manifest.csv where `path` is a folder, into records with absolute paths.

    Raises ManifestError naming the manifest and, for a row, its line.
    """
    file = _table(path)
    records: list[Record] = []
    first_line: dict[tuple[str, Path], str] = {}
    columns: dict[str, str] = {}
    for where, row in _rows(file):
        columns = columns or _columns(file, list(row))
        record = _record(file, where, row, columns)
        key = (record.source, record.image)
        if key in first_line:
            raise ManifestError(
                f"{where}: image {row[columns['image']]!r} of source {record.source!r} is already in "
                f"{first_line[key].removeprefix(f'{file}, ')}; keep one of the two rows"
            )
        first_line[key] = where
        records.append(record)
    if not records:
        raise ManifestError(f"{file}: has no rows; write one with `multimix data index FOLDER`")
    return records


def unread_columns(path: Path | str) -> list[str]:
    """The columns of a manifest that nothing is read from; errors as `read_manifest`."""
    file = _table(path)
    _, first = next(_rows(file), ("", {}))
    read = set(_columns(file, list(first)).values()) if first else set()
    return [name for name in first if name not in read]


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


def _rows(file: Path) -> Iterator[tuple[str, Row]]:
    """('FILE, line N', column -> cell) of each row that is not blank; cells are stripped strings."""
    try:
        file.stat()  # before the suffix is looked at: a folder that is missing is no table of another kind
        suffix = _suffix(file)
        yield from _csv_rows(file) if suffix == ".csv" else _parquet_rows(file)
    except FileNotFoundError as error:
        raise ManifestError(
            f"{file}: no such manifest; check the path, or write one with `multimix data index FOLDER`"
        ) from error
    except OSError as error:
        reason = error.strerror or error
        raise ManifestError(
            f"{file}: cannot be read ({reason}); check the file and its permissions"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(
            f"{file}: is not a CSV table in UTF-8 ({error}); save it as CSV, UTF-8"
        ) from error


def _csv_rows(file: Path) -> Iterator[tuple[str, Row]]:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream, strict=True)
        header = [name.strip() for name in next(reader, [])]
        if len(set(header)) != len(header):
            twice = sorted({name for name in header if header.count(name) > 1})
            raise ManifestError(f"{file}: columns {twice} occur twice; rename or remove one of each")
        if header and "image" not in header:
            _columns(file, header)
        for cells in reader:
            if not any(cells):
                continue
            where = f"{file}, line {reader.line_num}"
            if len(cells) != len(header):
                raise ManifestError(
                    f"{where}: {len(cells)} cells where the header has {len(header)}; "
                    "complete the line, and quote cells that hold a comma"
                )
            yield where, dict(zip(header, map(str.strip, cells), strict=True))


def _parquet_rows(file: Path) -> Iterator[tuple[str, Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise ManifestError(
            f"{file}: is not a Parquet table ({reason}); write it again, or use CSV"
        ) from error
    for number, row in enumerate(table.to_pylist(), start=1):
        where = f"{file}, row {number}"
        try:
            yield where, {name: _text(value) for name, value in row.items()}
        except UnicodeDecodeError as error:
            raise ManifestError(
                f"{where}: text that is not UTF-8 ({error}); write the table again"
            ) from error


def _text(value: object) -> str:
    """A Parquet cell as CSV would have it; null and NaN are empty, the parts of a list joined by '|'."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, list):
        return "|".join(map(_text, value))
    # Writers that do not mark text as such leave bytes.
    return (value.decode("utf-8") if isinstance(value, bytes) else str(value)).strip()


def _columns(file: Path, header: Sequence[str]) -> dict[str, str]:
    """Our column -> the file's name of it, masks included; raises where there is no image column."""
    columns = {ALIASES[name]: name for name in header if name in ALIASES}
    columns |= {name: name for name in header if name in _COLUMNS or name.startswith("mask:")}
    if "image" not in columns:
        separator = next((name for sign, name in _SEPARATORS.items() if sign in header[0]), None)
        if separator is not None and len(header) == 1:
            raise ManifestError(
                f"{file}: columns are separated by {separator}, expected commas; save it as CSV with commas"
            )
        raise ManifestError(
            f"{file}: no image column; expected 'image' (or 'path'), found "
            f"{', '.join(map(repr, header))}; rename the column that holds the image files"
        )
    for name in header:
        if name in columns.values():
            continue
        if name in ALIASES:
            raise ManifestError(f"{file}: columns {ALIASES[name]!r} and {name!r} mean the same; remove one")
        if meant := _nearly(name):
            raise ManifestError(
                f"{file}: column {name!r} would not be read; rename it to {meant!r}, or, where it is not meant so, to "
                "something else"
            )
    # Structures become parts of file names.
    if bad := [name for name in columns if name == "mask:" or (name.startswith("mask:") and "/" in name)]:
        raise ManifestError(
            f"{file}: column {bad[0]!r}: expected the name of a structure without '/' after 'mask:'; rename it"
        )
    if "mask" in columns and f"mask:{LUNGS}" in columns:
        raise ManifestError(f"{file}: columns 'mask' and 'mask:{LUNGS}' mean the same; remove one")
    return columns


def _nearly(name: str) -> str:
    """The column that `name` is but for case, separators and a plural; empty where there is none."""
    column, colon, structure = name.partition(":")
    plain = re.sub(r"[\s_-]+", "", column.lower())
    known = {ours.replace("_", ""): ours for ours in (*_COLUMNS, *ALIASES)}
    meant = known.get(plain) or known.get(plain.removesuffix("s"), "")
    if not colon:
        return meant
    return f"mask:{structure.strip()}" if meant == "mask" else ""


def _record(file: Path, where: str, row: Row, columns: Mapping[str, str]) -> Record:
    cell = {ours: row[theirs] for ours, theirs in columns.items()}
    if odd := [ours for ours, text in cell.items() if text.lower() in _EMPTY]:
        raise ManifestError(
            f"{where}: {odd[0]} is {cell[odd[0]]!r}, which is how programs write an empty cell; leave it empty"
        )
    if not cell["image"]:
        raise ManifestError(f"{where}: the image cell is empty; name the file or remove the line")
    split = cell.get("split", "train")
    if split not in SPLITS:
        raise ManifestError(f"{where}: split is {split!r}, expected train, val or test; correct the cell")
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
        split=split,
        patient=cell.get("patient") or image.stem,
        source=cell.get("source") or file.parent.name,
    )


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
