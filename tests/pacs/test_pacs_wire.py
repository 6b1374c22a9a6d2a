"""Whole exchanges over HTTP have a limit of bytes and of seconds, whatever the other side does."""

import gzip
import socket
import threading
import zlib
from collections.abc import Callable
from itertools import repeat

import pytest
import requests
from hostile import Hostile, drip, hostile, question

from multimix.pacs.wire import TooLarge, TooSlow, Wire

SHORT, LONG = 0.3, 600.0  # seconds; nothing below ends by itself before LONG
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
MEGABYTE = b"100000\r\n" + bytes(2**20) + b"\r\n"


def ask(server: Hostile, max_bytes: int = 2_000_000, seconds: float = LONG, scheme: str = "http") -> bytes:
    with requests.Session() as session:
        session.trust_env = False
        session.mount(f"{scheme}://", Wire(max_bytes, seconds))
        return session.get(f"{scheme}://127.0.0.1:{server.port}/", timeout=(LONG, LONG)).content


def say(data: bytes) -> Callable[[Hostile, socket.socket], None]:
    def answer(server: Hostile, line: socket.socket) -> None:
        question(line)
        line.sendall(data)

    return answer


def with_length(body: bytes, *more: bytes) -> bytes:
    return (
        HEAD
        + b"".join(line + b"\r\n" for line in (b"Content-Length: %d" % len(body), *more))
        + b"\r\n"
        + body
    )


def test_an_answer_in_time_and_of_its_size():
    with hostile(say(with_length(b"whole"))) as server:
        assert ask(server, 5, LONG) == b"whole"
    with hostile(say(CHUNKED + b"3\r\nwho\r\n2\r\nle\r\n0\r\n\r\n")) as server:
        assert ask(server, 5, LONG) == b"whole"
    with hostile(say(with_length(gzip.compress(b"whole"), b"Content-Encoding: gzip"))) as server:
        assert ask(server, 100, LONG) == b"whole"


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
def test_a_body_that_unpacks_to_too_much_is_not_unpacked(encoding: bytes):
    zeros = bytes(50_000_000)
    packed = gzip.compress(zeros) if encoding == b"gzip" else zlib.compress(zeros)
    with hostile(say(with_length(packed, b"Content-Encoding: " + encoding))) as server:
        with pytest.raises(TooLarge) as caught:
            ask(server)
        assert 2_000_000 < caught.value.size < 2_200_000


def test_a_body_that_is_packed_twice_is_refused():
    packed = gzip.compress(gzip.compress(bytes(1000)))
    twice = with_length(packed, b"Content-Encoding: gzip, gzip")
    with hostile(say(twice)) as server, pytest.raises(requests.RequestException, match="more than once"):
        ask(server)


def test_a_body_without_end_is_cut_off():
    sent: list[int] = []

    def answer(server: Hostile, line: socket.socket) -> None:
        question(line)
        line.sendall(CHUNKED)
        for _ in repeat(None):
            line.sendall(MEGABYTE)
            sent.append(1)

    with hostile(answer) as server, pytest.raises(TooLarge):
        ask(server)
    assert len(sent) < 20  # what the system keeps on the way is added to two


def test_a_length_that_is_too_large_is_believed():
    with hostile(say(HEAD + b"Content-Length: 2000001\r\n\r\n")) as server, pytest.raises(TooLarge) as caught:
        ask(server)
    assert (caught.value.size, caught.value.limit) == (2_000_001, 2_000_000)


SLOW = {
    "nothing": (b"", b""),
    "headers": (HEAD, b"X: 1\r\n"),
    "a body of a length": (HEAD + b"Content-Length: 999999\r\n\r\n", b"x"),
    "a body in chunks": (CHUNKED, b"1\r\nx\r\n"),
    "a body that ends with the connection": (HEAD + b"\r\n", b"x"),
}


@pytest.mark.parametrize("part", SLOW)
def test_an_answer_that_drips_is_hung_up_on(part: str):
    at_once, slowly = SLOW[part]

    def answer(server: Hostile, line: socket.socket) -> None:
        question(line)
        line.sendall(at_once)
        drip(server, line, slowly)

    with hostile(answer) as server, pytest.raises(TooSlow):
        ask(server, seconds=SHORT)


def test_a_handshake_that_does_not_end_is_hung_up_on():
    def silent(server: Hostile, line: socket.socket) -> None:
        server.over.wait()

    with hostile(silent) as server, pytest.raises(TooSlow):
        ask(server, seconds=SHORT, scheme="https")


def test_the_next_exchange_is_not_hung_up_on():
    slow = threading.Event()

    def answer(server: Hostile, line: socket.socket) -> None:
        question(line)
        if not slow.is_set():
            slow.set()
            server.over.wait()
        line.sendall(with_length(b"fine"))

    with hostile(answer) as server, requests.Session() as session:
        session.trust_env = False
        wire = Wire(100, LONG)
        session.mount("http://", wire)
        address = f"http://127.0.0.1:{server.port}/"
        with pytest.raises(TooSlow), wire.limited(100, SHORT):
            session.get(address)
        assert session.get(address).content == b"fine"
        assert (wire.max_bytes, wire.seconds) == (100, LONG)
