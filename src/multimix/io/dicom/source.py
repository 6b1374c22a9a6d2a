"""What an answer takes over from the image it is about: patient, study, and the references to it.

Files in the wild miss attributes and hold values that DICOM does not allow. An answer must be valid all the
same and land in the same study, so what is missing is empty and what is not allowed is left out; but for the
Patient ID, by which archives tell patients apart: an image whose ID cannot be repeated gets no objects.
"""

import unicodedata
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID
from pydicom.valuerep import validate_value

from multimix.errors import ImageError

# Type 1 (must have a value), type 2 (must be there, may be empty) and type 3 (may be absent) of the Patient,
# Patient Study, General Study and Clinical Trial modules of PS3.3 C.7.1 and C.7.2.
_TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
)
_TYPE_3 = (
    *("IssuerOfPatientID", "PatientIdentityRemoved", "PatientAge", "PatientSize", "PatientWeight"),
    *("StudyDescription", "ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialSubjectID"),
)
_IMAGE = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_PIXELS = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PhotometricInterpretation",
)


def cleaned(source: Dataset, name: str) -> Dataset:
    """A data set that holds only what answers need of `source`, all of it valid, text in UTF-8.

    Raises ImageError, calling it `name`, where one of the four UIDs that answers refer to is missing, or the
    Patient ID is none that DICOM allows.
    """
    clean = Dataset()
    clean.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _IMAGE:
        value = _uid(source, keyword)
        if not UID(value).is_valid:
            raise ImageError(
                f"{name}: DICOM has no valid {keyword} ({value[:64]!r}), so no object can refer to it; "
                "give the original file, or use --format png"
            )
        setattr(clean, keyword, value)
    if source.get("PatientID") and _valid(source, "PatientID") is None:
        raise ImageError(
            f"{name}: DICOM has a Patient ID that is not allowed (expected at most 64 characters without control "
            "characters), so results would lie with another patient; correct the file, or use --format png"
        )
    for keyword in _TYPE_2:
        setattr(clean, keyword, _valid(source, keyword) or "")
    for keyword in _TYPE_3:
        if value := _valid(source, keyword):
            setattr(clean, keyword, value)
    if clean.PatientSex not in ("M", "F", "O"):
        clean.PatientSex = ""
    for keyword in _PIXELS:
        setattr(clean, keyword, source[keyword].value)
    clean.Modality = _valid(source, "Modality") or "OT"
    clean.InstanceNumber = _number(source)
    clean.PatientOrientation = _orientation(source)
    return clean


def _uid(source: Dataset, keyword: str) -> str:
    try:
        return str(source.get(keyword) or "").strip()
    except Exception:  # a value that cannot even be decoded
        return ""


def _valid(source: Dataset, keyword: str) -> Any:
    """The value as text where DICOM allows it, else None."""
    try:
        value = source.get(keyword)
        if value is None or isinstance(value, MultiValue):
            return None
        text = str(value).strip("\0 ")  # padding; blanks inside are part of the value, PS3.5 6.2
        vr = dictionary_VR(keyword)
        validate_value(vr, text, config.RAISE)
    except Exception:  # a value that cannot even be decoded
        return None
    printable = all(c.isprintable() or unicodedata.category(c) == "Zs" for c in text)
    return text if dictionary_VM(keyword) == "1" and printable else None


def _number(source: Dataset) -> int:
    try:
        number = int(source.get("InstanceNumber") or 1)
    except (TypeError, ValueError):
        return 1
    return number if 0 < number < 2**31 else 1


def _orientation(source: Dataset) -> list[str] | None:
    """Patient Orientation of rows and columns where it is two directions, PS3.3 C.7.6.1.1.1."""
    try:
        directions = [str(d) for d in source.get("PatientOrientation") or []]
    except (TypeError, ValueError):
        return None
    plain = len(directions) == 2 and all(d and set(d) <= set("APRLHF") for d in directions)
    return directions if plain else None
