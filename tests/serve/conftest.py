"""The service in this process, with a small untrained model."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import services

from multimix.inference.load import load
from multimix.inference.predictor import Predictor
from multimix.serve.about import about
from multimix.serve.app import create_app
from multimix.serve.settings import Limits, Settings

if TYPE_CHECKING:  # the tests of the core have no browser
    from pages import Page
    from selenium import webdriver

EXPORTED = Path(__file__).resolve().parents[1] / "stored" / "served.onnx"
LIMITS = Limits(body_bytes=2**20, files=4, pixels=250_000)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder, or where torch is not installed the file that `multimix export` made of it."""
    return services.weights(tmp_path_factory.mktemp("run")) if find_spec("torch") else EXPORTED


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


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator["webdriver.Chrome"]:
    """A headless Chromium."""
    import pages

    with pages.chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def address(run: Path, predictor: Predictor) -> Iterator[str]:
    with services.client_of(create_app(predictor, about(run, predictor), Settings())) as client:
        yield f"http://127.0.0.1:{client.base_url.port}"


@pytest.fixture
def page(browser: "webdriver.Chrome", address: str, tmp_path: Path) -> "Page":
    from pages import Page

    page = Page(browser, tmp_path)
    browser.get_log("browser"), browser.get_log("performance")
    page.open(address)
    return page
