"""The gradient of the winning class with respect to the image; the saliency map is its absolute value."""

import torch
from jaxtyping import Float
from torch import Tensor


def input_gradient(
    class_logits: Float[Tensor, "B K"], images: Float[Tensor, "B C H W"], *, keep_graph: bool = False
) -> Float[Tensor, "B C H W"]:
    """Signed gradient d max_k c_k / d x, detached; `class_logits` must have been computed from `images`.

    Only the chain down to the input is walked: no parameter receives a gradient, and no `.grad` is
    touched. `keep_graph` leaves the graph alive for a loss that shares it.

    Paper: §2, saliency map. After Simonyan et al., arXiv:1312.6034.
    """
    winners = class_logits.max(dim=1).values.sum()
    (gradient,) = torch.autograd.grad(winners, images, retain_graph=keep_graph)
    return gradient
