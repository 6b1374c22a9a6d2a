"""The DIMSE node, by dcmtk's programs and by pynetdicom: who may connect, and what is kept."""

import contextlib
import io
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from orthanc import tool
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    CTImageStorage,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    SegmentationStorage,
    XRayRadiationDoseSRStorage,
)
from pynetdicom import AE
from pynetdicom.events import Event

import studies
from multimix.errors import UsageError
from multimix.pacs import events, listener
from multimix.pacs import node as nodes
from multimix.pacs.config import NodeConfig
from multimix.pacs.listener import UNFINISHED
from multimix.pacs.node import CANNOT_UNDERSTAND, MISMATCH, OUT_OF_RESOURCES, SUCCESS, Node
from multimix.pacs.queue import Queue


@pytest.fixture
def node(queue: Queue) -> Iterator[Node]:
    arrivals: list[int] = []
    node = Node(
        NodeConfig(port=0, accept=("SCANNER@127.0.0.1", "ELSEWHERE@10.9.8.7")),
        queue,
        50_000,
        lambda: arrivals.append(1),
    )
    yield node
    node.close()
    assert len(arrivals) == sum(queue.counts().values()) - queue.counts()["failed"]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False)


def echo(node: Node, calling: str, called: str = "MULTIMIX") -> subprocess.CompletedProcess[str]:
    return run(tool("echoscu"), "-v", "-aet", calling, "-aec", called, "127.0.0.1", str(node.port))


def send(node: Node, *datasets: Dataset) -> list[int]:
    """C-STORE by pynetdicom; the statuses."""
    ae = AE("SCANNER")
    for data in datasets:
        ae.add_requested_context(data.SOPClassUID, data.file_meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", node.port, ae_title="MULTIMIX")
    assert association.is_established
    statuses = [association.send_c_store(data).Status for data in datasets]
    association.release()
    return statuses


def test_echo_from_a_listed_sender(node: Node):
    done = echo(node, "SCANNER")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("calling", "called", "words"),
    [
        ("STRANGER", "MULTIMIX", "Calling AE Title Not Recognized"),
        ("ELSEWHERE", "MULTIMIX", "Calling AE Title Not Recognized"),  # listed, but of another address
        ("scanner", "MULTIMIX", "Calling AE Title Not Recognized"),
        ("SCANNER", "OTHER", "Called AE Title Not Recognized"),
    ],
)
def test_others_are_rejected(node: Node, calling: str, called: str, words: str):
    done = echo(node, calling, called)
    assert done.returncode != 0
    assert words in done.stderr + done.stdout
    assert echo(node, "SCANNER").returncode == 0  # and the next good one is let in


def test_storescu_puts_images_into_the_queue(node: Node, queue: Queue, tmp_path: Path):
    files = studies.study(tmp_path / "study")
    command = (tool("storescu"), "-aet", "SCANNER", "-aec", "MULTIMIX", "127.0.0.1", str(node.port), *files)
    for _ in range(2):  # the second time nothing is new
        done = run(*command)
        assert done.returncode == 0, done.stderr
        assert queue.counts()["received"] == 3
    for file in files:
        sent = pydicom.dcmread(file)
        kept = pydicom.dcmread(queue.incoming(sent.SOPInstanceUID))
        assert (kept.pixel_array == sent.pixel_array).all()
        row = queue.row(sent.SOPInstanceUID)
        assert row is not None
        assert (row.study, row.series) == (sent.StudyInstanceUID, sent.SeriesInstanceUID)


def test_compressed_images_are_kept_as_they_are(node: Node, queue: Queue):
    data = studies.dx()
    data.compress("1.2.840.10008.1.2.5")  # RLE
    assert send(node, data) == [SUCCESS]
    kept = pydicom.dcmread(queue.incoming(data.SOPInstanceUID))
    assert kept.file_meta.TransferSyntaxUID.name == "RLE Lossless"
    assert (kept.pixel_array == studies.dx().pixel_array).all()


def test_what_cannot_be_kept_is_refused_with_a_status(node: Node, queue: Queue):
    large = studies.dx(studies.phantom(256, 256).astype("uint16"))
    nowhere = studies.dx(seed=2)
    del nowhere.StudyInstanceUID
    with disable_value_validation():
        odd = studies.dx(seed=3, SeriesInstanceUID="1.2.ABC")
    assert send(node, large, nowhere, odd, studies.dx()) == [
        OUT_OF_RESOURCES,
        CANNOT_UNDERSTAND,
        CANNOT_UNDERSTAND,
        SUCCESS,
    ]
    row = queue.row(large.SOPInstanceUID)
    assert row is not None
    assert row.state == "failed"
    assert row.reason.startswith("too large: 0.1 MB")
    assert queue.counts()["received"] == 1


