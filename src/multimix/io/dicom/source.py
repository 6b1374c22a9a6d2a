"""What an answer takes over from the image it is about: patient, study, and the references to it.

Files in the wild miss attributes and hold values that DICOM does not allow. An answer must be valid all the
same and land in the same study, so what is missing is empty and what is not allowed is left out; but for the
Patient ID, by which archives tell patients apart: an image whose ID cannot be repeated gets no objects.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    SecondaryCaptureImageStorage,
)
from pydicom.valuerep import validate_value

from multimix.errors import ImageError
from multimix.io.dicom.header import decimals, written
from multimix.io.dicom.identity import Algorithm, answer_uid

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
_CLASS = Tag("ReferencedSOPClassUID")
_IMAGE = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_PIXELS = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "PhotometricInterpretation")
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
"""Digits and dots: also with leading zeros, which PS3.5 9.1 forbids and devices write; archives take them."""
_ONE_FRAME = {
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
}
_LOSSY = {
    JPEGBaseline8Bit: "ISO_10918_1",
    JPEGExtended12Bit: "ISO_10918_1",
    JPEGLSNearLossless: "ISO_14495_1",
    JPEG2000: "ISO_15444_1",
    HTJ2K: "ISO_15444_15",
}


@dataclass(frozen=True)
class Source:
    """What answers need of an image, all of it valid; what was not, and is repeated all the same, beside it."""

    clean: Dataset
    """Text in UTF-8; UIDs that are not allowed have stand-ins, and so has a SOP class that highdicom does not know."""
    sop_class: str
    """The image's own."""
    uids: dict[str, str] = field(default_factory=dict)
    """Stand-in -> UID of the image."""

    def restore(self, made: Dataset) -> None:
        """Put the image's own UIDs and SOP class into an object that was made of `clean`."""
        for element in made:
            if element.VR == "SQ":
                for item in element.value:
                    self.restore(item)
            elif element.VR == "UI" and element.value in self.uids:
                made[element.tag] = _uid(element.tag, self.uids[element.value])
        image = self.uids.get(self.clean.SOPInstanceUID, self.clean.SOPInstanceUID)
        if made.get("ReferencedSOPInstanceUID") == image:
            made[_CLASS] = _uid(_CLASS, self.sop_class)


def cleaned(source: Dataset, name: str, algorithm: Algorithm) -> Source:
    """What answers by `algorithm` need of the image with the header `source`.

    Raises ImageError, calling it `name`, where one of the four UIDs that answers refer to is missing or of other
    characters than digits and dots, or the Patient ID is none that DICOM allows.
    """
    clean, uids = Dataset(), {}
    clean.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _IMAGE:
        value = written(source, keyword)
        if len(value) > 64 or not _UID.fullmatch(value):
            raise ImageError(
                f"{name}: DICOM has no valid {keyword} ({value[:64]!r}), so no object can refer to it; "
                "give the original file, or use --format png"
            )
        if not UID(value, validation_mode=config.IGNORE).is_valid:
            stand_in = answer_uid(value, algorithm, "stand-in")
            uids[stand_in] = value
            value = stand_in
        setattr(clean, keyword, value)
    sop_class = uids.get(clean.SOPClassUID, clean.SOPClassUID)
    if sop_class not in _ONE_FRAME:
        clean.SOPClassUID = SecondaryCaptureImageStorage
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
    clean.BitsStored = source.get("BitsStored") or clean.BitsAllocated
    clean.HighBit = clean.BitsStored - 1
    clean.Modality = _valid(source, "Modality") or "OT"
    clean.InstanceNumber = _number(source)
    clean.PatientOrientation = _orientation(source)
    _lossy_history(source, clean)
    frame = written(source, "FrameOfReferenceUID")
    if UID(frame, validation_mode=config.IGNORE).is_valid and len(frame) <= 64:
        clean.FrameOfReferenceUID = frame
        clean.PositionReferenceIndicator = _valid(source, "PositionReferenceIndicator") or ""
    return Source(clean, sop_class, uids)


def aspect(source: Dataset, spacing: tuple[float, float] | None) -> tuple[int, int] | None:
    """Height to width of a pixel as Pixel Aspect Ratio (0028,0034) has it; None where it is square or not known."""
    if spacing is None:
        match decimals(source, "PixelAspectRatio"):
            case (height, width) if 0 < height < 1e6 and 0 < width < 1e6:
                spacing = height, width
            case _:
                return None
    ratio = Fraction(spacing[0] / spacing[1]).limit_denominator(1000)
    return None if ratio in (0, 1) else (ratio.numerator, ratio.denominator)


def _uid(tag: BaseTag, value: str) -> DataElement:
    """A UID as it is, allowed or not."""
    return DataElement(tag, "UI", UID(value, validation_mode=config.IGNORE), validation_mode=config.IGNORE)


def _lossy_history(source: Dataset, clean: Dataset) -> None:
    """What lossy compression the image has gone through, PS3.3 C.7.6.1.1.5, and so everything made of it."""
    meta = getattr(source, "file_meta", None)
    method = _LOSSY.get(meta.get("TransferSyntaxUID")) if meta is not None else None
    if written(source, "LossyImageCompression") == "01" or method:
        clean.LossyImageCompression = "01"
        if ratios := decimals(source, "LossyImageCompressionRatio"):
            clean.LossyImageCompressionRatio = [float(f"{ratio:.6g}") for ratio in ratios]
        if methods := written(source, "LossyImageCompressionMethod") or method:
            clean.LossyImageCompressionMethod = methods.split("\\")
    elif written(source, "LossyImageCompression") == "00":
        clean.LossyImageCompression = "00"


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
