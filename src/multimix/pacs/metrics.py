"""Counters for Prometheus, and whether the worker is well: what an operator's programs ask.

    /metrics   images by state, events by kind, trouble, the age of what waits longest
    /health    200 while the worker shows signs of life, else 503
    /ready     200 while nothing keeps it from working, else 503 with the reason

It holds no UID and nothing of a patient, and it listens on loopback unless told otherwise.
"""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from multimix.errors import UsageError
from multimix.pacs.config import MetricsConfig
from multimix.pacs.events import KINDS, Event
from multimix.pacs.queue import Queue
from multimix.pacs.rows import WAITING

SILENCE_SECONDS = 900.0
"""So long after its last sign of life a worker is taken for dead; no wait or answer takes as long."""
CLIENT_SECONDS = 5.0
"""Time for a question to arrive."""

log = logging.getLogger(__name__)


class Metrics(Collector):
    """The counters of one worker."""

    def __init__(self, queue: Queue, associations: Callable[[], int] = lambda: 0) -> None:
        """`associations`: those that the node has now."""
        self._queue, self._associations = queue, associations
        self._alive = time.monotonic()
        self.registry = CollectorRegistry()
        self.events = Counter(
            "multimix_pacs_events",
            "Objects and associations by what became of them.",
            ["kind", "ok"],
            registry=self.registry,
        )
        for kind in KINDS:
            self.events.labels(kind, "true")
        self.registry.register(self)

    def tell(self, event: Event) -> None:
        """Count."""
        self.events.labels(event.kind, str(event.ok).lower()).inc()

    def alive(self) -> None:
        """The worker is at work."""
        self._alive = time.monotonic()

    @property
    def healthy(self) -> bool:
        """Whether the worker has shown a sign of life of late."""
        return time.monotonic() - self._alive < SILENCE_SECONDS

    @property
    def trouble(self) -> str:
        """What keeps the worker from going on; empty where nothing does."""
        return self._queue.fact("trouble")

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """What is read off the queue when somebody asks."""
        yield from self._gauges()

    def _gauges(self) -> Iterator[GaugeMetricFamily]:
        images = GaugeMetricFamily("multimix_pacs_images", "Images of the queue by state.", labels=["state"])
        for state, count in self._queue.counts().items():
            images.add_metric([state], count)
        yield images
        oldest = self._queue.oldest(*WAITING)
        yield GaugeMetricFamily(
            "multimix_pacs_oldest_waiting_seconds",
            "Since the image that waits longest was first heard of; 0 where none waits.",
            value=0.0 if oldest is None else max(0.0, time.time() - oldest),
        )
        yield GaugeMetricFamily(
            "multimix_pacs_trouble",
            "1 while something keeps the worker from going on.",
            value=bool(self.trouble),
        )
        yield GaugeMetricFamily(
            "multimix_pacs_associations", "Associations that the node has now.", value=self._associations()
        )


class MetricsServer:
    """Answers in threads of its own until it is closed."""

    def __init__(self, config: MetricsConfig, metrics: Metrics) -> None:
        """Listen at once. UsageError where the port cannot be had."""
        assert config.port is not None
        try:
            self._server = _Server((config.address, config.port), metrics)
        except OSError as error:
            raise UsageError(
                f"metrics.port: cannot listen on {config.address}:{config.port} ({error.strerror}). Choose another "
                "port or address."
            ) from error
        self.port: int = self._server.server_address[1]
        """The port that is listened on."""
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()
        log.info("metrics at http://%s:%d/metrics", config.address, self.port)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], metrics: Metrics) -> None:
        self.metrics = metrics
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        # So many questions at a time; a connection beyond them is closed.
        self._free = threading.BoundedSemaphore(16)
        super().__init__(address, _Handler)

    def process_request(
        self, request: "socket.socket | tuple[bytes, socket.socket]", client_address: object
    ) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(
        self, request: "socket.socket | tuple[bytes, socket.socket]", client_address: object
    ) -> None:
        # A time-out between two bytes would let a drip go on for ever.
        timer = threading.Timer(CLIENT_SECONDS, _hang_up, (request,))
        timer.daemon = True
        timer.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            timer.cancel()
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Who hangs up or drips is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        metrics = self.server.metrics
        match self.path.partition("?")[0]:
            case "/metrics":
                self._say(200, generate_latest(metrics.registry), "text/plain; version=0.0.4; charset=utf-8")
            case "/health":
                well = metrics.healthy
                self._say(200 if well else 503, _json(status="ok" if well else "no sign of life"))
            case "/ready":
                trouble = metrics.trouble if metrics.healthy else "no sign of life"
                self._say(503 if trouble else 200, _json(status=trouble or "ok"))
            case _:
                self._say(404, _json(status="ask /metrics, /health or /ready"))

    def _say(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


def _json(**words: str) -> bytes:
    return json.dumps(words).encode()


def _hang_up(request: "socket.socket | tuple[bytes, socket.socket]") -> None:
    if isinstance(request, socket.socket):
        with suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)
