"""`io.resize` and the thumbnails of `reliability.ood` as matrix products, which every runtime computes alike.

Bilinear resizing with antialiasing is a weighted mean of rows, then of columns. Runtimes disagree about their resize
operators, of which few know antialiasing, and about none of a product's.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from multimix.reliability.ood import BORDER, SIDE


def resized(maps: Float[Tensor, "B C h w"], size: tuple[int, int]) -> Float[Tensor, "B C H W"]:
    """Every map at `size` (height, width), as `multimix.io.resize.resized`; maps of that size stay as they are."""
    rows, columns = _weights(maps, size, torch.float32)
    return rows @ maps @ columns.transpose(-1, -2)


def at_model_size(images: Float[Tensor, "B C h w"], size: int) -> Float[Tensor, "B C size size"]:
    """As `multimix.io.resize.to_model_size`, equal but for a pixel in a hundred, whose last bit differs.

    Pillow adds up in double precision, columns before rows. What differs there moves rectifiers that are next to a tie,
    and with them the saliency map by more than all the rest of the graph.
    """
    rows, columns = _weights(images, (size, size), torch.float64)
    narrow = (images.to(torch.float64) @ columns.transpose(-1, -2)).to(torch.float32)
    return (rows @ narrow.to(torch.float64)).to(torch.float32)


def _weights(maps: Tensor, size: tuple[int, int], dtype: torch.dtype) -> list[Tensor]:
    """Of rows and of columns."""
    return [
        mean_weights(torch.arange(old), old, torch.sym_max(old, new), new, dtype)
        for old, new in zip(maps.shape[-2:], size, strict=True)
    ]


def mean_weights(
    place: Int[Tensor, "*B n"],
    length: int | Int[Tensor, "*B 1 1"],
    widest: int | Int[Tensor, "*B 1 1"],
    new: int,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "*B new n"]:
    """What the pixel at each `place` of a stretch of `length` pixels adds to each of the `new` ones it becomes.

    A triangle as wide as a new pixel, or as an old one where pixels become more: `widest` is the larger of `length` and
    `new`. Rows sum to 1 over the stretch. Distances are whole numbers until the division, so nothing is lost in large
    images.
    """
    place = place[..., None, :]
    distance = (2 * place + 1) * new - (2 * torch.arange(new)[:, None] + 1) * length
    inside = (place >= 0) & (place < length)
    weights = (1 - distance.abs().to(dtype) / (2 * widest)).clamp(min=0) * inside
    return weights / weights.sum(dim=-1, keepdim=True)


def thumbnails(images: Float[Tensor, "B C s s"]) -> tuple[Float[Tensor, "B D"], Bool[Tensor, " B"]]:
    """`multimix.reliability.ood.thumbnails`, and which images are of one level, whose thumbnails mean nothing."""
    grey = images.mean(dim=1)
    least = BORDER * (grey.amax(dim=(1, 2)) - grey.amin(dim=(1, 2)))[:, None]
    kept = [grey.amax(dim=axis) - grey.amin(dim=axis) > least for axis in (2, 1)]  # of rows, of columns
    # Where hardly anything is left on one axis it is no border, and the whole image stays.
    whole = (kept[0].sum(dim=1) < kept[0].shape[1] // 4) | (kept[1].sum(dim=1) < kept[1].shape[1] // 4)
    rows, columns = (_content(one | whole[:, None]) for one in kept)
    values = (rows @ grey @ columns.transpose(-1, -2)).flatten(1)
    centred = values - values.mean(dim=1, keepdim=True)
    deviation = (centred * centred).mean(dim=1, keepdim=True).sqrt()
    flat = deviation <= 1e-4
    return centred / torch.where(flat, 1.0, deviation), flat[:, 0]


def _content(kept: Bool[Tensor, "B n"]) -> Float[Tensor, "B D n"]:
    """Weights that make SIDE pixels of those between the first and the last that are kept."""
    pixels = kept.shape[1]
    first = kept.to(torch.int64).argmax(dim=1)
    last = pixels - 1 - kept.flip(1).to(torch.int64).argmax(dim=1)
    length = (last + 1 - first)[:, None, None]
    return mean_weights(torch.arange(pixels) - first[:, None], length, length.clamp(min=SIDE), SIDE)
