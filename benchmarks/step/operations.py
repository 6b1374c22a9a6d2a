"""What work consists of: its arithmetic, the bytes that it must move, and the share of time by kind of operation."""

from collections.abc import Callable
from typing import Any

import torch
from benchmarks.step.timing import timed
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

KINDS = {
    "pooling and upsampling": ("max_pool", "upsample", "_pool", "_place"),
    "normalisation and activation": (
        *("Normalised", "leaky_relu", "batch_norm", "group_norm", "lerp"),
        *("_moments", "_join", "_standardise", "_gradient"),
    ),
    "dropout": ("random_", "aten::ge", "_drop"),
    "convolution": ("conv", "cudnn", "cutlass", "gemm", "xmma", "wgrad", "dgrad", "nhwc", "sm80", "sm90"),
}
"""Part of a step -> words in the names of its operations and kernels, looked for in turn; what is left is 'other'."""


class Count(TorchDispatchMode):
    """Counts multiplications and additions, and the bytes that convolutions and products must read and write.

    Torch's own counter does not go with `torch.autograd.grad`.
    """

    operations = 0
    """Floating-point operations: two for a multiplication with its addition."""
    moved = 0
    """Bytes, each input read once and each output written once."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.operations += count(*args, **(kwargs or {}), out_val=out)
            held = [*args, *(out if isinstance(out, tuple) else (out,))]
            self.moved += sum(tensor.nbytes for tensor in held if isinstance(tensor, Tensor))
        return out


def count(work: Callable[[], object]) -> Count:
    """What was counted while it worked."""
    with Count() as counter:
        work()
    return counter


def kind_of(name: str) -> str:
    """The part of a step that an operation or a kernel belongs to."""
    return next((kind for kind, words in KINDS.items() if any(word in name for word in words)), "other")


def shares(work: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Share of time by kind of operation, on a CUDA device of kernel."""
    cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as profiler:
        timed(work, device)
    spent = dict.fromkeys((*KINDS, "other"), 0.0)
    for event in profiler.key_averages():
        spent[kind_of(event.key)] += event.self_device_time_total if cuda else event.self_cpu_time_total
    total = sum(spent.values())
    return {kind: value / total for kind, value in spent.items()}
