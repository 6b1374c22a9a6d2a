"""Connections that say nothing, say it slowly, or do not listen."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest
from services import client_of

from multimix.inference.predictor import Predictor
from multimix.serve.about import about
from multimix.serve.app import create_app
from multimix.serve.settings import Limits, Settings

HEAD = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: "


@pytest.fixture
def few(run: Path, predictor: Predictor) -> Iterator[httpx.Client]:
    """A service where eight connections may wait."""
    app = create_app(predictor, about(run, predictor), Settings())
    with client_of(app, Limits(waiting_connections=8)) as client:
        yield client


def line_to(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=20)


def asked(line: socket.socket) -> bool:
    """Whether a question is answered; reads the answer whole."""
    line.sendall(HEAD + b"x\r\n\r\n")
    answer = line.recv(65536)
    while not answer.endswith(b"}"):
        answer += line.recv(65536)
    return answer.startswith(b"HTTP/1.1 200")


def ended(line: socket.socket) -> bool:
    """Whether the service has hung up; waits for it."""
    try:
        return line.recv(65536) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def drip(line: socket.socket) -> None:
    """A byte now and then."""
    for _ in range(400):
        time.sleep(0.05)
        line.sendall(b"x")


@pytest.mark.parametrize("said", [b"", b"G", HEAD])
def test_many_connections_without_a_request_stop_nobody(few: httpx.Client, said: bytes):
    with ExitStack() as lines:
        opened = [lines.enter_context(closing(line_to(few))) for _ in range(40)]
        for line in opened:
            line.sendall(said)
        with httpx.Client(base_url=few.base_url) as other:
            assert other.get("/ready").status_code == 200
        assert all(ended(line) for line in opened[:20])


def test_idle_connections_after_an_answer_count_too(few: httpx.Client):
    with ExitStack() as lines:
        opened = []
        for _ in range(20):
            opened.append(lines.enter_context(closing(line_to(few))))
            assert asked(opened[-1])
        assert all(ended(line) for line in opened[:10])
        assert asked(opened[-1])


@pytest.mark.parametrize("before", [0, 1, 3])
def test_a_head_without_end_is_hung_up_in_time(run: Path, predictor: Predictor, before: int):
    app = create_app(predictor, about(run, predictor), Settings())
    with client_of(app, Limits(header_seconds=0.3)) as client, closing(line_to(client)) as line:
        assert all(asked(line) for _ in range(before))
        line.sendall(HEAD)
        assert ended(line)
        with httpx.Client(base_url=client.base_url) as other:
            assert other.get("/health").status_code == 200


def test_a_head_that_drips_is_hung_up_in_time(run: Path, predictor: Predictor):
    app = create_app(predictor, about(run, predictor), Settings())
    with client_of(app, Limits(header_seconds=0.5)) as client, closing(line_to(client)) as line:
        line.sendall(HEAD)
        with pytest.raises(ConnectionError):
            drip(line)


def test_who_does_not_read_the_answer_is_hung_up(run: Path, predictor: Predictor):
    """Pipelined questions whose answers fill every buffer."""
    app = create_app(predictor, about(run, predictor), Settings())
    limits = Limits(body_seconds=0.1, seconds=0.1)
    questions = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100_000
    with client_of(app, limits) as client, closing(line_to(client)) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with pytest.raises(ConnectionError):
            line.sendall(questions)
        with httpx.Client(base_url=client.base_url) as other:
            assert other.get("/health").status_code == 200
