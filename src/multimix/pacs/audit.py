"""An audit log: who sent, fetched or was refused what, as DICOM audit messages (PS3.15 A.5), one a line.

Unlike every other log it holds Patient IDs, as that is what an audit asks for; names it holds none. What cannot be
written down is not done: the error goes to whoever tells.
"""

import base64
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from multimix.errors import UsageError
from multimix.pacs.events import Event, Kind


@dataclass(frozen=True)
class _Message:
    """How one kind of event is put into words of the standard."""

    event: tuple[str, str]
    """Event ID."""
    action: str
    """C create, R read, E execute."""
    ours: tuple[str, str] = ("110152", "Destination Role ID")
    theirs: tuple[str, str] = ("110153", "Source Role ID")
    we_ask: bool = False
    kind: tuple[str, str] | None = None
    """Event Type Code."""


_SOURCE, _DESTINATION = ("110153", "Source Role ID"), ("110152", "Destination Role ID")
_TRANSFER = ("110104", "DICOM Instances Transferred")
_ACTIVITY = ("110100", "Application Activity")
_APPLICATION = ("110150", "Application")
MESSAGES: dict[Kind, _Message] = {
    "started": _Message(_ACTIVITY, "E", _APPLICATION, kind=("110120", "Application Start")),
    "stopped": _Message(_ACTIVITY, "E", _APPLICATION, kind=("110121", "Application Stop")),
    "received": _Message(_TRANSFER, "C"),
    "dropped": _Message(_TRANSFER, "C"),
    "refused": _Message(_TRANSFER, "C"),
    "rejected": _Message(("110113", "Security Alert"), "E", kind=("110126", "Node Authentication")),
    "searched": _Message(("110112", "Query"), "E", _SOURCE, _DESTINATION, we_ask=True),
    "retrieved": _Message(_TRANSFER, "C", we_ask=True),
    "sent": _Message(_TRANSFER, "C", _SOURCE, _DESTINATION, we_ask=True),
}


class AuditLog:
    """Appends to one file, which only its owner can read."""

    def __init__(
        self, file: Path, title: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """`title`: own AE title. UsageError where the file cannot be written."""
        self._title, self._now, self._host = title, now, socket.gethostname()
        try:
            self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise UsageError(
                f"audit_log: {file} cannot be written ({error.strerror}). Choose another."
            ) from error

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def tell(self, event: Event) -> None:
        """Write a message; it is on the disk when this returns. Raises OSError."""
        line = ElementTree.tostring(self.message(event), encoding="utf-8") + b"\n"
        os.write(self._file, line)  # one call, so that lines of several threads do not mix
        os.fsync(self._file)

    def message(self, event: Event) -> Element:
        """The message about `event`."""
        form = MESSAGES[event.kind]
        root = Element("AuditMessage")
        head = SubElement(
            root,
            "EventIdentification",
            EventActionCode=form.action,
            EventDateTime=self._now().isoformat(timespec="milliseconds"),
            EventOutcomeIndicator="0" if event.ok else "4",
        )
        _code(head, "EventID", *form.event)
        if form.kind is not None:
            _code(head, "EventTypeCode", *form.kind)
        ours = SubElement(
            root,
            "ActiveParticipant",
            UserID=self._title,
            AlternativeUserID=f"AETITLES={self._title}",
            UserIsRequestor=_truth(form.we_ask or not event.who),
            NetworkAccessPointID=self._host,
            NetworkAccessPointTypeCode="1",
        )
        _code(ours, "RoleIDCode", *form.ours)
        if event.who:
            user, place, kind = _who(event.who)
            theirs = SubElement(
                root,
                "ActiveParticipant",
                UserID=user,
                UserIsRequestor=_truth(not form.we_ask),
                NetworkAccessPointID=place,
                NetworkAccessPointTypeCode=kind,
            )
            _code(theirs, "RoleIDCode", *form.theirs)
        SubElement(root, "AuditSourceIdentification", AuditSourceID=f"{self._title}@{self._host}")
        self._objects(root, event)
        return root

    def _objects(self, root: Element, event: Event) -> None:
        if event.kind == "rejected":
            _object(root, event.who, "2", "13", ("110182", "DCM", "Node ID"))
        if event.query:
            asked = _object(root, event.who, "2", "24", ("12", "RFC-3881", "URI"))
            query = SubElement(asked, "ParticipantObjectQuery")
            query.text = base64.b64encode(event.query.encode()).decode()
        if event.study:
            study = _object(root, event.study, "2", "3", ("110180", "DCM", "Study Instance UID"))
            described = SubElement(study, "ParticipantObjectDescription")
            instances = SubElement(described, "SOPClass", NumberOfInstances=str(len(event.instances)))
            if event.sop_class:
                instances.set("UID", event.sop_class)
            for uid in event.instances:
                SubElement(instances, "Instance", UID=uid)
            _object(root, event.patient, "1", "1", ("2", "RFC-3881", "Patient Number"))


def _object(root: Element, name: str, kind: str, role: str, code: tuple[str, str, str]) -> Element:
    found = SubElement(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=name,
        ParticipantObjectTypeCode=kind,
        ParticipantObjectTypeCodeRole=role,
    )
    value, system, meaning = code
    _code(found, "ParticipantObjectIDTypeCode", value, meaning, system)
    return found


def _code(parent: Element, name: str, value: str, meaning: str, system: str = "DCM") -> None:
    SubElement(parent, name, {"csd-code": value, "codeSystemName": system, "originalText": meaning})


def _who(who: str) -> tuple[str, str, str]:
    """User, place in the network and its kind: 2 an IP address, 5 a URI."""
    if "://" in who:
        return urlsplit(who).netloc, who, "5"
    title, _, place = who.rpartition("@")
    return title, place, "2"


def _truth(value: bool) -> str:
    return str(value).lower()
