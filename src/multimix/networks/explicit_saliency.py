"""The network with its saliency written out as operations of a forward pass, for graphs that leave torch.

`MultiMix` has its saliency from autograd, which no exporter can follow: a traced graph holds the gradient of the image
that it was traced with. Here the gradient of the encoder and the head is written down, layer by layer:

convolution   the convolution with the kernel turned by half a turn and its two channel axes exchanged
rectifier     dy, or 0.2 dy where the output is negative
normalisation dx = (dz - mean(dz) - x' mean(dz x')) / deviation, over each image's channel
pool          dy at the first of the four pixels that is the largest, as torch counts them: by rows
head          the winner's weights, spread over the pooled cells; the coarse map is taken as given

What follows the saliency (bridge and decoder) is the network's own.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from multimix.networks.focus import gate, seen, seen_gradient
from multimix.networks.layers import EPSILON, SLOPE
from multimix.networks.model import MultiMix
from multimix.networks.outputs import ModelOutput
from multimix.networks.parts import Block

HUGE = 1e30
"""A number above zero times this is above 1. The slope of a rectifier so clipped is a fifth faster than a choice."""


class Step(NamedTuple):
    """What the gradient of one convolution, normalisation and rectifier needs of its forward pass."""

    conv: nn.Conv2d
    output: Float[Tensor, "B D H W"]
    rstd: Float[Tensor, "B D 1 1"]
    """1 / deviation of the convolution's output."""


class ExplicitMultiMix(MultiMix):
    """A `MultiMix` that needs no autograd; its answers are equal but for rounding, and it does not learn."""

    def forward(self, images: Float[Tensor, "B C H W"]) -> ModelOutput:
        """Everything, dropout off; H and W divisible by 16."""
        return self._answer(images)

    def _explain(self, images: Tensor) -> tuple[Tensor, Tensor | None, list[Tensor], Tensor]:
        features, tape = self._encode(images)
        location = self._location(features)
        if not self.focus or location is None:
            logits, gradient = self._backward(features, tape, location)
            return logits, location, features, gradient.abs()
        opened = gate(location, (images.shape[-2], images.shape[-1]))
        logits, gradient = self._backward(*self._encode(seen(images, opened)), F.avg_pool2d(location, 2))
        return logits, location, features, seen_gradient(gradient, opened).abs()

    def _encode(self, images: Tensor) -> tuple[list[Tensor], list[list[Step]]]:
        """The output of every block, and what its gradient needs."""
        features, tape = list[Tensor](), list[list[Step]]()
        for block in self.encoder.blocks:
            x, steps = _block(block, pool(features[-1]) if features else images)
            features.append(x)
            tape.append(steps)
        return features, tape

    def _backward(
        self, features: list[Tensor], tape: list[list[Step]], location: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Class logits, and the gradient of the winner with respect to what was encoded."""
        logits = self.head(features[-1], location)
        gradient = self._head_gradient(logits, features[-1], location)
        for depth in reversed(range(len(tape))):
            for step in reversed(tape[depth]):
                gradient = _step_gradient(step, gradient)
            if depth > 0:
                gradient = pool_gradient(features[depth - 1], gradient)
        return logits, gradient

    def _head_gradient(self, logits: Tensor, deepest: Tensor, location: Tensor | None) -> Tensor:
        """The gradient of the winning logit to the deepest features."""
        winner = self.head.linear.weight[logits.argmax(dim=1)][:, :, None, None]  # (B width 1 1)
        if location is not None:
            where = location.sigmoid().amax(dim=1, keepdim=True)
            return winner * where / where.sum(dim=(2, 3), keepdim=True)
        height, width = deepest.shape[-2:]
        if min(height, width) < 2:
            return (winner / (height * width)).expand_as(deepest)
        cells = (height // 2) * (width // 2)
        share = (winner / cells).expand(-1, -1, height // 2, width // 2)
        gradient = pool_gradient(deepest[..., : height // 2 * 2, : width // 2 * 2], share)
        return F.pad(gradient, (0, width % 2, 0, height % 2))  # the pool leaves out an odd last row or column


def _block(block: nn.Module, x: Tensor) -> tuple[Tensor, list[Step]]:
    """The output of an encoder's block, and what its gradient needs."""
    assert isinstance(block, Block)
    steps = []
    for conv in (block.conv1, block.conv2):
        x = F.conv2d(x, conv.weight, conv.bias, padding=conv.padding)
        x = x - x.mean(dim=(2, 3), keepdim=True)
        rstd = ((x * x).mean(dim=(2, 3), keepdim=True) + EPSILON).rsqrt()
        x = F.leaky_relu(x * rstd, SLOPE)
        steps.append(Step(conv, x, rstd))
    return x, steps


def _step_gradient(step: Step, dy: Tensor) -> Tensor:
    """Through rectifier, normalisation and convolution: (B D H W) -> (B inputs H W).

    The rectifier is linear on either side of zero, so dz x' = dy y, and x' is y or y / 0.2.
    """
    y = step.output
    dz = dy * (y * HUGE).clamp(SLOPE, 1.0)
    both = (dy * y).mean(dim=(2, 3), keepdim=True)
    dx = (dz - dz.mean(dim=(2, 3), keepdim=True) - F.leaky_relu(y, 1 / SLOPE) * both) * step.rstd
    # A convolution, not its transpose: other runtimes compute it faster, and one mistakes the transpose's weights for
    # the convolution's own where both name the same tensor.
    kernel = step.conv.weight.flip(2, 3).transpose(0, 1)
    return F.conv2d(dx, kernel, padding=step.conv.padding)


def pool(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H/2 W/2"]:
    """The largest of each 2 x 2 pixels; H and W are even."""
    return F.max_pool2d(x, 2)


def pool_gradient(x: Float[Tensor, "B C H W"], dy: Float[Tensor, "B C H/2 W/2"]) -> Float[Tensor, "B C H W"]:
    """The gradient of `pool` at x: all of dy goes to the first pixel, by rows, that is the largest of its four."""
    largest, rest, parts = F.max_pool2d(x, 2), dy, list[Tensor]()
    for row in (0, 1):
        for column in (0, 1):
            here = torch.where(x[..., row::2, column::2] == largest, rest, 0.0)
            rest = rest - here  # what has found its pixel is gone
            parts.append(here)
    top, bottom = (torch.stack(pair, dim=-1) for pair in (parts[:2], parts[2:]))  # (B C H/2 W/2 2)
    return torch.stack([top.flatten(-2), bottom.flatten(-2)], dim=-2).flatten(2, 3)
