"""A network that knows every image by heart, for tests of what follows from right answers.

What a fixed number of steps teaches a tiny network depends on how the processor rounds. Here the steps end where
every image is answered rightly by a margin, so that whatever is asserted of the answers holds on every processor.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from multimix.networks.model import MultiMix

MARGIN, DICE = 3.0, 0.95
"""Least lead of the right class's logit, and least Dice of an image, at which the steps end."""
STEPS = 2000
"""More than ten times as many as any seed needs."""


def fit(model: MultiMix, classes: tuple[Tensor, Tensor], masks: tuple[Tensor, Tensor]) -> None:
    """Teach a network of two classes and one structure, in place.

    `classes` are images (N 1 H W) in [0, 1] and labels (N,); `masks` are images (M 1 H W) and masks (M 1 H W) of 0
    and 1.
    """
    images, known = torch.cat([classes[0], masks[0]]), len(classes[0])
    sign, inside = 2 * classes[1].float() - 1, masks[1].float()
    model.requires_grad_(True)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(STEPS):
        answer = model.answer(images)
        lead = (answer.classes[:known, 1] - answer.classes[:known, 0]) * sign
        drawn = answer.masks[known:]
        if float(lead.detach().min()) > MARGIN and least_dice(drawn > 0, inside > 0) > DICE:
            return
        optimizer.zero_grad()
        (F.softplus(-lead).mean() + F.binary_cross_entropy_with_logits(drawn, inside)).backward()
        optimizer.step()
    raise AssertionError(f"not every image is answered rightly after {STEPS} steps")


def least_dice(drawn: Tensor, inside: Tensor) -> float:
    """The lowest Dice of an image; bool (M 1 H W) twice."""
    both, each = (drawn & inside).sum(dim=(1, 2, 3)), drawn.sum(dim=(1, 2, 3)) + inside.sum(dim=(1, 2, 3))
    return float((2 * both / each).min())


def pixels(decoded: np.ndarray) -> Tensor:
    """Decoded images, uint8, as the network takes them: (N C H W) in [0, 1]."""
    return torch.from_numpy(np.array(decoded)).float() / 255
