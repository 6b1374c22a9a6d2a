"""TIFFs beyond Pillow, against the arrays that tifffile saved."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from multimix.errors import ImageError
from multimix.io.readers import find_images, read_image, read_image_bytes

GREY = np.arange(40 * 30, dtype=np.float64).reshape(40, 30) / 1199
"""From 0 to 1."""


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_floats_of_every_width(tmp_path: Path, kind: str) -> None:
    tifffile.imwrite(tmp_path / "x.tif", GREY.astype(kind))
    np.testing.assert_allclose(read_image(tmp_path / "x.tif").pixels[0], GREY, atol=1e-3)


@pytest.mark.parametrize("kind", ["int8", "uint32", "int32", "int16", "uint64"])
def test_integers_that_do_not_say_their_range_are_stretched(tmp_path: Path, kind: str) -> None:
    low, high = (-128, 127) if kind == "int8" else (0 if kind[0] == "u" else -1000, 30_000)
    if kind == "uint32":
        high = 4_000_000_000  # beyond what is signed
    tifffile.imwrite(tmp_path / "x.tif", np.rint(low + GREY * (high - low)).astype(kind))
    np.testing.assert_allclose(read_image(tmp_path / "x.tif").pixels[0], GREY, atol=1 / 250)


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_bigtiff(tmp_path: Path, byteorder: str) -> None:
    levels = (GREY * 255).astype(np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", levels, bigtiff=True, byteorder=byteorder)
    np.testing.assert_allclose(read_image(tmp_path / "x.tif").pixels[0], levels / 255, atol=1e-6)
    (tmp_path / "scan").write_bytes((tmp_path / "x.tif").read_bytes())
    assert find_images([tmp_path]) == [tmp_path / "scan", tmp_path / "x.tif"]


@pytest.mark.parametrize("compression", ["jpeg2000", "zstd", "lzw"])
def test_compressions(tmp_path: Path, compression: str) -> None:
    pytest.importorskip("imagecodecs")
    levels = (GREY * 255).astype(np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", levels, compression=compression)
    np.testing.assert_allclose(read_image(tmp_path / "x.tif").pixels[0], levels / 255, atol=1e-6)


def test_a_compression_that_needs_an_extra_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((32, 32), np.uint8), compression="jpeg2000")

    def refuses(*_: object, **__: object) -> None:
        raise ValueError("<COMPRESSION.APERIO_JP2000_RGB: 33005> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPage, "asarray", refuses)
    with pytest.raises(ImageError, match=r"TIFF compressed with JPEG2000, .*pip install 'multimix\[dicom\]'"):
        read_image(tmp_path / "x.tif")


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_rgb_of_16_bits_keeps_them(tmp_path: Path, planar: str) -> None:
    levels = np.rint(GREY * 4095).astype(np.uint16)
    stack = np.repeat(levels[None], 3, 0) if planar == "separate" else np.repeat(levels[..., None], 3, 2)
    tifffile.imwrite(tmp_path / "x.tif", stack, photometric="rgb", planarconfig=planar)
    for channels in (1, 3):
        found = read_image(tmp_path / "x.tif", channels).pixels
        np.testing.assert_allclose(found, np.repeat(levels[None] / 65535, channels, 0), atol=1e-6)


def test_grey_with_alpha_lies_over_black(tmp_path: Path) -> None:
    levels = np.full((20, 20), 60_000, np.uint16)
    alpha = np.full((20, 20), 65535, np.uint16)
    alpha[:, :10] = 0
    tifffile.imwrite(
        tmp_path / "x.tif", np.dstack([levels, alpha]), photometric="minisblack", extrasamples=["unassalpha"]
    )
    row = read_image(tmp_path / "x.tif").pixels[0, 0]
    np.testing.assert_allclose(row[[0, 19]], [0, 60_000 / 65535], atol=1e-6)


def test_what_is_no_plain_image_is_told(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "x.tif", np.zeros((20, 20, 5), np.uint16), photometric="minisblack", planarconfig="contig"
    )
    with pytest.raises(ImageError, match="TIFF with 5 channels of uint16, expected grey or RGB"):
        read_image(tmp_path / "x.tif")
    tifffile.imwrite(tmp_path / "y.tif", np.full((20, 20), np.nan, np.float64))
    with pytest.raises(ImageError, match="400 pixels are NaN or infinite"):
        read_image(tmp_path / "y.tif")
    tifffile.imwrite(tmp_path / "z.tif", np.zeros((4, 20), np.float64))
    with pytest.raises(ImageError, match="too small"):
        read_image(tmp_path / "z.tif")


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_bigtiff_is_damaged(tmp_path: Path, share: float) -> None:
    tifffile.imwrite(tmp_path / "x.tif", GREY, bigtiff=True)
    data = (tmp_path / "x.tif").read_bytes()
    with pytest.raises(ImageError, match=r"x\.tif: damaged or incomplete"):
        read_image_bytes(data[: int(len(data) * share)], "x.tif")
