"""Fixtures that several rooms need."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real X-rays and reference numbers beside the checkout, or a skip that says so."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data" / "manifest.csv").is_file():
        pytest.skip("../shared is absent: this test needs the real X-rays and reference numbers there")
    return folder


@pytest.fixture(autouse=True, scope="session")
def _apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's cache, and each test process keeps to one core if not told otherwise."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULTIMIX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
