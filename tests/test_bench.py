"""The bench measures what it says, on a step of a moment."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

import multimix.bench
import tiny
from multimix.bench import bench


@pytest.fixture(scope="module")
def results() -> dict:
    return bench(size=32, images=2, pairs=1)


def test_ratios_are_the_yardsticks_seconds_over_ours(results: dict) -> None:
    step = results["train_step"]  # of a single pair
    assert step["ratio"] == pytest.approx(step["naive_seconds"] / step["seconds"])
    assert {"batch1", "batch16"} == results["inference"].keys()
    for found in results["inference"].values():
        assert found["ratio"] > 0
        assert found["bf16_ratio"] > 0


def test_shares_of_a_step_are_of_one_whole(results: dict) -> None:
    shares = results["train_step"]["share_by_part"]
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares.values()) >= 0
    assert shares["convolution"] > 0.05
    assert shares["dropout"] > 0


def test_arithmetic_is_counted(results: dict) -> None:
    # By hand, forward only, of the strong view, the labelled classes and twice the mask images through the encoder:
    # a convolution k x k from c to d channels on n pixels has 2 n c d k^2 operations.
    widths, side, forward = (1, 16, 32, 64, 128, 256), 32, 0
    for level, (inputs, outputs) in enumerate(pairwise(widths)):
        forward += 2 * (side >> level) ** 2 * 9 * (inputs * outputs + outputs * outputs)
    assert results["train_step"]["gflop"] > 4 * 2 * forward / 1e9


def test_without_the_yardstick_it_measures_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multimix.bench, "NAIVE", Path("not there.py"))
    found = bench(size=16, images=1, pairs=1)
    assert "ratio" not in found["train_step"]
    assert found["train_step"]["seconds"] > 0


def test_the_command_prints_and_writes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    answer = tiny.multimix(
        capsys, "bench", "--size", "32", "--images", "1", "--pairs", "1", "--json", tmp_path / "bench.json"
    )
    assert (answer.code, answer.errors) == (0, [])
    assert "training step, float32" in answer.out
    assert json.loads((tmp_path / "bench.json").read_text())["size"] == 32


def test_a_size_that_the_network_does_not_take(capsys: pytest.CaptureFixture[str]) -> None:
    answer = tiny.multimix(capsys, "bench", "--size", "40")
    assert answer.code == 2
    assert answer.errors == ["Error: --size: expected a multiple of 16, got 40. Choose e.g. 256."]
