"""A model of a moment, and an archive."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from orthanc import Orthanc

from multimix.pacs.queue import Queue
from multimix.weights.file import BEST, ModelSpec


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with untrained weights, drawn so that masks are neither empty nor full."""
    torch = pytest.importorskip("torch")
    from multimix.networks.load import save_model
    from multimix.networks.model import MultiMix

    folder = tmp_path_factory.mktemp("run")
    spec = ModelSpec(("NORMAL", "PNEUMONIA"), ("lungs",), 32, widths=(2,) * 5)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        save_model(folder / BEST, MultiMix.from_spec(spec).state_dict(), spec, {"lungs": torch.zeros(32, 32)})
    return folder


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    """An empty queue of this test alone."""
    queue = Queue(tmp_path / "queue")
    yield queue
    queue.close()


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Orthanc]:
    """An empty Orthanc of this test alone."""
    archive = Orthanc(tmp_path / "orthanc").start()
    try:
        yield archive
    finally:
        archive.kill()
