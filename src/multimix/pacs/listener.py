"""The server under the node: connections that say nothing, or say it without end, take nothing from the others.

Who          only listed addresses; a stranger's connection is closed before anything is read
Unfinished   HANDSHAKE_SECONDS from the connection to the association, TLS included; of one address at most UNFINISHED
             such connections, the oldest goes
Idle         IDLE_SECONDS from one PDU to the next, whole
Size         a PDU of more than MAX_PDU bytes ends the connection, as it says its length before it is read
"""

import ipaddress
import logging
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

HANDSHAKE_SECONDS = 10.0
IDLE_SECONDS = 60.0
UNFINISHED = 16
ASSOCIATIONS = 32
"""So many at a time; one more is rejected for the moment."""
MAX_PDU = 1 << 20
"""Bytes; more than an association request with 128 contexts has, and the PDUs of data are 16 KB."""

log = logging.getLogger(__name__)


@dataclass
class _Line:
    address: str
    until: float
    """Monotonic time at which it is hung up."""
    established: bool = False


class Listener(ThreadedAssociationServer):
    """A pynetdicom server for peers at the addresses `allowed`; `ssl_context` turns TLS on."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self, *arguments: Any, allowed: Collection[str], **options: Any) -> None:
        """As the base class."""
        self._allowed = frozenset(allowed)
        self._told: set[str] = set()
        self._lock = threading.Lock()
        # Weak, as pynetdicom closes some sockets by forgetting them.
        self._lines: weakref.WeakKeyDictionary[socket.socket, _Line] = weakref.WeakKeyDictionary()
        super().__init__(*arguments, **{**options, "request_handler": _Handler})
        self.bind(evt.EVT_ESTABLISHED, self._established)
        self.bind(evt.EVT_PDU_RECV, self._heard)
        self.bind(evt.EVT_CONN_CLOSE, _wake)

    @property
    def associations(self) -> int:
        """How many are established."""
        with self._lock:
            return sum(line.established and sock.fileno() >= 0 for sock, line in self._lines.items())

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether the address is listed; others are closed at once."""
        address = plain(client_address[0])
        if address in self._allowed:
            return True
        if address not in self._told and len(self._told) < 1000:
            self._told.add(address)
            log.warning("connections from %s are closed: the address is not listed in node.accept", address)
        return False

    def get_request(self) -> tuple[socket.socket, Any]:
        """A new connection, whose TLS handshake is still to come: here it would keep all others waiting."""
        assert self.socket is not None
        accepted, address = self.socket.accept()
        if self.ssl_context is not None:
            accepted = self.ssl_context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        return accepted, address

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Begin the association, in a thread of its own."""
        self._add(request, plain(client_address[0]))
        if isinstance(request, ssl.SSLSocket):
            request.settimeout(HANDSHAKE_SECONDS)
            try:
                request.do_handshake()
            except OSError as error:
                log.warning("%s: no TLS connection (%s)", plain(client_address[0]), type(error).__name__)
                request.close()
                return
        request.settimeout(IDLE_SECONDS)
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log that a connection could not be served."""
        log.error("%s: the connection broke before an association", plain(client_address[0]))

    def service_actions(self) -> None:
        """Hang up those whose time is over; called twice a second."""
        super().service_actions()
        now = time.monotonic()
        with self._lock:
            for sock, line in self._lines.items():
                if line.until < now:
                    _hang_up(sock)

    def hang_up_unfinished(self) -> None:
        """End the connections that have no association."""
        with self._lock:
            for sock, line in self._lines.items():
                if not line.established:
                    _hang_up(sock)

    def _add(self, sock: socket.socket, address: str) -> None:
        with self._lock:
            waiting = [
                (line.until, id(other), other)
                for other, line in self._lines.items()
                if line.address == address and not line.established and other.fileno() >= 0
            ]
            if len(waiting) >= UNFINISHED:
                oldest = min(waiting)[2]
                _hang_up(oldest)
                del self._lines[oldest]
            self._lines[sock] = _Line(address, time.monotonic() + HANDSHAKE_SECONDS)

    def _established(self, event: Event) -> None:
        if (line := self._line(event.assoc)) is not None:
            line.established, line.until = True, time.monotonic() + IDLE_SECONDS

    def _heard(self, event: Event) -> None:
        if (line := self._line(event.assoc)) is not None and line.established:
            line.until = time.monotonic() + IDLE_SECONDS

    def _line(self, association: Association) -> _Line | None:
        held = association.dul.socket
        if held is None or held.socket is None:
            return None
        with self._lock:
            return self._lines.get(held.socket)


class _Socket(AssociationSocket):
    """Reads no more than MAX_PDU bytes at a time, and closes whatever it shuts down."""

    def _shutdown_socket(self) -> None:
        # The base class leaves it open where the other side has gone first.
        if self.socket is not None:
            _hang_up(self.socket)
            self.socket.close()

    def recv(self, nr_bytes: int) -> bytearray:
        if nr_bytes > MAX_PDU:
            raise OSError("a PDU is too long")
        return super().recv(nr_bytes)


class _Handler(RequestHandler):
    def _create_association(self) -> Association:
        association: Association = super()._create_association()
        association.dul.event_queue.get_nowait()  # the base class's socket has told of the connection; so will ours
        association.dul.socket = _Socket(association, client_socket=self.request)
        return association


def plain(address: str) -> str:
    """An IP address in its canonical form; IPv4 in IPv6 as IPv4."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(found)


def _wake(event: Event) -> None:
    """End the wait of an association thread for a request that will not come."""
    if not event.assoc.is_established:
        # Its reader takes None for "nothing came", as it does at the end of a wait; its type does not say so.
        event.assoc.dul.to_user_queue.put(None)  # type: ignore[arg-type]


def _hang_up(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