def test_an_object_under_another_name_is_refused(node: Node, queue: Queue, monkeypatch: pytest.MonkeyPatch):
    data = studies.dx()
    original = pydicom.dcmwrite
    encoded = io.BytesIO()
    original(encoded, data, enforce_file_format=True)
    ae = AE("SCANNER")
    ae.add_requested_context(data.SOPClassUID, ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", node.port, ae_title="MULTIMIX")
    real = association.dimse.send_msg

    def renamed(primitive: object, context: int) -> None:
        primitive.AffectedSOPInstanceUID = "1.2.3"  # type: ignore[attr-defined]
        real(primitive, context)

    monkeypatch.setattr(association.dimse, "send_msg", renamed)
    assert association.send_c_store(data).Status == MISMATCH
    association.release()
    assert queue.rows() == []


def test_other_kinds_are_declined(node: Node):
    ae = AE("SCANNER")
    ae.add_requested_context(CTImageStorage)
    ae.add_requested_context("1.2.840.10008.1.1")
    association = ae.associate("127.0.0.1", node.port, ae_title="MULTIMIX")
    assert [context.abstract_syntax for context in association.rejected_contexts] == [CTImageStorage]
    association.release()


@pytest.mark.parametrize(
    "kind",
    [
        SegmentationStorage,
        Comprehensive3DSRStorage,
        XRayRadiationDoseSRStorage,
        GrayscaleSoftcopyPresentationStateStorage,
        EncapsulatedPDFStorage,
        KeyObjectSelectionDocumentStorage,
    ],
)
def test_documents_that_a_router_sends_along_are_taken_and_dropped(node: Node, queue: Queue, kind: str):
    document = studies.capture(seed=1, SOPClassUID=kind, Rows=None, PixelData=None)
    assert send(node, document) == [SUCCESS]
    assert queue.rows() == []


def test_a_study_with_its_report_is_taken_whole_by_storescu(node: Node, queue: Queue, tmp_path: Path):
    files = studies.study(tmp_path / "study")
    report = studies.capture(seed=1, SOPClassUID=XRayRadiationDoseSRStorage, Rows=None, PixelData=None)
    files.append(studies.save(report, tmp_path / "study" / "dose.dcm"))
    done = run(tool("storescu"), "-aet", "SCANNER", "-aec", "MULTIMIX", "127.0.0.1", str(node.port), *files)
    assert done.returncode == 0, done.stderr
    assert queue.counts()["received"] == 3


@pytest.mark.parametrize("size", [60_000, 3_000_000])
def test_an_object_beyond_the_limit_is_not_held_while_it_comes(
    node: Node, queue: Queue, monkeypatch: pytest.MonkeyPatch, size: int
):
    held: list[int] = []
    real = node._taken

    def measured(event: Event) -> object:
        held.append(len(event.encoded_dataset()))
        return real(event)

    monkeypatch.setattr(node, "_taken", measured)
    large = studies.dx(np.zeros((size // 200, 100), np.uint16))
    assert send(node, large, studies.dx(seed=2)) == [OUT_OF_RESOURCES, SUCCESS]
    assert held[0] < 50_000 + 1_000
    row = queue.row(large.SOPInstanceUID)
    assert row is not None
    assert (row.state, row.reason[:9]) == ("failed", "too large")
    assert f"{size / 1e6:.1f} MB" in row.reason


def idle(node: Node, number: int, said: bytes = b"") -> list[socket.socket]:
    """Connections that say this and nothing more."""
    lines = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(number)]
    for line in lines:
        with contextlib.suppress(OSError):
            line.sendall(said)
    return lines


def closed(line: socket.socket) -> bool:
    """Whether the other side has hung up; waits for it."""
    line.settimeout(20)
    try:
        return line.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize("said", [b"", b"\1\0", b"\1\0\0\0\1\0 and less than it says"])
def test_connections_without_an_association_do_not_stop_the_scanner(node: Node, said: bytes):
    lines = idle(node, 3 * UNFINISHED, said)
    assert send(node, studies.dx()) == [SUCCESS]
    assert all(closed(line) for line in lines[:UNFINISHED])  # the oldest made room
    for line in lines:
        line.close()


def test_a_connection_without_an_association_ends(queue: Queue, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listener, "HANDSHAKE_SECONDS", 0.2)
    node = Node(NodeConfig(port=0, accept=("SCANNER@127.0.0.1",)), queue, 50_000)
    (line,) = idle(node, 1, b"\1\0")
    assert closed(line)
    line.close()
    node.close()


def drips_until_closed(line: socket.socket) -> bool:
    """A byte now and then, until the other side has hung up."""
    for _ in range(400):
        try:
            line.sendall(b"\0")
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_a_request_that_drips_ends(queue: Queue, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listener, "HANDSHAKE_SECONDS", 0.5)
    node = Node(NodeConfig(port=0, accept=("SCANNER@127.0.0.1",)), queue, 50_000)
    (line,) = idle(node, 1, b"\1\0\0\0\xff\xff")
    assert drips_until_closed(line)
    line.close()
    node.close()


def test_data_that_drips_ends(queue: Queue, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listener, "IDLE_SECONDS", 0.5)
    node = Node(NodeConfig(port=0, accept=("SCANNER@127.0.0.1",)), queue, 50_000)
    ae = AE("SCANNER")
    ae.add_requested_context("1.2.840.10008.1.1")
    association = ae.associate("127.0.0.1", node.port, ae_title="MULTIMIX")
    line = association.dul.socket.socket.dup()
    line.sendall(b"\4\0\0\0\x3f\xff")
    assert drips_until_closed(line)
    line.close()
    association.join(20)
    node.close()


def test_an_association_that_falls_silent_in_the_middle_of_a_pdu_ends(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(listener, "IDLE_SECONDS", 0.3)
    node = Node(NodeConfig(port=0, accept=("SCANNER@127.0.0.1",)), queue, 50_000)
    ae = AE("SCANNER")
    ae.add_requested_context("1.2.840.10008.1.1")
    association = ae.associate("127.0.0.1", node.port, ae_title="MULTIMIX")
    assert association.is_established
    association.dul.socket.socket.sendall(b"\4\0\0\0\1\0abc")
    association.join(20)
    assert not association.is_alive()
    assert node.associations == 0
    node.close()


def test_a_stranger_is_hung_up_before_a_word(queue: Queue):
    node = Node(NodeConfig(port=0, accept=("SCANNER@10.9.8.7",)), queue, 50_000)
    (line,) = idle(node, 1)
    assert closed(line)
    line.close()
    node.close()


def test_a_pdu_of_gigabytes_ends_the_connection(node: Node):
    (line,) = idle(node, 1, b"\1\0\xff\xff\xff\xff" + b"\0" * 1000)
    assert closed(line)
    line.close()
    assert send(node, studies.dx()) == [SUCCESS]


def test_more_associations_than_there_may_be(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(nodes, "ASSOCIATIONS", 2)
    ae = AE("SCANNER")
    ae.add_requested_context("1.2.840.10008.1.1")
    held = [ae.associate("127.0.0.1", node.port, ae_title="MULTIMIX") for _ in range(3)]
    assert [one.is_established for one in held] == [True, True, False]
    assert "there are 2 already" in caplog.text
    for one in held[:2]:
        one.release()
    assert send(node, studies.dx()) == [SUCCESS]


def test_what_happens_is_told(queue: Queue):
    told: list[events.Event] = []
    node = Node(NodeConfig(port=0, accept=("SCANNER@127.0.0.1",)), queue, 50_000, tell=told.append)
    image = studies.dx()
    document = studies.capture(seed=1, SOPClassUID=XRayRadiationDoseSRStorage, Rows=None, PixelData=None)
    nameless = studies.dx(seed=2, StudyInstanceUID=None)
    send(node, image, document, nameless)
    stranger = AE("STRANGER")
    stranger.add_requested_context("1.2.840.10008.1.1")
    assert not stranger.associate("127.0.0.1", node.port, ae_title="MULTIMIX").is_established
    node.close()
    assert [(one.kind, one.who, one.ok) for one in told] == [
        ("received", "SCANNER@127.0.0.1", True),
        ("dropped", "SCANNER@127.0.0.1", True),
        ("refused", "SCANNER@127.0.0.1", False),
        ("rejected", "STRANGER@127.0.0.1", False),
    ]
    assert (told[0].study, told[0].instances) == (image.StudyInstanceUID, (image.SOPInstanceUID,))
    assert (told[0].patient, told[0].sop_class) == ("PH0000", image.SOPClassUID)


def test_a_full_disk_is_said(node: Node, queue: Queue, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(queue, "receive", full)
    assert send(node, studies.dx()) == [OUT_OF_RESOURCES]
    monkeypatch.undo()
    assert send(node, studies.dx()) == [SUCCESS]


def test_a_port_that_is_taken(node: Node, queue: Queue):
    with pytest.raises(UsageError, match="cannot listen"):
        Node(NodeConfig(port=node.port, accept=("A@127.0.0.1",)), queue, 1000)
