"""Tables as programs write them: encodings, separators, Excel."""

import codecs
from pathlib import Path

import pytest

from multimix.data.table import read_table
from multimix.errors import ManifestError

TEXT = "image;label\nfür.png;A\nb.png;ß\n"


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        TEXT.encode("utf-16"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("cp1252"),
        TEXT.replace(";", ",").encode(),
        TEXT.replace(";", "\t").encode(),
        TEXT.replace("\n", "\r\n").encode(),
        b"sep=;\r\n" + TEXT.encode(),
        TEXT.replace("A", "A;;").replace("label", "label;;").replace("ß", "ß;;").encode(),
        TEXT.replace("A", '"A"').encode("cp1252"),
    ],
)
def test_encodings_and_separators(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.csv").write_bytes(content)
    table = read_table(tmp_path / "m.csv")
    assert table.header == ("image", "label")
    assert [dict(line.cells) for line in table.lines] == [
        {"image": "für.png", "label": "A"},
        {"image": "b.png", "label": "ß"},
    ]
    assert table.values("label") == {"A", "ß"}


def test_a_row_of_too_few_cells_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("sep=;\nimage;label\n1.png\n2.png;A\n")
    broken, whole = read_table(tmp_path / "m.csv").lines
    assert broken.where == f"{tmp_path / 'm.csv'}, line 3"
    assert broken.problem.startswith("1 cells where the header has 2")
    assert whole.problem == ""


def test_excel(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.create_sheet("data")
    sheet = book["data"]
    for row in (
        ["image", "label", "patient", "seen", None],
        ["1.png", "A", 7, True],
        [],
        ["2.png", None, 8.0, 1.5],
    ):
        sheet.append(row)
    book.save(tmp_path / "m.xlsx")
    table = read_table(tmp_path / "m.xlsx")
    assert table.header == ("image", "label", "patient", "seen")
    assert [tuple(line.cells.values()) for line in table.lines] == [
        ("1.png", "A", "7", "True"),
        ("2.png", "", "8", "1.5"),
    ]
    assert table.lines[1].where.endswith("m.xlsx, row 4")


def test_a_file_that_is_no_excel_table(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    (tmp_path / "m.xlsx").write_bytes(b"PK nonsense")
    with pytest.raises(ManifestError, match=r"m\.xlsx: is not an Excel table .*save it again"):
        read_table(tmp_path / "m.xlsx")
