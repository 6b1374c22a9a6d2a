"""Where a map lies: regions, references, containment and the pointing game, by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from samples import records, sample

from bright import predictor
from multimix.errors import ManifestError
from multimix.evaluation.explain.columns import places
from multimix.evaluation.explain.containment import share_inside
from multimix.evaluation.explain.images import BORDER, border, choose
from multimix.evaluation.explain.maps import carried, gradients, likeness, own_map, scaled, smoothed
from multimix.evaluation.explain.pointing import hits
from multimix.evaluation.explain.references import edges, fresh_network, gaussian, noise, random_networks
from multimix.inference.torch_backend import predictor_of
from multimix.networks.model import MultiMix
from multimix.weights.file import ModelSpec


def test_share_inside_by_hand():
    maps = np.array([[[1, 2], [3, 4]], [[0, 0], [0, 0]], [[5, 0], [0, 0]]], np.float32)
    region = np.array([[[True, False], [False, True]]] * 3)
    # (1 + 4) / 10; a map of zeros has nothing anywhere; all of the third lies inside.
    assert share_inside(maps, region).tolist() == [0.5, 0.0, 1.0]


def test_hits_are_of_the_brightest_point_of_the_blurred_map():
    maps = np.zeros((3, 40, 40), np.float32)
    maps[0, 10, 10] = 1
    maps[1, 30, 30] = 1.1  # one pixel that is brighter than each of a patch, but not than the patch
    maps[1, 8:12, 8:12] = 1
    region = np.zeros((3, 40, 40), bool)
    region[:, 5:15, 5:15] = True
    assert hits(maps, region).tolist() == [1, 1, 0]  # and a map of zeros points nowhere
    assert hits(maps, ~region).tolist() == [0, 0, 0]


def test_the_border_is_a_strip_of_a_twentieth():
    strip = border(40, 40)
    assert strip.sum() == 40 * 40 - 36 * 36
    assert not strip[2:-2, 2:-2].any()
    assert border(16, 16).sum() == 16 * 16 - 14 * 14  # never less than a pixel


def test_a_region_is_known_where_it_is_drawn_and_not_all_there_is():
    region = np.zeros((4, 20, 20), bool)
    region[0, :10] = True
    region[1] = True
    images = sample(region, finding=region & np.array([True, False, False, False])[:, None, None])
    assert images.region("structures")[1].tolist() == [True, False, False, False]
    assert images.region("finding")[1].tolist() == [True, False, False, False]
    assert images.region(BORDER)[1].all()


def test_places_of_every_map_and_nothing_where_nothing_is_known():
    region = np.zeros((2, 20, 20), bool)
    region[0, :, :10] = True
    own = np.zeros((2, 20, 20), np.float32)
    own[:, 5, 5] = 1
    columns = places(sample(region), own, np.roll(own, 10, axis=2), np.stack([own, np.roll(own, 10, axis=2)]))
    assert columns["area_structures"][0] == 0.5
    assert np.isnan(columns["area_structures"][1])
    assert columns["inside_structures_own"][0] == 1
    assert columns["pointing_structures_own"][0] == 1
    assert columns["inside_structures_gradient"][0] == 0  # what the bridge carries lies in the other half
    # The mean over two networks, of which one has its point in the other half.
    assert columns["inside_structures_random_network"][0] == 0.5
    assert columns["pointing_structures_random_network"][0] == 0.5
    assert np.isnan(columns["pointing_structures_own"][1])
    assert columns["inside_border_own"].tolist() == [0, 0]
    assert not [name for name in columns if "finding" in name]


def test_edges_lie_where_the_image_has_them():
    image = np.zeros((1, 1, 8, 8), np.float32)
    image[..., 4:] = 1
    assert edges(image)[0].any(axis=0).tolist() == [False, False, False, True, True, False, False, False]


def test_the_gaussian_is_highest_in_the_middle_and_as_wide_as_a_quarter():
    one = gaussian(np.zeros((2, 1, 9, 17), np.float32))
    assert one.shape == (2, 9, 17)
    assert np.unravel_index(one[0].argmax(), (9, 17)) == (4, 8)
    # A quarter of 16 (17) from the centre it has fallen to exp(-1/2), nearly.
    assert one[0, 4, 8 + 4] == pytest.approx(np.exp(-((4 / 4.25) ** 2) / 2))


def test_noise_differs_between_images_and_depends_on_the_seed_alone():
    pixels = np.zeros((2, 1, 16, 16), np.float32)
    assert np.array_equal(noise(pixels, 1), noise(pixels, 1))
    assert not np.array_equal(*noise(pixels, 1))
    assert not np.array_equal(noise(pixels, 1), noise(pixels, 2))


def small() -> MultiMix:
    return MultiMix(widths=(4, 4, 4, 4, 4))


def test_a_fresh_network_depends_on_its_seed_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, again, other = (fresh_network(small, seed, torch.device("cpu")) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    weight = [model.head.linear.weight for model in (one, again, other)]
    assert torch.equal(weight[0], weight[1])
    assert not torch.equal(weight[0], weight[2])
    pixels = np.random.default_rng(0).random((2, 1, 32, 32), dtype=np.float32)
    maps = random_networks(small, pixels, 1, torch.device("cpu"))
    assert maps.shape == (3, 2, 32, 32)
    assert len({one.tobytes() for one in maps}) == 3


def test_the_own_map_is_what_the_predictor_shows_and_the_bridge_carries_the_saliency():
    model = fresh_network(small, 0, torch.device("cpu"))
    pixels = np.random.default_rng(1).random((11, 1, 32, 32), dtype=np.float32)
    with torch.inference_mode():
        expected = model(torch.from_numpy(pixels)).saliency[:, 0].numpy()
    # The layouts round otherwise.
    np.testing.assert_allclose(carried(gradients(model, pixels)), expected, rtol=0.02, atol=1e-5)
    own = own_map(model, pixels)
    shown = predictor_of(model, ModelSpec(("NORMAL", "PNEUMONIA"), ("lungs",), 32))(list(pixels))
    for mine, answer in zip(own, shown, strict=True):
        peak = np.percentile(mine, 99.5)
        np.testing.assert_allclose(answer.saliency, (mine / peak).clip(0, 1), atol=0.02)


def test_maps_are_scaled_as_the_predictor_scales_them():
    rng = np.random.default_rng(0)
    maps = rng.random((2, 32, 32), dtype=np.float32) * np.array([1, 50], np.float32)[:, None, None]
    made = scaled(maps)
    peak = np.percentile(maps[1], 99.5)
    np.testing.assert_allclose(made[1], np.minimum(maps[1] / peak, 1), rtol=1e-6)
    assert (scaled(np.zeros((1, 8, 8), np.float32)) == 0).all()
    assert (predictor()(rng.random((32, 32), dtype=np.float32)).saliency.max()) == 1


def test_likeness_knows_the_same_map_at_any_scale():
    maps = np.random.default_rng(0).random((2, 16, 16), dtype=np.float32)
    assert likeness(maps, maps * 3) == pytest.approx([1, 1])
    assert (likeness(maps, maps[:, ::-1]) < 0.5).all()


def test_a_blur_ends_at_the_edge_of_the_picture():
    maps = np.zeros((1, 80, 80), np.float32)
    maps[0, 0, 40] = 1
    assert smoothed(maps).sum() == pytest.approx(0.6, abs=0.1)  # what is blurred over the edge is gone


def test_images_without_masks_are_not_chosen():
    mask = (Path("/x/m.png"),)
    bare, lungs, heart, disease = (
        records(2),
        records(2, lungs=mask),
        records(2, heart=mask),
        records(2, finding=mask),
    )
    assert choose([*bare, *lungs, *heart, *disease], ("lungs",), 10) == (*lungs, *disease)
    assert len(choose(records(9, lungs=mask), ("lungs",), 4)) == 4
    assert choose(records(9, lungs=mask), ("lungs",), 4, seed=1) == choose(
        records(9, lungs=mask), ("lungs",), 4, seed=1
    )
    with pytest.raises(
        ManifestError, match=r"expected images with masks of lungs or with mask:finding.*among 4"
    ):
        choose([*bare, *heart], ("lungs",), 10)
