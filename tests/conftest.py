"""Fixtures that several rooms need."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real X-rays and reference numbers beside the checkout, or a skip that says so."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data" / "manifest.csv").is_file():
        pytest.skip("../shared is absent: this test needs the real X-rays and reference numbers there")
    return folder
