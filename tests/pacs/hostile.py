"""A listener of loopback that answers each connection as a test says, byte by byte."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

Answer = Callable[[socket.socket], None]


LEAVES_A_SOCKET = pytest.mark.filterwarnings("ignore:Exception ignored in. <(ssl.SSL|socket.)[sS]ocket")
"""pynetdicom forgets to close its end where a connection cannot be made."""


class Hostile:
    """Hands every connection to `answer`, in a thread of its own."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.over = threading.Event()
        """Set at the end, so that an answer without end has one."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                line, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(line,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, line: socket.socket) -> None:
        with line, suppress(OSError):
            self.answer(line)

    def close(self) -> None:
        """End all threads."""
        self.over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


@contextmanager
def hostile(answer: Callable[["Hostile", socket.socket], None]) -> Iterator[Hostile]:
    """One that is closed with the block; `answer` is told which."""
    server = Hostile(lambda line: answer(server, line))
    try:
        yield server
    finally:
        server.close()


def question(line: socket.socket) -> bytes:
    """The head of a request."""
    head = b""
    while b"\r\n\r\n" not in head and (piece := line.recv(4096)):
        head += piece
    return head


def drip(server: Hostile, line: socket.socket, data: bytes) -> None:
    """A byte now and then, over and over, without end; silence where there is none."""
    for place in range(10**9):
        line.sendall(data[place % max(1, len(data)) :][:1])
        if server.over.wait(0.02):
            return
