"""The kernels of a CUDA device against the same mathematics in float64.

Without such a device their logic is run by Triton's interpreter, if Triton is installed and TRITON_INTERPRET=1 is
set; else they are skipped.
"""

import importlib.util
import os

import pytest
import torch
import torch.nn.functional as F

from multimix.networks.layers import EPSILON, SLOPE, channels_last, convolve

HAS_CUDA = torch.cuda.is_available()
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1" and importlib.util.find_spec("triton") is not None
if not (HAS_CUDA or INTERPRETED):
    pytest.skip("needs a CUDA device, or Triton with TRITON_INTERPRET=1", allow_module_level=True)

from multimix.networks import fused  # noqa: E402  only where it can be
from multimix.networks.fused import dropout, pool, upsample_and_join  # noqa: E402

CUDA = torch.device("cuda" if HAS_CUDA else "cpu")
SIDE = 256 if HAS_CUDA else 24
"""The interpreter takes seconds for what a device does at once."""
SHAPES = [(2, 16, SIDE, SIDE), (3, 5, 7, 9), (2, 256, 4, 4), (2, 1, 48, 80), (1, 2, 1, 1)]


def drawn(shape: tuple[int, ...], seed: int, kind: torch.dtype = torch.float32) -> torch.Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return channels_last(values.to(CUDA, kind))


def normalise(x: torch.Tensor) -> torch.Tensor:
    return fused.normalise(x, SLOPE, EPSILON)


def exact(x: torch.Tensor) -> torch.Tensor:
    x = x.double()
    away = x - x.mean(dim=(2, 3), keepdim=True)
    return F.leaky_relu(away / (away.square().mean(dim=(2, 3), keepdim=True) + 1e-5).sqrt(), 0.2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mean", [0.0, 1000.0])
def test_values_and_gradient_of_normalisation(shape: tuple[int, ...], mean: float) -> None:
    x, dy = (drawn(shape, 0) * 3 + mean).requires_grad_(), drawn(shape, 1)
    y, expected = normalise(x), exact(x)
    ours, theirs = (torch.autograd.grad(out, x, dy.to(out.dtype))[0] for out in (y, expected))
    # The mean itself is known to a float32's last digit only.
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5 + 1e-6 * mean)
    # As a whole: a value next to zero may fall on the other side of the rectifier.
    assert (ours - theirs).norm() <= (1e-5 + 1e-5 * mean) * theirs.norm() + 1e-6


def test_sixteen_bits_are_rounded_once() -> None:
    x = drawn((2, 32, 64, 64), 2, torch.bfloat16)
    last = 2**-8 if HAS_CUDA else 2**-7  # the interpreter cuts off what a device rounds
    torch.testing.assert_close(normalise(x).double(), exact(x), rtol=last, atol=last)


def test_dropout_zeroes_a_quarter_and_its_gradient_is_its_own() -> None:
    x = torch.ones(4, 16, 64, 64, device=CUDA).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = dropout(x, 0.25, torch.Generator(CUDA).manual_seed(3))
    (dx,) = torch.autograd.grad(y.sum(), x)
    assert y.unique().tolist() == pytest.approx([0.0, 4 / 3])
    # Of 262,144 independent draws: six standard deviations.
    assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=6 * (0.25 * 0.75 / x.numel()) ** 0.5)
    assert torch.equal(dx, y)


def test_dropout_follows_its_generator() -> None:
    x = drawn((2, 16, 32, 32), 4)
    one, same, other = (dropout(x, 0.5, torch.Generator(CUDA).manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.skipif(not HAS_CUDA, reason="only a CUDA device leaves the bias out")
def test_a_bias_that_normalisation_takes_out_again_is_left_out() -> None:
    conv = torch.nn.Conv2d(3, 4, 3, padding=1).to(CUDA)
    x = drawn((2, 3, 16, 16), 7)
    assert torch.equal(convolve(x, conv), F.conv2d(x, conv.weight, padding=1))
    with torch.no_grad():
        torch.testing.assert_close(normalise(convolve(x, conv)), normalise(conv(x)), rtol=1e-4, atol=1e-4)


def test_pooling_is_the_frameworks_to_the_last_bit() -> None:
    x = drawn((2, 16, 64, 48), 8).requires_grad_()
    ours, theirs = pool(x), F.max_pool2d(x, 2)
    dy = drawn(tuple(theirs.shape), 9)
    assert torch.equal(ours, theirs)
    assert torch.equal(torch.autograd.grad(ours, x, dy)[0], torch.autograd.grad(theirs, x, dy)[0])


@pytest.mark.parametrize("small", [(1, 1), (2, 3), (3, 5), (16, 20), (SIDE // 2, SIDE // 2)])
@pytest.mark.parametrize("more", [0, 2])
def test_upsampling_joins_what_the_framework_would(small: tuple[int, int], more: int) -> None:
    large = (2 * small[0], 2 * small[1])
    x, skip = drawn((2, 24, *small), 10).requires_grad_(), drawn((2, 8, *large), 11).requires_grad_()
    others = [skip] + [drawn((2, more, *large), 12)] * (more > 0)
    ours = upsample_and_join(x, *others)
    bilinear = F.interpolate(x.double(), large, mode="bilinear", align_corners=True)
    theirs = torch.cat([bilinear, *(other.double() for other in others)], dim=1)
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-4)
    dy = drawn(tuple(ours.shape), 13)
    mine, its = (torch.autograd.grad(out, (x, skip), dy.to(out.dtype)) for out in (ours, theirs))
    torch.testing.assert_close(mine[0], its[0], rtol=1e-4, atol=1e-3)
    assert torch.equal(mine[1], its[1])
