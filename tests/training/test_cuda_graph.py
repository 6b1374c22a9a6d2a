"""A recorded step against the same step kernel by kernel; skipped where there is no CUDA device."""

import signal
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

import tiny
from multimix.config import ObjectiveConfig
from multimix.networks.load import load_model
from multimix.networks.model import MultiMix
from multimix.training.algorithm import Objective, gradient
from multimix.training.batch import LabelledClasses, LabelledMasks, MultiMixBatch, TwoViews
from multimix.training.cuda_graph import WARM_UP, RecordedGradient
from multimix.training.trainer import Progress, train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

CUDA = torch.device("cuda")


def batch(seed: int, images: int = 4) -> MultiMixBatch:
    rng = torch.Generator().manual_seed(seed)
    views = [torch.rand(images, 1, 64, 64, generator=rng).to(CUDA) for _ in range(5)]
    labels = torch.randint(2, (images,), generator=rng).to(CUDA)
    masks = (torch.rand(images, 1, 64, 64, generator=rng) > 0.5).float().to(CUDA)
    return MultiMixBatch(
        LabelledClasses(views[0], labels), TwoViews(*views[1:3]), LabelledMasks(views[3], masks), views[4]
    )


def objective(p: float) -> Objective:
    torch.manual_seed(0)
    return Objective(MultiMix(p=p).to(CUDA), ObjectiveConfig(threshold=0.5))


@pytest.mark.parametrize("parts", [1, 2])
def test_terms_and_gradients_are_those_of_the_step_kernel_by_kernel(parts: int) -> None:
    one, other = objective(0.0), objective(0.0)
    replayed = RecordedGradient(one, parts=parts, autocast=nullcontext, backward=torch.Tensor.backward)
    for step in range(WARM_UP + 3):
        for images in (4, 2):  # two sets of shapes, in turns
            one.zero_grad()
            other.zero_grad()
            ours = replayed(batch(step, images), torch.Generator(CUDA))
            theirs = gradient(other, batch(step, images), parts=parts)
            for name, value in vars(theirs).items():
                if value is not None:
                    torch.testing.assert_close(getattr(ours, name), value, rtol=1e-3, atol=1e-5, msg=name)
            for mine, its in zip(one.parameters(), other.parameters(), strict=True):
                assert (mine.grad is None) == (its.grad is None)
                if mine.grad is not None and its.grad is not None:
                    away = (mine.grad - its.grad).norm() / its.grad.norm().clamp_min(1e-12)
                    assert away < 0.02  # TF32 and other kernels
    assert len(replayed.recordings) == 2


def test_dropout_of_a_replay_follows_the_generator_it_is_given() -> None:
    one = objective(0.25)
    replayed = RecordedGradient(one, parts=1, autocast=nullcontext, backward=torch.Tensor.backward)

    def dice(seed: int) -> float:
        one.zero_grad()
        found = replayed(batch(0), torch.Generator(CUDA).manual_seed(seed)).dice
        assert found is not None
        return float(found)

    for seed in range(WARM_UP):
        dice(seed)
    assert dice(7) == dice(7)
    assert len({dice(seed) for seed in range(8, 12)}) == 4


@pytest.mark.parametrize("name", ["multimix-plus", "multimix-t", "u-net", "enc-ssl"])
def test_training_on_the_device_goes_on_where_it_stopped(tmp_path: Path, name: str) -> None:
    manifest = tiny.write_xrays(tmp_path / "data")

    config = tiny.run_config(
        manifest, method=name, device=CUDA.type, precision="bf16-mixed", optim={"steps": 12}
    )
    seen: list[int] = []

    def interrupt(progress: Progress) -> None:
        if progress.step == 6:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", report=interrupt)
    trainer = train(config, tmp_path / "run", resume=True, report=lambda progress: seen.append(progress.step))
    assert seen == list(range(8, 13))  # the interrupted step was taken to its end, and kept
    assert trainer.fabric.device.type == CUDA.type
    assert all(p.isfinite().all() for p in load_model(tmp_path / "run").model.parameters())
