"""Masks in one colour, in several, and of types whose white is not 255."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from films import discs
from multimix.errors import ImageError
from multimix.io.readers import read_mask


@pytest.mark.parametrize(
    "colour", [(255, 0, 0), (0, 0, 255), (0, 255, 0), (128, 0, 0), (250, 50, 83), (0, 64, 64), (224, 224, 0)]
)
def test_one_colour_on_black_is_one_structure(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    Image.fromarray(discs()[..., None] * np.array(colour, np.uint8)).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask([tmp_path / "m.png"]), discs())


def test_one_colour_in_a_palette_and_with_soft_or_jpeg_edges(tmp_path: Path) -> None:
    mask = discs(256)
    palette = Image.fromarray(mask.astype(np.uint8)).convert("P")
    palette.putpalette([0, 0, 0, 128, 0, 0])
    palette.save(tmp_path / "palette.png")
    red = Image.fromarray(mask[..., None] * np.array((192, 0, 0), np.uint8))
    red.save(tmp_path / "red.jpg", quality=60, subsampling=0)
    red.resize((100, 100), Image.Resampling.BILINEAR).resize((256, 256)).save(tmp_path / "soft.png")
    np.testing.assert_array_equal(read_mask([tmp_path / "palette.png"]), mask)
    for name in ("red.jpg", "soft.png"):
        assert (read_mask([tmp_path / name]) != mask).mean() < 0.01


@pytest.mark.parametrize("second", [(0, 255, 0), (224, 224, 192), (255, 255, 255), (128, 0, 128)])
def test_two_colours_are_two_structures(tmp_path: Path, second: tuple[int, int, int]) -> None:
    picture = discs()[..., None] * np.array((255, 0, 0), np.uint8)
    picture[:, 32:][discs()[:, 32:]] = second
    Image.fromarray(picture).save(tmp_path / "m.png")
    with pytest.raises(ImageError, match=r"mask has areas of the levels 0, .*one mask file per structure"):
        read_mask([tmp_path / "m.png"])


def test_a_bool_array_that_tifffile_saved(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "bool.tif", discs())
    tifffile.imwrite(tmp_path / "packed.tif", discs(), compression="zlib")
    for name in ("bool.tif", "packed.tif"):
        np.testing.assert_array_equal(read_mask([tmp_path / name]), discs(), err_msg=name)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32", "float64", "uint32", "one bit"])
def test_where_white_is_0_it_is_so_at_every_depth(tmp_path: Path, kind: str) -> None:
    if kind == "one bit":  # by another program: what it shows white is the structure
        tifffile.imwrite(tmp_path / "m.tif", ~discs(), software="Scanner")
    else:
        dark = ~discs() * np.array(np.iinfo(kind).max if kind[0] == "u" else 1, kind)
        tifffile.imwrite(tmp_path / "m.tif", dark.astype(kind), photometric="miniswhite")
    np.testing.assert_array_equal(read_mask([tmp_path / "m.tif"]), discs())


def test_an_inverting_lut_of_imagej_is_asked_about(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "m.tif",
        discs().astype(np.uint8) * 255,
        photometric="miniswhite",
        description="ImageJ=1.53t\nmin=0.0\n",
        metadata=None,
    )
    with pytest.raises(ImageError, match=r"saved by ImageJ with an inverting LUT.*Invert LUT.*save it again"):
        read_mask([tmp_path / "m.tif"])


@pytest.mark.parametrize(
    ("kind", "white"), [("uint32", 2**32 - 1), ("uint32", 255), ("int8", 1), ("float16", 1)]
)
def test_masks_of_unusual_types(tmp_path: Path, kind: str, white: int) -> None:
    tifffile.imwrite(tmp_path / "m.tif", (discs() * np.array(white, kind)).astype(kind))
    np.testing.assert_array_equal(read_mask([tmp_path / "m.tif"]), discs())


def test_values_below_0_are_not_an_empty_mask(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "m.tif", discs().astype(np.int8) * -1)
    with pytest.raises(ImageError, match=r"mask has values below 0 \(-1\)"):
        read_mask([tmp_path / "m.tif"])
