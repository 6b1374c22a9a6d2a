"""What becomes of the masks when the map is exchanged."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from samples import sample
from torch import Tensor

from multimix.errors import UsageError
from multimix.evaluation.explain.bridge import (
    EXCHANGES,
    another_patient,
    exchanged_masks,
    exchanges,
    same_spectrum,
)
from multimix.networks.model import MultiMix

WIDTHS = (2, 2, 2, 2, 2)


class Listens(MultiMix):
    """Its mask is where the map is above one half."""

    def guided(self, images: Tensor, maps: Sequence[Tensor]) -> list[Tensor]:
        return [given - 0.5 for given in maps]


class Deaf(MultiMix):
    """Its mask is where the image is above one half, whatever the map."""

    def guided(self, images: Tensor, maps: Sequence[Tensor]) -> list[Tensor]:
        return [images - 0.5 for _ in maps]


def halves() -> np.ndarray:
    """Two maps: the left half, and the upper half."""
    maps = np.zeros((2, 16, 16), np.float32)
    maps[0, :, :8] = 1
    maps[1, :8] = 1
    return maps


def test_masks_that_follow_the_map_change_with_it():
    own = halves()
    found = exchanged_masks(Listens(widths=WIDTHS), sample(own > 0), own, seed=0)
    assert set(found) == {f"bridge_{what}_{name}" for what in ("dice", "change") for name in EXCHANGES}
    # Left and upper half share a quarter: 2 x 1/4 / (1/2 + 1/2). Zeros give an empty mask.
    assert found["bridge_dice_another_patient"] == pytest.approx([0.5, 0.5])
    assert found["bridge_dice_zeros"] == pytest.approx([0, 0])
    # With the reference, which is the own map, it was 1 before.
    assert found["bridge_change_another_patient"] == pytest.approx([-0.5, -0.5])
    assert found["bridge_change_zeros"] == pytest.approx([-1, -1])


def test_masks_that_do_not_listen_stay():
    own = halves()
    found = exchanged_masks(Deaf(widths=WIDTHS), sample(own > 0), own, seed=0)
    for name in EXCHANGES:
        assert found[f"bridge_dice_{name}"].tolist() == [1, 1]
        assert found[f"bridge_change_{name}"].tolist() == [0, 0]


def test_without_a_reference_there_is_no_change_of_dice():
    own = halves()
    images = sample(own > 0)
    images = type(images)(
        images.records, images.pixels, images.masks, np.array([True, False]), images.findings
    )
    change = exchanged_masks(Listens(widths=WIDTHS), images, own, seed=0)["bridge_change_zeros"]
    assert change[0] == -1
    assert np.isnan(change[1])


def test_the_own_map_gives_the_own_masks():
    torch.manual_seed(0)
    model = (
        MultiMix(channels=3, structures=2, widths=(2, 3, 4, 5, 6), locate=True).requires_grad_(False).eval()
    )
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        output = model(images)
        own, other = model.guided(images, [output.saliency, output.saliency.flip(0) * 100])
    torch.testing.assert_close(own, output.mask_logits, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(other, own)


def test_a_network_without_a_bridge_is_not_guided():
    with pytest.raises(UsageError, match="no bridge"):
        MultiMix(widths=WIDTHS, bridge=False).guided(torch.rand(1, 1, 16, 16), [])


def test_another_patient_is_never_the_same():
    patients = ["a", "a", "b", "b", "c", "a"]
    assert another_patient(patients).tolist() == [2, 2, 4, 4, 5, 2]
    assert another_patient(["a", "a"]) is None
    found = exchanges(np.zeros((2, 1, 8, 8), np.float32), np.ones((2, 8, 8), np.float32), ["a", "a"], 0)
    assert list(found) == ["zeros", "edges", "noise"]


def test_noise_has_the_spectrum_of_the_map_and_no_other_likeness():
    maps = np.random.default_rng(0).random((2, 17, 24), dtype=np.float32)
    made = same_spectrum(maps, 0)
    np.testing.assert_allclose(np.abs(np.fft.fft2(made)), np.abs(np.fft.fft2(maps)), rtol=1e-3, atol=1e-3)
    assert made.mean(axis=(1, 2)) == pytest.approx(maps.mean(axis=(1, 2)))
    assert abs(np.corrcoef(made[0].ravel(), maps[0].ravel())[0, 1]) < 0.3


def test_edges_are_as_bright_as_the_map():
    pixels = np.random.default_rng(0).random((2, 1, 16, 16), dtype=np.float32)
    own = np.random.default_rng(1).random((2, 16, 16), dtype=np.float32) * 0.01
    edges = exchanges(pixels, own, ["a", "b"], 0)["edges"]
    assert edges.mean(axis=(1, 2)) == pytest.approx(own.mean(axis=(1, 2)), rel=1e-4)
