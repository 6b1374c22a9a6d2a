"""The yardstick of the benchmark computes the same thing: what is faster must not be something else."""

import importlib.util
from pathlib import Path

import pytest
import torch

from multimix.config import ObjectiveConfig
from multimix.networks.model import MultiMix
from multimix.training.algorithm import Objective, total
from multimix.training.batch import LabelledClasses, LabelledMasks, MultiMixBatch, TwoViews

pytestmark = pytest.mark.numeric


def test_losses_and_gradients_equal_those_of_the_released_schedule():
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "naive.py"
    spec = importlib.util.spec_from_file_location("naive", path)
    assert spec is not None
    assert spec.loader is not None
    naive = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(naive)

    torch.manual_seed(0)
    # In float64, where no rectifier is so near to zero that rounding in another order decides it.
    model, yardstick = MultiMix(p=0.0).double(), naive.NaiveMultiMix(p=0.0).double()
    for ours, theirs in zip(model.parameters(), yardstick.parameters(), strict=True):
        theirs.data.copy_(ours.data)
    names = ("classes", "weak", "strong", "mask_images", "unlabelled_mask_images")
    streams = {name: torch.rand(3, 1, 32, 32).double() for name in names}
    streams |= {"labels": torch.tensor([0, 1, 1]), "masks": (torch.rand(3, 1, 32, 32) > 0.5).double()}
    batch = MultiMixBatch(
        LabelledClasses(streams["classes"], streams["labels"]),
        TwoViews(streams["weak"], streams["strong"]),
        LabelledMasks(streams["mask_images"], streams["masks"]),
        streams["unlabelled_mask_images"],
    )
    weights = ObjectiveConfig(threshold=0.5)
    loss = total(Objective(model, weights)(batch), weights)
    expected = naive.naive_loss(yardstick, streams, threshold=0.5)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-7, atol=0)
    for (name, ours), theirs in zip(model.named_parameters(), yardstick.parameters(), strict=True):
        # Instance norm takes a convolution's bias out again: its gradient is zero but for rounding.
        if "conv" not in name or "weight" in name:
            assert ours.grad is not None
            assert theirs.grad is not None
            scale = float(theirs.grad.abs().max())
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-6 * scale, msg=name)
