"""Images and masks in the formats of volumes."""

from pathlib import Path

import numpy as np
import pytest

from multimix.errors import ImageError
from multimix.io.endings import ending, stem
from multimix.io.planes import PLANE_SUFFIXES
from multimix.io.readers import find_images, read_image, read_image_bytes, read_mask
from multimix.io.sizes import image_size
from multimix.types import Turn

LEVELS = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30)
IN_PLANE = [".nii", ".nii.gz", ".nrrd", ".mha"]


def write(
    file: Path,
    values: np.ndarray,
    spacing: tuple[float, ...] = (),
    directions: tuple[float, ...] = (),
    colour: bool = False,
) -> Path:
    if file.suffix == ".npy":
        np.save(file, values)
        return file
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(values, isVector=colour)
    if spacing:
        image.SetSpacing(spacing)
    if directions:
        image.SetDirection(directions)
    sitk.WriteImage(image, str(file))
    return file


def test_the_ending_of_a_packed_nifti_is_one() -> None:
    assert [ending(Path(name)) for name in ("a/b.NII.GZ", "b.tar.gz", "b", "1.2.nii")] == [
        *(".nii.gz", ".gz", "", ".nii"),
    ]
    assert [stem(Path(name)) for name in ("a/b.NII.GZ", "b.tar.gz", "b", "1.2.nii")] == [
        *("b", "b.tar", "b", "1.2"),
    ]


@pytest.mark.parametrize("suffix", sorted(PLANE_SUFFIXES))
@pytest.mark.parametrize("axis", [None, 0])
def test_a_plane_keeps_its_levels(tmp_path: Path, suffix: str, axis: int | None) -> None:
    values = LEVELS if axis is None else np.expand_dims(LEVELS, axis)
    file = write(tmp_path / f"x{suffix}", values)
    image = read_image(file)
    np.testing.assert_allclose(image.pixels, LEVELS[None] / np.float32(65535), rtol=1e-6)
    assert image.spacing is None  # 1 mm is what is written where nobody knows
    assert image_size(file) == (20, 30)
    assert find_images([tmp_path]) == [file]


@pytest.mark.parametrize("suffix", IN_PLANE)
def test_spacing_is_that_of_rows_and_columns(tmp_path: Path, suffix: str) -> None:
    image = read_image(write(tmp_path / f"x{suffix}", LEVELS[None], spacing=(0.5, 0.25, 999)))
    assert image.spacing == pytest.approx((0.25, 0.5))
    assert image.spacing_note


@pytest.mark.parametrize(
    ("columns", "rows", "turn"),
    [
        # Directions towards left, posterior, superior; a viewer has left at the right, anterior or superior on top.
        ((1, 0, 0), (0, 1, 0), Turn()),
        ((-1, 0, 0), (0, -1, 0), Turn(mirrored=True, flipped=True)),
        ((0, 1, 0), (1, 0, 0), Turn(transposed=True)),
        ((1, 0, 0), (0, 0, -1), Turn()),  # coronal, as a chest radiograph
        ((1, 0, 0), (0, 0, 1), Turn(flipped=True)),
        ((0, 0, 1), (-1, 0, 0), Turn(transposed=True, mirrored=True, flipped=True)),
        ((0, -1, 0), (0, 0, 1), Turn(mirrored=True, flipped=True)),  # sagittal
    ],
)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_the_header_says_how_it_is_looked_at(
    tmp_path: Path, columns: tuple[int, ...], rows: tuple[int, ...], turn: Turn, suffix: str
) -> None:
    matrix = np.column_stack([columns, rows, np.cross(columns, rows)]).astype(float)
    image = read_image(write(tmp_path / f"x{suffix}", LEVELS[None], directions=tuple(matrix.ravel())))
    assert image.turn == turn
    np.testing.assert_allclose(image.pixels[0] * 65535, LEVELS, atol=1e-2)  # stored as they lie, as a mask is


def test_signed_levels_are_stretched(tmp_path: Path) -> None:
    pixels = read_image(write(tmp_path / "x.nii.gz", LEVELS.astype(np.int16) - 100)).pixels
    np.testing.assert_allclose(pixels[0], LEVELS / 599, rtol=1e-5)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".npy"])
def test_colours(tmp_path: Path, suffix: str) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    file = write(tmp_path / f"x{suffix}", rgb, colour=True)
    np.testing.assert_allclose(read_image(file, channels=3).pixels.transpose(1, 2, 0) * 255, rgb, atol=1e-4)
    assert read_image(file).in_colour


@pytest.mark.parametrize("suffix", sorted(PLANE_SUFFIXES))
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_masks(tmp_path: Path, suffix: str, dtype: type) -> None:
    mask = LEVELS % 7 == 0
    np.testing.assert_array_equal(
        read_mask([write(tmp_path / f"x{suffix}", mask.astype(dtype))], (20, 30)), mask
    )


@pytest.mark.parametrize("suffix", sorted(PLANE_SUFFIXES))
def test_a_volume_is_refused(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / f"x{suffix}", np.stack([LEVELS] * 2))
    with pytest.raises(ImageError, match="expected one image of two dimensions; a volume is not read"):
        read_image(file)


@pytest.mark.parametrize("suffix", sorted(PLANE_SUFFIXES))
@pytest.mark.parametrize("content", [b"x" * 400, b"\x1f\x8b" + b"0" * 50, b"\x93NUMPY\x01\0"])
def test_what_is_damaged_is_told_with_its_name(tmp_path: Path, suffix: str, content: bytes) -> None:
    pytest.importorskip("SimpleITK")
    file = tmp_path / f"x{suffix}"
    file.write_bytes(content)
    with pytest.raises(ImageError, match=rf"x{suffix}: damaged"):
        read_image(file)


@pytest.mark.parametrize("suffix", sorted(PLANE_SUFFIXES))
def test_a_file_cut_short_is_told(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / f"x{suffix}", np.random.default_rng(0).integers(0, 9999, (64, 64), np.uint16))
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    with pytest.raises(ImageError, match=f"x{suffix}"):
        read_image(file)


def test_objects_complex_numbers_and_nan_are_refused(tmp_path: Path) -> None:
    for name, values in {
        "objects": np.full((20, 20), None),
        "complex": np.ones((20, 20), complex),
        "nan": np.full((20, 20), np.nan),
    }.items():
        with pytest.raises(ImageError, match=f"{name}.npy: .*expected"):
            read_image(write(tmp_path / f"{name}.npy", values))


def test_bytes_are_read_where_no_file_is_needed(tmp_path: Path) -> None:
    file = write(tmp_path / "x.npy", LEVELS)
    np.testing.assert_array_equal(
        read_image_bytes(file.read_bytes(), "x.npy").pixels, read_image(file).pixels
    )
    with pytest.raises(ImageError, match="from the disk only"):
        read_image_bytes(b"x" * 400, "x.nii.gz")
