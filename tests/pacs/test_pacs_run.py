"""`multimix pacs` as a program: a node between a scanner and an archive, signals, mistakes on the command line."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest
import requests
from click.testing import CliRunner
from hostile import Hostile, hostile
from orthanc import LOOKS, Orthanc, free_port, tool
from pynetdicom import AE

import studies
from multimix.cli.pacs import pacs
from multimix.errors import MultimixError, UsageError
from multimix.pacs.outcomes import Image
from multimix.pacs.queue import Queue

PROGRAM = "import sys; from multimix.cli.pacs import pacs; pacs.main(sys.argv[1:], prog_name='multimix pacs')"


@contextmanager
def program(log: Path, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """The command in a process of its own, which is ended with the block."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, arguments)],
            stdout=file,
            stderr=file,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def until(said: str, log: Path, process: subprocess.Popen[bytes]) -> re.Match[str]:
    """Wait for words in the log."""
    for _ in range(LOOKS):
        if match := re.search(said, log.read_text()):
            return match
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)
    raise AssertionError(f"no {said!r} in\n{log.read_text()}")


def send(port: int, *files: Path) -> None:
    command = [
        tool("storescu"),
        "-aet",
        "SCANNER",
        "-aec",
        "MULTIMIX",
        "127.0.0.1",
        str(port),
        *map(str, files),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("sink", ["peer", "dicomweb"])
def test_a_node_between_scanner_and_archive(sink: str, model: Path, archive: Orthanc, tmp_path: Path):
    files = studies.study(tmp_path / "study")
    study = str(studies.uid("study", 0))
    archive.store(*files)
    there = {
        "peer": ("--peer", f"ORTHANC@127.0.0.1:{archive.dicom}"),
        "dicomweb": ("--dicomweb", archive.dicomweb),
    }
    log, queue = tmp_path / "log.txt", tmp_path / "queue"
    arguments = ("run", model, "--port", 0, "--accept", "SCANNER@127.0.0.1", "--queue", queue, *there[sink])
    with program(log, *arguments) as process:
        port = int(until(r"listens on 127\.0\.0\.1:(\d+)", log, process)[1])
        send(port, *files)
        until(r"(?s)(done: 3 results.*){3}", log, process)
        assert len(archive.instances(study)) == 12
        send(port, *files)
        until("(?s)(again, nothing to do.*){3}", log, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert len(archive.instances(study)) == 12
    assert "Phant" not in log.read_text()
    assert "Stopped; what waits is kept." in log.read_text()


def test_what_an_operator_and_an_auditor_are_told(model: Path, archive: Orthanc, tmp_path: Path):
    files = studies.study(tmp_path / "study")
    config, audit, log = tmp_path / "pacs.yaml", tmp_path / "audit.xml", tmp_path / "log.txt"
    config.write_text(
        f"audit_log: {audit}\n"
        "metrics: {port: 0}\n"
        "results: [sr]\n"
        "node: {port: 0, accept: [SCANNER@127.0.0.1]}\n"
        f"peer: {{ae_title: ORTHANC, host: 127.0.0.1, port: {archive.dicom}}}\n"
    )
    with program(log, "run", model, "--config", config, "--queue", tmp_path / "queue") as process:
        port = int(until(r"listens on 127\.0\.0\.1:(\d+)", log, process)[1])
        url = until(r"metrics at (http://[^/]+)/metrics", log, process)[1]
        send(port, *files)
        until(r"(?s)(done: 1 results, 0 were there.*){3}", log, process)
        metrics = requests.get(f"{url}/metrics", timeout=20).text
        assert requests.get(f"{url}/health", timeout=20).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert 'multimix_pacs_images{state="sent"} 3.0' in metrics
    assert 'multimix_pacs_events_total{kind="received",ok="true"} 3.0' in metrics
    lines = [ElementTree.fromstring(line) for line in audit.read_text("utf-8").splitlines()]
    codes = [line.find("EventIdentification/EventID").get("csd-code") for line in lines]  # type: ignore[union-attr]
    assert codes == ["110100", *["110104"] * 6, "110100"]
    named = "".join(audit.read_text("utf-8").splitlines()[1:-1])
    assert named.count('ParticipantObjectID="PH0000"') == 6
    assert "Phant" not in named + log.read_text()
    assert "PH0000" not in log.read_text()


def test_a_peer_that_is_down_and_knows_what_it_has(model: Path, archive: Orthanc, tmp_path: Path):
    """The peer is killed while images come in; a new queue does not send what it holds."""
    files = studies.study(tmp_path / "study")
    study = str(studies.uid("study", 0))
    config = tmp_path / "pacs.yaml"
    config.write_text(
        "node: {port: 0, accept: [SCANNER@127.0.0.1]}\n"
        f"peer: {{ae_title: ORTHANC, host: 127.0.0.1, port: {archive.dicom}}}\n"
        "retry: {first_seconds: 0.05, cap_seconds: 0.2}\n"
    )
    archive.kill()
    log = tmp_path / "log.txt"
    with program(log, "run", model, "--config", config, "--queue", tmp_path / "queue") as process:
        port = int(until(r"listens on 127\.0\.0\.1:(\d+)", log, process)[1])
        send(port, *files)
        until(r"cannot be reached; next try", log, process)
        archive.start()
        until(r"(?s)(done: 3 results, 0 were there.*){3}", log, process)
    assert len(archive.instances(study)) == 9
    with program(log, "run", model, "--config", config, "--queue", tmp_path / "another") as process:
        port = int(until(r"listens on 127\.0\.0\.1:(\d+)", log, process)[1])
        send(port, *files)
        until(r"(?s)(done: 3 results, 3 were there.*){3}", log, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    assert len(archive.instances(study)) == 9


def silent(server: Hostile, line: socket.socket) -> None:
    """Takes what it is told and says nothing."""
    server.over.wait()


def half(server: Hostile, line: socket.socket) -> None:
    """The beginning of an answer, and no more."""
    line.recv(10)
    line.sendall(b"\2\0\0\0")
    server.over.wait()


@pytest.mark.parametrize("answer", [silent, half])
def test_one_signal_ends_the_wait_for_a_peer(
    answer: Callable[[Hostile, socket.socket], None], model: Path, tmp_path: Path
):
    data = studies.dx()
    waiting = Queue(tmp_path / "queue")
    file = studies.save(data, tmp_path / "a.dcm")
    waiting.receive(Image(data.SOPInstanceUID, data.StudyInstanceUID, "1.2.3"), file.read_bytes())
    waiting.close()
    log, asked = tmp_path / "log.txt", threading.Event()

    def says(server: Hostile, line: socket.socket) -> None:
        asked.set()
        answer(server, line)

    with hostile(says) as server:
        arguments = ("--port", 0, "--accept", "A@127.0.0.1", "--peer", f"PEER@127.0.0.1:{server.port}")
        with program(log, "run", model, "--queue", tmp_path / "queue", *arguments) as process:
            assert asked.wait(60)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0  # TIMEOUT of the peer is twice that
    assert "Stopped; what waits is kept." in log.read_text()


def test_a_peer_that_takes_nothing(model: Path, tmp_path: Path):
    """C-ECHO alone: the image fails with the reason."""
    ae = AE("ARCHIVE")
    ae.add_supported_context("1.2.840.10008.1.1")
    server = ae.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    queue = tmp_path / "queue"
    config = tmp_path / "pacs.yaml"
    config.write_text(
        "retry: {first_seconds: 0.01, cap_seconds: 0.01, attempts: 2}\nnode: {port: 0, accept: [A@127.0.0.1]}\n"
    )
    data = studies.dx()
    waiting = Queue(queue)
    file = studies.save(data, tmp_path / "a.dcm")
    waiting.receive(
        Image(data.SOPInstanceUID, data.StudyInstanceUID, data.SeriesInstanceUID), file.read_bytes()
    )
    waiting.close()
    peer = f"ARCHIVE@127.0.0.1:{server.server_address[1]}"
    done = CliRunner().invoke(
        pacs, ["run", str(model), "--config", str(config), "--queue", str(queue), "--peer", peer, "--once"]
    )
    ae.shutdown()
    assert done.exit_code == 1, done.output
    assert "1 failed" in done.output
    assert "does not take" in CliRunner().invoke(pacs, ["status", "--queue", str(queue)]).output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "No place to take images from"),
        (("--dicomweb", "archive"), "dicomweb.url"),
        (("--port", "0"), "node.accept"),
        (("--port", "0", "--accept", "A@127.0.0.1"), "No place to send results to"),
        (("--dicomweb", "http://127.0.0.1:1/x", "--peer", "A@b"), "--peer"),
        (("--dicomweb", "http://127.0.0.1:1/x", "--since", "May"), "dicomweb.since"),
        (("--config", "missing.yaml"), "missing.yaml"),
        (("--dicomweb", "http://127.0.0.1:1/x", "--device", "abacus"), "--device"),
    ],
)
def test_mistakes_on_the_command_line(arguments: tuple[str, ...], words: str, model: Path, tmp_path: Path):
    done = CliRunner().invoke(
        pacs, ["run", str(model), "--queue", str(tmp_path / "queue"), "--once", *arguments]
    )
    assert isinstance(done.exception, MultimixError)
    assert words in str(done.exception)


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "pynetdicom", None)
    error = CliRunner().invoke(pacs, ["run", str(tmp_path)]).exception
    assert isinstance(error, UsageError)
    assert "needs pynetdicom" in str(error)
    assert "multimix[pacs]" in str(error)


