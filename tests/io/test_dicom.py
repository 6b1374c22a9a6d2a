import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from multimix.errors import ImageError
from multimix.io.readers import read_image

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
                setattr(data, name, value)
        data.save_as(tmp_path / "x.dcm", enforce_file_format=True)
        return tmp_path / "x.dcm"

    return write


def columns(*values: int, dtype: type = np.uint16) -> np.ndarray:
    """16 rows of these values, each repeated to make 16 columns or more."""
    return np.repeat(np.array([values] * 16, dtype), -(-16 // len(values)), axis=1)


def levels(file: Path) -> np.ndarray:
    return read_image(file).pixels[0, 0]


def test_without_a_window_the_image_is_stretched(film: Callable[..., Path]) -> None:
    row = levels(film(columns(100, 200, 300)))
    np.testing.assert_allclose(row[[0, 6, 12]], [0, 0.5, 1], atol=1e-6)


def test_eight_bits_without_a_window_are_as_in_a_png(film: Callable[..., Path]) -> None:
    row = levels(film(columns(51, 102, dtype=np.uint8), bits=8))
    np.testing.assert_allclose(row[[0, 8]], [0.2, 0.4], atol=1e-6)


def test_monochrome1_is_inverted(film: Callable[..., Path]) -> None:
    row = levels(film(columns(100, 300), PhotometricInterpretation="MONOCHROME1"))
    assert row[[0, 8]].tolist() == [1, 0]


def test_window_and_rescale(film: Callable[..., Path]) -> None:
    # Stored 0, 500, 1000, 4000 -> slope 2, intercept -1000 -> -1000, 0, 1000, 7000. PS3.3 C.11.2.1.2.1 with
    # centre 0.5 and width 2001: black up to -1000, white from 1000, 0 in the middle.
    pixels = columns(0, 500, 1000, 4000)
    file = film(pixels, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=0.5, WindowWidth=2001)
    np.testing.assert_allclose(levels(file)[[0, 4, 8, 12]], [0, 0.5, 1, 1], atol=1e-6)


def test_first_of_two_windows_is_used(film: Callable[..., Path]) -> None:
    file = film(columns(0, 50, 100, 4000), WindowCenter=[50.5, 2000], WindowWidth=[101, 4000])
    np.testing.assert_allclose(levels(file)[[0, 4, 8, 12]], [0, 0.5, 1, 1], atol=1e-6)


def test_signed_pixels(film: Callable[..., Path]) -> None:
    row = levels(film(columns(-500, 0, 500, dtype=np.int16)))
    np.testing.assert_allclose(row[[0, 6, 12]], [0, 0.5, 1], atol=1e-6)


def test_voi_lut(film: Callable[..., Path]) -> None:
    lut = pydicom.dataset.Dataset()
    lut.LUTDescriptor = [4, 0, 16]
    lut.LUTData = [1000, 0, 500, 250]
    lut["LUTDescriptor"].VR, lut["LUTData"].VR = "US", "US"
    row = levels(film(columns(0, 1, 2, 3), VOILUTSequence=[lut]))
    np.testing.assert_allclose(row[[0, 4, 8, 12]], [1, 0, 0.5, 0.25], atol=1e-6)


def test_colour(film: Callable[..., Path]) -> None:
    rgb = np.zeros((16, 16, 3), np.uint8)
    rgb[..., 1] = 255
    file = film(rgb, bits=8)
    np.testing.assert_array_equal(read_image(file, channels=3).pixels[:, 0, 0], [0, 1, 0])
    np.testing.assert_allclose(read_image(file).pixels, 0.587, atol=1e-6)


def test_spacing_is_row_then_column_and_prefers_pixel_spacing(film: Callable[..., Path]) -> None:
    pixels = columns(0, 1)
    assert read_image(film(pixels)).spacing is None
    assert read_image(film(pixels, ImagerPixelSpacing=[0.2, 0.1])).spacing == (0.2, 0.1)
    both = film(pixels, ImagerPixelSpacing=[0.2, 0.1], PixelSpacing=[0.15, 0.14])
    assert read_image(both).spacing == (0.15, 0.14)


def test_dicom_without_suffix_is_recognised(film: Callable[..., Path], tmp_path: Path) -> None:
    file = film(columns(0, 1)).rename(tmp_path / "IM0001")
    assert read_image(file).size == (16, 16)


@pytest.mark.parametrize(
    ("elements", "problem", "remedy"),
    [
        ({"PixelData": None}, "has no image", "give a CR or DX file"),
        ({"NumberOfFrames": 12}, "has 12 frames", "export the frame"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colours are PALETTE COLOR", "convert it to PNG"),
        ({"Rows": 20000, "Columns": 20000}, "more than 100 megapixels", "made smaller"),
        ({"Rows": 1, "Columns": 1}, "too small", "give the original image"),
        ({"Rows": 400}, "damaged or incomplete", "copy or export the file again"),
        ({"WindowCenter": 1, "WindowWidth": 0}, "damaged or incomplete", "copy or export the file again"),
    ],
)
def test_unusable_objects(
    film: Callable[..., Path], elements: dict[str, object], problem: str, remedy: str
) -> None:
    file = film(columns(0, 1), **elements)
    with pytest.raises(ImageError) as caught:
        read_image(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert problem in message
    assert remedy in message


def test_truncated_file(film: Callable[..., Path]) -> None:
    file = film(columns(0, 1))
    file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(ImageError, match=r"x\.dcm: damaged or incomplete"):
        read_image(file)


def test_missing_extra_says_what_to_install(
    film: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = film(columns(0, 1))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImageError, match=r"x\.dcm: DICOM needs pydicom.*pip install 'multimix\[dicom\]'"):
        read_image(file)
