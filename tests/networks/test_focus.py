"""The gate, what is seen through it, and a network that looks inside the structures."""

import pytest
import torch

from multimix.errors import UsageError
from multimix.networks.focus import NOTHING, gate, seen, seen_gradient
from multimix.networks.model import MultiMix
from multimix.networks.parts import Guide

SMALL = (4, 6, 8, 10, 12)


def test_a_gate_is_open_in_any_structure_and_shut_outside():
    location = torch.full((1, 2, 4, 4), -100.0)
    location[0, 0, :2, :2] = 100.0
    location[0, 1, 2:, 2:] = 100.0
    opened = gate(location, (16, 16))
    assert opened.shape == (1, 1, 16, 16)
    assert float(opened[0, 0, 2, 2]) == float(opened[0, 0, 13, 13]) == 1.0
    assert float(opened[0, 0, 2, 13]) == 0.0


def test_no_class_teaches_the_gate():
    location = torch.zeros(1, 1, 4, 4, requires_grad=True)
    assert not gate(location, (16, 16)).requires_grad


def test_what_is_outside_is_drawn_to_the_mean_of_what_is_seen():
    images = torch.tensor([[1.0, 0.0], [0.0, 0.5]])[None, None]
    opened = torch.tensor([[1.0, 0.5], [0.5, 0.0]])[None, None]
    mean = 1.0 / (2.0 + NOTHING)  # 1 * 1 of an area of 2
    expected = torch.tensor([[1.0, mean / 2], [mean / 2, mean]])
    torch.testing.assert_close(seen(images, opened)[0, 0], expected)


def test_the_gradient_of_what_is_seen_is_that_of_autograd():
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 8, 8, generator=rng, dtype=torch.float64, requires_grad=True)
    opened = torch.rand(2, 1, 8, 8, generator=rng, dtype=torch.float64)
    gradient = torch.randn(2, 3, 8, 8, generator=rng, dtype=torch.float64)
    (expected,) = torch.autograd.grad(seen(images, opened), images, gradient)
    torch.testing.assert_close(seen_gradient(gradient, opened), expected)


def focused(location: torch.Tensor) -> MultiMix:
    """A network whose coarse map is `location` whatever it sees."""
    torch.manual_seed(0)
    model = MultiMix(widths=SMALL, locate=True, focus=True, guide=True).eval().requires_grad_(False)
    model._location = lambda features: location.expand(len(features[0]), -1, -1, -1)  # type: ignore[method-assign]
    return model


def test_what_lies_outside_neither_counts_nor_is_salient():
    rng = torch.Generator().manual_seed(1)
    images = torch.rand(1, 1, 64, 64, generator=rng)
    left = torch.full((1, 1, 8, 8), -100.0)
    left[..., :4] = 100.0
    model = focused(left)
    output, changed = model(images), images.clone()
    changed[..., 40:] = torch.rand(1, 1, 64, 24, generator=rng)
    assert float(output.saliency[..., 40:].max()) == 0.0
    assert float(output.saliency[..., :24].min()) >= 0.0
    assert float(output.saliency[..., :24].mean()) > 0.0
    torch.testing.assert_close(model(changed).class_logits, output.class_logits)


def test_answers_are_the_same_with_and_without_masks():
    rng = torch.Generator().manual_seed(2)
    images = torch.rand(2, 1, 64, 64, generator=rng)
    torch.manual_seed(0)
    model = MultiMix(widths=SMALL, locate=True, focus=True, guide=True).eval()
    torch.testing.assert_close(model.classify(images), model.answer(images).classes)


def test_a_class_loss_leaves_the_coarse_map_alone_and_teaches_the_encoder():
    rng = torch.Generator().manual_seed(3)
    torch.manual_seed(0)
    model = MultiMix(widths=SMALL, locate=True, focus=True, guide=True)
    model.classify(torch.rand(2, 1, 32, 32, generator=rng)).sum().backward()
    assert model.locate is not None
    assert model.locate.weight.grad is None
    assert model.encoder.blocks[0].conv1.weight.grad is not None


def test_the_guide_hears_where_a_map_is_and_not_how_large():
    torch.manual_seed(0)
    guide = Guide(1, SMALL).requires_grad_(False)
    saliency = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(4))
    heard = guide(saliency)
    assert [tuple(one.shape[1:]) for one in heard] == [(10, 4, 4), (8, 8, 8), (6, 16, 16), (4, 32, 32)]
    for one, other in zip(heard, guide(1e-4 * saliency), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert all(float(one.abs().max()) == 0 for one in guide(torch.zeros(1, 1, 32, 32)))


def test_another_map_gives_other_masks():
    rng = torch.Generator().manual_seed(5)
    images, given = (torch.rand(1, 1, 32, 32, generator=rng) for _ in range(2))
    torch.manual_seed(0)
    model = MultiMix(widths=SMALL, locate=True, focus=True, guide=True).requires_grad_(False)
    one, other = model.guided(images, [given, given.flip(-1)])
    assert float((one - other).abs().max()) > 0.01


@pytest.mark.parametrize("parts", [{"focus": True}, {"guide": True, "bridge": False}])
def test_focus_needs_a_coarse_map_and_a_guide_a_bridge(parts: dict[str, bool]):
    with pytest.raises(UsageError, match="focus needs locate, and guide needs bridge"):
        MultiMix(widths=SMALL, **parts)
