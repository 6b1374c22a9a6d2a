"""Masks in DICOM files: Segmentations of every type, and plain images."""

from collections.abc import Callable
from pathlib import Path

import highdicom
import numpy as np
import pytest
from highdicom.seg import SegmentDescription
from pydicom.sr.codedict import codes

import studies
from films import discs
from multimix.errors import ImageError
from multimix.io.readers import read_mask


def segmentation(folder: Path, kind: str, masks: dict[str, np.ndarray], **more: object) -> Path:
    """A Segmentation by highdicom of a DX image, one segment per mask."""
    height, width = next(iter(masks.values())).shape
    segments = [
        SegmentDescription(
            number,
            name,
            codes.SCT.AnatomicalStructure,
            codes.SCT.Lung,
            "MANUAL",
        )
        for number, name in enumerate(masks, start=1)
    ]
    stacked = np.stack(list(masks.values()), axis=-1)[None]
    made = highdicom.seg.Segmentation(
        [studies.dx(np.zeros((height, width), np.uint16))],
        stacked.astype(np.float32 if kind == "FRACTIONAL" else np.uint8),
        kind,
        segments,
        *(studies.uid("series"), 1, studies.uid("instance"), 1, "Somebody", "Something", "1", "2"),
        omit_empty_frames=False,
        **more,
    )
    return studies.save(made, folder / f"{kind}.dcm")


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_one_segment_is_the_mask(tmp_path: Path, kind: str) -> None:
    mask = discs(64)
    np.testing.assert_array_equal(read_mask([segmentation(tmp_path, kind, {"lungs": mask})], (64, 64)), mask)


def test_a_fraction_counts_from_a_half(tmp_path: Path) -> None:
    fraction = np.where(discs(64), 1.0, 0.0)
    fraction[0, :4] = [0.2, 0.4, 0.6, 0.8]
    mask = read_mask([segmentation(tmp_path, "FRACTIONAL", {"lungs": fraction}, max_fractional_value=255)])
    assert mask[0, :4].tolist() == [False, False, True, True]
    np.testing.assert_array_equal(mask[1:], discs(64)[1:])


def test_an_empty_segment_is_an_empty_mask(tmp_path: Path) -> None:
    assert not read_mask([segmentation(tmp_path, "BINARY", {"lungs": np.zeros((32, 32), bool)})]).any()


def test_of_several_segments_none_is_guessed(tmp_path: Path) -> None:
    left = discs(64) & (np.arange(64) < 32)
    file = segmentation(tmp_path, "BINARY", {"left lung": left, "right lung": discs(64) & ~left})
    with pytest.raises(
        ImageError, match=r"has the segments LEFT LUNG, RIGHT LUNG, expected one; .*one mask file"
    ):
        read_mask([file])


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_plain_image_is_a_mask_like_a_png(film: Callable[..., Path], photometric: str) -> None:
    levels = discs(64).astype(np.uint8) * 255
    levels = 255 - levels if photometric == "MONOCHROME1" else levels
    file = film(levels, bits=8, Modality="SEG", PhotometricInterpretation=photometric)
    np.testing.assert_array_equal(read_mask([file]), discs(64))


def test_an_object_without_an_image_is_no_mask(film: Callable[..., Path]) -> None:
    file = film(
        np.zeros((16, 16), np.uint8), bits=8, Modality="RTSTRUCT", Rows=None, Columns=None, PixelData=None
    )
    with pytest.raises(
        ImageError, match="of modality RTSTRUCT has no image, so no mask; write one mask file"
    ):
        read_mask([file])
