"""How a step is taken: its learning rate, and the parts in which it is computed."""

import math

import torch

from multimix.config import OptimConfig, RunConfig
from multimix.networks.layers import PIXELS_AT_ONCE


def parts(config: RunConfig, device: torch.device) -> int:
    """Into how many equal parts a step is cut: what is asked for, or on a CPU what its caches hold."""
    streams = config.streams
    if streams.micro_batches is not None:
        return streams.micro_batches
    if device.type != "cpu":
        return 1
    sizes = (streams.classes, streams.unlabelled_classes, streams.masks)
    # What goes through the network together: labelled and unlabelled images of a task.
    pixels = max(streams.classes + streams.unlabelled_classes, 2 * streams.masks) * config.data.size**2
    common = math.gcd(*sizes)
    divisors = [n for n in range(1, common + 1) if common % n == 0]
    return next((n for n in divisors if pixels / n <= PIXELS_AT_ONCE), common)


def learning_rate(config: OptimConfig, step: int) -> float:
    """Learning rate of step `step` (from 0).

    'step': x0.1 every `decay_every` steps (paper, §3). 'one-cycle': linear from a twentieth of the peak over the
    first tenth, then a cosine to zero (after Smith and Topin, arXiv:1708.07120).
    """
    if config.schedule == "step":
        return config.learning_rate * 0.1 ** (step // config.decay_every)
    warm = max(config.steps // 10, 1)
    if step < warm:
        return config.learning_rate * (0.05 + 0.95 * step / warm)
    done = (step - warm) / max(config.steps - warm, 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
