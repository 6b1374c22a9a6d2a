"""Carriers: what a prediction says of its masks."""

import numpy as np
import pytest

from multimix.errors import UsageError
from multimix.types import Prediction

MASK = np.array([[True, False, True], [False, True, False]])


def test_areas_by_hand() -> None:
    prediction = Prediction("a.png", {}, "", {"lungs": MASK}, None, spacing=(0.2, 0.175))
    assert prediction.area_px("lungs") == 3
    assert prediction.area_mm2("lungs") == pytest.approx(0.105)  # 3 x 0.2 mm x 0.175 mm


def test_no_square_millimetres_where_the_spacing_is_unknown() -> None:
    prediction = Prediction("a.png", {}, "", {"lungs": MASK}, None)
    assert prediction.area_px("lungs") == 3
    assert prediction.area_mm2("lungs") is None


def test_the_area_of_what_is_not_segmented() -> None:
    prediction = Prediction("a.png", {}, "", {"lungs": MASK}, None, spacing=(1.0, 1.0))
    with pytest.raises(UsageError, match="area of 'heart': the model segments 'lungs'"):
        prediction.area_mm2("heart")
