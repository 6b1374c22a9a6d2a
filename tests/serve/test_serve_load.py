"""Many clients at once, in short. How much faster that is, and how large the batches are, depends on what else the
machine does: see `benchmarks/serve_load.py`, which measures it."""

import os
from pathlib import Path

import pytest
import services

from multimix.weights.file import ModelSpec


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="with one core nothing can run at once")
def test_sixteen_clients_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    from serve_load import measure

    run = services.weights(tmp_path, ModelSpec(("NORMAL", "PNEUMONIA"), ("lungs",), size=128))
    with services.running(run, "--threads", "2") as (address, pid):
        load = measure(address, pid, clients=16, requests=48)
    assert load.errors == 0
    assert load.memory[-1] < 1.3 * load.memory[0]


def test_a_service_that_is_told_to_stop_stops(run: Path):
    with services.running(run) as (address, pid):
        assert address.startswith("http://127.0.0.1:")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
