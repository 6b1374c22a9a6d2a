"""Cells of a table as text, from CSV as programs write it, Parquet, or Excel.

CSV   UTF-8 (with a byte order mark or without), UTF-16, or Windows' cp1252; commas, semicolons or tabs; a first line
      'sep=;' is passed over
xlsx  the first sheet that has cells; needs the `formats` extra
"""

import csv
import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from multimix.errors import ManifestError

_SEPARATORS = ",;\t"
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")
"""Characters that no text has: what has them is no table."""
SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".xlsx")


@dataclass(frozen=True)
class Line:
    """One row that is not blank."""

    where: str
    """'FILE, line N', for errors."""
    cells: Mapping[str, str]
    """Column -> text without spaces at its ends; empty where `problem` is not."""
    problem: str = ""
    """Why the row cannot be read, and what to do; empty where it can."""


@dataclass(frozen=True)
class Table:
    """A table as it is, before its columns mean anything."""

    file: Path
    header: tuple[str, ...]
    lines: tuple[Line, ...]

    def values(self, column: str) -> set[str]:
        """The different cells of a column."""
        return {line.cells.get(column, "") for line in self.lines}


def read_table(file: Path) -> Table:
    """Read a table; ManifestError where it is missing, of another kind, or damaged."""
    readers = {".parquet": _parquet, ".xlsx": _excel}
    try:
        file.stat()  # before the suffix is looked at: a folder that is missing is no table of another kind
        if file.suffix.lower() not in SUFFIXES:
            raise ManifestError(
                f"{file}: a manifest ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, not {file.suffix!r}; "
                "rename or convert it"
            )
        header, lines = readers.get(file.suffix.lower(), _csv)(file)
    except FileNotFoundError as error:
        raise ManifestError(
            f"{file}: no such manifest; check the path, or write one with `multimix data index FOLDER`"
        ) from error
    except OSError as error:
        raise ManifestError(
            f"{file}: cannot be read ({error.strerror or error}); check the file and its permissions"
        ) from error
    if len(set(header)) != len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        raise ManifestError(f"{file}: columns {twice} occur twice; rename or remove one of each")
    return Table(file, tuple(header), tuple(lines))


def _csv(file: Path) -> tuple[list[str], list[Line]]:
    text = _decoded(file)
    first, _, rest = text.partition("\n")
    if re.fullmatch(r"sep=.\s*", first):  # written by Excel for itself
        text = rest
        first = text.partition("\n")[0]
    separator = max(_SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    try:
        rows = [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise ManifestError(f"{file}: is not a CSV table ({error}); save it as CSV, UTF-8") from error
    header = [name.strip() for name in rows[0][1]] if rows else []
    while header and not header[-1] and all(not any(cells[len(header) - 1 :]) for _, cells in rows):
        header.pop()  # columns that are empty, as spreadsheets leave them
    skipped = text is rest
    return header, [
        _line(f"{file}, line {number + skipped}", header, [cell.strip() for cell in cells])
        for number, cells in rows[1:]
        if any(cells)
    ]


def _line(where: str, header: list[str], cells: list[str]) -> Line:
    while len(cells) > len(header) and not cells[-1]:
        cells.pop()
    if len(cells) != len(header):
        return Line(
            where,
            {},
            f"{len(cells)} cells where the header has {len(header)}; complete the line, and quote cells that hold a "
            "comma",
        )
    return Line(where, dict(zip(header, cells, strict=True)))


def _decoded(file: Path) -> str:
    data = file.read_bytes()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encodings = ["utf-16"]
    elif b"\0" in data[:200]:  # UTF-16 without its mark
        encodings = ["utf-16-le" if data[1:2] == b"\0" else "utf-16-be"]
    else:
        encodings = ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if not _CONTROL.search(text):
            return text
    raise ManifestError(f"{file}: is not a CSV table in UTF-8; save it as CSV, UTF-8")


def _parquet(file: Path) -> tuple[list[str], list[Line]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise ManifestError(
            f"{file}: is not a Parquet table ({reason}); write it again, or use CSV"
        ) from error
    lines = []
    for number, row in enumerate(table.to_pylist(), start=1):
        where = f"{file}, row {number}"
        try:
            lines.append(Line(where, {name: _text(value) for name, value in row.items()}))
        except UnicodeDecodeError as error:
            lines.append(Line(where, {}, f"text that is not UTF-8 ({error}); write the table again"))
    return list(table.column_names), lines


def _excel(file: Path) -> tuple[list[str], list[Line]]:
    try:
        import openpyxl
    except ImportError as error:
        raise ManifestError(
            f"{file}: Excel needs an extra; install it with `pip install 'multimix[formats]'`, or save it as CSV"
        ) from error
    try:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        sheets = [list(sheet.iter_rows(values_only=True)) for sheet in book.worksheets]
        book.close()
    except OSError:
        raise
    except Exception as error:  # zipfile, XML and openpyxl raise a dozen kinds on damaged files
        raise ManifestError(f"{file}: is not an Excel table ({error}); save it again, or as CSV") from error
    return _first_sheet(file, [rows for rows in sheets if any(map(any, rows))])


def _first_sheet(file: Path, sheets: list[list[tuple[object, ...]]]) -> tuple[list[str], list[Line]]:
    if not sheets:
        return [], []
    numbered = [
        (number, row) for number, row in enumerate(sheets[0], start=1) if any(c is not None for c in row)
    ]
    header = [_number(value) for value in numbered[0][1]]
    while header and not header[-1]:
        header.pop()
    return header, [
        _line(f"{file}, row {number}", header, [_number(value) for value in row])
        for number, row in numbered[1:]
    ]


def _number(value: object) -> str:
    """Excel has no whole numbers: 7 is 7.0 there."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else _text(value)


def _text(value: object) -> str:
    """A cell as CSV would have it; null and NaN are empty, the parts of a list joined by '|'."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, list):
        return "|".join(map(_text, value))
    if isinstance(value, date):
        return value.isoformat()
    # Writers that do not mark text as such leave bytes.
    return (value.decode("utf-8") if isinstance(value, bytes) else str(value)).strip()
