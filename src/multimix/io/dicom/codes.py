"""Names of structures and classes as codes: SNOMED CT and DICOM where there is one, else our own.

A name that is not listed gets the scheme 99MULTIMIX, with a value made from the name and the name as its
meaning, so that equal names have equal codes. Case, blanks, '_' and '-' do not count.
"""

import hashlib
import re
from collections.abc import Mapping

from highdicom.sr import CodedConcept

PRIVATE_SCHEME = "99MULTIMIX"
"""Coding scheme of names without a public code; '99' marks private schemes, PS3.16 section 8.2."""

_STRUCTURES = {
    "lung": ("39607008", "SCT", "Lung"),
    "left lung": ("44029006", "SCT", "Left lung"),
    "right lung": ("3341006", "SCT", "Right lung"),
    "heart": ("80891009", "SCT", "Heart"),
    "clavicle": ("51299004", "SCT", "Clavicle"),
    "rib": ("113197003", "SCT", "Rib"),
    "sternum": ("56873002", "SCT", "Sternum"),
    "spine": ("421060004", "SCT", "Spine"),
    "trachea": ("44567001", "SCT", "Trachea"),
    "mediastinum": ("72410000", "SCT", "Mediastinum"),
    "aorta": ("15825003", "SCT", "Aorta"),
    "diaphragm": ("5798000", "SCT", "Diaphragm"),
    "pleura": ("3120008", "SCT", "Pleura"),
    "chest": ("816094009", "SCT", "Chest"),
}
_CLASSES = {
    "normal": ("17621005", "SCT", "Normal"),
    "no finding": ("17621005", "SCT", "Normal"),
    "abnormal": ("263654008", "SCT", "Abnormal"),
    "pneumonia": ("233604007", "SCT", "Pneumonia"),
    "bacterial pneumonia": ("53084003", "SCT", "Bacterial pneumonia"),
    "viral pneumonia": ("75570004", "SCT", "Viral pneumonia"),
    "covid": ("840539006", "SCT", "COVID-19"),
    "covid 19": ("840539006", "SCT", "COVID-19"),
    "tuberculosis": ("56717001", "SCT", "Tuberculosis"),
    "atelectasis": ("46621007", "SCT", "Atelectasis"),
    "cardiomegaly": ("8186001", "SCT", "Cardiomegaly"),
    "effusion": ("60046008", "SCT", "Pleural effusion"),
    "pleural effusion": ("60046008", "SCT", "Pleural effusion"),
    "pneumothorax": ("36118008", "SCT", "Pneumothorax"),
    "consolidation": ("95436008", "SCT", "Lung consolidation"),
    "edema": ("19242006", "SCT", "Pulmonary edema"),
    "emphysema": ("87433001", "SCT", "Pulmonary emphysema"),
    "fibrosis": ("51615001", "SCT", "Fibrosis of lung"),
    "infiltration": ("112121", "DCM", "Infiltrate"),
    "infiltrate": ("112121", "DCM", "Infiltrate"),
    "nodule": ("27925004", "SCT", "Nodule"),
    "mass": ("4147007", "SCT", "Mass"),
    "opacity": ("112001", "DCM", "Opacity"),
    "lung opacity": ("112001", "DCM", "Opacity"),
}


def structure_code(name: str) -> CodedConcept:
    """Code of an anatomical structure; a plural counts as its singular ('lungs' is SNOMED CT 39607008, Lung)."""
    words = _words(name)
    return _code(name, words if words in _STRUCTURES else words.removesuffix("s"), _STRUCTURES)


def class_code(name: str) -> CodedConcept:
    """Code of a class as a finding."""
    return _code(name, _words(name), _CLASSES)


def is_private(code: CodedConcept) -> bool:
    """Whether `code` is of our own scheme, which an object that uses it must introduce."""
    return bool(code.scheme_designator == PRIVATE_SCHEME)


def _words(name: str) -> str:
    return " ".join(re.split(r"[\W_]+", name.casefold())).strip()


def _code(name: str, words: str, known: Mapping[str, tuple[str, str, str]]) -> CodedConcept:
    if words in known:
        return CodedConcept(*known[words])
    # A code value holds 16 characters, a meaning 64 (SH and LO, PS3.5 table 6.2-1), neither a backslash.
    value = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    meaning = readable(name, 1024)
    if len(meaning) > 64:  # two long names that begin alike stay two
        meaning = f"{meaning[:53].strip()} ({value[:8]})"
    return CodedConcept(value, PRIVATE_SCHEME, meaning or "unnamed")


def readable(text: str, length: int) -> str:
    """`text` as a DICOM value of at most `length` characters: no backslash, no control characters."""
    plain = "".join(c if c.isprintable() and c != "\\" else " " for c in text)
    return " ".join(plain.split())[:length].strip()
