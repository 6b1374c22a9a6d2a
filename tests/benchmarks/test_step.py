"""The bench measures what it says, on a step of a moment."""

import json
from pathlib import Path

import pytest
import torch
from benchmarks.step.__main__ import bench as command
from benchmarks.step.measure import bench
from benchmarks.step.operations import count, kind_of
from click.testing import CliRunner


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


def test_every_operation_belongs_to_a_part() -> None:
    parts = {
        "aten::mkldnn_convolution": "convolution",
        "aten::_slow_conv2d_forward": "convolution",
        "NormalisedBackward": "normalisation and activation",
        "aten::max_pool2d_with_indices": "pooling and upsampling",
        "aten::random_": "dropout",
        "aten::add_": "other",
    }
    assert {name: kind_of(name) for name in parts} == parts


def test_arithmetic_is_counted(results: dict) -> None:
    # By hand, all blocks without the heads: a k x k convolution from c to d channels on n pixels has 2 n c d k^2
    # operations forward, as many again for the gradient of its input, and as many for that of its weights.
    def blocks(inputs_outputs_side: list[tuple[int, int, int]]) -> float:
        return sum(2 * 9 * side**2 * (c * d + d * d) / 1e9 for c, d, side in inputs_outputs_side)

    images = 2
    encoder = images * blocks([(1, 16, 32), (16, 32, 16), (32, 64, 8), (64, 128, 4), (128, 256, 2)])
    decoder = images * blocks([(48, 16, 32), (96, 32, 16), (192, 64, 8), (386, 128, 4)])
    # Ours: labelled classes and strong view 3 passes, weak view 1; of each mask stream 2 for the saliency, then 3, of
    # which one over the first block is spared.
    first = images * blocks([(1, 16, 32)])
    assert results["train_step"]["gflop"] == pytest.approx(17 * encoder - 2 * first + 6 * decoder, rel=0.01)
    # Released: five streams 3 for the saliency and 1 for all; backward through what the losses reach.
    assert results["train_step"]["naive_gflop"] == pytest.approx(28 * encoder + 9 * decoder, rel=0.02)


def test_bytes_are_those_of_inputs_and_outputs() -> None:
    x, weight = torch.rand(2, 3, 8, 8), torch.rand(5, 3, 3, 3)
    found = count(lambda: torch.nn.functional.conv2d(x, weight, padding=1))
    assert found.moved == 4 * (x.numel() + weight.numel() + 2 * 5 * 8 * 8)
    assert found.operations == 2 * 9 * 3 * 5 * 2 * 8 * 8


def test_the_command_prints_and_writes(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    done = CliRunner().invoke(command, ["--size", "32", "--images", "1", "--pairs", "1", "--json", str(file)])
    assert done.exit_code == 0, done.output
    assert "training step, float32" in done.output
    assert json.loads(file.read_text())["size"] == 32


def test_a_size_that_the_network_does_not_take() -> None:
    done = CliRunner().invoke(command, ["--size", "40"])
    assert done.exit_code == 2
    assert "--size: expected a multiple of 16, got 40. Choose e.g. 256." in done.output


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there() -> None:
    done = CliRunner().invoke(command, ["--device", "cuda"])
    assert done.exit_code == 2
    assert "--device cuda: no such device here. Use --device cpu." in done.output
