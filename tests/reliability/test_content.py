"""Colour and clipping, told by pixels alone."""

import numpy as np
import pytest
import skimage.data

import studies
from multimix.reliability.content import CLIPPED, IN_COLOUR, not_a_film
from multimix.types import Radiograph


def film(scale: float = 1.0) -> Radiograph:
    """A generated film, brighter by `scale` and clipped at white."""
    return Radiograph((studies.phantom(128, 128)[None] / 255 * scale).clip(0, 1).astype(np.float32))


def test_a_film_is_one_at_any_exposure_and_between_wide_borders() -> None:
    for one in (film(), film(0.1), film(1.5)):
        assert not_a_film(one) == ""
    framed = np.zeros((1, 256, 300), np.float32)
    framed[:, 60:188, 80:208] = film().pixels
    assert not_a_film(Radiograph(framed)) == ""
    assert not_a_film(Radiograph(np.zeros((1, 32, 32), np.float32))) == ""  # whose own words come later


@pytest.mark.parametrize("kind", ["overexposed", "binary", "few levels", "horse", "page"])
def test_clipped_images_and_drawings_are_told(kind: str) -> None:
    grey = film().pixels
    made = {
        "overexposed": (grey * 40).clip(0, 1),
        "binary": (grey > 0.5).astype(np.float32),
        "few levels": np.round(grey * 8) / 8,
        "horse": skimage.data.horse()[None].astype(np.float32),
        "page": (skimage.data.text()[None] > 110).astype(np.float32),
    }
    assert not_a_film(Radiograph(made[kind].astype(np.float32))) == CLIPPED


def test_colour_comes_first() -> None:
    assert not_a_film(Radiograph(film().pixels, in_colour=True)) == IN_COLOUR
