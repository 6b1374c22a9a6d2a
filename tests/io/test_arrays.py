"""Whatever a caller holds becomes the same radiograph, or an error that says why not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import studies
from multimix.errors import ImageError, UsageError
from multimix.io.arrays import as_radiograph
from multimix.io.writers import write_png
from multimix.types import Radiograph

_BYTES = np.random.default_rng(0).integers(0, 256, (20, 24), dtype=np.uint8)
_UNIT = (_BYTES / np.float32(255)).astype(np.float32)


@pytest.mark.parametrize(
    "source",
    [
        _BYTES,
        _BYTES[None],
        _BYTES[..., None],
        _BYTES.astype(np.uint16) * 257,
        _UNIT,
        _UNIT.astype(np.float64),
        torch.from_numpy(_BYTES),
        torch.from_numpy(_UNIT)[None].requires_grad_(),
        Radiograph(_UNIT[None], "x", (0.2, 0.2)),
        np.stack([_BYTES] * 3),
        np.stack([_BYTES] * 3, axis=2),
    ],
)
def test_all_kinds_agree(source: Any) -> None:
    radiograph = as_radiograph(source, 1, "input 0")
    assert radiograph.pixels.dtype == np.float32
    np.testing.assert_allclose(radiograph.pixels, _UNIT[None], atol=1e-6)
    assert as_radiograph(source, 3, "input 0").pixels.shape == (3, 20, 24)


def test_a_path_is_read_and_its_name_kept(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", _BYTES)
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        radiograph = as_radiograph(path, 1, "input 0")
        assert radiograph.path == str(tmp_path / "a.png")
        np.testing.assert_allclose(radiograph.pixels, _UNIT[None], atol=1e-6)


def test_colour_to_grey_is_luma() -> None:
    rgb = np.zeros((16, 16, 3), dtype=np.float32)
    rgb[..., 0], rgb[..., 1] = 1.0, 0.5
    np.testing.assert_allclose(as_radiograph(rgb, 1, "").pixels, 0.299 + 0.587 / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.full((20, 20), np.nan, np.float32), r"input 3: expected floats in \[0, 1\], got values from nan"),
        (np.full((20, 20), 255.0), r"got values from 255 to 255"),
        (np.zeros((20, 20), np.int64), "expected uint8, uint16 or float in .* got int64"),
        (np.zeros((4, 20, 20)), r"got \(4, 20, 20\)"),
        (np.zeros(20), r"got \(20,\)"),
        (np.zeros((1, 1)), "input 3: 1 x 1 pixels is too small"),
        (np.zeros((0, 20)), "too small"),
    ],
)
def test_wrong_content_is_an_image_error(source: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        as_radiograph(source, 1, "input 3")


def test_wrong_type_is_a_usage_error() -> None:
    with pytest.raises(
        UsageError, match="expected a path, an array, a tensor or an image of Pillow, got int"
    ):
        as_radiograph(7, 1, "input 0")


def test_three_films_are_not_answered_as_one_and_a_photograph_is_known_as_one() -> None:
    import skimage.data

    stack = np.stack([studies.phantom(64, 64, seed) for seed in range(3)])
    for films in (stack, stack / 255, torch.from_numpy(stack)):
        with pytest.raises(ImageError, match=r"input 0: its three channels .* give several films as a list"):
            as_radiograph(films, 1, "input 0")
    same = np.stack([stack[0]] * 3)
    assert not as_radiograph(same, 1, "x").in_colour
    assert as_radiograph(skimage.data.astronaut(), 1, "x").in_colour
    assert as_radiograph(stack, 3, "x").pixels.shape == (
        3,
        64,
        64,
    )  # a model of colour takes what it is given


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["L", "1", "I;16", "RGB", "RGBA", "P", "LA"])
def test_an_image_of_pillow_is_read_as_its_file(tmp_path: Path, mode: str, channels: int) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    deep = _BYTES.astype(np.uint16) * 200
    image = Image.fromarray(deep) if mode == "I;16" else Image.fromarray(rgb).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(_BYTES))
    image.save(tmp_path / "x.png")
    before = image.tobytes()
    found, expected = as_radiograph(image, channels, "x"), as_radiograph(tmp_path / "x.png", channels, "x")
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    assert found.in_colour == expected.in_colour
    assert image.tobytes() == before
