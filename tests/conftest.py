"""Fixtures that several rooms need."""

import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

HAS_TORCH = find_spec("torch") is not None


_NEEDS_TORCH = re.compile(
    r"^\s*(?:from|import) (?:torch|lightning|kornia|bright|tiny|pages|benchmarks|"
    r"multimix\.(?:deployment|networks|training|inference\.torch_backend|experiment\.(?:run|demo)|"
    r"evaluation\.explain))\b",
    re.MULTILINE,
)
"""How a test file says that it runs a network, by itself or by one of the helpers beside it; pages ask one."""


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Where torch is not installed, the tests that need none are run: those of the core."""
    if HAS_TORCH or collection_path.suffix != ".py":
        return None
    return True if _NEEDS_TORCH.search(collection_path.read_text("utf-8")) else None


def pytest_report_header() -> str:
    """What is left out."""
    return "torch: " + ("installed" if HAS_TORCH else "not installed; test files that need it are left out")


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
    if HAS_TORCH:
        import torch

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULTIMIX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
