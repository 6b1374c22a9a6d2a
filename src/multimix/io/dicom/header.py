"""What a DICOM header says of an image, before any pixel is looked at: our own, a chest, frontal, how large.

Nothing here opens a file or decodes a pixel; every function takes a dataset and reads attributes.
"""

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multimix.errors import ImageError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MANUFACTURER = "multimix"
"""Manufacturer (0008,0070) of every object that multimix writes."""

ON_REQUEST = "answered on request, although rejected"
"""Before the reason, in what is said of an image that `--force` had answered."""

_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1",  # CR
    "1.2.840.10008.5.1.4.1.1.1.1",  # DX, for presentation
    "1.2.840.10008.5.1.4.1.1.1.1.1",  # DX, for processing
    "1.2.840.10008.5.1.4.1.1.7",  # secondary capture, one frame; then several, of which one is taken
    *(f"1.2.840.10008.5.1.4.1.1.7.{number}" for number in range(1, 5)),
}
_STANDARD = "1.2.840.10008."
"""Begins the SOP classes of the standard; a private one is a device's own word for CR or DX as a rule."""
_RADIOGRAPHS = {"", "CR", "DX", "DR", "RG", "OT", "SC"}  # OT: what secondary captures usually carry

# PS3.16 annex L, and what devices write in its stead, in the languages of their makers.
_CHEST = re.compile(
    r"CHEST|THORA|T[OÓ]RAX|LUNG|POUMON|PULM|HEART|CARDIAC|MEDIASTIN|\bRIBS?\b|STERNUM|\bCXR\b"
)
_SPINE = re.compile(r"SPINE|LUMB|VERTEB")
_SPACINGS = {
    "PixelSpacing": "Pixel Spacing",
    "ImagerPixelSpacing": "Imager Pixel Spacing",
    "NominalScannedPixelSpacing": "Nominal Scanned Pixel Spacing",
}
_SAYS_NOTHING = {"", "UNKNOWN", "UNSPECIFIED", "UNDEFINED", "OTHER", "NONE", "NA", "N/A"}

# View Position (0018,5101), PS3.3 C.8.11.5.1.1 with annex L of PS3.16, and spellings in use.
_LATERAL = {"LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT", "PROFIL", "PROFILE"}
_OBLIQUE = {"LLO", "RLO", "LAO", "RAO", "LPO", "RPO", "OBL", "OBLIQUE"}

# View Code Sequence (0054,0220): CID 4010 of PS3.16, SNOMED CT and the SNOMED-RT codes of older files.
_LATERAL_CODES = {"399067008", "399173006", "399198007", "30730003", "R-10228", "R-10236", "R-10232"}


OBJECTIONS = ("modality", "body-part", "view", "raw")
"""What can speak against an image in its header."""


@dataclass(frozen=True)
class Objection:
    """Why an image is no frontal radiograph of a chest."""

    kind: str
    """One of OBJECTIONS."""
    words: str


class OwnResult(ImageError):
    """A DICOM object that multimix wrote: an answer, not an image to answer."""


def is_ours(dataset: "Dataset") -> bool:
    """Whether multimix wrote `dataset`: a Segmentation, a report or an overlay of `answer_objects`."""
    return str(dataset.get("Manufacturer") or "").strip() == MANUFACTURER


def refuse(dataset: "Dataset", name: str, *, force: bool) -> str:
    """Raise where `dataset` is no frontal radiograph of a chest, as far as its attributes say.

    OwnResult where it is one of our own results, and ImageError where it has no pixels at all, whatever `force`;
    otherwise ImageError unless `force`, which returns the reason, empty where there is none. An attribute that is
    absent, empty or says nothing ('OTHER') counts for neither side.
    """
    if is_ours(dataset):
        raise OwnResult(
            f"{name}: a result that multimix wrote, not a radiograph; give the image it was made of"
        )
    if not dataset.get("Rows") or not dataset.get("Columns"):  # reports, presentation states, documents
        raise ImageError(
            f"{name}: DICOM object of modality {text(dataset, 'Modality') or 'unknown'} has no image; "
            "give a CR or DX file"
        )
    reason = next((objection.words for objection in objections(dataset)), "")
    if reason and not force:
        raise ImageError(
            f"{name}: {reason}; a frontal chest radiograph is expected: "
            "leave it out, or use --force to have it answered all the same"
        )
    return reason


