"""How fast this machine trains and answers, and how much faster than the released schedule.

The yardstick is `benchmarks/naive.py`: the released schedule, written anew. Both run in this process, in turns
(A B A B ...), and a ratio is the median over the pairs, so that what else the machine does meets both alike.
"""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.step.operations import count, shares
from benchmarks.step.timing import compare, copied, memory, peak, timed
from benchmarks.step.work import Step, inference
from torch import Tensor

from multimix.io.writers import write_png
from multimix.networks.load import save_model
from multimix.networks.model import MultiMix
from multimix.training.augment import WeakView, strong_view, weak_view
from multimix.training.machine import processor
from multimix.training.seeds import generator
from multimix.training.streams import Pixels
from multimix.weights.file import ModelSpec


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
    todo, on = 8, torch.device(device)
    results: dict[str, Any] = {
        "machine": _machine(on),
        "size": size,
        "images_per_stream": images,
        "pairs": pairs,
    }
    report(0, todo)
    steps = {"float32": Step.build(size, images, on), "bfloat16": Step.build(size, images, on, half=True)}
    compare(steps["float32"].ours, None, 1, on)
    results["memory_peak_mb"] = memory(on)  # first: the yardstick and the measure of copies take more
    results["peak_gflops"] = peak(on)
    results["copied_gb_per_second"] = copied(on)
    report(1, todo)
    released = steps["float32"].released()
    for done, (kind, step) in enumerate(steps.items(), 2):
        name = "train_step" if kind == "float32" else "train_step_bf16"
        found, counted = compare(step.ours, released, pairs, on), count(step.one_by_one)
        rate = counted.operations / 1e9 / found["seconds"]
        results[name] = found | {
            "images_per_second": 5 * images / found["seconds"],
            "gflop": counted.operations / 1e9,
            "convolution_gb": counted.moved / 1e9,
            "share_of_peak": rate / results["peak_gflops"][kind],
            "share_by_part": shares(step.ours, on),
        }
        report(done, todo)
    results["train_step"]["naive_gflop"] = count(released).operations / 1e9
    report(4, todo)
    results["inference"] = {f"batch{n}": inference(size, n, 2 * pairs + 1, on) for n in (1, 16)}
    report(5, todo)
    results["streams"] = _streams(size, images, steps["bfloat16" if on.type == "cuda" else "float32"], on)
    report(6, todo)
    results["start_up"] = _start_up(size)
    report(todo, todo)
    return results


def _machine(device: torch.device) -> dict[str, Any]:
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def _streams(size: int, images: int, step: Step, device: torch.device) -> dict[str, float]:
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
            if side is not None:
                torch.cuda.current_stream(device).wait_stream(side)
            step.ours()

    make(0)
    seconds = statistics.median(timed(partial(make, number), device) for number in range(1, 6))
    steps = 1 if device.type == "cpu" else 50
    alone = timed(lambda: [step.ours() for _ in range(steps)], device)
    return {
        "seconds_per_step": seconds,
        "times_the_need": alone / steps / seconds,
        "share_of_time_in_steps": alone / timed(partial(beside, steps), device),
    }


def _start_up(size: int) -> Mapping[str, float]:
    """Seconds of whole commands, each the best of three."""
    command = [sys.executable, "-m", "multimix"]
    with tempfile.TemporaryDirectory() as folder:
        run, image = Path(folder) / "best.safetensors", Path(folder) / "image.png"
        spec = ModelSpec(classes=("no", "yes"), structures=("lungs",), size=size)
        save_model(run, MultiMix.from_spec(spec).state_dict(), spec, {})
        write_png(image, np.full((size, size), 128, np.uint8))
        answers = Path(folder) / "answers"

        def call(*arguments: str) -> float:
            return min(
                timed(lambda: subprocess.run([*command, *arguments], check=True, capture_output=True))
                for _ in range(3)
            )

        return {
            "help": call("--help"),
            "predict_one_image": call("predict", str(run), str(image), "--out", str(answers)),
        }
