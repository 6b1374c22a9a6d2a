"""The layers on which speed depends: all but the convolutions' own arithmetic.

They compute the published layers and differ from the framework's in how often they walk over memory, which is where
a step's time goes once convolutions run at the processor's speed.

Layout decides between two roundings of the same values. Contiguous maps are normalised by the framework's own kernel,
so that an answer equals the published network's to the last bit: a saliency map has jumps, and a last bit may decide
on which side of a rectifier or which pixel of a pool an activation lies. Channels-last maps, those of training, are
normalised faster; on a CUDA device by kernels of our own, see `fused`.
"""

import functools
import subprocess
import warnings
from types import ModuleType

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

SLOPE = 0.2
"""Of the leaky ReLU below zero."""
EPSILON = 1e-5
"""Added to the variance."""
PIXELS_AT_ONCE = 2 * 256 * 256
"""Pixels of a batch that a CPU computes at a time: the widest activation of these, 8 MB, stays in its caches."""


def channels_last(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """The same values with the channels of a pixel beside each other in memory."""
    _, channels, height, width = x.shape
    if channels > 1:
        return x.contiguous(memory_format=torch.channels_last)
    # A single channel lies both ways at once; only the strides tell convolutions which one is meant.
    return x.contiguous().as_strided(x.shape, (height * width, 1, width, 1))


def is_channels_last(x: Tensor) -> bool:
    """Whether `channels_last` would leave x (B C H W) as it is; said by the strides, also of a single channel."""
    return x.stride(1) == 1


@functools.cache
def _kernels() -> ModuleType | None:
    """`fused`, where Triton is there and can compile it: it takes a C compiler and Python's headers."""
    try:
        from multimix.networks import fused

        fused.pool(torch.zeros(1, 1, 2, 2, device="cuda"))
    # What a missing Triton, compiler, linker or driver raise. A kernel that does not compile is a mistake of ours.
    except (ImportError, OSError, RuntimeError, subprocess.SubprocessError) as reason:
        warnings.warn(
            f"Triton cannot compile kernels here ({reason}), so training on this device is slower. Install triton, "
            "a C compiler and Python's headers.",
            stacklevel=1,
        )
        return None
    return fused


def _fused(x: Tensor) -> ModuleType | None:
    """The kernels for x (B C H W), None where the framework's operations have to do."""
    return _kernels() if x.is_cuda and is_channels_last(x) else None


class _NormalisedLeakyReLU(torch.autograd.Function):
    """y = leaky(x'), x' = (x - mean) / deviation over each image's channel; only y and 1/deviation are kept.

    With dz = dy leaky'(x') the gradient is dx = (dz - mean(dz) - x' mean(dz x')) / deviation. As the activation
    is linear on either side of zero, dz x' = dy y, and x' is y or y / 0.2: nothing else has to be remembered.
    """

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        y, rstd = _standardise(x)
        y = F.leaky_relu_(y, SLOPE)
        ctx.save_for_backward(y, rstd)
        return y

    @staticmethod
    def backward(ctx, dy: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        y, rstd = ctx.saved_tensors
        if y.is_contiguous():  # layouts that differ would cost more than this copy
            dy = dy.contiguous()
        mean_dzx = (dy * y).mean(dim=(2, 3), keepdim=True)
        dz = torch.ops.aten.leaky_relu_backward(dy, y, SLOPE, True)
        mean_dz = dz.mean(dim=(2, 3), keepdim=True)
        x = F.leaky_relu(y, 1 / SLOPE)
        dz = dz.sub_(x.mul_(mean_dzx))
        # Half of dz - mean(dz): at 16 bits the kernel of lerp is ten times faster than that of a broadcast sub.
        return dz.lerp_(mean_dz.neg_(), 0.5).mul_(2 * rstd)


def _standardise(x: Tensor) -> tuple[Tensor, Tensor]:
    """(x - mean) / deviation and 1/deviation (B C 1 1), both of x's kind."""
    images, channels, height, width = x.shape
    if x.is_contiguous():
        flat = x.view(1, images * channels, height, width)
        y, _, rstd = torch.native_batch_norm(flat, None, None, None, None, True, 0.0, EPSILON)
        y = y.view_as(x)
    elif x.dtype == torch.bfloat16 and height * width >= 1024:  # on smaller maps this kernel is slow
        y, _, rstd = torch.native_group_norm(
            x, None, None, images, channels, height * width, channels, EPSILON
        )
    else:
        # Not by the kernel above, whose E[x^2] - E[x]^2 loses half of the digits where the mean is large.
        y = x.to(torch.promote_types(x.dtype, torch.float32))
        y = y - y.mean(dim=(2, 3), keepdim=True)
        rstd = y.square().mean(dim=(2, 3), keepdim=True).add_(EPSILON).rsqrt_()
        y = y.mul_(rstd).to(x.dtype)
    return y, rstd.view(images, channels, 1, 1).to(x.dtype)


def convolve(x: Float[Tensor, "B C H W"], conv: nn.Conv2d) -> Float[Tensor, "B D H W"]:
    """`conv`, of which the output is normalised next.

    That takes a channel's constant out again, so a channels-last map is spared the bias: adding it and its gradient,
    zero but for rounding, are two more walks over the map.
    """
    return F.conv2d(x, conv.weight, None if is_channels_last(x) else conv.bias, padding=conv.padding)


def normalise(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """InstanceNorm without affine parameters, then LeakyReLU 0.2; a 1 x 1 map becomes zero, but for rounding."""
    if (kernels := _fused(x)) is not None:
        return kernels.normalise(x, SLOPE, EPSILON)
    return _NormalisedLeakyReLU.apply(x)


def pool(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H/2 W/2"]:
    """The largest of each 2 x 2 pixels; H and W are even."""
    if (kernels := _fused(x)) is not None:
        return kernels.pool(x)
    return F.max_pool2d(x, 2)


def upsample_and_join(
    x: Float[Tensor, "B C h w"], *others: Float[Tensor, "B _ H W"]
) -> Float[Tensor, "B D H W"]:
    """At twice its size, bilinear with aligned corners, joined to the channels of `others`, which have that size."""
    if (kernels := _fused(x)) is not None:
        return kernels.upsample_and_join(x, *others)
    # Size, not scale, so that a 1 x 1 map is no special case.
    x = F.interpolate(x, others[0].shape[-2:], mode="bilinear", align_corners=True)
    return torch.cat([x, *others], dim=1)


def dropout(x: Tensor, p: float, rng: Generator | None) -> Tensor:
    """Zero each element with probability `p` and scale the rest by 1/(1 - p); identity without `rng`.

    One random byte decides one element, so `p` is rounded to a multiple of 1/256 (1/4 is exact). Drawing
    64-bit words and viewing them as bytes spares a CPU from drawing one float per element.
    """
    if rng is None or p == 0:
        return x
    if x.dim() == 4 and (kernels := _fused(x)) is not None:
        return kernels.dropout(x, p, rng)
    words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device)
    # The full range: random_() alone leaves the sign bit at zero, and every eighth byte below 128.
    words.random_(-(2**63), None, generator=rng)
    cut = round(p * 256)
    # In place: making booleans takes ten times as long.
    keep = words.view(torch.uint8)[: x.numel()].ge_(cut)
    # Laid out like x, so that a channels-last activation is not shuffled.
    keep = torch.as_strided(keep, x.shape, x.stride()) if _is_dense(x) else keep.view(x.shape)
    return x * keep.to(x.dtype).mul_(256 / (256 - cut))


def _is_dense(x: Tensor) -> bool:
    return x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))
