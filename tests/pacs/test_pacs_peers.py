"""Several peers: each gets what it takes, and one that is down keeps nothing from the others."""

from pathlib import Path

import pytest
from hostile import LEAVES_A_SOCKET
from orthanc import free_port
from pydicom.uid import EnhancedSRStorage, SecondaryCaptureImageStorage, SegmentationStorage
from test_pacs_peer import peer_with, results_of

from multimix.errors import UsageError
from multimix.pacs.config import PacsConfig, PeerConfig
from multimix.pacs.outcomes import Refused, Unavailable
from multimix.pacs.peer import Peer
from multimix.pacs.peers import Peers

KINDS = (SegmentationStorage, SecondaryCaptureImageStorage)


def down() -> Peer:
    return Peer(PeerConfig("127.0.0.1", free_port(), "DOWN"), "MULTIMIX")


def test_each_gets_what_it_takes(tmp_path: Path):
    results = results_of(tmp_path, *KINDS)
    with peer_with(*KINDS) as (new, held), peer_with(SecondaryCaptureImageStorage) as (old, few):
        peers = Peers([new, old])
        assert peers.takes() == {"seg", "overlay"}
        assert peers.store(results) == {result.uid for result in results}
        assert [one.SOPInstanceUID for one in held] == [result.uid for result in results]
        assert [one.SOPInstanceUID for one in few] == [results[1].uid]


@LEAVES_A_SOCKET
def test_one_that_is_down_keeps_nothing_from_the_others(tmp_path: Path):
    results = results_of(tmp_path, *KINDS)
    with peer_with(*KINDS) as (up, held):
        with pytest.raises(Refused, match="cannot be reached") as caught:
            Peers([down(), up]).store(results)
        assert caught.value.doubtful
        assert len(held) == 2
        assert Peers([down(), up]).present(results) == set()


@LEAVES_A_SOCKET
def test_all_down_is_trouble(tmp_path: Path):
    results = results_of(tmp_path, EnhancedSRStorage)
    peers = Peers([down(), down()])
    with pytest.raises(Unavailable):
        peers.store(results)
    with pytest.raises(Unavailable, match="none can be reached"):
        peers.takes()


def test_further_peers_share_the_settings_of_the_first():
    peer = {"host": "a", "ae_title": "A", "commitment_seconds": 5, "also": ["B@10.0.0.9:105", "C@[::1]:106"]}
    found = PacsConfig.from_mapping({"peer": peer}).peer.all()
    assert [(one.ae_title, one.host, one.port) for one in found] == [
        ("A", "a", 104),
        ("B", "10.0.0.9", 105),
        ("C", "::1", 106),
    ]
    assert {one.commitment_seconds for one in found} == {5.0}
    assert PacsConfig().peer.all() == []


@pytest.mark.parametrize("also", ["B", "B@host", "@host:104", "B@host:0", "A title of seventeen@host:104"])
def test_mistakes_are_named(also: str):
    with pytest.raises(UsageError, match="peer"):
        PacsConfig.from_mapping({"peer": {"host": "a", "also": [also]}})
