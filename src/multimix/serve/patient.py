"""Whose and what a DICOM image is, in words for the page; read where it is asked for, never kept or logged."""

import re
from io import BytesIO
from typing import TYPE_CHECKING

from multimix.errors import ImageError
from multimix.io.dicom.read import read_header
from multimix.io.limits import explained
from multimix.io.readers import is_dicom
from multimix.serve.decode import NAME

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

LONGEST = 120


def header_of(data: bytes) -> dict[str, str]:
    """What the header of a DICOM file says, without what it leaves empty; empty for files of other kinds.

    patient (name), patient_id, birth_date, sex, age; date and time of the image; view, laterality, body_part;
    modality; study (description). Dates are YYYY-MM-DD where they can be read, else as they stand.
    """
    if not is_dicom(data[:132]):
        return {}
    try:
        with explained(NAME):
            return {name: words for name, words in _described(read_header(BytesIO(data), NAME)) if words}
    except ImageError:  # the image itself could be read; its words are a courtesy
        return {}


def _described(header: "Dataset") -> list[tuple[str, str]]:
    dated = ("AcquisitionDate", "ContentDate", "SeriesDate", "StudyDate")
    return [
        ("patient", _name(header)),
        ("patient_id", _words(header, "PatientID")),
        ("birth_date", _date(_words(header, "PatientBirthDate"))),
        ("sex", _words(header, "PatientSex")),
        ("age", _words(header, "PatientAge")),
        ("date", _date(_first(header, *dated))),
        ("time", _time(_first(header, *(name.replace("Date", "Time") for name in dated)))),
        ("view", _view(header)),
        ("laterality", _first(header, "ImageLaterality", "Laterality")),
        ("body_part", _words(header, "BodyPartExamined")),
        ("modality", _words(header, "Modality")),
        ("study", _first(header, "StudyDescription", "SeriesDescription")),
    ]


def _words(header: "Dataset", keyword: str) -> str:
    value = str(header.get(keyword) or "")
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())[:LONGEST]


def _first(header: "Dataset", *keywords: str) -> str:
    return next(filter(None, (_words(header, keyword) for keyword in keywords)), "")


def _name(header: "Dataset") -> str:
    """Family name, then the others; other scripts after a stroke (PS3.5 6.2.1)."""
    groups = []
    for group in _words(header, "PatientName").split("="):
        family, _, others = group.partition("^")
        groups.append(", ".join(filter(None, (family.strip(), " ".join(others.replace("^", " ").split())))))
    return " / ".join(filter(None, groups))


def _date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if re.fullmatch(r"\d{8}", text) else text


def _time(text: str) -> str:
    return f"{text[:2]}:{text[2:4]}" if re.match(r"\d{4}", text) else text


def _view(header: "Dataset") -> str:
    if position := _words(header, "ViewPosition"):
        return position
    return next((_words(item, "CodeMeaning") for item in header.get("ViewCodeSequence") or []), "")
