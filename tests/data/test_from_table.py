"""Tables that others wrote: hospitals' Excel, Windows paths, one column per class, bare names."""

from pathlib import Path

import pytest
from tests.data.pictures import mask, picture

import tiny
from multimix.data.index.from_table import index_table
from multimix.data.manifest import read_manifest
from multimix.errors import ManifestError, UsageError


def test_isic(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = ["image,MEL,NV"]
    for i in range(8):
        picture(tmp_path / f"ISIC_Input/ISIC_{i:07}.png", i)
        mask(tmp_path / f"ISIC_GroundTruth/ISIC_{i:07}_segmentation.png", i)
        rows.append(f"ISIC_{i:07},{float(i % 2)},{float(not i % 2)}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    answer = tiny.multimix(capsys, "data", "index", tmp_path / "labels.csv", "--structures", "lesion")
    assert answer.code == 0, answer.err
    records = {record.image.stem: record for record in read_manifest(tmp_path)}
    assert {name: record.label for name, record in records.items()} == {
        f"ISIC_{i:07}": "MEL" if i % 2 else "NV" for i in range(8)
    }
    assert all(r.masks["lesion"][0].stem == f"{name}_segmentation" for name, r in records.items())
    assert tiny.multimix(capsys, "data", "check", tmp_path).code == 0


def test_a_hospitals_excel_table_with_windows_paths(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["Datei", "Befund", "Fallnummer", "Split"])
    for i in range(6):
        picture(tmp_path / f"scans/ward{i % 2}/{i}.png", i)
        where = f"Z:\\PACS\\ward{i % 2}\\{i}.png"
        book.active.append(
            [where, ("krank", "gesund")[i % 2], 100 + i, ("Training", "Training", "Test")[i // 2]]
        )
    book.save(tmp_path / "ward.xlsx")
    options = ["--root", tmp_path / "scans", "--image-column", "Datei", "--label-column", "Befund"]
    options += ["--patient-column", "Fallnummer", "--path-map", r"z:\pacs=."]
    answer = tiny.multimix(capsys, "data", "index", tmp_path / "ward.xlsx", *options)
    assert answer.code == 0, answer.err
    assert [(r.image.name, r.label, r.patient, r.split) for r in read_manifest(tmp_path / "scans")] == [
        (f"{i}.png", ("krank", "gesund")[i % 2], str(100 + i), ("train", "train", "test")[i // 2])
        for i in range(6)
    ]


@pytest.mark.parametrize(
    ("encoding", "separator"), [("utf-8-sig", ","), ("utf-16", "\t"), ("cp1252", ";"), ("utf-8", ";")]
)
def test_encodings(tmp_path: Path, encoding: str, separator: str) -> None:
    picture(tmp_path / "ä/1.png", 1)
    lines = [("Filename", "Diagnosis", "MRN"), ("ä\\1.png", "Pneumonié", "7")]
    (tmp_path / "t.csv").write_bytes("\n".join(separator.join(line) for line in lines).encode(encoding))
    (record,) = index_table(tmp_path / "t.csv").records
    assert (record.image, record.label, record.patient) == (tmp_path / "ä/1.png", "Pneumonié", "7")


def test_rows_without_a_file_are_told_and_a_name_of_two_files_is_none(tmp_path: Path) -> None:
    for place in ("a", "b"):
        picture(tmp_path / place / "1.png", 1)
    picture(tmp_path / "a/2.png", 2)
    (tmp_path / "t.csv").write_text("file,label\n2.png,X\n1.png,X\n/elsewhere/b/1.png,Y\n3.png,X\n")
    index = index_table(tmp_path / "t.csv")
    assert [(r.image.relative_to(tmp_path).as_posix(), r.label) for r in index.records] == [
        ("a/2.png", "X"),
        ("b/1.png", "Y"),
    ]
    assert ["names 2 files" in index.unmatched[0], "names no file" in index.unmatched[1]] == [True, True]
    assert "--path-map OLD=NEW" in index.unmatched[1]
    (tmp_path / "t.csv").write_text("file,label\n3.png,X\n")
    with pytest.raises(ManifestError, match="none of the rows has a file"):
        index_table(tmp_path / "t.csv")


def test_several_classes_and_none(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / f"{i}.png", i)
    (tmp_path / "t.csv").write_text("image,A,B,age\n0.png,1,1,50\n1.png,0,0,60\n2.png,0,1,70\n")
    index = index_table(tmp_path / "t.csv", patient_per_image=True)
    assert {r.image.name: r.label for r in index.records} == {"0.png": "A|B", "1.png": "none", "2.png": "B"}
    assert index.notes == ["classes are those of the columns A, B", "columns that nothing is read from: age"]


def test_options_of_tables_are_refused_for_folders(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture(tmp_path / "a/1.png", 1)
    answer = tiny.multimix(capsys, "data", "index", tmp_path, "--image-column", "x")
    assert answer.code == 2
    assert "--image-column is for a table" in answer.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"patient_pattern": r"(\d+)"}, "--patient-pattern: the table says who"),
        ({"patient_per_image": True}, "--patient-per-image: the table says who"),
        ({"mask_suffix": "_m"}, "--mask-suffix: the table names the masks"),
    ],
)
def test_options_on_what_the_table_says_itself_are_refused(
    tmp_path: Path, options: dict[str, str | bool], words: str
) -> None:
    picture(tmp_path / "1.png", 1)
    mask(tmp_path / "1_m.png", 1)
    (tmp_path / "t.csv").write_text("image,MRN,label,mask\n1.png,7,ill,1_m.png\n")
    with pytest.raises(UsageError, match=words):
        index_table(tmp_path / "t.csv", **options)  # type: ignore[arg-type]


def test_a_row_whose_cell_means_empty_is_left_out_and_told(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / f"{i}.png", i)
    (tmp_path / "t.csv").write_text("image,label\n0.png,ill\n1.png,nan\n2.png,well\n")
    index = index_table(tmp_path / "t.csv")
    assert [record.label for record in index.records] == ["ill", "well"]
    assert "line 3: label is 'nan'" in index.unmatched[0]