def objections(dataset: "Dataset", chest: Collection[str] = ()) -> list[Objection]:
    """All that speaks against `dataset` as a frontal radiograph of a chest, as far as its attributes say.

    `chest`: further names of the chest, upper case, as Body Part Examined or as value or meaning of an Anatomic Region.
    """
    found = (
        ("modality", _sop_class(dataset) or _modality(dataset)),
        ("body-part", _body_part(dataset, chest)),
        ("view", _view(dataset)),
        ("raw", _intent(dataset)),
    )
    return [Objection(kind, words) for kind, words in found if words]


def _sop_class(dataset: "Dataset") -> str:
    found = str(dataset.get("SOPClassUID") or "").strip("\0 ")
    if not found.startswith(_STANDARD) or found in _CLASSES:
        return ""
    from pydicom.uid import UID

    return f"a {UID(found).name.removesuffix(' Storage')[:64]}, not a radiograph"


def _modality(dataset: "Dataset") -> str:
    modality = text(dataset, "Modality")
    return "" if modality in _RADIOGRAPHS else f"of modality {modality}, not a radiograph"


def _body_part(dataset: "Dataset", chest: Collection[str]) -> str:
    """Why it is no chest; empty where it is one, or where nothing is said."""
    part, codes = text(dataset, "BodyPartExamined"), _codes(dataset, "AnatomicRegionSequence")
    if any(words in chest for words in (part, *(words for code in codes for words in code))):
        return ""
    said = [part, *(meaning for _, meaning in codes)]
    said = [words for words in said if words not in _SAYS_NOTHING]
    if not said or any(_CHEST.search(words) and not _SPINE.search(words) for words in said):
        return ""
    return f"shows another body part ({said[0]})"


def _view(dataset: "Dataset") -> str:
    """Why it is not frontal; empty where it is, or where nothing is said."""
    position, codes = text(dataset, "ViewPosition"), _codes(dataset, "ViewCodeSequence")
    said = [("", position, "View Position"), *((code, meaning, "View Code") for code, meaning in codes)]
    for code, meaning, where in said:
        words = set(re.findall(r"[A-Z]+", meaning))
        # A lateral decubitus view is frontal: it is the patient who lies on the side.
        if code in _LATERAL_CODES or (words & _LATERAL and not any(w.startswith("DECUB") for w in words)):
            return f"a lateral view ({where} {meaning or code})"
        if words & _OBLIQUE:
            return f"an oblique view ({where} {meaning or code})"
    if not position and not codes:
        # Rows that run from front to back, PS3.3 C.7.6.1.1.1: only a lateral view has them.
        towards = dataset.get("PatientOrientation") or [""]
        if str(towards[0]).upper()[:1] in ("A", "P"):
            return f"a lateral view (its rows run towards {str(towards[0])[:4]}, Patient Orientation)"
    return ""


def _intent(dataset: "Dataset") -> str:
    """Why it is not for people to look at, PS3.3 C.8.11.1; such pixels are what the detector gave."""
    raw = text(dataset, "PresentationIntentType") == "FOR PROCESSING"
    return "raw pixels of a detector (Presentation Intent Type FOR PROCESSING)" if raw else ""


def text(dataset: "Dataset", keyword: str) -> str:
    """A text attribute in upper case with single blanks, cut to what a person reads; empty where there is none."""
    value = "".join(c if c.isprintable() else " " for c in str(dataset.get(keyword) or "")[:200])
    return " ".join(value.upper().split())[:64]


