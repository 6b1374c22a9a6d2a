"""Focus: the classifier sees the image inside the structures alone, so that what lies outside cannot count.

A coarse map of the structures, which masks teach and classes do not, becomes a gate between 0 and 1, by which the
image's difference from its mean inside is multiplied. The gradient of a class with respect to the image is multiplied
by it too, so the saliency map lies where the classifier looked.

After "right for the right reasons" [Ross et al., IJCAI 2017, arXiv:1703.03717], by the architecture, not a penalty.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from multimix.networks.layers import channels_last, is_channels_last

NOTHING = 1e-3
"""Added to the gate's area, in pixels, so that an image without structures has a mean too."""


def gate(location: Float[Tensor, "B S h w"], size: tuple[int, int]) -> Float[Tensor, "B 1 H W"]:
    """The coarse map's logits as how much of each pixel's contrast is seen, from 0 to 1; no class teaches it."""
    inside = location.detach().sigmoid().amax(dim=1, keepdim=True)
    return F.interpolate(inside, size, mode="bilinear", align_corners=False)


def seen(images: Float[Tensor, "B C H W"], gate: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B C H W"]:
    """What the classifier sees: the image where the gate is 1, its mean under the gate where that is 0."""
    mean = (images * gate).sum(dim=(2, 3), keepdim=True) / (gate.sum(dim=(2, 3), keepdim=True) + NOTHING)
    shown = mean + gate * (images - mean)
    return channels_last(shown) if is_channels_last(images) else shown.contiguous()


def seen_gradient(
    gradient: Float[Tensor, "B C H W"], gate: Float[Tensor, "B 1 H W"]
) -> Float[Tensor, "B C H W"]:
    """The gradient with respect to `seen` as one with respect to the image, the gate taken as given."""
    by_mean = ((1 - gate) * gradient).sum(dim=(2, 3), keepdim=True)
    return gate * (gradient + by_mean / (gate.sum(dim=(2, 3), keepdim=True) + NOTHING))
