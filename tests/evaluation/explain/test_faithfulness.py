"""Deletion, insertion and ROAD of networks whose answer depends on a known place; imputation by a sparse solver."""

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Generator, Tensor

from multimix.evaluation.explain.faithfulness import FRACTIONS, MEASURES, faithfulness, order
from multimix.evaluation.explain.imputation import NOISE, imputed
from multimix.networks.model import MultiMix

SIDE = 40


class LooksAt(MultiMix):
    """Says class 1 by how bright the patch [4:12, 4:12] is."""

    def classify(self, images: Tensor, rng: Generator | None = None) -> Tensor:
        bright = images[:, 0, 4:12, 4:12].mean(dim=(1, 2))
        return torch.stack([torch.zeros_like(bright), 20 * (bright - 0.5)], dim=1)


class Blind(MultiMix):
    """Says the same of all."""

    def classify(self, images: Tensor, rng: Generator | None = None) -> Tensor:
        return torch.tensor([[0.0, 1.0]]).repeat(len(images), 1)


def maps(row: int, column: int) -> np.ndarray:
    """Three maps, the brighter the nearer to the patch of 8 x 8 at this place."""
    down, across = np.mgrid[:SIDE, :SIDE]
    far = np.maximum(abs(down - row - 3.5), abs(across - column - 3.5))
    return np.tile((SIDE - far).astype(np.float32), (3, 1, 1))


def pixels() -> np.ndarray:
    """Grey noise with a bright patch where the network looks."""
    made = np.random.default_rng(0).random((3, 1, SIDE, SIDE), dtype=np.float32) * 0.2
    made[:, :, 4:12, 4:12] += 0.75
    return made


def test_the_place_that_decides_is_faithful_and_another_is_not():
    found = faithfulness(LooksAt(widths=(2,) * 5), pixels(), {"right": maps(4, 4), "wrong": maps(28, 28)})
    assert set(found) == {f"{measure}_{name}" for measure in MEASURES for name in ("right", "wrong")}
    assert (found["deletion_right"] < found["deletion_wrong"] - 0.1).all()
    assert (found["insertion_right"] > found["insertion_wrong"] + 0.1).all()
    assert (found["road_right"] > 0.5).all()
    assert (found["road_wrong"] < 0).all()


def test_curves_of_a_network_that_does_not_look_are_flat():
    found = faithfulness(Blind(widths=(2,) * 5), pixels(), {"any": maps(4, 4)})
    sure = 1 / (1 + np.exp(-1))
    assert found["deletion_any"] == pytest.approx([sure] * 3)
    assert found["insertion_any"] == pytest.approx([sure] * 3)
    assert found["road_any"] == pytest.approx([0, 0, 0])


def test_classes_that_are_not_exclusive_are_asked_for_one_by_one():
    found = faithfulness(Blind(widths=(2,) * 5), pixels(), {"any": maps(4, 4)}, multi_label=True)
    assert found["deletion_any"] == pytest.approx([1 / (1 + np.exp(-1.0))] * 3)


def test_the_area_by_hand():
    # Gone with the first twentieth of the pixels, which hold the whole patch (64 of 1600): the curve is 1 at nothing
    # and near 0 from 0.05 on, a triangle of 0.05 / 2.
    found = faithfulness(LooksAt(widths=(2,) * 5), pixels(), {"right": maps(4, 4)})["deletion_right"]
    assert FRACTIONS[0] == 0.05
    assert found == pytest.approx([0.025] * 3, abs=0.01)


def test_ranks_follow_the_blurred_map():
    one = maps(4, 4)
    ranks = order(one)
    assert sorted(ranks[0].ravel().tolist()) == list(range(SIDE * SIDE))
    assert ranks[0, 4:12, 4:12].max() < 100
    assert np.unravel_index(ranks[0].argmin(), (SIDE, SIDE)) in {(7, 7), (7, 8), (8, 7), (8, 8)}


def exact(image: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Every removed pixel the weighted mean of its eight neighbours, from the sparse system."""
    height, width = image.shape
    places = np.argwhere(removed)
    number = {tuple(place): i for i, place in enumerate(places)}
    matrix, right = sparse.lil_matrix((len(places), len(places))), np.zeros(len(places))
    for i, (row, column) in enumerate(places):
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                place = (row + down, column + across)
                if (down, across) == (0, 0) or not (0 <= place[0] < height and 0 <= place[1] < width):
                    continue
                weight = 1 / 6 if 0 in (down, across) else 1 / 12
                matrix[i, i] += weight
                if place in number:
                    matrix[i, number[place]] -= weight
                else:
                    right[i] += weight * image[place]
    found = image.astype(np.float64)
    found[removed] = sparse.linalg.spsolve(matrix.tocsr(), right)
    return found


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_imputed_pixels_are_those_of_the_sparse_system(share: float):
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:24, :20] / 24
    image = (0.3 + 0.4 * rows + 0.2 * np.sin(6 * columns) + 0.02 * rng.random((24, 20))).astype(np.float32)
    removed = rng.random((24, 20)) < share
    given = torch.from_numpy(image)[None, None]
    found = imputed(given, torch.from_numpy(removed)[None, None], Generator().manual_seed(0))[0, 0].numpy()
    assert np.array_equal(found[~removed], image[~removed])
    error = found[removed] - exact(image, removed)[removed]
    assert abs(error.mean()) < NOISE
    assert error.std() == pytest.approx(NOISE, rel=0.4)


def test_a_hole_is_filled_from_its_rim_and_an_image_of_nothing_is_grey():
    image = torch.full((1, 2, 16, 16), 0.25)
    hole = torch.zeros((1, 1, 16, 16), dtype=torch.bool)
    hole[..., 4:12, 4:12] = True
    image[:, :, 6:10, 6:10] = 1.0  # under the hole: nobody sees it
    filled = imputed(image, hole, Generator().manual_seed(0))
    assert (filled - 0.25).abs().max() < 5 * NOISE
    nothing = imputed(image, torch.ones_like(hole), Generator().manual_seed(0))
    assert (nothing - 0.5).abs().max() < 5 * NOISE
