"""Connections that ask nothing, or not to the end, take nothing from the others.

A connection *waits* from its beginning, and from the end of each answer, until the head of a request is complete.
uvicorn lets it wait without end and counts it as a request in hand. Here it waits for `header_seconds` at most, and of
more than `waiting_connections` the one that waits longest goes. Who does not read the answer is hung up as well.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from multimix.serve.settings import Limits


def bounded(limits: Limits) -> type[H11Protocol]:
    """The protocol of one server, for uvicorn's setting `http`."""
    waiting: dict[H11Protocol, None] = {}  # in the order in which they began to
    # Body, memory that is waited for, answer, and as long again to read it.
    request_seconds = 2 * (limits.body_seconds + limits.seconds)

    class Bounded(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._look()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._look()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            waiting.pop(self, None)
            self._look()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def _look(self) -> None:
            """Note whether it waits now."""
            if self.transport.is_closing():
                self._forget()
                return
            waits = self.conn.their_state is h11.IDLE
            if waits and self not in waiting:
                waiting[self] = None
                self._end_in(limits.header_seconds)
                if len(waiting) > limits.waiting_connections:
                    oldest = next(iter(waiting))
                    del waiting[oldest]
                    oldest.transport.abort()
            elif not waits and (self in waiting or self._timer is None):
                waiting.pop(self, None)
                self._end_in(request_seconds)

        def _end_in(self, seconds: float) -> None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_later(seconds, self.transport.abort)

        def _forget(self) -> None:
            waiting.pop(self, None)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Bounded
