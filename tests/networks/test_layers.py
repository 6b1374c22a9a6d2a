import pytest
import torch
import torch.nn.functional as F

from multimix.networks.layers import channels_last, convolve, dropout, normalise

pytestmark = pytest.mark.numeric

LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


def framework(x: torch.Tensor) -> torch.Tensor:
    return F.leaky_relu(F.instance_norm(x), 0.2)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("shape", [(2, 3, 40, 36), (3, 16, 8, 8), (1, 5, 64, 16)])
def test_normalise_is_instance_norm_and_leaky_relu(shape, layout):
    rng = torch.Generator().manual_seed(0)
    x = (torch.randn(shape, generator=rng) * 3 + 5).contiguous(memory_format=layout).requires_grad_()
    dy = torch.randn(shape, generator=rng)
    ours, theirs = normalise(x), framework(x)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=3e-6)
    gradients = [torch.autograd.grad(y, x, dy)[0] for y in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=0, atol=3e-6)


def test_contiguous_maps_are_normalised_to_the_last_bit_as_the_framework_does():
    x = torch.randn(2, 16, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 + 1
    assert torch.equal(normalise(x), framework(x))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_gradient_is_the_numerical_one(layout):
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    x = x.contiguous(memory_format=layout).requires_grad_()
    assert torch.autograd.gradcheck(normalise, (x,))


@pytest.mark.parametrize("side", [8, 64])
def test_16_bits_round_the_result_and_not_the_sums(side):
    rng = torch.Generator().manual_seed(3)
    x = channels_last(torch.randn(2, 16, side, side, generator=rng) + 2).bfloat16().requires_grad_()
    dy = channels_last(torch.randn(2, 16, side, side, generator=rng)).bfloat16()
    exact = x.detach().double().requires_grad_()
    torch.testing.assert_close(normalise(x).double(), framework(exact), rtol=2**-7, atol=2**-7)
    (ours,), (theirs,) = (
        torch.autograd.grad(normalise(x), x, dy),
        torch.autograd.grad(framework(exact), exact, dy.double()),
    )
    assert float((ours.double() - theirs).norm() / theirs.norm()) < 0.01


def test_a_large_mean_costs_no_digits():
    x = channels_last(torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(4)) + 300)
    expected = framework(x.double())
    assert float((normalise(x).double() - expected).abs().max()) < 1e-4


def test_a_map_of_one_pixel_becomes_zero():
    assert float(normalise(torch.full((2, 3, 1, 1), 7.0)).abs().max()) < 1e-3


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_last_keeps_values_and_says_its_layout_by_strides(channels):
    x = torch.arange(2.0 * channels * 4 * 6).reshape(2, channels, 4, 6)
    laid = channels_last(x)
    assert torch.equal(laid, x)
    assert laid.stride() == (24 * channels, 1, 6 * channels, channels)
    weight = torch.ones(2, channels, 1, 1)
    assert F.conv2d(laid, weight).stride()[1] == 1


def test_dropout_zeroes_a_quarter_and_keeps_the_mean():
    x = torch.ones(4, 16, 64, 64)
    y = dropout(x, 0.25, torch.Generator().manual_seed(0))
    # 262,144 draws: five standard deviations are 0.0042.
    assert abs(float((y == 0).float().mean()) - 0.25) < 0.0042
    torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 4 / 3))
    # Every byte of the random words is used, the one with the sign bit too.
    shares = (y.flatten().view(-1, 8) == 0).float().mean(dim=0)
    assert float((shares - 0.25).abs().max()) < 0.012


def test_dropout_is_the_same_for_the_same_generator_and_off_without():
    x = torch.rand(2, 3, 5, 7)
    first = dropout(x, 0.5, torch.Generator().manual_seed(1))
    assert torch.equal(first, dropout(x, 0.5, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, dropout(x, 0.5, torch.Generator().manual_seed(2)))
    assert dropout(x, 0.5, None) is x


def test_dropout_keeps_the_layout_of_a_channels_last_activation():
    x = torch.rand(2, 8, 4, 4).to(memory_format=torch.channels_last)
    y = dropout(x, 0.25, torch.Generator().manual_seed(0))
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert abs(float((y == 0).float().mean()) - 0.25) < 0.14  # five standard deviations of 256 draws


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_a_bias_that_normalisation_takes_out_again_changes_nothing(layout):
    rng = torch.Generator().manual_seed(7)
    conv = torch.nn.Conv2d(3, 4, 3, padding=1)
    torch.nn.init.normal_(conv.bias, std=3, generator=rng)
    x = torch.rand(2, 3, 16, 16, generator=rng).contiguous(memory_format=layout)
    torch.testing.assert_close(normalise(convolve(x, conv)), framework(conv(x)), rtol=0, atol=1e-5)


def test_channels_last_maps_are_spared_that_bias():
    conv = torch.nn.Conv2d(3, 4, 3, padding=1)
    x = channels_last(torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(8)))
    normalise(convolve(x, conv)).square().sum().backward()
    assert conv.weight.grad is not None
    assert conv.bias.grad is None
