"""Noisy linear imputation: removed pixels become what their neighbours say, so that their place leaves no trace.

Rong et al., ICML 2022 (arXiv:2202.00449), section 5: every removed pixel is the weighted mean of its eight neighbours,
and slightly noisy. They solve one sparse system an image; here the same equations are relaxed from coarse to fine, a
batch at a time, which takes milliseconds.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Generator, Tensor

NOISE = 0.01
"""Standard deviation of what is added to imputed pixels, of a range of 1."""
SWEEPS = 12
"""Relaxations at each scale."""


def imputed(
    images: Float[Tensor, "B C H W"], removed: Bool[Tensor, "B 1 H W"], rng: Generator
) -> Float[Tensor, "B C H W"]:
    """The images with their removed pixels imputed; an image of which nothing is left becomes noise about 1/2."""
    filled = _filled(images, (~removed).to(images.dtype))
    noise = NOISE * torch.randn(images.shape, generator=rng).to(images.device)
    return torch.where(removed, (filled + noise).clamp(0, 1), images)


def _filled(images: Float[Tensor, "B C H W"], known: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B C H W"]:
    """`images` where `known` is above 0, elsewhere the mean of the neighbours."""
    height, width = images.shape[-2:]
    if min(height, width) == 1 or bool((known > 0).all()):
        return torch.where(known > 0, images, 0.5)
    # The mean of what is known of four pixels is known to the coarser image.
    share = F.avg_pool2d(known, 2, ceil_mode=True)
    coarse = F.avg_pool2d(images * known, 2, ceil_mode=True) / share.clamp(min=1e-6)
    guess = F.interpolate(_filled(coarse, (share > 0).to(images.dtype)), (height, width), mode="bilinear")
    filled = torch.where(known > 0, images, guess)
    there = _of_neighbours(torch.ones_like(images[:1, :1]))  # less at the edge
    for _ in range(SWEEPS):
        filled = torch.where(known > 0, images, _of_neighbours(filled) / there)
    return filled


def _of_neighbours(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Sum of the eight neighbours, a sixth of those at the sides and a twelfth of those at the corners."""
    wide = F.pad(images, (1, 1, 1, 1))
    # (1 2 1) down, then across, is four times the pixel itself too much.
    down = wide[..., :-2, :] + 2 * wide[..., 1:-1, :] + wide[..., 2:, :]
    return (down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:] - 4 * images) / 12
