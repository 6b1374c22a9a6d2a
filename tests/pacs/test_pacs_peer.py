"""A DIMSE peer that refuses an object: is it busy, or is it this image?"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import studies

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
