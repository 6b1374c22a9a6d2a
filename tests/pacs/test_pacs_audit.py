"""The audit log: its messages, by the tables of PS3.15 A.5.3, and that nothing is done untold."""

import base64
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from multimix.errors import UsageError
from multimix.pacs.audit import MESSAGES, AuditLog
from multimix.pacs.events import KINDS, Event

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "audit.xml"


@pytest.fixture
def audit(file: Path) -> Iterator[AuditLog]:
    log = AuditLog(file, "MULTIMIX", lambda: NOON)
    yield log
    log.close()


def code(element: Element | None) -> tuple[str | None, ...]:
    assert element is not None
    return tuple(element.get(name) for name in ("csd-code", "codeSystemName"))


def participants(message: Element) -> list[tuple[str | None, ...]]:
    """User, whether it asks, place, kind of place and role of each."""
    names = ("UserID", "UserIsRequestor", "NetworkAccessPointID", "NetworkAccessPointTypeCode")
    return [
        (*(one.get(name) for name in names), code(one.find("RoleIDCode"))[0])
        for one in message.findall("ActiveParticipant")
    ]


def objects(message: Element) -> list[tuple[str | None, ...]]:
    names = ("ParticipantObjectID", "ParticipantObjectTypeCode", "ParticipantObjectTypeCodeRole")
    return [
        (*(one.get(name) for name in names), *code(one.find("ParticipantObjectIDTypeCode")))
        for one in message.findall("ParticipantObjectIdentification")
    ]


def test_an_image_that_came(audit: AuditLog):
    event = Event(
        "received", "SCANNER@10.0.0.5", True, "1.2", ("1.2.3",), "1.2.840.10008.5.1.4.1.1.1", "PH0000"
    )
    message = audit.message(event)
    (head, *_) = message
    assert dict(head.items()) == {
        "EventActionCode": "C",
        "EventDateTime": "2026-01-02T12:00:00.000+00:00",
        "EventOutcomeIndicator": "0",
    }
    assert code(head.find("EventID")) == ("110104", "DCM")
    ours, theirs = participants(message)
    assert (ours[0], ours[1], ours[4]) == ("MULTIMIX", "false", "110152")
    assert theirs == ("SCANNER", "true", "10.0.0.5", "2", "110153")
    assert objects(message) == [
        ("1.2", "2", "3", "110180", "DCM"),
        ("PH0000", "1", "1", "2", "RFC-3881"),
    ]
    sop_class = message.find(".//ParticipantObjectDescription/SOPClass")
    assert sop_class is not None
    assert dict(sop_class.items()) == {"UID": "1.2.840.10008.5.1.4.1.1.1", "NumberOfInstances": "1"}
    assert [one.get("UID") for one in sop_class] == ["1.2.3"]


def test_results_that_went(audit: AuditLog):
    event = Event("sent", "https://archive.example/dicom-web", True, "1.2", ("1.2.3", "1.2.4"), patient="P")
    ours, theirs = participants(audit.message(event))
    assert (ours[1], ours[4]) == ("true", "110153")
    assert theirs == ("archive.example", "false", "https://archive.example/dicom-web", "5", "110152")
    sop_class = audit.message(event).find(".//SOPClass")
    assert sop_class is not None
    assert dict(sop_class.items()) == {"NumberOfInstances": "2"}  # of several classes


def test_a_search_says_what_was_asked(audit: AuditLog):
    message = audit.message(Event("searched", "https://a/b", query="ModalitiesInStudy=CR"))
    assert code(message.find("EventIdentification/EventID")) == ("110112", "DCM")
    assert objects(message) == [("https://a/b", "2", "24", "12", "RFC-3881")]
    query = message.find(".//ParticipantObjectQuery")
    assert query is not None
    assert base64.b64decode(query.text or "") == b"ModalitiesInStudy=CR"


def test_an_association_that_was_rejected(audit: AuditLog):
    message = audit.message(Event("rejected", "STRANGER@10.0.0.66", ok=False))
    head = message.find("EventIdentification")
    assert head is not None
    assert head.get("EventOutcomeIndicator") == "4"
    assert (code(head.find("EventID"))[0], code(head.find("EventTypeCode"))[0]) == ("110113", "110126")
    assert objects(message) == [("STRANGER@10.0.0.66", "2", "13", "110182", "DCM")]


@pytest.mark.parametrize(("kind", "meant"), [("started", "110120"), ("stopped", "110121")])
def test_begin_and_end(audit: AuditLog, kind: str, meant: str):
    message = audit.message(Event(kind, ""))  # type: ignore[arg-type]
    assert code(message.find("EventIdentification/EventTypeCode"))[0] == meant
    assert len(participants(message)) == 1


def test_every_kind_of_event_has_a_message_in_the_order_of_the_schema(audit: AuditLog, file: Path):
    assert MESSAGES.keys() == KINDS.keys()
    for kind in KINDS:
        audit.tell(Event(kind, "A@10.0.0.1", True, "1.2", ("1.2.3",), "1.2", 'P"<&\n\u00e9', "q=1"))
    lines = file.read_text("utf-8").splitlines()
    assert len(lines) == len(KINDS)
    order = [
        "EventIdentification",
        "ActiveParticipant",
        "AuditSourceIdentification",
        "ParticipantObjectIdentification",
    ]
    for line in lines:
        message = ElementTree.fromstring(line)
        tags = [child.tag for child in message]
        assert tags == sorted(tags, key=order.index)
        assert any(name == 'P"<&\n\u00e9' for name, *_ in objects(message))


def test_only_its_owner_can_read_it_and_it_goes_on(file: Path):
    for _ in range(2):
        log = AuditLog(file, "MULTIMIX", lambda: NOON)
        log.tell(Event("started", ""))
        log.close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().count("<AuditMessage>") == 2


def test_a_file_that_cannot_be_written(tmp_path: Path):
    with pytest.raises(UsageError, match="audit_log"):
        AuditLog(tmp_path / "nowhere" / "audit.xml", "MULTIMIX")
