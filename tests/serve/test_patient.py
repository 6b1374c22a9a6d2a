"""What the page says of a DICOM image's patient, date and view."""

from pydicom.dataset import Dataset
from services import encoded, file_of

import studies
from multimix.serve.patient import header_of


def told(data: Dataset) -> dict[str, str]:
    return header_of(file_of(data))


def test_patient_date_and_view():
    film = studies.dx(
        PatientName="DOE^JANE^^DR",
        PatientID="12-34",
        PatientBirthDate="19700102",
        PatientSex="F",
        PatientAge="054Y",
        StudyDate="20240130",
        AcquisitionDate="20240131",
        AcquisitionTime="142501.5",
        BodyPartExamined="CHEST",
        StudyDescription="Chest  PA",
    )
    assert told(film) == {
        "patient": "DOE, JANE DR",
        "patient_id": "12-34",
        "birth_date": "1970-01-02",
        "sex": "F",
        "age": "054Y",
        "date": "2024-01-31",
        "time": "14:25",
        "view": "PA",
        "laterality": "U",
        "body_part": "CHEST",
        "modality": "DX",
        "study": "Chest PA",
    }


def test_what_is_missing_is_left_out_and_what_is_odd_stands_as_it_is():
    bare = studies.dx(
        PatientName="",
        PatientID=None,
        AcquisitionDate=None,
        ContentDate=None,
        SeriesDate=None,
        StudyDate="",
        ViewPosition=None,
        AcquisitionTime=None,
        ContentTime=None,
        SeriesTime=None,
        StudyTime="",
        ImageLaterality=None,
    )
    found = told(bare)
    assert not {"patient", "patient_id", "date", "time", "laterality"} & set(found)
    assert found["view"] == "postero-anterior"  # of the View Code Sequence
    assert told(studies.dx(PatientName="Yamada^Tarou=山田^太郎", SpecificCharacterSet="ISO_IR 192"))[
        "patient"
    ] == ("Yamada, Tarou / 山田, 太郎")


def test_files_of_other_kinds_have_none():
    assert header_of(encoded("PNG")) == {}
    assert header_of(file_of(studies.dx())[:200]) == {}
