"""Seeds by purpose: stable numbers, independent streams."""

import pytest
import torch

from multimix.training.seeds import derive, generator


def test_a_seed_is_the_same_on_every_machine():
    # printf "(0, 'dropout', 3)" | b2sum -l 64, without its last bit
    assert derive(0, "dropout", 3) == 0x7FABC8893A32C5C1 >> 1


def test_every_purpose_has_its_own_seed():
    purposes = [(0,), (1,), (0, "a"), (0, "b"), (1, "a"), (0, "a", 1), (0, "a", 2), (0, "a1"), (0, 1, "a")]
    seeds = [derive(*purpose) for purpose in purposes]
    assert len(set(seeds)) == len(purposes)
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_a_generator_repeats_itself_and_leaves_the_global_one_alone(seed: int):
    before = torch.get_rng_state()
    first = torch.rand(4, generator=generator(seed, "views", 7))
    again = torch.rand(4, generator=generator(seed, "views", 7))
    other = torch.rand(4, generator=generator(seed, "views", 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_neighbouring_steps_are_not_alike():
    """Means of 500 steps of one draw each, within five standard deviations of a uniform's mean."""
    draws = torch.stack([torch.rand((), generator=generator(0, "step", i)) for i in range(500)])
    assert abs(float(draws.mean()) - 0.5) < 5 / (12 * 500) ** 0.5
    neighbours = torch.corrcoef(torch.stack([draws[:-1], draws[1:]]))[0, 1]
    assert abs(float(neighbours)) < 5 / 500**0.5
