"""The learning rate as a function of the step."""

import math

from multimix.config import OptimConfig


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
