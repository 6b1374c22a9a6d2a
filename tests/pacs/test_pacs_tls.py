"""DICOM over TLS: the node, the peer, and who is let in by certificate."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Pair, pair
from hostile import LEAVES_A_SOCKET
from orthanc import tool
from test_pacs_node import run

import studies
from multimix.errors import UsageError
from multimix.pacs import listener
from multimix.pacs.config import NodeConfig, PacsConfig, PeerConfig, TlsConfig
from multimix.pacs.node import Node
from multimix.pacs.outcomes import Result, Unavailable
from multimix.pacs.peer import Peer
from multimix.pacs.queue import Queue


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return pair(tmp_path_factory.mktemp("ours"), "multimix")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return pair(tmp_path_factory.mktemp("theirs"), "scanner")


@pytest.fixture
def node(queue: Queue, ours: Pair, theirs: Pair) -> Iterator[Node]:
    """One that asks clients for a certificate."""
    tls = TlsConfig(str(ours.certificate), str(ours.key), str(theirs.certificate))
    node = Node(NodeConfig(port=0, accept=("SCANNER@127.0.0.1",), tls=tls), queue, 10_000_000)
    yield node
    node.close()


def to(node: Node, tls: TlsConfig, host: str = "127.0.0.1") -> Peer:
    return Peer(PeerConfig(host, node.port, "MULTIMIX", tls), "SCANNER")


def image(folder: Path) -> Result:
    data = studies.dx()
    return Result(data.SOPInstanceUID, data.StudyInstanceUID, studies.save(data, folder / "x.dcm"))


def test_both_sides_show_their_certificates(
    node: Node, queue: Queue, ours: Pair, theirs: Pair, tmp_path: Path
):
    tls = TlsConfig(str(theirs.certificate), str(theirs.key), str(ours.certificate))
    assert to(node, tls).store([image(tmp_path)]) == {studies.dx().SOPInstanceUID}
    assert queue.counts()["received"] == 1


def test_dcmtk_is_understood(node: Node, ours: Pair, theirs: Pair):
    files = ("+tls", theirs.key, theirs.certificate, "+cf", ours.certificate)
    titles = ("-aet", "SCANNER", "-aec", "MULTIMIX", "127.0.0.1", str(node.port))
    done = run(tool("echoscu"), "-v", *files, *titles)
    if "unknown option" in (done.stdout + done.stderr).lower():
        pytest.skip("this echoscu was built without TLS")
    assert done.returncode == 0, done.stderr


@LEAVES_A_SOCKET
@pytest.mark.parametrize("case", ["no certificate", "another certificate", "another authority", "no TLS"])
def test_others_are_not_let_in(node: Node, queue: Queue, ours: Pair, theirs: Pair, tmp_path: Path, case: str):
    tls = {
        "no certificate": TlsConfig(ca_file=str(ours.certificate)),
        "another certificate": TlsConfig(str(ours.certificate), str(ours.key), str(ours.certificate)),
        "another authority": TlsConfig(str(theirs.certificate), str(theirs.key), str(theirs.certificate)),
        "no TLS": TlsConfig(),
    }[case]
    with pytest.raises(Unavailable):
        to(node, tls).store([image(tmp_path)])
    assert queue.rows() == []


@LEAVES_A_SOCKET
def test_a_handshake_that_never_ends_keeps_nobody_waiting(
    node: Node, queue: Queue, ours: Pair, theirs: Pair, tmp_path: Path
):
    lines = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(2 * listener.UNFINISHED)]
    tls = TlsConfig(str(theirs.certificate), str(theirs.key), str(ours.certificate))
    to(node, tls).store([image(tmp_path)])
    assert queue.counts()["received"] == 1
    for line in lines:
        line.close()


@LEAVES_A_SOCKET
def test_a_certificate_for_another_host_is_not_trusted(node: Node, ours: Pair, theirs: Pair, tmp_path: Path):
    tls = TlsConfig(str(theirs.certificate), str(theirs.key), str(ours.certificate))
    with pytest.raises(Unavailable):
        to(node, tls, "localhost").store([image(tmp_path)])


@pytest.mark.parametrize(
    "tls",
    [
        {"certificate": "nowhere.pem", "key": "nowhere.key"},
        {"certificate": "{certificate}"},
        {"ca_file": "{certificate}"},
    ],
)
def test_mistakes_are_named(ours: Pair, tls: dict[str, str]):
    given = {name: text.format(certificate=ours.certificate) for name, text in tls.items()}
    with pytest.raises(UsageError, match="tls"):
        PacsConfig.from_mapping({"node": {"tls": given}})


def test_a_file_that_is_no_certificate(ours: Pair, queue: Queue):
    tls = TlsConfig(str(ours.key), str(ours.key))
    with pytest.raises(UsageError, match=r"node\.tls: cannot be used"):
        Node(NodeConfig(port=0, accept=("SCANNER@127.0.0.1",), tls=tls), queue, 1000)
