import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from multimix.data.manifest import read_manifest, unread_columns, write_manifest
from multimix.errors import ManifestError
from multimix.types import Record


def table(folder: Path, text: str, name: str = "manifest.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_every_column(tmp_path: Path) -> None:
    file = table(
        tmp_path,
        "image,mask,mask:heart,label,split,patient,source,anything\n"
        "a/1.png,m/l.png|m/r.png,m/h.png,NORMAL,val,p1,mine,x\n"
        "a/2.png,,,,test,p2,mine,\n",
    )
    one, two = read_manifest(file)
    assert one.image == tmp_path / "a" / "1.png"
    assert one.masks == {
        "lungs": (tmp_path / "m" / "l.png", tmp_path / "m" / "r.png"),
        "heart": (tmp_path / "m" / "h.png",),
    }
    assert (one.label, one.split, one.patient, one.source) == ("NORMAL", "val", "p1", "mine")
    assert two == Record(image=tmp_path / "a" / "2.png", split="test", patient="p2", source="mine")


def test_defaults_of_missing_columns(tmp_path: Path) -> None:
    (record,) = read_manifest(table(tmp_path, "image\nsub/film_7.png\n"))
    assert (record.split, record.patient, record.source) == ("train", "?sub/film_7", tmp_path.name)
    assert record.label is None
    assert record.masks == {}


def test_aliases_and_words_that_pandas_would_drop(tmp_path: Path) -> None:
    (record,) = read_manifest(
        table(tmp_path, "path,mask_path,patient_id,label,task\n1.png,m.png,007,NA,classification\n")
    )
    assert record.image.name == "1.png"
    assert record.masks == {"lungs": (tmp_path / "m.png",)}
    assert (record.patient, record.label) == ("007", "NA")


def test_joint_labels_have_one_spelling(tmp_path: Path) -> None:
    records = read_manifest(table(tmp_path, "image,label\n1.png,B|A\n2.png, A | B|A\n"))
    assert [record.label for record in records] == ["A|B", "A|B"]


def test_blank_lines_byte_order_mark_and_quotes(tmp_path: Path) -> None:
    records = read_manifest(table(tmp_path, '\ufeffimage,label\n"a, b.png",X\n\n,\n2.png,\n'))
    assert [record.image.name for record in records] == ["a, b.png", "2.png"]


def test_absolute_paths_inside_the_folder(tmp_path: Path) -> None:
    (record,) = read_manifest(table(tmp_path, f"image\n{tmp_path}/a/../1.png\n"))
    assert record.image == tmp_path / "1.png"


def test_a_folder_means_its_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(tmp_path, "image\n1.png\n")
    monkeypatch.chdir(tmp_path)
    assert read_manifest(".")[0].image == tmp_path / "1.png"


@pytest.mark.parametrize("name", ["manifest.csv", "manifest.parquet"])
def test_written_then_read(tmp_path: Path, name: str) -> None:
    records = [
        Record(
            tmp_path / "b.png", {"lungs": (tmp_path / "l.png", tmp_path / "r.png")}, "NA", "val", "1", "s"
        ),
        Record(tmp_path / "x" / "a, c.png", {"heart": (tmp_path / "h.png",)}, None, "test", "02", "t"),
    ]
    write_manifest(tmp_path / name, records)
    assert read_manifest(tmp_path / name) == records


def test_written_relative_to_another_base(tmp_path: Path) -> None:
    write_manifest(tmp_path / "out" / "m.csv", [Record(tmp_path / "in" / "a.png")], base=tmp_path / "in")
    assert (tmp_path / "out" / "m.csv").read_text().splitlines()[1].startswith("a.png,")


def test_parquet_written_by_pandas_with_missing_cells(tmp_path: Path) -> None:
    frame = pd.DataFrame({"image": ["1.png", "2.png"], "label": ["A", None], "patient": [7, 8]})
    frame.to_parquet(tmp_path / "m.parquet")
    one, two = read_manifest(tmp_path / "m.parquet")
    assert (one.label, two.label) == ("A", None)
    assert (one.patient, two.patient) == ("7", "8")


@pytest.mark.parametrize(
    ("text", "problem", "remedy"),
    [
        ("", "has no rows", "multimix data index FOLDER"),
        ("image,label\n", "has no rows", "multimix data index FOLDER"),
        ("file,label\n1.png,A\n", "expected 'image' (or 'path'), found 'file', 'label'", "rename the column"),
        ("sep=;\nimage;label\n", "has no rows", "multimix data index FOLDER"),
        ("image;label\n1.png;A;B\n", "line 2: 3 cells where the header has 2", "quote cells"),
        ("sep=;\nimage;label\n1.png;A\n2.png\n", "line 4: 1 cells where", "complete the line"),
        ("image,image\n1.png,2.png\n", "columns ['image'] occur twice", "rename or remove"),
        ("image,mask,mask:lungs\n1.png,a.png,b.png\n", "mean the same", "remove one"),
        ("image,path\n1.png,b.png\n", "columns 'image' and 'path' mean the same", "remove one"),
        (
            "image,label\n1.png,A|none\n",
            "line 2: label 'A|none': 'none' says that",
            "remove it or the others",
        ),
        ("image,label\n,A\n", "line 2: the image cell is empty", "remove the line"),
        ("image,split\n1.png,train\n2.png,part\n", "line 3: split is 'part'", "expected train, val or test"),
        ("image,split\n1.png,\n", "line 2: split is ''", "expected train, val or test"),
        ("image\n../1.png\n", "line 2: '../1.png' lies outside", "move the manifest"),
        ("image\n/etc/passwd\n", "line 2: '/etc/passwd' lies outside", "move the manifest"),
        ("image,mask\n1.png,a.png|../m.png\n", "line 2: '../m.png' lies outside", "move the manifest"),
        ("image\n.\n", "line 2: '.' lies outside", "move the manifest"),
        ("image\n1.png\n\n2.png\n1.png\n", "line 5: image '1.png' of source", "keep one of the two"),
        ("image\n1.png\nsub/../1.png\n", "is already in line 2", "keep one of the two"),
        ("image,label\n1.png,A\n2.png\n", "line 3: 1 cells where the header has 2", "complete the line"),
        ("image,label\n1.png,A,B\n", "line 2: 3 cells where the header has 2", "quote cells"),
        ('image,label\n"1.png,A\n', "is not a CSV table", "save it as CSV"),
    ],
)
def test_wrong_tables(tmp_path: Path, text: str, problem: str, remedy: str) -> None:
    file = table(tmp_path, text)
    with pytest.raises(ManifestError) as caught:
        read_manifest(file)
    message = str(caught.value)
    assert message.startswith(str(file))
    assert problem in message
    assert remedy in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("m.csv", bytes(range(256)) * 10, "is not a CSV table in UTF-8"),
        ("m.csv", b"image\n1.png\x00\n", "outside|not a CSV table"),
        ("m.csv", b"image\nf\x81r.png\n", "is not a CSV table in UTF-8"),  # 81 is no letter of cp1252
        ("m.parquet", b"PAR1 nonsense", "is not a Parquet table"),
        ("m.parquet", b"", "is not a Parquet table"),
        ("m.ods", b"PK", r"a manifest ends in \.csv, .* or \.xlsx, not '\.ods'"),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError, match=problem) as caught:
        read_manifest(tmp_path / name)
    assert name in str(caught.value)