def test_no_model_and_no_queue(tmp_path: Path):
    arguments = [
        "run",
        str(tmp_path),
        "--dicomweb",
        f"http://127.0.0.1:{free_port()}/x",
        "--queue",
        str(tmp_path / "q"),
    ]
    assert "no such weights file" in str(CliRunner().invoke(pacs, arguments).exception)
    assert "holds no queue" in str(CliRunner().invoke(pacs, ["status", "--queue", str(tmp_path)]).exception)


def test_status_lists_what_failed_and_the_first_that_wait(tmp_path: Path):
    queue = Queue(tmp_path)
    queue.add(Image(f"1.2.{number}", "1.2", "1.3") for number in range(30))
    queue.fail("1.2.29", "a lateral view")
    queue.close()
    lines = CliRunner().invoke(pacs, ["status", "--queue", str(tmp_path)]).output.splitlines()
    assert (
        lines[0]
        == f"{tmp_path}: 29 waiting (29 found, 0 received, 0 answered), 0 sent, 0 skipped, 0 ignored, 1 failed"
    )
    assert lines[1].split(maxsplit=2) == ["failed", "1.2.29", "a lateral view"]
    assert [line.split()[0] for line in lines[2:-1]] == ["found"] * 20
    assert lines[-1] == "... and 9 more that wait (--json lists all)"


def test_status_of_an_empty_queue(model: Path, tmp_path: Path):
    arguments = [
        "run",
        str(model),
        "--dicomweb",
        f"http://127.0.0.1:{free_port()}/x",
        "--once",
        "--wait",
        "0",
    ]
    queue = ["--queue", str(tmp_path / "queue")]
    assert CliRunner().invoke(pacs, [*arguments, *queue]).exit_code == 1
    said = CliRunner().invoke(pacs, ["status", *queue])
    assert said.exit_code == 0
    assert (
        "0 waiting (0 found, 0 received, 0 answered), 0 sent, 0 skipped, 0 ignored, 0 failed" in said.output
    )
    assert "Trouble" in said.output
