"""The service in this process, with a small untrained model."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import services

from multimix.inference.predictor import Predictor, load
from multimix.serve.about import about
from multimix.serve.app import create_app
from multimix.serve.settings import Limits, Settings

LIMITS = Limits(body_bytes=2**20, files=4, pixels=250_000)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder."""
    return services.weights(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def predictor(run: Path) -> Predictor:
    """The model that the service answers with."""
    return load(run)


@pytest.fixture(scope="module")
def client(run: Path, predictor: Predictor) -> Iterator[httpx.Client]:
    """A client of the service, on loopback and with small limits."""
    app = create_app(predictor, about(run, predictor), Settings(limits=LIMITS))
    with services.client_of(app) as client:
        yield client
