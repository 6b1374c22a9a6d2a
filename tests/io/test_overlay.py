"""The picture shows the edge of a mask, the heat, and nothing else."""

import numpy as np
import pytest

from multimix.io.overlay import LINES, outline, overlay

_GREY = np.linspace(0, 1, 48, dtype=np.float32).reshape(1, 1, 48).repeat(32, axis=1)


def test_without_an_answer_it_is_the_stretched_grey_image() -> None:
    picture = overlay(_GREY * 0.5, {}, None)
    assert picture.shape == (32, 48, 3)
    assert (picture[..., 0] == picture[..., 1]).all()
    assert (picture[..., 0] == picture[..., 2]).all()
    assert picture[0, 0, 0] == 0
    assert picture[0, -1, 0] == 255


def test_outline_of_a_square_by_hand() -> None:
    mask = np.zeros((8, 9), dtype=bool)
    mask[1:7, 2:8] = True
    ring = mask.copy()
    ring[2:6, 3:7] = False
    np.testing.assert_array_equal(outline(mask, 1), ring)
    ring[2:6, 3:7] = True
    ring[3:5, 4:6] = False
    np.testing.assert_array_equal(outline(mask, 2), ring)


def test_outline_closes_at_the_edge_of_the_picture_and_takes_thin_masks() -> None:
    np.testing.assert_array_equal(outline(np.ones((3, 3), dtype=bool), 1), [[1, 1, 1], [1, 0, 1], [1, 1, 1]])
    thin = np.eye(4, dtype=bool)
    np.testing.assert_array_equal(outline(thin, 1), thin)
    assert not outline(np.zeros((4, 4), dtype=bool), 2).any()


def test_every_structure_has_its_colour_and_the_inside_stays() -> None:
    left, right = np.zeros((2, 32, 48), dtype=bool)
    left[4:20, 4:20] = True
    right[4:20, 28:44] = True
    picture = overlay(_GREY, {"left": left, "right": right}, None)
    plain = overlay(_GREY, {}, None)
    assert tuple(picture[4, 10]) == LINES[0]
    assert tuple(picture[4, 35]) == LINES[1]
    lines = outline(left, 1) | outline(right, 1)
    np.testing.assert_array_equal(picture[~lines], plain[~lines])


@pytest.mark.parametrize(("side", "width"), [(64, 1), (300, 1), (301, 2), (900, 3)])
def test_line_width_grows_with_the_image(side: int, width: int) -> None:
    mask = np.zeros((side, side), dtype=bool)
    mask[20:-20, 20:-20] = True
    picture = overlay(np.zeros((1, side, side), dtype=np.float32), {"lungs": mask}, None)
    row = picture[side // 2, : side // 2]
    assert (row == LINES[0]).all(axis=1).sum() == width


def test_heat_is_warm_where_strong_and_absent_elsewhere() -> None:
    saliency = np.zeros((64, 64), dtype=np.float32)
    saliency[40:48, 10:18] = 7.0
    grey = np.full((1, 64, 64), 0.5, dtype=np.float32)
    picture = overlay(grey, {}, saliency).astype(int)
    red, green, blue = picture[44, 14]
    assert red > green > blue
    np.testing.assert_array_equal(picture[:20], 128)
    np.testing.assert_array_equal(picture[:, 40:], 128)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_no_saliency_gives_no_heat(value: float) -> None:
    saliency = np.full((32, 48), value, dtype=np.float32)
    np.testing.assert_array_equal(overlay(_GREY, {}, saliency), overlay(_GREY, {}, None))


def test_colour_and_flat_images() -> None:
    assert overlay(np.zeros((3, 16, 20), dtype=np.float32), {}, np.ones((16, 20), np.float32)).shape == (
        16,
        20,
        3,
    )
    np.testing.assert_array_equal(overlay(np.ones((1, 16, 16), dtype=np.float32), {}, None), 255)
