"""Dropout: one random byte decides one element, and what was kept is drawn again for the gradient, not remembered."""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Generator, Tensor

SIZE = 256
"""Random numbers that a program draws; each has sixteen bytes."""


@triton.jit
@no_type_check
def _drop_four(x, y, word, first, count, cut, scale, SIZE: tl.constexpr):
    """Four elements for each word, one for each of its bytes."""
    for byte in tl.static_range(4):
        at = first + byte * SIZE
        kept = ((word >> (8 * byte)) & 255) >= cut
        value = tl.load(x + at, mask=at < count, other=0.0).to(tl.float32) * scale
        tl.store(y + at, tl.where(kept, value, 0.0).to(y.dtype.element_ty), mask=at < count)


@triton.jit
@no_type_check
def _drop(x, y, seed, count, cut, scale, SIZE: tl.constexpr):
    """Elements whose byte is at least `cut`, times `scale`; else 0."""
    number = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    one, two, three, four = tl.randint4x(tl.load(seed), number)
    first = tl.program_id(0) * (16 * SIZE) + tl.arange(0, SIZE)
    _drop_four(x, y, one, first, count, cut, scale, SIZE)
    _drop_four(x, y, two, first + 4 * SIZE, count, cut, scale, SIZE)
    _drop_four(x, y, three, first + 8 * SIZE, count, cut, scale, SIZE)
    _drop_four(x, y, four, first + 12 * SIZE, count, cut, scale, SIZE)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, cut: int, seed: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(seed)
        ctx.cut = cut
        return _dropped(x, cut, seed)

    @staticmethod
    def backward(ctx, dy: Tensor):  # type: ignore[no-untyped-def]
        (seed,) = ctx.saved_tensors
        return _dropped(dy.contiguous(memory_format=torch.channels_last), ctx.cut, seed), None, None


def _dropped(x: Tensor, cut: int, seed: Tensor) -> Tensor:
    y = torch.empty_like(x)
    grid = (triton.cdiv(x.numel(), 16 * SIZE),)
    _drop[grid](x, y, seed, x.numel(), cut, 256 / (256 - cut), SIZE=SIZE)
    return y


def dropout(x: Float[Tensor, "B C H W"], p: float, rng: Generator) -> Float[Tensor, "B C H W"]:
    """`layers.dropout`; p is rounded to a multiple of 1/256, as there."""
    seed = torch.randint(2**62, (1,), generator=rng, device=x.device)
    return _Dropout.apply(x, round(p * 256), seed)
