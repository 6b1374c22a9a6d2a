"""One way to the model's input size, shared by the training cache and the predictor."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def to_model_size(pixels: Float[Tensor, "C H W"], size: int) -> Float[Tensor, "C {size} {size}"]:
    """Resize to a square of `size` pixels: bilinear, antialiased, the aspect ratio is not kept.

    The value range is kept: bilinear weights are positive and sum to one. An image of the right size is
    returned as it is.
    """
    if pixels.shape[-2:] == (size, size):
        return pixels
    return F.interpolate(pixels[None], size=(size, size), mode="bilinear", antialias=True)[0]
