"""A DIMSE peer that refuses an object: is it busy, or is it this image?"""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from tests import studies

from multimix.pacs import peer as peers
from multimix.pacs.config import PeerConfig
from multimix.pacs.outcomes import Refused, Result, Unavailable
from multimix.pacs.peer import Peer

pynetdicom = pytest.importorskip("pynetdicom")

RADIOGRAPH = "1.2.840.10008.5.1.4.1.1.1"


@contextlib.contextmanager
def peer_that(stores: int, echoes: int) -> Iterator[Peer]:
    """A peer that gives these statuses to C-STORE and C-ECHO."""
    ae = pynetdicom.AE("ARCHIVE")
    for context in (RADIOGRAPH, "1.2.840.10008.1.1"):
        ae.add_supported_context(context)
    handlers = [
        (pynetdicom.evt.EVT_C_STORE, lambda event: stores),
        (pynetdicom.evt.EVT_C_ECHO, lambda event: echoes),
    ]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield Peer(PeerConfig("127.0.0.1", server.server_address[1], "ARCHIVE"), "MULTIMIX")
    finally:
        server.shutdown()


@pytest.fixture
def result(tmp_path: Path) -> Result:
    data = studies.cr()
    return Result(data.SOPInstanceUID, data.StudyInstanceUID, studies.save(data, tmp_path / "x.dcm"))


@pytest.mark.parametrize("status", [0x0124, 0xA700, 0xA7FF])
def test_a_peer_that_lives_and_refuses_one_object_puts_that_image_off(status: int, result: Result) -> None:
    with peer_that(status, echoes=0x0000) as peer, pytest.raises(Refused, match=f"{status:04X}") as caught:
        peer.store([result])
    assert caught.value.doubtful
    assert not caught.value.final


def test_a_peer_that_refuses_the_small_question_too_is_down(result: Result) -> None:
    with peer_that(0xA700, echoes=0x0122) as peer, pytest.raises(Unavailable, match="A700"):
        peer.store([result])


def test_what_is_stored_is_confirmed(result: Result) -> None:
    with peer_that(0x0000, echoes=0x0000) as peer:
        assert peer.store([result]) == {result.uid}


@contextlib.contextmanager
def peer_with(*kinds: str) -> Iterator[tuple[Peer, list[Dataset]]]:
    """A peer that takes these SOP classes and answers no C-FIND, and what it holds."""
    ae = pynetdicom.AE("ARCHIVE")
    for context in (*kinds, "1.2.840.10008.1.1"):
        ae.add_supported_context(context)
    held: list[Dataset] = []

    def keep(event: "pynetdicom.events.Event") -> int:
        held.append(event.dataset)
        return 0x0000

    handlers = [(pynetdicom.evt.EVT_C_STORE, keep)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield Peer(PeerConfig("127.0.0.1", server.server_address[1], "ARCHIVE"), "MULTIMIX"), held
    finally:
        server.shutdown()


OLD = (RADIOGRAPH, SecondaryCaptureImageStorage, EnhancedSRStorage)
"""What an archive takes that knows no Segmentation and no Comprehensive 3D SR."""


def results_of(folder: Path, *kinds: str) -> list[Result]:
    made = []
    for number, kind in enumerate(kinds):
        data = studies.capture(seed=number, SOPClassUID=kind)
        path = studies.save(data, folder / f"{number}.dcm")
        made.append(Result(data.SOPInstanceUID, data.StudyInstanceUID, path))
    return made


@pytest.mark.parametrize(
    ("kinds", "taken"),
    [
        (OLD, {"sr", "overlay"}),
        ((SecondaryCaptureImageStorage,), {"overlay"}),
        ((SegmentationStorage, Comprehensive3DSRStorage), {"seg", "sr"}),
        ((RADIOGRAPH,), set()),
    ],
)
def test_what_a_peer_takes_is_negotiated(kinds: Sequence[str], taken: set[str]) -> None:
    with peer_with(*kinds) as (peer, _):
        assert peer.takes() == taken


def test_an_older_archive_gets_an_enhanced_report(tmp_path: Path) -> None:
    (report,) = results_of(tmp_path, Comprehensive3DSRStorage)
    with peer_with(*OLD) as (peer, held):
        assert peer.store([report]) == {report.uid}
        assert peer.store([report]) == {report.uid}
    first, second = held
    assert first.SOPClassUID == EnhancedSRStorage
    assert first.SOPInstanceUID == second.SOPInstanceUID != report.uid


def test_a_newer_archive_gets_the_report_as_it_is(tmp_path: Path) -> None:
    (report,) = results_of(tmp_path, Comprehensive3DSRStorage)
    with peer_with(*OLD, Comprehensive3DSRStorage) as (peer, held):
        peer.store([report])
    assert [(one.SOPClassUID, one.SOPInstanceUID) for one in held] == [(Comprehensive3DSRStorage, report.uid)]


def test_what_is_not_taken_is_said_at_once_and_the_rest_is_there(tmp_path: Path) -> None:
    results = results_of(tmp_path, SegmentationStorage, SecondaryCaptureImageStorage)
    with (
        peer_with(*OLD) as (peer, held),
        pytest.raises(Refused, match="leave seg out of `results`") as caught,
    ):
        peer.store(results)
    assert caught.value.final
    assert [one.SOPInstanceUID for one in held] == [results[1].uid]


@contextlib.contextmanager
def peer_that_finds(answers: Iterator[tuple[int, Dataset | None]]) -> Iterator[Peer]:
    """A peer that gives these answers to each C-FIND."""
    ae = pynetdicom.AE("ARCHIVE")
    for context in ("1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.1.1"):
        ae.add_supported_context(context)
    handlers = [(pynetdicom.evt.EVT_C_FIND, lambda event: answers)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield Peer(PeerConfig("127.0.0.1", server.server_address[1], "ARCHIVE"), "MULTIMIX")
    finally:
        server.shutdown()


def found(uid: str) -> tuple[int, Dataset]:
    answer = Dataset()
    answer.QueryRetrieveLevel, answer.SOPInstanceUID = "IMAGE", uid
    return 0xFF00, answer


def test_a_peer_without_end_of_answers_is_not_listened_to_for_ever(
    result: Result, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(peers, "MAX_ANSWERS", 20)
    with peer_that_finds(found(f"1.2.{number}") for number in itertools.count()) as peer:
        assert peer.present([result]) == set()
    assert "no end of answers" in caplog.text


def test_a_peer_that_ignores_the_question_and_has_it_all_the_same(result: Result) -> None:
    answers = [found("1.2.3"), found(result.uid), found("1.2.4"), (0x0000, None)]
    with peer_that_finds(iter(answers)) as peer:
        assert peer.present([result]) == {result.uid}


def test_a_peer_that_fails_to_find_has_nothing(result: Result) -> None:
    with peer_that_finds(iter([(0xC001, None)])) as peer:
        assert peer.present([result]) == set()
