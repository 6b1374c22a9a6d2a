"""Normalisation with its activation: two reads and a write of the map, and for the gradient four and one."""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from multimix.networks.fused.tiles import cut, tile

TILE = 8192
"""Elements of a map that one program reads."""


@triton.jit
@no_type_check
def _own(rows, channels, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Offsets (ROWS CHANNELS) into the map of this program's tile, and which of them exist."""
    row, channel, inside = tile(tl.program_id(1), rows, channels, ROWS, CHANNELS)
    first = tl.program_id(0).to(tl.int64) * rows * channels
    return first + row[:, None] * channels + channel[None, :], inside


@triton.jit
@no_type_check
def _moments(x, means, squares, rows, channels, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Mean of every channel of a tile, and the sum of squares about it."""
    offsets, inside = _own(rows, channels, ROWS, CHANNELS)
    values = tl.load(x + offsets, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(values, axis=0) / tl.minimum(rows - tl.program_id(1) * ROWS, ROWS)
    away = tl.where(inside, values - mean[None, :], 0.0)
    channel = tl.arange(0, CHANNELS)
    out = (tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)) * channels + channel
    tl.store(means + out, mean, mask=channel < channels)
    tl.store(squares + out, tl.sum(away * away, axis=0), mask=channel < channels)


@triton.jit
@no_type_check
def _partial(
    step, first, rows, channels, tiles, ROWS: tl.constexpr, CHANNELS: tl.constexpr, STEP: tl.constexpr
):
    """Of STEP tiles of an image: where their moments lie, of how many pixels they are, and which exist."""
    number, channel, inside = tile(step, tiles, channels, STEP, CHANNELS)
    count = tl.minimum(rows - number * ROWS, ROWS).to(tl.float32)
    return (first + number[:, None]) * channels + channel[None, :], count, inside


@triton.jit
@no_type_check
def _join(
    means,
    squares,
    mean_out,
    rstd_out,
    rows,
    channels,
    tiles,
    epsilon,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
    STEP: tl.constexpr,
):
    """Mean and 1/deviation of an image's channels from those of its tiles.

    Chan, Golub and LeVeque (1983): E[x^2] - E[x]^2 would lose half of the digits where the mean is large.
    """
    channel = tl.arange(0, CHANNELS)
    first = tl.program_id(0) * tiles
    total = tl.zeros((CHANNELS,), tl.float32)
    for step in range(0, tl.cdiv(tiles, STEP)):
        at, count, inside = _partial(step, first, rows, channels, tiles, ROWS, CHANNELS, STEP)
        total += tl.sum(tl.load(means + at, mask=inside, other=0.0) * count[:, None], axis=0)
    mean = total / rows
    square = tl.zeros((CHANNELS,), tl.float32)
    for step in range(0, tl.cdiv(tiles, STEP)):
        at, count, inside = _partial(step, first, rows, channels, tiles, ROWS, CHANNELS, STEP)
        away = tl.load(means + at, mask=inside, other=0.0) - mean[None, :]
        known = tl.load(squares + at, mask=inside, other=0.0)
        square += tl.sum(tl.where(inside, known + count[:, None] * away * away, 0.0), axis=0)
    out = tl.program_id(0) * channels + channel
    tl.store(mean_out + out, mean, mask=channel < channels)
    tl.store(rstd_out + out, 1 / tl.sqrt(square / rows + epsilon), mask=channel < channels)


@triton.jit
@no_type_check
def _standardise(x, mean, rstd, y, rows, channels, slope, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Y = leaky((x - mean) / deviation)."""
    offsets, inside = _own(rows, channels, ROWS, CHANNELS)
    channel = tl.arange(0, CHANNELS)
    of_image = tl.program_id(0) * channels + channel
    known = channel < channels
    shift = tl.load(mean + of_image, mask=known, other=0.0)[None, :]
    scale = tl.load(rstd + of_image, mask=known, other=0.0)[None, :]
    values = (tl.load(x + offsets, mask=inside, other=0.0).to(tl.float32) - shift) * scale
    values = tl.where(values > 0, values, values * slope)
    tl.store(y + offsets, values.to(y.dtype.element_ty), mask=inside)


@triton.jit
@no_type_check
def _gradient_sums(dy, y, sums, rows, channels, images, slope, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Sums over a tile of dz and of dz x', as `layers` names them."""
    offsets, inside = _own(rows, channels, ROWS, CHANNELS)
    given = tl.load(dy + offsets, mask=inside, other=0.0).to(tl.float32)
    active = tl.load(y + offsets, mask=inside, other=0.0).to(tl.float32)
    dz = tl.where(active > 0, given, given * slope)
    channel = tl.arange(0, CHANNELS)
    tiles = tl.num_programs(1)
    out = (tl.program_id(0) * tiles + tl.program_id(1)) * channels + channel
    tl.store(sums + out, tl.sum(dz, axis=0), mask=channel < channels)
    tl.store(sums + images * tiles * channels + out, tl.sum(given * active, axis=0), mask=channel < channels)


@triton.jit
@no_type_check
def _gradient(
    dy, y, rstd, sums, dx, rows, channels, images, slope, ROWS: tl.constexpr, CHANNELS: tl.constexpr
):
    """Dx = (dz - mean(dz) - x' mean(dz x')) / deviation."""
    offsets, inside = _own(rows, channels, ROWS, CHANNELS)
    channel = tl.arange(0, CHANNELS)
    of_image = tl.program_id(0) * channels + channel
    known = channel < channels
    mean_dz = tl.load(sums + of_image, mask=known, other=0.0)[None, :] / rows
    mean_dzx = tl.load(sums + images * channels + of_image, mask=known, other=0.0)[None, :] / rows
    scale = tl.load(rstd + of_image, mask=known, other=0.0)[None, :]
    given = tl.load(dy + offsets, mask=inside, other=0.0).to(tl.float32)
    active = tl.load(y + offsets, mask=inside, other=0.0).to(tl.float32)
    dz = tl.where(active > 0, given, given * slope)
    x = tl.where(active > 0, active, active / slope)
    values = (dz - mean_dz - x * mean_dzx) * scale
    tl.store(dx + offsets, values.to(dx.dtype.element_ty), mask=inside)


def _shape(x: Tensor) -> tuple[int, int, int, tuple[int, int], dict[str, int]]:
    """Images, rows (pixels) and channels of a map; the grid of its tiles and their size."""
    images, channels, height, width = x.shape
    tiles, size = cut(height * width, channels, TILE)
    return images, height * width, channels, (images, tiles), size


class _NormalisedLeakyReLU(torch.autograd.Function):
    """As `layers._NormalisedLeakyReLU`, for channels-last maps."""

    @staticmethod
    def forward(ctx, x: Tensor, slope: float, epsilon: float) -> Tensor:  # type: ignore[no-untyped-def]
        images, rows, channels, grid, size = _shape(x)
        means, squares = torch.empty((2, *grid, channels), device=x.device)
        mean, rstd = torch.empty((2, images, channels), device=x.device)
        y = torch.empty_like(x)
        _moments[grid](x, means, squares, rows, channels, **size)
        _join[(images,)](means, squares, mean, rstd, rows, channels, grid[1], epsilon, **size, STEP=64)
        _standardise[grid](x, mean, rstd, y, rows, channels, slope, **size)
        ctx.save_for_backward(y, rstd)
        ctx.slope = slope
        return y

    @staticmethod
    def backward(ctx, dy: Tensor):  # type: ignore[no-untyped-def]
        y, rstd = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        images, rows, channels, grid, size = _shape(y)
        sums = torch.empty((2, *grid, channels), device=y.device)
        _gradient_sums[grid](dy, y, sums, rows, channels, images, ctx.slope, **size)
        dx = torch.empty_like(y)
        _gradient[grid](dy, y, rstd, sums.sum(dim=2), dx, rows, channels, images, ctx.slope, **size)
        return dx, None, None


def normalise(x: Float[Tensor, "B C H W"], slope: float, epsilon: float) -> Float[Tensor, "B C H W"]:
    """`layers.normalise` of a channels-last map on a CUDA device."""
    return _NormalisedLeakyReLU.apply(x, slope, epsilon)
