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
from contextlib import nullcontext
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
from multimix.data.streams import Pixels
from multimix.io.writers import write_png
from multimix.model import MultiMix
from multimix.recipes import paper
from multimix.recorded import WARM_UP, RecordedGradient
from multimix.schedule import parts
from multimix.seeds import generator
from multimix.types import LabelledClasses, LabelledMasks, MultiMixBatch, TwoViews

CPU = torch.device("cpu")

NAIVE = Path(__file__).parents[2] / "benchmarks" / "naive.py"
"""The yardstick lies beside the sources, not in the package: an installed package measures itself alone."""

KINDS = {
    "pooling and upsampling": ("max_pool", "upsample", "_pool", "_place"),
    "normalisation and activation": (
        *("Normalised", "leaky_relu", "batch_norm", "group_norm", "lerp"),
        *("_moments", "_join", "_standardise", "_gradient"),
    ),
    "dropout": ("random_", "aten::ge", "_drop"),
    "convolution": ("conv", "cudnn", "cutlass", "gemm", "xmma", "grad", "nhwc", "sm80", "sm90"),
}
"""Part of a step -> words in the names of its operations and kernels, looked for in turn; what is left is 'other'."""


def bench(
    *,
    size: int = 256,
    images: int = 10,
    pairs: int = 3,
    device: str = "cpu",
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Everything that is measured, as plain values ready for JSON; seconds, unless a name says otherwise.

    `size` and `images` are those of a step: five streams of `images` images of `size` x `size`. `report` is told
    after every part of the work. Float32 is what the framework makes of it: on a CUDA device cuDNN's convolutions
    round their factors to TF32, the yardstick's as ours.
    """
    naive, todo, on = _naive(), 8, torch.device(device)
    results: dict[str, Any] = {
        "machine": _machine(on),
        "size": size,
        "images_per_stream": images,
        "pairs": pairs,
    }
    report(0, todo)
    results["peak_gflops"] = _peak(on)
    results["copied_gb_per_second"] = _copied(on)
    report(1, todo)
    steps = {"": _Step.build(size, images, on), "_bf16": _Step.build(size, images, on, half=True)}
    yardstick = steps[""].yardstick(naive) if naive else None
    for done, (kind, step) in enumerate(steps.items(), 2):
        found = _compare(step.ours, yardstick, pairs, on)
        counted = _count(step.one_by_one)
        results[f"train_step{kind}"] = found | {
            "images_per_second": 5 * images / found["seconds"],
            "gflop": counted.operations / 1e9,
            "convolution_gb": counted.moved / 1e9,
            "share_of_peak": counted.operations
            / 1e9
            / found["seconds"]
            / results["peak_gflops"]["bfloat16" if kind else "float32"],
            "share_by_part": _shares(step.ours, on),
        }
        report(done, todo)
    if yardstick:
        results["train_step"]["naive_gflop"] = _count(yardstick).operations / 1e9
    report(4, todo)
    results["inference"] = {f"batch{n}": _inference(naive, size, n, 2 * pairs + 1, on) for n in (1, 16)}
    report(5, todo)
    results["streams"] = _streams(size, images, steps["_bf16" if on.type == "cuda" else ""], on)
    report(6, todo)
    results["memory_peak_mb"] = _memory(on)
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


def _machine(device: torch.device) -> dict[str, Any]:
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
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


def _timed(work: Callable[[], object], device: torch.device = CPU) -> float:
    """Seconds until the device is done with it."""
    wait = partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None
    wait()
    begun = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - begun


def _peak(device: torch.device) -> dict[str, float]:
    """GFLOP/s of a large matrix product, the best of three."""
    side = 2048 if device.type == "cpu" else 8192
    rates = {}
    for kind in (torch.float32, torch.bfloat16):
        product = partial(torch.mm, *torch.rand(2, side, side, device=device).to(kind))
        product()  # the first one also sets up threads and buffers
        best = min(_timed(product, device) for _ in range(3))
        rates[str(kind).removeprefix("torch.")] = 2e-9 * side**3 / best
    return rates


def _copied(device: torch.device) -> float:
    """GB/s, read and written, of a copy larger than any cache; the best of three."""
    held = torch.ones(2, 2**28 if device.type == "cpu" else 2**31, dtype=torch.uint8, device=device)
    return 1e-9 * held.numel() / min(_timed(lambda: held[0].copy_(held[1]), device) for _ in range(3))


def _compare(
    ours: Callable[[], object], naive: Callable[[], object] | None, pairs: int, device: torch.device = CPU
) -> dict[str, float]:
    """Median seconds of ours and, in turns, of the yardstick; the ratio is the median over pairs."""
    for _ in range(1 if device.type == "cpu" else WARM_UP + 2):
        ours()
        if naive is not None:
            naive()
    times = [
        (_timed(naive, device) if naive is not None else 0.0, _timed(ours, device)) for _ in range(pairs)
    ]
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

    objective: Objective
    streams: Mapping[str, Tensor]
    """As `naive_loss` names them."""
    rng: Generator
    one_by_one: Callable[[], object]
    """The step, operation by operation."""
    ours: Callable[[], object]
    """The step as it is trained: on a CUDA device a recording of it."""

    @classmethod
    def build(cls, size: int, images: int, device: torch.device, *, half: bool = False) -> "_Step":
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
        ours = RecordedGradient(objective, **how) if device.type == "cuda" else one_by_one
        dropout = torch.Generator(device).manual_seed(0)

        def step(compute: Callable[..., object]) -> None:
            objective.zero_grad()
            compute(batch, dropout)

        return cls(objective, s, dropout, partial(step, one_by_one), partial(step, ours))

    def yardstick(self, naive: ModuleType) -> Callable[[], None]:
        """The same step by the released schedule."""
        model = naive.NaiveMultiMix(self.objective.model.p).to(self.streams["weak"].device)

        def step() -> None:
            model.zero_grad()
            naive.naive_loss(model, self.streams).backward()

        return step


class _Count(TorchDispatchMode):
    """Counts multiplications and additions, and the bytes that convolutions and products must read and write.

    Torch's own counter does not go with `torch.autograd.grad`.
    """

    operations = 0
    moved = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.operations += count(*args, **(kwargs or {}), out_val=out)
            held = [*args, *(out if isinstance(out, tuple) else (out,))]
            self.moved += sum(tensor.nbytes for tensor in held if isinstance(tensor, Tensor))
        return out


def _count(work: Callable[[], object]) -> _Count:
    with _Count() as counter:
        work()
    return counter


def _inference(
    naive: ModuleType | None, size: int, images: int, pairs: int, device: torch.device
) -> dict[str, float]:
    """Class, mask and saliency of a batch."""
    model = MultiMix().to(device)
    x = torch.rand(images, 1, size, size, generator=torch.Generator().manual_seed(0)).to(device)

    def ours() -> None:
        with torch.inference_mode():
            model(x)

    yardstick = None
    if naive is not None:
        other = naive.NaiveMultiMix().to(device).eval()

        def yardstick() -> None:
            with torch.no_grad():
                other(x)

    def half() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            ours()

    times = _compare(ours, yardstick, pairs, device)
    half_times = {f"bf16_{k}": value for k, value in _compare(half, yardstick, pairs, device).items()}
    return times | {"seconds_per_image": times["seconds"] / images} | half_times


def _shares(work: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Share of time by kind of operation, on a CUDA device of kernel."""
    cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as profiler:
        _timed(work, device)
    spent = dict.fromkeys((*KINDS, "other"), 0.0)
    for event in profiler.key_averages():
        kind = next((k for k, words in KINDS.items() if any(w in event.key for w in words)), "other")
        spent[kind] += event.self_device_time_total if cuda else event.self_cpu_time_total
    total = sum(spent.values())
    return {kind: value / total for kind, value in spent.items()}


def _streams(size: int, images: int, step: _Step, device: torch.device) -> dict[str, float]:
    """How fast batches are made, gathered and augmented, all five streams, alone and beside the steps they are for."""
    cache = np.random.default_rng(0).integers(0, 256, (20 * images, 1, size, size), np.uint8)
    pixels = Pixels.keep(cache, device)

    def taken(number: int, stream: int) -> Tensor:
        return pixels.take(np.random.default_rng([number, stream]).integers(0, len(cache), images)) / 255

    def make(number: int) -> None:
        for stream in range(4):
            weak_view(taken(number, stream), "radiograph", generator(0, stream, number))
        strong_view(taken(number, 1), "radiograph", generator(0, "strong", number))
        draw = WeakView.draw(images, "radiograph", generator(0, "masks", number))
        draw.apply_to_masks((taken(number, 2) > 0.5).float())

    side = torch.cuda.Stream(device) if device.type == "cuda" else None

    def beside(steps: int) -> None:
        for number in range(steps):
            with torch.cuda.stream(side):
                make(number)
            step.ours()

    make(0)
    seconds = statistics.median(_timed(partial(make, number), device) for number in range(1, 6))
    steps = 1 if device.type == "cpu" else 50
    alone = _timed(lambda: [step.ours() for _ in range(steps)], device)
    return {
        "seconds_per_step": seconds,
        "times_the_need": alone / steps / seconds,
        "share_of_time_in_steps": alone / _timed(partial(beside, steps), device),
    }


def _memory(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
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
