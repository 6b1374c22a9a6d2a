"""Learning rates by hand."""

import math

import pytest
import torch

from multimix.config import OptimConfig, RunConfig
from multimix.training.schedule import learning_rate, parts


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.1),  # a twentieth of the peak
        (5, 1.05),  # half way up: 0.1 + 1.9 / 2
        (10, 2.0),  # the peak
        (40, 1.5),  # a third of the way down: (1 + cos 60 degrees) / 2 = 3/4
        (55, 1.0),  # half way down
        (70, 0.5),  # (1 + cos 120 degrees) / 2 = 1/4
        (99, 1 - math.cos(math.pi / 90)),  # the last step: cos(89/90 pi) = -cos(pi/90)
    ],
)
def test_one_cycle(step: int, expected: float):
    config = OptimConfig(schedule="one-cycle", learning_rate=2.0, steps=100)
    assert learning_rate(config, step) == pytest.approx(expected)


def test_one_cycle_rises_then_falls_and_never_stands_still():
    config = OptimConfig(schedule="one-cycle", learning_rate=1.0, steps=57)
    rates = [learning_rate(config, step) for step in range(57)]
    top = rates.index(max(rates))
    assert top == 5
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert min(rates) > 0


@pytest.mark.parametrize("steps", [1, 2, 3, 9])
def test_one_cycle_of_few_steps(steps: int):
    config = OptimConfig(schedule="one-cycle", learning_rate=1.0, steps=steps)
    rates = [learning_rate(config, step) for step in range(steps)]
    assert rates[0] == pytest.approx(0.05)
    assert rates[1:2] in ([], [1.0])
    assert all(0 < rate <= 1 for rate in rates)


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 1e-4), (3999, 1e-4), (4000, 1e-5), (7999, 1e-5), (8000, 1e-6), (12_000, 1e-7)]
)
def test_step_decay(step: int, expected: float):
    config = OptimConfig(schedule="step", learning_rate=1e-4, decay_every=4000, steps=20_000)
    assert learning_rate(config, step) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("size", "streams", "expected"),
    [
        (256, (10, 10, 10), 10),
        (128, (16, 16, 8), 4),
        (64, (16, 16, 8), 1),
        (512, (16, 16, 8), 8),
        (256, (7, 7, 7), 7),
        (256, (10, 7, 3), 1),
    ],
)
def test_parts_fit_the_caches_and_divide_every_stream(
    size: int, streams: tuple[int, int, int], expected: int
) -> None:
    names = ("classes", "unlabelled_classes", "masks")
    config = RunConfig.from_mapping(
        {"data": {"size": size}, "streams": dict(zip(names, streams, strict=True))}
    )
    assert parts(config, torch.device("cpu")) == expected
    assert parts(config, torch.device("cuda")) == 1


def test_parts_as_asked_for() -> None:
    config = RunConfig.from_mapping({"streams": {"micro_batches": 4}})
    assert parts(config, torch.device("cpu")) == parts(config, torch.device("cuda")) == 4