def test_bytes_of_a_parquet_table_that_are_no_utf_8(tmp_path: Path) -> None:
    pd.DataFrame({"image": [b"a.png", b"f\xfcr.png"]}).to_parquet(tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match=r"m\.parquet, row 2: text that is not UTF-8"):
        read_manifest(tmp_path / "m.parquet")


@pytest.mark.parametrize(
    "header",
    [
        "Image,Masks,Mask: heart,Label,SPLIT,Patient ID,Source",
        "path,mask_path,masks:heart,labels,split,MRN,source",
    ],
)
def test_columns_are_found_as_people_name_them(tmp_path: Path, header: str) -> None:
    (record,) = read_manifest(table(tmp_path, f"{header}\n1.png,m.png,h.png,A,Valid,7,s\n"))
    assert record == Record(
        tmp_path / "1.png",
        {"lungs": (tmp_path / "m.png",), "heart": (tmp_path / "h.png",)},
        *("A", "val", "7", "s"),
    )


@pytest.mark.parametrize("column", ["label", "mask", "patient"])
def test_an_empty_cell_as_programs_write_it_is_no_value(tmp_path: Path, column: str) -> None:
    file = table(tmp_path, f"image,{column}\n1.png,a\n2.png,NaN\n")
    with pytest.raises(
        ManifestError, match=rf"line 3: {column} is 'NaN', which is how programs write an empty cell"
    ):
        read_manifest(file)


