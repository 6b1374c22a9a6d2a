"""Valid DICOM radiographs of phantoms, for the tests of everything that reads, answers or sends DICOM.

Every maker gives a pydicom data set that `dciodvfy` accepts; `elements` replace attributes, None removes one.
`save` writes it; `study` writes a folder with one of each kind.

    dx()        Digital X-Ray, MONOCHROME2, 12 bits in 16, square, Imager Pixel Spacing
    cr()        Computed Radiography, MONOCHROME1, 10 bits in 16, not square, Pixel Spacing
    capture()   Secondary Capture of 8 bits grey, or of RGB where `pixels` has three axes
"""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from multimix.data.phantom import generate


def phantom(height: int = 128, width: int = 128, seed: int = 0) -> np.ndarray:
    """(height width) uint8, lungs dark: the middle of a generated radiograph."""
    side = max(height, width)
    image = generate(1, side, seed=seed).images[0]
    top, left = (side - height) // 2, (side - width) // 2
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def dx(pixels: np.ndarray | None = None, seed: int = 0, **elements: object) -> Dataset:
    """Digital X-Ray of `pixels` (H W), 12-bit values."""
    values = phantom(seed=seed).astype(np.uint16) * 16 if pixels is None else pixels
    data = _image(DigitalXRayImageStorageForPresentation, "DX", values, 12, seed)
    data.PresentationIntentType = "FOR PRESENTATION"
    data.ImageType = ["ORIGINAL", "PRIMARY", ""]
    data.PixelIntensityRelationship, data.PixelIntensityRelationshipSign = "LOG", -1
    data.RescaleSlope, data.RescaleIntercept, data.RescaleType = 1, 0, "US"
    data.PresentationLUTShape = "IDENTITY"
    data.LossyImageCompression = "00"
    data.BurnedInAnnotation = "NO"
    data.ImageLaterality = "U"
    data.PatientOrientation = ["L", "F"]
    data.ImagerPixelSpacing = [0.143, 0.143]
    data.PositionerType = "NONE"
    data.DetectorType = "DIRECT"
    data.WindowCenter, data.WindowWidth = 2048, 4096
    data.ViewPosition = "PA"
    data.AcquisitionContextSequence = []
    data.AnatomicRegionSequence = [_code("816094009", "SCT", "Chest")]
    data.ViewCodeSequence = [_code("272479007", "SCT", "postero-anterior")]
    data.ViewCodeSequence[0].ViewModifierCodeSequence = []
    return _with(data, elements)


def cr(pixels: np.ndarray | None = None, seed: int = 0, **elements: object) -> Dataset:
    """Computed Radiography of `pixels` (H W), 10-bit values; low is white."""
    values = 1023 - phantom(150, 110, seed).astype(np.uint16) * 4 if pixels is None else pixels
    data = _image(ComputedRadiographyImageStorage, "CR", values, 10, seed)
    data.PhotometricInterpretation = "MONOCHROME1"
    data.ViewPosition, data.PatientOrientation = "AP", ["L", "F"]
    data.PixelSpacing = [0.2, 0.175]
    data.WindowCenter, data.WindowWidth = 512, 1024
    return _with(data, elements)


def capture(pixels: np.ndarray | None = None, seed: int = 0, **elements: object) -> Dataset:
    """Secondary Capture of uint8 `pixels`, grey (H W) or RGB (H W 3)."""
    values = phantom(120, 140, seed) if pixels is None else pixels
    data = _image(SecondaryCaptureImageStorage, "OT", values, 8, seed)
    data.ConversionType = "DF"
    data.PatientOrientation = None
    if values.ndim == 2:  # SC of one channel must say how to show it, PS3.3 A.8.1.3
        data.WindowCenter, data.WindowWidth = 128, 256
    return _with(data, elements)


def save(data: Dataset, path: Path) -> Path:
    """Write `data` as a DICOM file, making folders; returns `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def study(folder: Path, seed: int = 0) -> list[Path]:
    """One DX, one CR and one secondary capture of one study; returns the files."""
    makers = {"DX0001": dx, "CR0001.dcm": cr, "SC0001.dcm": capture}
    return [save(make(seed=seed), folder / name) for name, make in makers.items()]


def uid(*parts: object) -> UID:
    """The same UID for the same parts."""
    return generate_uid(entropy_srcs=["multimix tests", *map(str, parts)])


def _image(sop_class: UID, modality: str, pixels: np.ndarray, bits: int, seed: int) -> Dataset:
    """Patient, study, series, equipment and pixels; one patient and one study per `seed`."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = sop_class
    data.SOPInstanceUID = uid(modality, seed, pixels.tobytes())
    data.SpecificCharacterSet = "ISO_IR 100"
    data.PatientName, data.PatientID = "Phantóm^Pia", f"PH{seed:04d}"
    data.PatientBirthDate, data.PatientSex = "19700101", "F"
    data.StudyInstanceUID, data.SeriesInstanceUID = uid("study", seed), uid("series", modality, seed)
    data.StudyDate, data.StudyTime = "20240102", "101112"
    data.SeriesDate, data.SeriesTime = data.AcquisitionDate, data.AcquisitionTime = "20240102", "101112"
    data.ContentDate, data.ContentTime = "20240102", "101112"
    data.AccessionNumber, data.StudyID, data.StudyDescription = f"A{seed:04d}", "1", "Chest"
    data.ReferringPhysicianName = ""
    data.Modality, data.SeriesNumber, data.InstanceNumber = modality, 1, 1
    data.BodyPartExamined = "CHEST"
    data.Manufacturer, data.ManufacturerModelName, data.DeviceSerialNumber = "Phantom", "P1", "1"
    data.SoftwareVersions = "1"
    data.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    data.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    data.Rows, data.Columns = pixels.shape[:2]
    data.BitsAllocated, data.BitsStored, data.HighBit = 8 * pixels.itemsize, bits, bits - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    data["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    return data


def _with(data: Dataset, elements: dict[str, object]) -> Dataset:
    for name, value in elements.items():
        if value is None:
            if name in data:
                delattr(data, name)
        else:
            setattr(data, name, value)
    data.file_meta.MediaStorageSOPClassUID = data.get("SOPClassUID", SecondaryCaptureImageStorage)
    data.file_meta.MediaStorageSOPInstanceUID = data.get("SOPInstanceUID", uid("none"))
    return data


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
