"""Minimal DICOM films, for the tests of everything that reads one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")


@pytest.fixture
def film(tmp_path: Path) -> Callable[..., Path]:
    def write(pixels: np.ndarray, bits: int = 12, **elements: object) -> Path:
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.Modality = "DX"
        data.Rows, data.Columns = pixels.shape[-3:-1] if pixels.ndim == 3 else pixels.shape
        data.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
        if pixels.ndim == 3:
            data.PlanarConfiguration = 0
        data.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
        data.BitsAllocated = 8 * pixels.dtype.itemsize
        data.BitsStored, data.HighBit = bits, bits - 1
        data.PixelRepresentation = int(pixels.dtype.kind == "i")
        data.PixelData = pixels.tobytes()
        for name, value in elements.items():
            if value is None:
                delattr(data, name)
            else:
                with pydicom.config.disable_value_validation():  # files in the wild hold what they should not
                    setattr(data, name, value)
        data.save_as(tmp_path / "x.dcm", enforce_file_format=True)
        return tmp_path / "x.dcm"

    return write
