"""The input gradient by hand."""

import pytest
import torch

from multimix.networks.saliency import input_gradient

pytestmark = pytest.mark.numeric


def linear(images: torch.Tensor) -> torch.Tensor:
    """Two classes: 2 a - 3 b and a + b of the two pixels a and b."""
    return images.flatten(1) @ torch.tensor([[2.0, 1.0], [-3.0, 1.0]])


def test_it_is_the_winners_gradient():
    # (1, 0): 2 against 1; (0, 1): -3 against 1.
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(2, 1, 1, 2).requires_grad_()
    gradient = input_gradient(linear(images), images)
    assert gradient.tolist() == [[[[2.0, -3.0]]], [[[1.0, 1.0]]]]
    assert not gradient.requires_grad


def test_it_leaves_no_gradient_behind():
    weights = torch.ones(2, 2, requires_grad=True)
    images = torch.rand(3, 1, 1, 2, requires_grad=True)
    input_gradient(images.flatten(1) @ weights, images)
    assert weights.grad is None
    assert images.grad is None


def test_the_graph_lives_on_where_it_is_asked_to():
    images = torch.tensor([[[[1.0, 0.0]]]], requires_grad=True)
    logits = linear(images) ** 2
    # d (2 a - 3 b)^2 = 2 * 2 * (2, -3)
    assert input_gradient(logits, images, keep_graph=True).flatten().tolist() == [8.0, -12.0]
    logits.sum().backward()
    # and 2 * 1 * (1, 1) of the other class with it
    assert images.grad is not None
    assert images.grad.flatten().tolist() == [10.0, -10.0]
