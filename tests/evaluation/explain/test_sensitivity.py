"""A map must go with its network and stay under noise."""

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from multimix.evaluation.explain.maps import likeness, own_map
from multimix.evaluation.explain.references import fresh_network
from multimix.evaluation.explain.sensitivity import cascade, of_others, stages, under_noise
from multimix.networks.model import MultiMix

CPU = torch.device("cpu")


def build() -> MultiMix:
    return MultiMix(widths=(4, 4, 4, 4, 4), locate=True)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).random((3, 1, 32, 32), dtype=np.float32)


class Linear(MultiMix):
    """Logits that are linear in the image: its gradient is the same everywhere."""

    def classify(self, images: Tensor, rng: Generator | None = None) -> Tensor:
        weights = torch.linspace(0, 1, images[0].numel()).reshape(images[0].shape)
        score = (images * weights).sum(dim=(1, 2, 3))
        return torch.stack([score, -score], dim=1)


def test_stages_go_from_the_head_to_the_image_and_leave_the_decoder_out():
    model = build()
    named = dict(stages(model))
    assert list(named) == ["head", "location", "block5", "block4", "block3", "block2", "block1"]
    assert named["block5"] is model.encoder.blocks[4]
    decoder = {id(p) for p in model.decoder.parameters()}
    parts = {id(p) for module in named.values() for p in module.parameters()}
    assert parts | decoder == {id(p) for p in model.parameters()}
    assert "location" not in dict(stages(MultiMix(widths=(2,) * 5)))


def test_the_cascade_ends_with_a_fresh_network_and_leaves_the_model_alone(pixels: np.ndarray):
    model = fresh_network(build, 7, CPU)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    own = own_map(model, pixels)
    found = cascade(model, build, pixels, own, seed=1)
    assert list(found) == [f"cascade_{name}" for name, _ in stages(model)]
    whole = own_map(fresh_network(build, 1, CPU), pixels)
    assert found["cascade_block1"] == pytest.approx(likeness(own, whole), abs=1e-3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_network_of_the_very_weights_has_the_very_map(pixels: np.ndarray):
    model = fresh_network(build, 1, CPU)
    found = cascade(model, build, pixels, own_map(model, pixels), seed=1)
    assert all(values == pytest.approx([1, 1, 1]) for values in found.values())


def test_a_constant_gradient_stays_under_noise(pixels: np.ndarray):
    model = Linear(widths=(2,) * 5)
    assert under_noise(model, pixels, own_map(model, pixels), 0)["noise"] == pytest.approx(
        [1, 1, 1], abs=0.01
    )


def test_noise_depends_on_the_seed_alone(pixels: np.ndarray):
    model = fresh_network(build, 1, CPU)
    own = own_map(model, pixels)
    one, again, other = (under_noise(model, pixels, own, seed)["noise"] for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_other_networks_are_averaged(pixels: np.ndarray):
    model, other = (fresh_network(build, seed, CPU) for seed in (1, 2))
    own = own_map(model, pixels)
    found = of_others("other_seeds", [model, other], pixels, own)["other_seeds"]
    assert found == pytest.approx((1 + likeness(own, own_map(other, pixels))) / 2)
    assert of_others("other_seeds", [], pixels, own) == {}
