"""A small untrained model, files for it, and the service as a process, for the tests of the service."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from PIL import Image
from pydicom.dataset import Dataset

from multimix.serve.connections import bounded
from multimix.serve.settings import Limits
from multimix.weights.file import ModelSpec

SPEC = ModelSpec(("NORMAL", "PNEUMONIA"), ("lungs",), size=32, widths=(4, 4, 8, 8, 8))


def weights(folder: Path, spec: ModelSpec = SPEC) -> Path:
    """A run folder with weights drawn from a fixed seed."""
    torch = pytest.importorskip("torch")
    from multimix.networks.load import save_model
    from multimix.networks.model import MultiMix

    with torch.random.fork_rng():
        torch.manual_seed(2)  # of the first few, one whose masks are neither empty nor full
        network = MultiMix.from_spec(spec)
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder / "best.safetensors", network.state_dict(), spec, {})
    return folder


def pixels(height: int = 48, width: int = 40, seed: int = 0) -> np.ndarray:
    """(height width) uint8: a bright disc on noise."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:height, :width]
    disc = (row - height / 2) ** 2 + (column - width / 3) ** 2 < (min(height, width) / 4) ** 2
    return (60 + 120 * disc + rng.normal(0, 10, (height, width))).clip(0, 255).astype(np.uint8)


def encoded(kind: str, array: np.ndarray | None = None) -> bytes:
    """`array` as a file of a Pillow format."""
    buffer = BytesIO()
    Image.fromarray(pixels() if array is None else array).save(buffer, kind)
    return buffer.getvalue()


def file_of(data: Dataset) -> bytes:
    """A DICOM file in memory."""
    buffer = BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def opened(png: bytes) -> np.ndarray:
    """The pixels of an encoded image."""
    with Image.open(BytesIO(png)) as image:
        return np.asarray(image)


@contextmanager
def client_of(app: FastAPI, limits: Limits | None = None) -> Iterator[httpx.Client]:
    """A client of `app`, which is served on a free port by a thread of this process."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A browser may open a connection at the very end and never use it.
    config = uvicorn.Config(
        app,
        http=bounded(limits or Limits()),
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60) as client:
            client.get("/health")  # answered once the service has started
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def running(
    run: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[str, int]]:
    """`multimix serve` in a process of its own on a free port: its address and process id."""
    command = [sys.executable, "-c", "from multimix.cli.serve import serve; serve()", str(run), "--port", "0"]
    process = subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if " at http://" not in line:
            raise AssertionError(f"no address in {line!r}: {process.communicate()[1]}")
        yield line.split(" at ")[1].split()[0].rstrip("/"), process.pid
    finally:
        process.terminate()
        process.communicate(timeout=30)
