"""HTTP with limits on a whole exchange: bytes of an answer after decompression, and seconds from first to last.

The time-outs of `requests` are between two bytes, so an answer that drips would hold its reader for ever, and a length
that is said in a header is not that of a chunked or compressed body.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

PIECE = 65536
"""Bytes that are read at once."""


class TooLarge(requests.RequestException):
    """An answer of more bytes than are taken; `size` are known of."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"{size} of {limit} bytes")
        self.size, self.limit = size, limit


class TooSlow(requests.RequestException):
    """An exchange that was not over after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:g} s")
        self.seconds = seconds


class Wire(HTTPAdapter):
    """Sends requests for a session of one thread; an answer is whole in memory when it is returned, or raises."""

    def __init__(self, max_bytes: int, seconds: float) -> None:
        """The limits of each exchange, until `limited` says otherwise."""
        self.max_bytes, self.seconds = max_bytes, seconds
        self._lines = _Lines()
        super().__init__()

    @contextmanager
    def limited(self, max_bytes: int, seconds: float) -> Iterator[None]:
        """Other limits, where they are lower, inside the block."""
        before = self.max_bytes, self.seconds
        self.max_bytes, self.seconds = min(max_bytes, before[0]), min(seconds, before[1])
        try:
            yield
        finally:
            self.max_bytes, self.seconds = before

    def send(self, request: requests.PreparedRequest, *_: Any, **options: Any) -> requests.Response:
        """The answer with its body. Raises TooLarge, TooSlow or what `requests` raises."""
        with self._in_time():
            response = super().send(request, **(options | {"stream": True}))
            try:
                # `requests` takes a body that is there for one that it read itself.
                response._content = self._body(response)
                response._content_consumed = True
            finally:
                response.close()
        return response

    def _body(self, response: requests.Response) -> bytes:
        if "," in response.headers.get(
            "Content-Encoding", ""
        ):  # each packing could make it a thousand times larger
            raise requests.exceptions.ContentDecodingError("packed more than once")
        said = 0
        with suppress(ValueError):
            said = int(response.headers.get("Content-Length", 0))
        body = BytesIO()
        if said <= self.max_bytes:
            for piece in response.iter_content(PIECE):
                said = max(said, body.tell() + body.write(piece))
                if said > self.max_bytes:
                    break
        if said > self.max_bytes:
            raise TooLarge(said, self.max_bytes)
        return body.getvalue()

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """Hang up when the time is over, whatever is waited for: handshake, headers, body."""
        over = threading.Event()

        def hang_up() -> None:
            over.set()
            self._lines.hang_up()

        timer = threading.Timer(self.seconds, hang_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        except Exception as error:
            if over.is_set():
                raise TooSlow(self.seconds) from error
            raise
        finally:
            timer.cancel()
            self._lines.let_go()
        if over.is_set():  # a body that ends with the connection looks complete
            raise TooSlow(self.seconds)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """As the base class, with connections that can be hung up."""
        super().init_poolmanager(*arguments, **options)
        self._watch(self.poolmanager)

    def close(self) -> None:
        """Close all connections."""
        super().close()
        self._lines.close()

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """As the base class, with connections that can be hung up."""
        manager = super().proxy_manager_for(proxy, **options)
        self._watch(manager)
        return manager

    def _watch(self, manager: Any) -> None:
        pools = ((HTTPConnectionPool, HTTPConnection), (HTTPSConnectionPool, HTTPSConnection))
        manager.pool_classes_by_scheme = {
            pool.scheme: type(
                f"Watched{pool.__name__}", (pool,), {"ConnectionCls": _watched(kind, self._lines)}
            )
            for pool, kind in pools
        }


class _Lines:
    """Copies of the sockets in use, by which another thread can shut the connections."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._done: set[socket.socket] = set()

    def add(self, new: socket.socket) -> socket.socket:
        # A copy: TLS takes the socket over, and what it makes of it is not there before the handshake is over.
        line = new.dup()
        with self._lock:
            self._open.add(line)
        return line

    def drop(self, line: socket.socket) -> None:
        """The connection is closed; its answer may still be read, where that ends with the connection."""
        with self._lock:
            self._done.add(line)

    def let_go(self) -> None:
        """No answer is being read."""
        with self._lock:
            for line in self._done:
                line.close()
            self._open -= self._done
            self._done.clear()

    def close(self) -> None:
        """No connection is left."""
        self._done |= self._open
        self.let_go()

    def hang_up(self) -> None:
        with self._lock:
            for line in self._open:
                with suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)


def _watched(kind: type[HTTPConnection], lines: _Lines) -> type[HTTPConnection]:
    """Connections of a kind whose sockets are among `lines`."""

    class Watched(kind):  # type: ignore[misc, valid-type]
        line: socket.socket | None = None

        def _new_conn(self) -> socket.socket:
            new: socket.socket = super()._new_conn()
            self.line = lines.add(new)
            return new

        def close(self) -> None:
            super().close()
            if self.line is not None:
                lines.drop(self.line)
                self.line = None

    return Watched
