"""Pictures in real colour, and films that a scanner or an arrow coloured."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

import studies
from multimix.errors import ImageError
from multimix.io.colour import check_one_film, grey, is_in_colour
from multimix.io.readers import read_image


def film() -> np.ndarray:
    """(3 H W) uint8, a grey film."""
    return np.repeat(studies.phantom(128, 128)[None], 3, axis=0)


@pytest.mark.parametrize(
    "name", ["astronaut", "coffee", "chelsea", "rocket", "retina", "immunohistochemistry"]
)
def test_photographs_are_in_colour(name: str) -> None:
    assert is_in_colour(getattr(skimage.data, name)().transpose(2, 0, 1))


def test_a_tint_an_arrow_and_what_jpeg_leaves_are_no_colour(tmp_path: Path) -> None:
    sepia = np.stack([(film()[0] * share).astype(np.uint8) for share in (1.0, 0.9, 0.82)])
    curve = np.linspace(0, 1, 256)
    blue = np.stack([(255 * curve**power).astype(np.uint8)[film()[0]] for power in (1.2, 1.05, 0.95)])
    arrow = film()
    arrow[:, 10:30, 10:40] = np.array([255, 0, 0], np.uint8)[:, None, None]
    Image.fromarray(film().transpose(1, 2, 0)).save(tmp_path / "x.jpg", quality=30)
    jpeg = np.asarray(Image.open(tmp_path / "x.jpg")).transpose(2, 0, 1)
    for picture in (
        film(),
        sepia,
        blue,
        arrow,
        jpeg,
        film().astype(np.float32) / 255,
        film() * np.uint16(257),
    ):
        assert not is_in_colour(picture)


def test_reading_for_a_grey_model_tells_that_colour_was_lost(tmp_path: Path) -> None:
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "a.png")
    Image.fromarray(film().transpose(1, 2, 0)).save(tmp_path / "f.png")
    assert read_image(tmp_path / "a.png").in_colour
    assert not read_image(tmp_path / "a.png", channels=3).in_colour
    assert not read_image(tmp_path / "f.png").in_colour
    shot = studies.capture(skimage.data.astronaut()[::4, ::4])
    assert read_image(studies.save(shot, tmp_path / "a.dcm")).in_colour


def test_grey_is_that_of_pillow() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (50, 40, 3), np.uint8)
    expected = np.asarray(Image.fromarray(rgb).convert("L"))
    np.testing.assert_array_equal(grey(rgb.transpose(2, 0, 1)), expected)


def test_three_films_are_not_one_film_in_colour() -> None:
    stack = np.stack([studies.phantom(128, 128, seed) for seed in range(3)])
    with pytest.raises(ImageError, match=r"input 0: its three channels \(3, 128, 128\) .*as a list"):
        check_one_film(stack, "input 0")
    check_one_film(film(), "input 0")
