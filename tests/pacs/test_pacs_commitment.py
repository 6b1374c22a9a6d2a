"""Storage commitment: what an archive that is asked says, and where it says it."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from orthanc import Orthanc
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, EnhancedSRStorage, SecondaryCaptureImageStorage
from pynetdicom import AE, build_role, evt
from pynetdicom.events import Event
from test_pacs_peer import results_of

from multimix.pacs.commitment import INSTANCE, PUSH_MODEL, Reports
from multimix.pacs.config import NodeConfig, PeerConfig
from multimix.pacs.node import Node
from multimix.pacs.outcomes import Refused, Result
from multimix.pacs.peer import Peer
from multimix.pacs.queue import Queue

Report = Callable[[Event, Dataset], None]


def answer_to(question: Dataset, lost: tuple[str, ...] = ()) -> Dataset:
    """The report that all is kept but the `lost`."""
    report = Dataset()
    report.TransactionUID = question.TransactionUID
    kept = [item for item in question.ReferencedSOPSequence if item.ReferencedSOPInstanceUID not in lost]
    failed = [item for item in question.ReferencedSOPSequence if item.ReferencedSOPInstanceUID in lost]
    if kept:
        report.ReferencedSOPSequence = kept
    for item in failed:
        item.FailureReason = 0x0112
    if failed:
        report.FailedSOPSequence = failed
    return report


@contextlib.contextmanager
def archive_that(
    says: Report, *kinds: str, seconds: float = 20.0, reports: Reports | None = None
) -> Iterator[Peer]:
    """An archive that takes `kinds` and, asked for commitment, does as `says`."""
    ae = AE("ARCHIVE")
    for context in (*kinds, "1.2.840.10008.1.1"):
        ae.add_supported_context(context)
    ae.add_supported_context(PUSH_MODEL)
    threads: list[threading.Thread] = []

    def asked(event: Event) -> tuple[int, None]:
        threads.append(threading.Thread(target=says, args=(event, event.action_information)))
        threads[-1].start()
        return 0x0000, None

    handlers = [(evt.EVT_C_STORE, lambda event: 0x0000), (evt.EVT_N_ACTION, asked)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    config = PeerConfig("127.0.0.1", server.server_address[1], "ARCHIVE", commitment_seconds=seconds)
    try:
        yield Peer(config, "MULTIMIX", reports)
    finally:
        for thread in threads:
            thread.join()
        server.shutdown()


@pytest.fixture
def overlay(tmp_path: Path) -> Result:
    return results_of(tmp_path, SecondaryCaptureImageStorage)[0]


def on_the_same(*lost: str) -> Report:
    def report(event: Event, question: Dataset) -> None:
        event.assoc.send_n_event_report(answer_to(question, lost), 2 if lost else 1, PUSH_MODEL, INSTANCE)

    return report


def test_what_is_committed_to_is_confirmed(overlay: Result):
    with archive_that(on_the_same(), SecondaryCaptureImageStorage) as peer:
        assert peer.store([overlay]) == {overlay.uid}


def test_what_is_lost_is_not_confirmed(tmp_path: Path):
    kinds = (SecondaryCaptureImageStorage, EnhancedSRStorage)
    overlay, kept = results_of(tmp_path, *kinds)
    with archive_that(on_the_same(overlay.uid), *kinds) as peer:
        assert peer.store([overlay, kept]) == {kept.uid}


def test_a_report_that_became_another_object_is_asked_for_as_that(tmp_path: Path):
    (report,) = results_of(tmp_path, Comprehensive3DSRStorage)
    asked: list[str] = []

    def says(event: Event, question: Dataset) -> None:
        asked.extend(item.ReferencedSOPClassUID for item in question.ReferencedSOPSequence)
        on_the_same()(event, question)

    with archive_that(says, EnhancedSRStorage) as peer:
        assert peer.store([report]) == {report.uid}
    assert asked == [EnhancedSRStorage]


def test_the_report_may_come_to_the_node(overlay: Result, tmp_path: Path):
    queue, reports = Queue(tmp_path / "queue"), Reports()
    node = Node(NodeConfig(port=0, accept=("ARCHIVE@127.0.0.1",)), queue, 1000, reports=reports)

    def says(event: Event, question: Dataset) -> None:
        ae = AE("ARCHIVE")
        ae.add_requested_context(PUSH_MODEL)
        role = build_role(PUSH_MODEL, scp_role=True)
        association = ae.associate("127.0.0.1", node.port, ae_title="MULTIMIX", ext_neg=[role])
        status, _ = association.send_n_event_report(answer_to(question), 1, PUSH_MODEL, INSTANCE)
        assert status.Status == 0x0000
        association.release()

    with archive_that(says, SecondaryCaptureImageStorage, reports=reports) as peer:
        assert peer.store([overlay]) == {overlay.uid}
    node.close()
    queue.close()


def test_no_report_in_time_puts_the_image_off(overlay: Result):
    with (
        archive_that(lambda event, question: None, SecondaryCaptureImageStorage, seconds=0.1) as peer,
        pytest.raises(Refused, match="no report of storage commitment") as caught,
    ):
        peer.store([overlay])
    assert caught.value.doubtful


def test_a_report_of_another_question_is_none_of_ours(overlay: Result):
    def says(event: Event, question: Dataset) -> None:
        question.TransactionUID = "1.2.3"
        on_the_same()(event, question)

    with (
        archive_that(says, SecondaryCaptureImageStorage, seconds=0.3) as peer,
        pytest.raises(Refused, match="no report"),
    ):
        peer.store([overlay])


def test_a_peer_that_knows_no_commitment(overlay: Result):
    ae = AE("ARCHIVE")
    for context in (SecondaryCaptureImageStorage, "1.2.840.10008.1.1"):
        ae.add_supported_context(context)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda event: 0)])
    assert server is not None
    config = PeerConfig("127.0.0.1", server.server_address[1], "ARCHIVE", commitment_seconds=1.0)
    with pytest.raises(Refused, match="knows no storage commitment") as caught:
        Peer(config, "MULTIMIX").store([overlay])
    server.shutdown()
    assert caught.value.final


def test_orthanc_commits_to_what_it_holds(tmp_path: Path):
    """Its report comes on an association of its own."""
    queue, reports = Queue(tmp_path / "queue"), Reports()
    node = Node(NodeConfig(port=0, accept=("ORTHANC@127.0.0.1",)), queue, 1000, reports=reports)
    try:
        us = {"multimix": ["MULTIMIX", "127.0.0.1", node.port]}
        archive = Orthanc(tmp_path / "orthanc", modalities=us).start()
        config = PeerConfig("127.0.0.1", archive.dicom, "ORTHANC", commitment_seconds=60.0)
        held, absent = results_of(tmp_path, SecondaryCaptureImageStorage, SecondaryCaptureImageStorage)
        try:
            peer = Peer(config, "MULTIMIX", reports)
            assert peer.store([held]) == {held.uid}
            assert peer.present([held, absent]) == {held.uid}
            assert peer._committed([held, absent]) == {held.uid}
        finally:
            archive.kill()
    finally:
        node.close()
        queue.close()
