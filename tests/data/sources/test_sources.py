"""The table of layouts, what every adapter has in common, and what they share."""

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from multimix.data.sources import LAYOUTS, layout
from multimix.data.sources._layout import list_files, read_rows
from multimix.errors import ManifestError, UsageError

CARDS = {name.split("-")[0] for name in LAYOUTS}
REPOSITORY = Path(__file__).parents[3]


def test_names():
    assert sorted(LAYOUTS) == [
        "covid",
        "jsrt",
        "kermany",
        "montgomery",
        "nih",
        "nih-pneumonia",
        "rsna",
        "rsna-pneumonia",
        "shenzhen",
    ]


def test_unknown_layout_names_those_that_exist():
    with pytest.raises(UsageError, match=r"expected one of covid, jsrt, .*, got 'jsrd'"):
        layout("jsrd")


def test_names_are_told_without_torch():
    # `multimix data index --help` lists them.
    code = "import sys, multimix.data.sources; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", sorted(CARDS))
def test_every_source_has_its_card(name: str):
    card = inspect.getdoc(import_module(f"multimix.data.sources.{name}")) or ""
    for entry in ("On disk", "Samples", "Label", "Masks", "Split", "Licence", "Cite", "Quirks"):
        assert f"\n{entry}  " in card, entry
    page = (REPOSITORY / "docs" / "data" / f"{name}.md").read_text(encoding="utf-8")
    for heading in ("## Origin", "## Licence and citation", "## Layout", "## What is read", "## Quirks"):
        assert heading in page, heading
    assert f"--layout {name}" in page


@pytest.mark.parametrize("name", sorted(LAYOUTS))
@pytest.mark.parametrize("kind", ["absent", "file", "empty", "photos"])
def test_another_folder_is_refused(name: str, kind: str, tmp_path: Path):
    root = tmp_path / "folder"
    if kind == "file":
        root.write_bytes(b"")
    elif kind != "absent":
        root.mkdir()
    if kind == "photos":
        for number in range(7):
            (root / f"holiday{number}.jpg").write_bytes(b"")
    with pytest.raises(ManifestError) as caught:
        layout(name)(root)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{name.split('-', maxsplit=1)[0]}: expected ")
    assert str(root) in message
    assert f"see docs/data/{name.split('-', maxsplit=1)[0]}.md" in message
    found = {
        "absent": "no such folder",
        "file": "a file",
        "empty": "an empty folder",
        "photos": "holiday0.jpg, holiday1.jpg, holiday2.jpg, holiday3.jpg, holiday4.jpg and 2 more",
    }
    assert f"found {found[kind]}." in message


def test_list_files_skips_hidden_and_foreign(tmp_path: Path):
    for name in ("b.png", "a.PNG", "._a.png", "a.txt", "c.png.part"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "d.png").mkdir()
    assert list_files(tmp_path, r".+\.png") == {"a": tmp_path / "a.PNG", "b": tmp_path / "b.png"}
    assert list_files(tmp_path / "absent", r".+") == {}


def test_read_rows_takes_mark_quotes_and_trailing_comma(tmp_path: Path):
    table = tmp_path / "t.csv"
    table.write_bytes('\ufeffImage Index , Notes,\r\na.png," two\nlines ",\r\n\r\nb.png,é\r\n'.encode())
    assert read_rows(table, ("image index", "notes")) == [
        {"image index": "a.png", "notes": "two\nlines", "": ""},
        {"image index": "b.png", "notes": "é"},
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read"),
        (b"", "lacks image, label"),
        (b"image;label\n", "lacks image, label"),
        (b"image\n1.png\n", "lacks label"),
        (b"image,label\n1.png,x\n2.png\n", "line 3: expected 2 cells or more, got 1"),
        (b"image,label\n\xff\xfe,x\n", "not a UTF-8 CSV table"),
        (b"PK\x03\x04\x00\x00", "lacks image, label"),
    ],
)
def test_read_rows_refuses(tmp_path: Path, content: bytes | None, says: str):
    table = tmp_path / "t.csv"
    if content is not None:
        table.write_bytes(content)
    with pytest.raises(ManifestError, match=says) as caught:
        read_rows(table, ("image", "label"))
    assert str(table) in str(caught.value)
