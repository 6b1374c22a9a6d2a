"""Small pictures and masks in folders, made by a number: no two are alike."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIDE = 48


def pixels(number: int, side: int = SIDE) -> np.ndarray:
    """A grey picture of many levels (side side)."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:side, :side] / side
    waves = 60 * np.sin(3 * x + 6 * rng.random()) * np.cos(4 * y + 6 * rng.random())
    return (120 + waves + rng.normal(0, 10, (side, side))).clip(0, 255).astype(np.uint8)


def ellipses(number: int, side: int = SIDE) -> np.ndarray:
    """Two ellipses, a little different each time (side side) bool."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:side, :side] / side
    width, height, middle = 0.12 + 0.05 * rng.random(), 0.25 + 0.1 * rng.random(), 0.45 + 0.1 * rng.random()
    lungs = [((x - c) / width) ** 2 + ((y - middle) / height) ** 2 < 1 for c in (0.3, 0.7)]
    return lungs[0] | lungs[1]


def picture(file: Path, number: int) -> Path:
    """Write a picture."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(number)).save(file)
    return file


def mask(file: Path, number: int) -> Path:
    """Write the mask of the picture of the same number."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ellipses(number).astype(np.uint8) * 255).save(file)
    return file


def write_plane(file: Path, values: np.ndarray) -> Path:
    """Write an array (H W) as NIfTI, NRRD, MetaImage, .npy or PNG, by the name; skips the test without SimpleITK."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".npy":
        np.save(file, values)
    elif file.suffix == ".png":
        Image.fromarray(values).save(file)
    else:
        sitk = pytest.importorskip("SimpleITK")
        sitk.WriteImage(sitk.GetImageFromArray(values[None]), str(file))
    return file


def write_dicom(file: Path, number: int, patient: str) -> None:
    """Write the picture as a radiograph of a patient; skips the test without pydicom."""
    pydicom = pytest.importorskip("pydicom")
    data, meta = pydicom.Dataset(), pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        "1.2.840.10008.5.1.4.1.1.1.1",
        f"1.2.3.{number}",
    )
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.PatientID, data.Modality, data.BodyPartExamined, data.ViewPosition = patient, "DX", "CHEST", "PA"
    data.Rows, data.Columns = SIDE, SIDE
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data.PixelData = pixels(number).tobytes()
    file.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(file, enforce_file_format=True)