def test_lists_in_a_parquet_table(tmp_path: Path) -> None:
    rows = {
        "image": ["1.png", "2.png", "3.png"],
        "label": [["a"], ["b", "a"], None],
        "mask": [["a.png", "b.png"], [], None],
    }
    pd.DataFrame(rows).to_parquet(tmp_path / "m.parquet")
    one, two, three = read_manifest(tmp_path / "m.parquet")
    assert [record.label for record in (one, two, three)] == ["a", "a|b", None]
    assert one.masks == {"lungs": (tmp_path / "a.png", tmp_path / "b.png")}
    assert two.masks == three.masks == {}


def test_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no such manifest.*multimix data index"):
        read_manifest(tmp_path / "m.csv")
    with pytest.raises(ManifestError, match=r"manifest\.csv: no such manifest"):
        read_manifest(tmp_path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_manifest_without_permission(tmp_path: Path) -> None:
    table(tmp_path, "image\n1.png\n").chmod(0)
    with pytest.raises(ManifestError, match="Permission denied"):
        read_manifest(tmp_path)


def test_writing_files_outside_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="write the manifest to a folder above"):
        write_manifest(tmp_path / "a" / "m.csv", [Record(tmp_path / "b" / "1.png")])
    assert not (tmp_path / "a" / "m.csv").exists()


@pytest.mark.real
def test_shared_manifest_reads_as_it_is(shared: Path) -> None:
    records = read_manifest(shared / "data" / "manifest.csv")
    assert len(records) == 7085
    assert sum(bool(record.masks) for record in records) == 1788
    assert {record.source for record in records} == {
        *("jsrt", "montgomery", "shenzhen", "covidcxr_v7", "kermany_v7", "kermany", "nih")
    }
    assert records[0].image.is_file()


def test_parquet_cells_that_are_no_text(tmp_path: Path) -> None:
    columns = {
        "image": [b"1.png", b"2.png", b"3.png"],
        "label": [1.0, float("nan"), 0.5],
        "patient": [7, None, 10**9],
    }
    pq.write_table(pa.table(columns), tmp_path / "m.parquet")
    one, two, three = read_manifest(tmp_path / "m.parquet")
    assert (one.image.name, one.label, one.patient) == ("1.png", "1.0", "7")
    assert (two.image.name, two.label, two.patient) == ("2.png", None, "?2")
    assert (three.image.name, three.label, three.patient) == ("3.png", "0.5", "1000000000")


@pytest.mark.parametrize("column", ["mask:", "mask:../heart"])
def test_a_structure_that_is_no_file_name_is_refused(tmp_path: Path, column: str) -> None:
    with pytest.raises(ManifestError, match=f"column '{column}': expected the name of a structure"):
        read_manifest(table(tmp_path, f"image,{column}\n1.png,m.png\n"))


def test_names_that_a_manifest_cannot_hold_are_refused(tmp_path: Path) -> None:
    joined = Record(image=tmp_path / "1.png", masks={"lungs": (tmp_path / "a|b.png",)})
    with pytest.raises(ManifestError, match=r"mask 'a\|b.png': .* rename the file"):
        write_manifest(tmp_path / "m.csv", [joined])
    latin = Record(image=tmp_path / os.fsdecode(b"\xe9.png"))
    with pytest.raises(ManifestError, match=r"'\\udce9.png' is not UTF-8.* rename the file"):
        write_manifest(tmp_path / "m.csv", [latin])
    for odd in (
        Record(image=tmp_path / "1.png", label=" A"),
        Record(image=tmp_path / "1.png", label="nan"),
        Record(image=tmp_path / "1.png", patient="p "),
        Record(image=tmp_path / "1.png", source="N/A"),
    ):
        with pytest.raises(ManifestError, match=r"would not be read as it is .* rename the folder"):
            write_manifest(tmp_path / "m.csv", [odd])
    with pytest.raises(ManifestError, match=r"' 1.png' has spaces at its ends"):
        write_manifest(tmp_path / "m.csv", [Record(image=tmp_path / " 1.png")])


def test_columns_that_nothing_is_read_from(tmp_path: Path) -> None:
    manifest = table(tmp_path, "path,class,mask:heart,Age,vessel_mask\n1.png,A,,7,v.png\n")
    assert unread_columns(manifest) == unread_columns(tmp_path) == ["class", "Age", "vessel_mask"]
    assert unread_columns(table(tmp_path, "image,split\n1.png,test\n")) == []
