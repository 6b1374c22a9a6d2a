"""What happens to objects between this program and others, for those who count it or write it down."""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import pydicom

Kind = Literal[
    "started", "stopped", "received", "dropped", "refused", "rejected", "searched", "retrieved", "sent"
]
KINDS: dict[Kind, str] = {
    "started": "the worker began",
    "stopped": "the worker ended",
    "received": "an image came by C-STORE and is in the queue",
    "dropped": "an object that is no image came by C-STORE and was thrown away",
    "refused": "an object that came by C-STORE was not taken",
    "rejected": "an association was rejected",
    "searched": "an archive was searched",
    "retrieved": "an image was fetched from an archive",
    "sent": "the results of an image are in an archive",
}


@dataclass(frozen=True)
class Event:
    """One of KINDS."""

    kind: Kind
    who: str
    """The other side: TITLE@ADDRESS or the URL of an archive; empty where there is none."""
    ok: bool = True
    study: str = ""
    instances: tuple[str, ...] = ()
    """SOP Instance UIDs."""
    sop_class: str = ""
    patient: str = ""
    """Patient ID, which no log but that of an audit may hold."""
    query: str = ""
    """What an archive was asked."""


Tell = Callable[[Event], None]


def nobody(event: Event) -> None:
    """Listens to nothing."""


def patient_of(data: bytes) -> str:
    """The Patient ID in a DICOM file; empty where it cannot be read."""
    try:
        header = pydicom.dcmread(BytesIO(data), stop_before_pixels=True, specific_tags=["PatientID"])
        return str(header.get("PatientID") or "")[:64]
    except Exception:  # on a damaged file pydicom raises nearly anything
        return ""
