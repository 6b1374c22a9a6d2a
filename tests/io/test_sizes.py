"""Sizes from headers."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from multimix.errors import ImageError
from multimix.io.sizes import image_size


@pytest.mark.parametrize("suffix", ["png", "jpeg", "tif", "gif", "bmp"])
def test_height_comes_first(suffix: str, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / f"x.{suffix}")
    assert image_size(tmp_path / f"x.{suffix}") == (20, 30)


@pytest.mark.parametrize("name", ["x.dcm", "no_suffix"])
def test_dicom(name: str, tmp_path: Path) -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = 20, 30
    dataset.save_as(tmp_path / name, enforce_file_format=True)
    assert image_size(tmp_path / name) == (20, 30)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no image")
    for name in ("x.png", "missing.png"):
        with pytest.raises(ImageError, match=name):
            image_size(tmp_path / name)


@pytest.mark.parametrize("options", [{"bigtiff": True}, {}])
def test_tiffs_that_pillow_does_not_know(tmp_path: Path, options: dict) -> None:
    import tifffile

    tifffile.imwrite(tmp_path / "x.tif", np.zeros((20, 30), np.float64), **options)
    assert image_size(tmp_path / "x.tif") == (20, 30)
