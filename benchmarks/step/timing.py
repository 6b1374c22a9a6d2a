"""Seconds of work, in turns with a yardstick's, and what the device could do at best."""

import resource
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F

from multimix.training.cuda_graph import WARM_UP

CPU = torch.device("cpu")


def timed(work: Callable[[], object], device: torch.device = CPU) -> float:
    """Seconds until the device is done with it."""
    wait = partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None
    wait()
    begun = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - begun


def peak(device: torch.device) -> dict[str, float]:
    """GFLOP/s of a large matrix product or convolution, whichever does more, the best of five."""
    cpu = device.type == "cpu"
    side, images = (2048, 4) if cpu else (8192, 256)
    rates = {}
    for kind in (torch.float32, torch.bfloat16):
        product = partial(torch.mm, *torch.rand(2, side, side, device=device).to(kind))
        maps, weight = (
            torch.rand(images, 64, 128, 128, device=device),
            torch.rand(64, 64, 3, 3, device=device),
        )
        maps = maps.to(kind).contiguous(memory_format=torch.channels_last)
        convolution = partial(F.conv2d, maps, weight.to(kind), padding=1)
        work = {product: 2e-9 * side**3, convolution: 2e-9 * 9 * 64 * maps.numel()}
        for one in work:  # the first one also sets up threads and buffers
            one()
        rates[str(kind).removeprefix("torch.")] = max(
            gflop / min(timed(one, device) for _ in range(5)) for one, gflop in work.items()
        )
    return rates


def copied(device: torch.device) -> float:
    """GB/s, read and written, of a copy larger than any cache; the best of three."""
    held = torch.ones(2, 2**28 if device.type == "cpu" else 2**31, dtype=torch.uint8, device=device)
    return 1e-9 * held.numel() / min(timed(lambda: held[0].copy_(held[1]), device) for _ in range(3))


def compare(
    ours: Callable[[], object], naive: Callable[[], object] | None, pairs: int, device: torch.device = CPU
) -> dict[str, float]:
    """Median seconds of ours and, in turns, of the yardstick; the ratio is the median over pairs."""
    for _ in range(1 if device.type == "cpu" else WARM_UP + 2):
        ours()
        if naive is not None:
            naive()
    times = [(timed(naive, device) if naive is not None else 0.0, timed(ours, device)) for _ in range(pairs)]
    seconds = {"seconds": statistics.median(b for _, b in times)}
    if naive is None:
        return seconds
    return seconds | {
        "naive_seconds": statistics.median(a for a, _ in times),
        "ratio": statistics.median(a / b for a, b in times),
    }


def memory(device: torch.device) -> float:
    """Most megabytes that were held: of the process, or on a CUDA device of its tensors."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # Kilobytes on Linux, bytes on macOS.
    unit = 1024 if sys.platform == "darwin" else 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit / 1024
