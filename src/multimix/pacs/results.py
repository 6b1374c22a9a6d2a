"""The kinds of objects that results are, and what an archive that takes no such kind gets in their place."""

from collections.abc import Collection, Iterable, Sequence

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from multimix.io.dicom.report import as_enhanced, enhanced_uid
from multimix.pacs.outcomes import Result

__all__ = ["KINDS", "as_enhanced", "as_sent", "is_report", "not_taken", "sent_as", "taken"]

KINDS: dict[str, tuple[UID, ...]] = {
    "seg": (SegmentationStorage,),
    "sr": (Comprehensive3DSRStorage, EnhancedSRStorage),
    "overlay": (SecondaryCaptureImageStorage,),
}
"""Name in `config.RESULTS` -> SOP classes, the one that is wanted first."""


def taken(classes: Iterable[str]) -> frozenset[str]:
    """Which results an archive takes that takes objects of these SOP classes."""
    known = set(classes)
    return frozenset(name for name, kinds in KINDS.items() if known.intersection(kinds))


def is_report(made: Dataset) -> bool:
    """Whether an object is a report as it is made first."""
    return made.get("SOPClassUID") == Comprehensive3DSRStorage


def sent_as(result: Result) -> tuple[str, ...]:
    """The UIDs under which an archive may hold a result."""
    header = pydicom.dcmread(result.path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    return (result.uid, enhanced_uid(result.uid)) if is_report(header) else (result.uid,)


def as_sent(result: Result, classes: Collection[str]) -> tuple[str, str]:
    """SOP class and instance UID under which a result goes to an archive that takes `classes`."""
    header = pydicom.dcmread(result.path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    if is_report(header) and Comprehensive3DSRStorage not in classes:
        return EnhancedSRStorage, enhanced_uid(result.uid)
    return str(header.SOPClassUID), result.uid


def not_taken(who: str, classes: Sequence[str]) -> str:
    """The reason of an image some of whose results are of SOP classes that `who` does not take."""
    names = ", ".join(UID(one).name for one in classes)
    kinds = ", ".join(name for name, known in KINDS.items() if known[0] in classes)
    return f"{who} does not take {names}; leave {kinds} out of `results` in pacs.yaml"
