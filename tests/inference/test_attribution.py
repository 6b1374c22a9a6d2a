"""The map that people are shown, by hand."""

import numpy as np
import pytest

from multimix.inference.attribution import attribution


def spot(value: float, channels: int = 1) -> np.ndarray:
    """(1 C 41 41), zero but for the middle pixel."""
    image = np.zeros((1, channels, 41, 41), np.float32)
    image[..., 20, 20] = value
    return image


def test_a_bright_spot_speaks_for_the_answer_where_more_light_would() -> None:
    # The square of surroundings has 2 * 4 + 1 pixels a side, so a spot of 1 is 80/81 above its mean.
    found = attribution(spot(1.0), spot(2.0))
    assert found.shape == (1, 41, 41)
    assert found.sum() == pytest.approx(2 * 80 / 81, rel=1e-5)
    assert np.unravel_index(found[0].argmax(), (41, 41)) == (20, 20)


def test_against_the_answer_is_nothing() -> None:
    assert attribution(spot(1.0), spot(-2.0)).max() == 0
    assert attribution(spot(-1.0), spot(-2.0)).max() > 0  # a dark spot, where less light speaks for it


def test_a_picture_without_contrast_shows_nothing() -> None:
    assert attribution(np.full((1, 1, 41, 41), 0.5, np.float32), spot(3.0)).max() < 1e-6


def test_for_and_against_cancel_where_they_lie_together() -> None:
    gradient = spot(1.0)
    gradient[..., 20, 21] = -1.0
    bright = spot(1.0)
    bright[..., 20, 21] = 1.0
    apart = attribution(spot(1.0), spot(1.0)).max()
    assert attribution(bright, gradient).max() < 0.7 * apart


def test_channels_add_up() -> None:
    both = attribution(spot(1.0, 2), spot(1.0, 2))
    np.testing.assert_allclose(both, 2 * attribution(spot(1.0), spot(1.0)), rtol=1e-5)
    opposed = spot(1.0, 2)
    opposed[:, 1] *= -1
    assert attribution(spot(1.0, 2), opposed).max() < 1e-6
