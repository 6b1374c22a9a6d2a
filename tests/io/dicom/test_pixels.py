"""Windows that are not the film's, padding behind the pixels, and the shutter."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from films import columns, levels
from multimix.io.readers import read_image

RAMP = np.tile(np.arange(0, 4096, 64, dtype=np.uint16), (16, 1))
"""As many pixels of every level."""


@pytest.mark.parametrize(
    ("centre", "width", "words"),
    [
        # Of the 64 levels, 64 apart, those from the white of the window up to 9/10 of the range are lost.
        (512, 1024, "window of the file makes 64% of the image white"),  # levels 16 to 56
        (128, 256, "window of the file makes 83% of the image white"),  # levels 4 to 56
        (5000, 1000, "window of the file makes 89% of the image black"),  # levels 7 to 63
    ],
)
def test_a_window_that_loses_the_image_is_not_used(
    film: Callable[..., Path], centre: int, width: int, words: str
) -> None:
    radiograph = read_image(film(RAMP, WindowCenter=centre, WindowWidth=width))
    np.testing.assert_allclose(radiograph.pixels[0], RAMP / RAMP.max(), atol=1e-6)
    assert words in radiograph.note
    assert radiograph.note.endswith("not used")


def test_a_voi_lut_that_loses_the_image_is_not_used(film: Callable[..., Path]) -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 12])
    item.add_new("LUTData", "US", [min(4 * value, 4095) for value in range(4096)])
    radiograph = read_image(film(RAMP, VOILUTSequence=[item]))
    np.testing.assert_allclose(radiograph.pixels[0], RAMP / RAMP.max(), atol=1e-6)
    assert radiograph.note.startswith("the VOI LUT of the file makes 64% of the image white")


def test_a_narrow_window_and_one_that_blackens_air_are_used(film: Callable[..., Path]) -> None:
    narrow = read_image(film(RAMP, WindowCenter=2048, WindowWidth=2048))
    assert narrow.note == ""
    assert narrow.pixels[0, 0, 16] == 0  # level 1024
    # Two thirds are air of 0 to 200, which the window makes black.
    wide = np.concatenate([np.tile(np.arange(0, 200, 2, dtype=np.uint16), 2), np.arange(200, 4200, 40)])
    film_in_air = np.tile(wide.astype(np.uint16).clip(0, 4095), (16, 1))
    radiograph = read_image(film(film_in_air, WindowCenter=2200, WindowWidth=4000))
    assert radiograph.note == ""
    assert (radiograph.pixels == 0).mean() > 0.6


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"WindowCenter": 0, "WindowWidth": 0}, "has a width of 0"),
        ({"WindowCenter": 2048, "WindowWidth": -5}, "has a width of -5"),
        ({"WindowCenter": "0", "WindowWidth": "nan"}, "is no number"),
        ({"WindowCenter": "2048,5", "WindowWidth": "4096"}, "is no number"),
    ],
)
def test_a_window_that_is_none_is_not_used(film: Callable[..., Path], elements: dict, words: str) -> None:
    plain = {"WindowCenter": "1111.5", "WindowWidth": "2222.5"}
    file = film(RAMP, **plain)
    data = file.read_bytes()
    for keyword, value in elements.items():
        data = data.replace(plain[keyword].encode(), str(value).encode().ljust(6))
    file.write_bytes(data)
    radiograph = read_image(file)
    np.testing.assert_allclose(radiograph.pixels[0], RAMP / RAMP.max(), atol=1e-6)
    assert words in radiograph.note


def test_an_unknown_voi_function_is_linear_and_says_so(film: Callable[..., Path]) -> None:
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    radiograph = read_image(film(RAMP, VOILUTFunction="LOGARITHMIC", **window))
    assert "unknown function LOGARITHMIC" in radiograph.note
    np.testing.assert_array_equal(radiograph.pixels, read_image(film(RAMP, **window)).pixels)


@pytest.mark.parametrize(
    "padding", [b"\0" * 512, b"\xff" * 5000, b"\1\2\3\4"], ids=["0", "ff", "a few bytes"]
)
def test_padding_behind_the_pixels_is_no_damage(film: Callable[..., Path], padding: bytes) -> None:
    pixels = columns(100, 200, 300)
    row = levels(film(pixels, PixelData=pixels.tobytes() + padding))
    np.testing.assert_allclose(row[[0, 6, 12]], [0, 0.5, 1], atol=1e-6)


SHUTTERS = {
    "rectangle": {
        "ShutterShape": "RECTANGULAR",
        "ShutterLeftVerticalEdge": 5,
        "ShutterRightVerticalEdge": 12,
        "ShutterUpperHorizontalEdge": 3,
        "ShutterLowerHorizontalEdge": 10,
    },
    "circle": {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [7, 9], "RadiusOfCircularShutter": 3},
    "polygon": {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [3, 5, 3, 12, 10, 12, 10, 5]},
}


@pytest.mark.parametrize("kind", SHUTTERS)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_what_the_shutter_hides_is_black_and_does_not_count(
    film: Callable[..., Path], kind: str, photometric: str
) -> None:
    pixels = np.full((16, 16), 4000, np.uint16)
    pixels[2:10, 4:12] = np.arange(1000, 1064, dtype=np.uint16).reshape(8, 8)
    found = read_image(film(pixels, PhotometricInterpretation=photometric, **SHUTTERS[kind])).pixels[0]
    row, column = np.mgrid[1:17, 1:17]
    inside = (row >= 3) & (row <= 10) & (column >= 5) & (column <= 12)
    if kind == "circle":
        inside = (row - 7) ** 2 + (column - 9) ** 2 <= 9
    assert (found[~inside] == 0).all()
    shown = pixels[inside].astype(float)
    expected = (shown - shown.min()) / np.ptp(shown)
    expected = 1 - expected if photometric == "MONOCHROME1" else expected
    np.testing.assert_allclose(found[inside], expected, atol=1e-6)


@pytest.mark.parametrize(
    "elements",
    [
        {"ShutterShape": "RECTANGULAR"},
        {"ShutterShape": "BITMAP"},
        {**SHUTTERS["circle"], "RadiusOfCircularShutter": 0},
        {**SHUTTERS["polygon"], "VerticesOfThePolygonalShutter": [3, 5, 3]},
    ],
)
def test_a_shutter_that_makes_no_sense_hides_nothing(film: Callable[..., Path], elements: dict) -> None:
    row = levels(film(columns(100, 200, 300), **elements))
    np.testing.assert_allclose(row[[0, 6, 12]], [0, 0.5, 1], atol=1e-6)
