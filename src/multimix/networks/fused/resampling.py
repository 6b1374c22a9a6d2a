"""Pooling, and upsampling with what it is joined to: no indices are kept, nothing is written twice."""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from multimix.networks.fused.tiles import cut, tile

TILE = 4096
"""Elements of a map that one program writes."""
TAPS = 6
"""Most rows, or columns, of the larger map to which one of the smaller contributes, where it is twice as large."""


@triton.jit
@no_type_check
def _corners(pixels, width, channels, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """For a tile of a pooled map: its offsets, those of the first of its four sources, from there to the row below,
    and which of them exist.
    """
    pixel, channel, inside = tile(tl.program_id(0), pixels, channels, ROWS, CHANNELS)
    pixel = pixel.to(tl.int64)
    # Rows of all images follow one another, two of the source for one of the pooled map.
    source = (pixel // width) * 4 * width + (pixel % width) * 2
    first = source[:, None] * channels + channel[None, :]
    return pixel[:, None] * channels + channel[None, :], first, 2 * width * channels, inside


@triton.jit
@no_type_check
def _four(first, right, low, inside):
    a = tl.load(first, mask=inside, other=0.0)
    b = tl.load(first + right, mask=inside, other=0.0)
    c = tl.load(first + low, mask=inside, other=0.0)
    d = tl.load(first + low + right, mask=inside, other=0.0)
    return a, b, c, d


@triton.jit
@no_type_check
def _pool(x, y, pixels, width, channels, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    out, first, low, inside = _corners(pixels, width, channels, ROWS, CHANNELS)
    a, b, c, d = _four(x + first, channels, low, inside)
    tl.store(y + out, tl.maximum(tl.maximum(a, b), tl.maximum(c, d)), mask=inside)


@triton.jit
@no_type_check
def _pool_gradient(dy, x, dx, pixels, width, channels, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """The gradient goes to the first of the largest, as in the framework."""
    out, first, low, inside = _corners(pixels, width, channels, ROWS, CHANNELS)
    a, b, c, d = _four(x + first, channels, low, inside)
    most = tl.maximum(tl.maximum(a, b), tl.maximum(c, d))
    given = tl.load(dy + out, mask=inside, other=0.0)
    of_a = a == most
    of_b = (b == most) & ~of_a
    of_c = (c == most) & ~(of_a | of_b)
    of_d = ~(of_a | of_b | of_c)
    tl.store(dx + first, tl.where(of_a, given, 0.0), mask=inside)
    tl.store(dx + first + channels, tl.where(of_b, given, 0.0), mask=inside)
    tl.store(dx + first + low, tl.where(of_c, given, 0.0), mask=inside)
    tl.store(dx + first + low + channels, tl.where(of_d, given, 0.0), mask=inside)


@triton.jit
@no_type_check
def _upsample(
    x,
    y,
    pixels,
    height,
    width,
    channels,
    stride,
    scale_y,
    scale_x,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """The first `channels` of y's `stride`: x, of `height` x `width`, bilinear at twice the size, corners aligned."""
    pixel, channel, inside = tile(tl.program_id(0), pixels, channels, ROWS, CHANNELS)
    row, column = (pixel // (2 * width)) % (2 * height), pixel % (2 * width)
    image = (pixel // (4 * width * height)).to(tl.int64)
    at_y, at_x = row.to(tl.float32) * scale_y, column.to(tl.float32) * scale_x
    top, left = at_y.to(tl.int32), at_x.to(tl.int32)
    down, right = (at_y - top)[:, None], (at_x - left)[:, None]
    bottom, far = tl.minimum(top + 1, height - 1), tl.minimum(left + 1, width - 1)
    first = x + image[:, None] * height * width * channels + channel[None, :]
    a = tl.load(first + (top * width + left)[:, None] * channels, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(first + (top * width + far)[:, None] * channels, mask=inside, other=0.0).to(tl.float32)
    c = tl.load(first + (bottom * width + left)[:, None] * channels, mask=inside, other=0.0).to(tl.float32)
    d = tl.load(first + (bottom * width + far)[:, None] * channels, mask=inside, other=0.0).to(tl.float32)
    value = (1 - down) * ((1 - right) * a + right * b) + down * ((1 - right) * c + right * d)
    out = pixel.to(tl.int64)[:, None] * stride + channel[None, :]
    tl.store(y + out, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
@no_type_check
def _upsample_gradient(
    dy,
    dx,
    pixels,
    height,
    width,
    channels,
    stride,
    scale_y,
    scale_x,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
    TAPS: tl.constexpr,
):
    """Each pixel of the smaller map gathers from those to which it contributed, so that no two programs write one."""
    pixel, channel, inside = tile(tl.program_id(0), pixels, channels, ROWS, CHANNELS)
    row, column = (pixel // width) % height, pixel % width
    image = (pixel // (width * height)).to(tl.int64)
    # A single row or column contributes everywhere: there the scale is 0.
    first_y = tl.maximum(((row - 1).to(tl.float32) / tl.maximum(scale_y, 1e-6)).to(tl.int32), 0)
    first_x = tl.maximum(((column - 1).to(tl.float32) / tl.maximum(scale_x, 1e-6)).to(tl.int32), 0)
    first = dy + image[:, None] * (4 * height * width) * stride + channel[None, :]
    total = tl.zeros((ROWS, CHANNELS), tl.float32)
    for tap in range(TAPS * TAPS):
        y, x = first_y + tap // TAPS, first_x + tap % TAPS
        weight = tl.maximum(1 - tl.abs(y.to(tl.float32) * scale_y - row), 0.0)
        weight *= tl.maximum(1 - tl.abs(x.to(tl.float32) * scale_x - column), 0.0)
        there = inside & ((y < 2 * height) & (x < 2 * width) & (weight > 0))[:, None]
        at = (y * (2 * width) + x)[:, None] * stride
        total += weight[:, None] * tl.load(first + at, mask=there, other=0.0).to(tl.float32)
    out = pixel.to(tl.int64)[:, None] * channels + channel[None, :]
    tl.store(dx + out, total.to(dx.dtype.element_ty), mask=inside)


@triton.jit
@no_type_check
def _place(x, y, pixels, channels, from_stride, to_stride, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """`channels` of each pixel, from one map's into another's."""
    pixel, channel, inside = tile(tl.program_id(0).to(tl.int64), pixels, channels, ROWS, CHANNELS)
    value = tl.load(x + pixel[:, None] * from_stride + channel[None, :], mask=inside, other=0.0)
    tl.store(y + pixel[:, None] * to_stride + channel[None, :], value.to(y.dtype.element_ty), mask=inside)


def _tiles(pixels: int, channels: int) -> tuple[tuple[int], dict[str, int]]:
    """The grid over all pixels of a map, and the size of a tile."""
    tiles, size = cut(pixels, channels, TILE)
    return (tiles,), size


def _map(like: Tensor, channels: int, height: int, width: int) -> Tensor:
    shape = (len(like), channels, height, width)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        images, channels, height, width = x.shape
        y = _map(x, channels, height // 2, width // 2)
        grid, size = _tiles(images * height * width // 4, channels)
        _pool[grid](x, y, images * height * width // 4, width // 2, channels, **size)
        return y

    @staticmethod
    def backward(ctx, dy: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        images, channels, height, width = x.shape
        dy, dx = dy.contiguous(memory_format=torch.channels_last), torch.empty_like(x)
        grid, size = _tiles(images * height * width // 4, channels)
        _pool_gradient[grid](dy, x, dx, images * height * width // 4, width // 2, channels, **size)
        return dx


class _UpsampleAndJoin(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, *others: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        images, channels, height, width = x.shape
        ctx.shape, ctx.widths = x.shape, [other.shape[1] for other in others]
        y = _map(x, channels + sum(ctx.widths), 2 * height, 2 * width)
        pixels, stride = 4 * images * height * width, y.shape[1]
        grid, size = _tiles(pixels, channels)
        _upsample[grid](x, y, pixels, height, width, channels, stride, *_scales(height, width), **size)
        done = channels
        for other in others:
            grid, size = _tiles(pixels, other.shape[1])
            place = y[:, done:]
            _place[grid](other, place, pixels, other.shape[1], other.shape[1], stride, **size)
            done += other.shape[1]
        return y

    @staticmethod
    def backward(ctx, dy: Tensor):  # type: ignore[no-untyped-def]
        dy = dy.contiguous(memory_format=torch.channels_last)
        images, channels, height, width = ctx.shape
        gradients: list[Tensor | None] = [None] * (1 + len(ctx.widths))
        if ctx.needs_input_grad[0]:
            gradients[0] = dx = _map(dy, channels, height, width)
            pixels = images * height * width
            grid, size = _tiles(pixels, channels)
            scales = _scales(height, width)
            _upsample_gradient[grid](
                dy, dx, pixels, height, width, channels, dy.shape[1], *scales, **size, TAPS=TAPS
            )
        done = channels
        for i, wide in enumerate(ctx.widths, 1):
            if ctx.needs_input_grad[i]:
                gradients[i] = dx = _map(dy, wide, 2 * height, 2 * width)
                pixels = 4 * images * height * width
                grid, size = _tiles(pixels, wide)
                _place[grid](dy[:, done:], dx, pixels, wide, dy.shape[1], wide, **size)
            done += wide
        return tuple(gradients)


def _scales(height: int, width: int) -> tuple[float, float]:
    """Rows and columns of the smaller map for one of the larger, corners aligned."""
    return (height - 1) / (2 * height - 1), (width - 1) / (2 * width - 1)


def pool(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H/2 W/2"]:
    """`layers.pool` of a channels-last map with even sides."""
    return _Pool.apply(x)


def upsample_and_join(
    x: Float[Tensor, "B C h w"], *others: Float[Tensor, "B _ H W"]
) -> Float[Tensor, "B D H W"]:
    """`layers.upsample_and_join` of channels-last maps, H and W twice h and w; in the kind of x."""
    return _UpsampleAndJoin.apply(x, *others)