def _codes(dataset: "Dataset", keyword: str) -> list[tuple[str, str]]:
    """Code value and code meaning, upper case, of every item of a code sequence."""
    items = dataset.get(keyword) or []
    return [(text(item, "CodeValue"), text(item, "CodeMeaning")) for item in items]


def spacing(dataset: "Dataset") -> tuple[tuple[float, float] | None, str]:
    """Millimetres per pixel (row, column) in the patient as far as the header allows, and how far to trust it.

    PS3.3 10.7.1.3 and C.8.11.3. In this order:
      Pixel Spacing that differs from Imager Pixel Spacing, or whose calibration is named   calibrated
      Imager Pixel Spacing          at the detector; divided by the Estimated Radiographic Magnification Factor
                                    where there is one
      Pixel Spacing alone           as it stands: the standard leaves open where it was measured
      Nominal Scanned Pixel Spacing  on the film that was digitised
    (None, "") where none is there.
    """
    pixel, imager = _pair(dataset, "PixelSpacing"), _pair(dataset, "ImagerPixelSpacing")
    calibration = text(dataset, "PixelSpacingCalibrationType")
    if pixel and (calibration or (imager and not _same(pixel, imager))):
        how = {"GEOMETRY": "from geometry", "FIDUCIAL": "with an object of known size"}.get(
            calibration, "by a method that is not stated"
        )
        described = str(dataset.get("PixelSpacingCalibrationDescription") or "").strip()[:100]
        return pixel, f"Pixel Spacing, calibrated {how}" + (f" ({described})" if described else "")
    if imager:
        factor = next(iter(decimals(dataset, "EstimatedRadiographicMagnificationFactor")), 0.0)
        if factor > 0:
            patient = (imager[0] / factor, imager[1] / factor)
            return patient, f"Imager Pixel Spacing, divided by the estimated magnification {factor:g}"
        return (
            imager,
            "Imager Pixel Spacing, at the detector: not corrected for magnification, so areas are too large",
        )
    if pixel:
        return (
            pixel,
            "Pixel Spacing, without a statement of calibration: it may not be corrected for magnification",
        )
    nominal = _pair(dataset, "NominalScannedPixelSpacing")
    if nominal:
        return (
            nominal,
            "Nominal Scanned Pixel Spacing, on the digitised film: not corrected for magnification",
        )
    return None, ""


def unusable_spacing(dataset: "Dataset") -> str:
    """Which spacing of an image without a `spacing` is there but no pair of numbers; empty where none is."""
    bad = next((words for keyword, words in _SPACINGS.items() if stated(dataset, keyword)), "")
    return bad and f"{bad} is no pair of millimetres, so areas are not known"


def decimals(dataset: "Dataset", keyword: str) -> tuple[float, ...]:
    """The numbers of an attribute; none where it is absent, empty, or not of finite numbers throughout."""
    try:
        found = tuple(float(part.strip("\0 ")) for part in written(dataset, keyword).split("\\"))
    except ValueError:
        return ()
    return found if all(map(math.isfinite, found)) else ()


def stated(dataset: "Dataset", keyword: str) -> bool:
    """Whether an attribute is there with a value, of whatever kind."""
    return bool(written(dataset, keyword))


def written(dataset: "Dataset", keyword: str) -> str:
    """A text value as it lies in the file: pydicom warns or raises where it is not allowed, and quotes it."""
    if keyword not in dataset:
        return ""
    value = dataset.get_item(keyword).value
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    elif not isinstance(value, str) and hasattr(value, "__iter__"):
        value = "\\".join(map(str, value))
    return "" if value is None else str(value).strip("\0 ")


def _pair(dataset: "Dataset", keyword: str) -> tuple[float, float] | None:
    match decimals(dataset, keyword):
        case (row, column) if 0 < row < 100 and 0 < column < 100:
            return row, column
    return None


def _same(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return all(abs(x - y) <= 1e-4 * y for x, y in zip(a, b, strict=True))
