"""How fast this machine trains and answers, and how much faster than the released schedule.

The yardstick is `benchmarks/naive.py`: the released schedule, written anew. Both run in this process, in turns
(A B A B ...), and a ratio is the median over the pairs, so that what else the machine does meets both alike.
"""

import importlib.util
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from multimix.algorithm import Objective, gradient
from multimix.augment import WeakView, strong_view, weak_view
from multimix.checkpoint import ModelSpec, save_model
from multimix.config import RunConfig
from multimix.io.writers import write_png
from multimix.model import MultiMix
from multimix.recipes import paper
from multimix.schedule import parts
from multimix.seeds import generator
from multimix.types import LabelledClasses, LabelledMasks, MultiMixBatch, TwoViews

NAIVE = Path(__file__).parents[2] / "benchmarks" / "naive.py"
"""The yardstick lies beside the sources, not in the package: an installed package measures itself alone."""

KINDS = {
    "convolution": ("convolution",),
    "normalisation and activation": ("Normalised", "leaky_relu", "batch_norm", "group_norm", "lerp"),
    "pooling and upsampling": ("max_pool", "upsample"),
    "dropout": ("random_", "aten::ge"),
}
"""Part of a step -> words in the names of its operations; what is left is 'other'."""


def bench(
    *,
    size: int = 256,
    images: int = 10,
    pairs: int = 3,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Everything that is measured, as plain values ready for JSON; seconds, unless a name says otherwise.

    `size` and `images` are those of a step: five streams of `images` images of `size` x `size`. `report` is told
    after every part of the work.
    """
    naive, todo = _naive(), 8
    results: dict[str, Any] = {
        "machine": _machine(),
        "size": size,
        "images_per_stream": images,
        "pairs": pairs,
    }
    report(0, todo)
    results["peak_gflops"] = _peak()
    report(1, todo)
    step = _Step.build(size, images)
    yardstick = partial(step.naive, naive, naive.NaiveMultiMix(step.config.model.dropout)) if naive else None
    results["train_step"] = _compare(step.ours, yardstick, pairs)
    results["train_step"]["images_per_second"] = 5 * images / results["train_step"]["seconds"]
    report(2, todo)
    results["train_step_bf16"] = _compare(step.ours_bf16, yardstick, pairs)
    report(3, todo)
    gflop = _gflop(step.ours)
    results["train_step"] |= {
        "gflop": gflop,
        **({"naive_gflop": _gflop(yardstick)} if yardstick else {}),
        "share_of_peak": gflop / results["train_step"]["seconds"] / results["peak_gflops"]["float32"],
        "share_by_part": _shares(step.ours),
    }
    report(4, todo)
    results["inference"] = {f"batch{n}": _inference(naive, size, n, 2 * pairs + 1) for n in (1, 16)}
    report(5, todo)
    results["streams"] = _streams(size, images, results["train_step"]["seconds"])
    report(6, todo)
    results["memory_peak_mb"] = _memory()
    results["start_up"] = _start_up(size)
    report(todo, todo)
    return results


def _naive() -> ModuleType | None:
    if not NAIVE.is_file():
        return None
    spec = importlib.util.spec_from_file_location("naive", NAIVE)
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _machine() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _peak() -> dict[str, float]:
    """GFLOP/s of a large matrix product, the best of three."""
    side = 2048
    rates = {}
    for kind in (torch.float32, torch.bfloat16):
        product = partial(torch.mm, *torch.rand(2, side, side).to(kind))
        product()  # the first one also sets up threads and buffers
        rates[str(kind).removeprefix("torch.")] = 2e-9 * side**3 / min(_timed(product) for _ in range(3))
    return rates


def _compare(ours: Callable[[], object], naive: Callable[[], object] | None, pairs: int) -> dict[str, float]:
    """Median seconds of ours and, in turns, of the yardstick; the ratio is the median over pairs."""
    ours()
    if naive is not None:
        naive()
    times = [(_timed(naive) if naive is not None else 0.0, _timed(ours)) for _ in range(pairs)]
    seconds = {"seconds": statistics.median(b for _, b in times)}
    if naive is None:
        return seconds
    return seconds | {
        "naive_seconds": statistics.median(a for a, _ in times),
        "ratio": statistics.median(a / b for a, b in times),
    }


@dataclass(frozen=True)
class _Step:
    """One training step of the published objective, dropout on, on random images, without the data."""

    config: RunConfig
    objective: Objective
    streams: Mapping[str, Tensor]
    """As `naive_loss` names them."""
    rng: Generator

    @classmethod
    def build(cls, size: int, images: int) -> "_Step":
        rng = torch.Generator().manual_seed(0)
        config = RunConfig.from_mapping(
            {
                "data": {"size": size},
                "streams": {"classes": images, "unlabelled_classes": images, "masks": images},
            },
            paper(),
        )
        names = ("classes", "weak", "strong", "mask_images", "unlabelled_mask_images")
        streams = {name: torch.rand(images, 1, size, size, generator=rng) for name in names}
        streams["labels"] = torch.arange(images) % 2
        streams["masks"] = (torch.rand(images, 1, size, size, generator=rng) > 0.5).float()
        return cls(config, Objective(MultiMix(p=config.model.dropout), config.objective), streams, rng)

    def ours(self, autocast: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self.objective.zero_grad()
        s = self.streams
        batch = MultiMixBatch(
            LabelledClasses(s["classes"], s["labels"]),
            TwoViews(s["weak"], s["strong"]),
            LabelledMasks(s["mask_images"], s["masks"]),
            s["unlabelled_mask_images"],
        )
        cut = parts(self.config, torch.device("cpu"))
        gradient(self.objective, batch, self.rng, parts=cut, autocast=autocast)

    def ours_bf16(self) -> None:
        self.ours(partial(torch.autocast, "cpu", torch.bfloat16))

    def naive(self, naive: ModuleType, model: torch.nn.Module) -> None:
        model.zero_grad()
        naive.naive_loss(model, self.streams).backward()


class _Arithmetic(TorchDispatchMode):
    """Counts multiplications and additions; torch's own counter does not go with `torch.autograd.grad`."""

    operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.operations += count(*args, **(kwargs or {}), out_val=out)
        return out


def _gflop(work: Callable[[], object]) -> float:
    with _Arithmetic() as counter:
        work()
    return counter.operations / 1e9


def _inference(naive: ModuleType | None, size: int, images: int, pairs: int) -> dict[str, float]:
    """Class, mask and saliency of a batch."""
    model = MultiMix().eval()
    x = torch.rand(images, 1, size, size, generator=torch.Generator().manual_seed(0))

    def ours() -> None:
        with torch.inference_mode():
            model(x)

    yardstick = None
    if naive is not None:
        other = naive.NaiveMultiMix().eval()

        def yardstick() -> None:
            with torch.no_grad():
                other(x)

    def half() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            ours()

    times = _compare(ours, yardstick, pairs)
    half_times = {f"bf16_{name}": value for name, value in _compare(half, yardstick, pairs).items()}
    return times | {"seconds_per_image": times["seconds"] / images} | half_times


def _shares(work: Callable[[], object]) -> dict[str, float]:
    """Share of time by kind of operation."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        work()
    spent = dict.fromkeys((*KINDS, "other"), 0.0)
    for event in profiler.key_averages():
        kind = next((k for k, words in KINDS.items() if any(w in event.key for w in words)), "other")
        spent[kind] += event.self_cpu_time_total
    total = sum(spent.values())
    return {kind: value / total for kind, value in spent.items()}


def _streams(size: int, images: int, step_seconds: float) -> dict[str, float]:
    """Steps a second for which the data are ready: gathered from a cache and augmented, all five streams."""
    cache = np.random.default_rng(0).integers(0, 256, (20 * images, 1, size, size), np.uint8)

    def taken(step: int, stream: int) -> Tensor:
        rows = np.random.default_rng([step, stream]).integers(0, len(cache), images)
        return torch.from_numpy(cache[rows]).float() / 255

    def one(step: int) -> None:
        for stream in range(4):
            weak_view(taken(step, stream), "radiograph", generator(0, stream, step))
        strong_view(taken(step, 1), "radiograph", generator(0, "strong", step))
        draw = WeakView.draw(images, "radiograph", generator(0, "masks", step))
        draw.apply_to_masks((taken(step, 2) > 0.5).float())

    one(0)
    seconds = statistics.median(_timed(partial(one, step)) for step in range(1, 6))
    return {"seconds_per_step": seconds, "times_the_need": step_seconds / seconds}


def _memory() -> float:
    # Kilobytes on Linux, bytes on macOS.
    unit = 1024 if sys.platform == "darwin" else 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit / 1024


def _start_up(size: int) -> Mapping[str, float]:
    """Seconds of whole commands, each the best of three."""
    command = [sys.executable, "-m", "multimix"]
    with tempfile.TemporaryDirectory() as folder:
        run, image = Path(folder) / "best.safetensors", Path(folder) / "image.png"
        spec = ModelSpec(classes=("no", "yes"), structures=("lungs",), size=size)
        save_model(run, spec.build().state_dict(), spec, {})
        write_png(image, np.full((size, size), 128, np.uint8))
        answers = Path(folder) / "answers"

        def call(*arguments: str) -> float:
            return min(
                _timed(lambda: subprocess.run([*command, *arguments], check=True, capture_output=True))
                for _ in range(3)
            )

        return {
            "help": call("--help"),
            "predict_one_image": call("predict", str(run), str(image), "--out", str(answers)),
        }
