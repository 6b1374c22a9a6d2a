"""What is measured: a training step and an answer, ours and the yardstick's."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from benchmarks.step.timing import compare
from torch import Tensor

from benchmarks import naive
from multimix.config import RunConfig
from multimix.networks.model import MultiMix
from multimix.recipes import paper
from multimix.training.algorithm import Objective, gradient
from multimix.training.batch import LabelledClasses, LabelledMasks, MultiMixBatch, TwoViews
from multimix.training.cuda_graph import gradient_on
from multimix.training.schedule import parts


@dataclass(frozen=True)
class Step:
    """One training step of the published objective, dropout on, on random images, without the data."""

    objective: Objective
    streams: Mapping[str, Tensor]
    """As `naive_loss` names them."""
    one_by_one: Callable[[], object]
    """The step, operation by operation."""
    ours: Callable[[], object]
    """The step as it is trained: on a CUDA device a recording of it."""

    @classmethod
    def build(cls, size: int, images: int, device: torch.device, *, half: bool = False) -> "Step":
        """Five streams of `images` images; `half`: in bfloat16 where autocast has it so."""
        rng = torch.Generator().manual_seed(0)
        config = RunConfig.from_mapping(
            {
                "data": {"size": size},
                "streams": {"classes": images, "unlabelled_classes": images, "masks": images},
            },
            paper(),
        )
        names = ("classes", "weak", "strong", "mask_images", "unlabelled_mask_images")
        s = {name: torch.rand(images, 1, size, size, generator=rng) for name in names}
        s["labels"] = torch.arange(images) % 2
        s["masks"] = (torch.rand(images, 1, size, size, generator=rng) > 0.5).float()
        s = {name: values.to(device) for name, values in s.items()}
        batch = MultiMixBatch(
            LabelledClasses(s["classes"], s["labels"]),
            TwoViews(s["weak"], s["strong"]),
            LabelledMasks(s["mask_images"], s["masks"]),
            s["unlabelled_mask_images"],
        )
        objective = Objective(MultiMix(p=config.model.dropout).to(device), config.objective)
        how: dict[str, Any] = {
            "parts": parts(config, device),
            "autocast": partial(torch.autocast, device.type, torch.bfloat16) if half else nullcontext,
            "backward": Tensor.backward,
        }
        one_by_one = partial(gradient, objective, **how)
        ours = gradient_on(device, objective, **how)
        dropout = torch.Generator(device).manual_seed(0)

        def step(compute: Callable[..., object]) -> None:
            objective.zero_grad()
            compute(batch, dropout)

        return cls(objective, s, partial(step, one_by_one), partial(step, ours))

    def released(self) -> Callable[[], None]:
        """The same step by the released schedule."""
        model = naive.NaiveMultiMix(self.objective.model.p).to(self.streams["weak"].device)

        def step() -> None:
            model.zero_grad()
            naive.naive_loss(model, self.streams).backward()

        return step


def inference(size: int, images: int, pairs: int, device: torch.device) -> dict[str, float]:
    """Class, mask and saliency of a batch."""
    model = MultiMix().to(device)
    x = torch.rand(images, 1, size, size, generator=torch.Generator().manual_seed(0)).to(device)

    def ours() -> None:
        with torch.inference_mode():
            model(x)

    other = naive.NaiveMultiMix().to(device).eval()

    def released() -> None:
        with torch.no_grad():
            other(x)

    def half() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            ours()

    times = compare(ours, released, pairs, device)
    half_times = {f"bf16_{k}": value for k, value in compare(half, released, pairs, device).items()}
    return times | {"seconds_per_image": times["seconds"] / images} | half_times
