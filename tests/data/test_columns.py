"""Columns and splits as people write them; a patient that would not be read is an error."""

from collections.abc import Collection
from pathlib import Path

import pytest

from multimix.data.columns import find_columns, split_of
from multimix.data.manifest import read_manifest
from multimix.errors import ManifestError


def found(header: str, told: dict[str, str] | None = None, **values: Collection[str]) -> dict[str, str]:
    return find_columns(Path("t.csv"), header.split(","), told or {}, lambda name: values.get(name, ["x"]))


@pytest.mark.parametrize(
    "name",
    [
        "patient",
        "patient_id",
        "PatientID",
        "subject_id",
        "Subject",
        "MRN",
        "pid",
        "ptid",
        "case_id",
        "participant_id",
        "Patient-No",
        "person_id",
    ],
)
def test_the_patient_as_people_name_it(name: str) -> None:
    assert found(f"image,label,{name}")["patient"] == name


def test_of_several_the_plain_name_counts_and_a_case_last() -> None:
    assert found("image,MRN,patient")["patient"] == "patient"
    assert found("image,case_id,subject_id")["patient"] == "subject_id"


def test_two_that_may_be_the_patient_are_asked_for() -> None:
    with pytest.raises(
        ManifestError, match=r"'subject_id', 'MRN' all look like the patient.*--patient-column"
    ):
        found("image,subject_id,MRN")
    assert found("image,subject_id,MRN", {"patient": "MRN"})["patient"] == "MRN"


@pytest.mark.parametrize("name", ["patient_hash", "Anonymous Patient Key", "subject code"])
def test_what_looks_like_the_patient_and_would_not_be_read_is_refused(name: str) -> None:
    with pytest.raises(
        ManifestError, match=rf"column '{name}' looks like the patient.*--patient-column '{name}'"
    ):
        found(f"image,{name}")


@pytest.mark.parametrize("name", ["Patient Age", "PatientSex", "patient_position", "subject_group"])
def test_what_is_said_about_a_patient_is_free(name: str) -> None:
    assert found(f"image,{name}") == {"image": "image"}


def test_a_column_that_is_named_must_be_there() -> None:
    with pytest.raises(
        ManifestError, match="--label-column 'dx' is not in the table, which has 'image'; correct it"
    ):
        found("image", {"label": "dx"})


def test_a_subset_is_a_split_where_all_its_cells_are() -> None:
    assert found("image,subset", subset=["Train", "VAL", ""])["split"] == "subset"
    assert "split" not in found("image,subset", subset=["Train", "A"])


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("Training", "train"),
        ("TEST", "test"),
        ("valid", "val"),
        ("hold-out", "test"),
        ("dev", "val"),
        ("all", None),
    ],
)
def test_splits_as_people_write_them(text: str, split: str | None) -> None:
    assert split_of(text) == split


def test_the_patient_of_another_name_finds_the_leak(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("image,SubjectID,split\na.png,7,Training\nb.png,7,testing\n")
    records = read_manifest(tmp_path)
    assert [(r.patient, r.split) for r in records] == [("7", "train"), ("7", "test")]
