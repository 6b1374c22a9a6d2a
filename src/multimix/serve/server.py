"""The process that serves: the model, its threads, the socket, and what may be logged."""

import logging
import socket
from pathlib import Path

import uvicorn

from multimix.errors import UsageError
from multimix.inference.load import load
from multimix.serve.about import about
from multimix.serve.app import create_app
from multimix.serve.connections import bounded
from multimix.serve.settings import Settings


def serve(run: Path, host: str, port: int, settings: Settings, device: str = "cpu", threads: int = 0) -> None:
    """Answer requests at `host` and `port` (0: a free one) until the process is told to stop.

    Prints one line with the address once requests are answered. `threads` 0 is one for every core that the
    network would use. Raises CheckpointError or UsageError where the service cannot start.
    """
    predictor = load(run, device)
    threads = predictor.backend.share_cores(
        threads
    )  # each image has a core of its own, see inference/stability
    _keep_quiet()
    app = create_app(predictor, about(run, predictor), settings, threads)
    with listen(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        print(f"multimix answers at http://{shown}:{listener.getsockname()[1]}/ (Ctrl-C ends it)", flush=True)
        # h11 bounds the size of headers, which httptools does not: up to it our own refusal is sent, above it
        # uvicorn's. An access log would tell who asked what.
        config = uvicorn.Config(
            app,
            http=bounded(settings.limits),
            ws="none",
            lifespan="on",
            access_log=False,
            log_level="error",
            server_header=False,
            proxy_headers=False,
            limit_concurrency=512,
            h11_max_incomplete_event_size=32 * settings.limits.header_bytes,
            timeout_graceful_shutdown=10,
        )
        uvicorn.Server(config).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; `port` 0 takes a free one. Raises UsageError where the address cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=512)
        # Head and body of an answer are two writes; without this the second waits 40 ms for the first's receipt.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except (OSError, UnicodeError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"--host {host} --port {port}: cannot be listened at ({reason}); choose another --port or --host."
        ) from error


def _keep_quiet() -> None:
    """Libraries that decode images warn with the values they find, which may be a patient's name."""
    logging.captureWarnings(True)
    for name in ("py.warnings", "pydicom", "PIL"):
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
