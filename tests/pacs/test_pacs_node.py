"""The DIMSE node, by dcmtk's programs and by pynetdicom: who may connect, and what is kept."""

import io
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from orthanc import tool
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE

import studies
from multimix.errors import UsageError
from multimix.pacs.config import NodeConfig
from multimix.pacs.node import CANNOT_UNDERSTAND, MISMATCH, OUT_OF_RESOURCES, SUCCESS, Node
from multimix.pacs.queue import Queue


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(tmp_path / "queue")
    yield queue
    queue.close()


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
