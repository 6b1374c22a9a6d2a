import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    MPEG4HP41,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

import studies
from films import columns, levels
from multimix.errors import ImageError
from multimix.io.dicom.header import OwnResult
from multimix.io.readers import read_image, read_image_bytes
from multimix.types import Turn

pydicom = pytest.importorskip("pydicom")


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
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME1", "INVERSE", True),  # the same thing said twice, as DX must
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", True),
        ("MONOCHROME2", "IDENTITY", False),
    ],
)
def test_presentation_lut_shape(
    film: Callable[..., Path], photometric: str, shape: str, inverted: bool
) -> None:
    file = film(columns(100, 300), PhotometricInterpretation=photometric, PresentationLUTShape=shape)
    assert levels(file)[[0, 8]].tolist() == ([1, 0] if inverted else [0, 1])


@pytest.mark.parametrize(
    ("function", "width", "expected"),
    [
        # x = 0, 500, 1000, 4000 with centre 1000, PS3.3 C.11.2.1.2 and C.11.2.1.3.
        ("LINEAR", 1001, [0, 0.0005, 0.5005, 1]),
        ("LINEAR_EXACT", 1000, [0, 0, 0.5, 1]),
        ("SIGMOID", 2000, [1 / (1 + np.exp(2)), 1 / (1 + np.e), 0.5, 1 / (1 + np.exp(-6))]),
        ("LINEAR", 1, [0, 0, 1, 1]),
    ],
)
def test_voi_lut_functions(
    film: Callable[..., Path], function: str, width: float, expected: list[float]
) -> None:
    pixels = columns(0, 500, 1000, 4000)
    file = film(pixels, WindowCenter=1000, WindowWidth=width, VOILUTFunction=function)
    np.testing.assert_allclose(levels(file)[[0, 4, 8, 12]], expected, atol=1e-6)


def test_window_of_rescaled_fractions(film: Callable[..., Path]) -> None:
    # 0, 1000, 4000 become 0, 0.25, 1; a width of half is no width for LINEAR but a plain one for anybody.
    file = film(
        columns(0, 1000, 4000), RescaleSlope=0.00025, RescaleIntercept=0, WindowCenter=0.25, WindowWidth=0.5
    )
    np.testing.assert_allclose(levels(file)[[0, 6, 12]], [0, 0.5, 1], atol=1e-6)


def test_modality_lut_then_window(film: Callable[..., Path]) -> None:
    lut = pydicom.dataset.Dataset()
    lut.LUTDescriptor, lut.LUTData = [3, 10, 16], [400, 0, 200]
    lut["LUTDescriptor"].VR, lut["LUTData"].VR = "US", "US"
    # Stored 9 and 10 are the first entry, 11 the second, 12 and 13 the last.
    file = film(columns(9, 10, 11, 13), ModalityLUTSequence=[lut], WindowCenter=200.5, WindowWidth=401)
    np.testing.assert_allclose(levels(file)[[0, 4, 8, 12]], [1, 1, 0, 0.5], atol=1e-6)


def test_padding_is_black_and_does_not_count(film: Callable[..., Path]) -> None:
    pixels = columns(0, 100, 200, 4095)
    row = levels(film(pixels, PixelPaddingValue=4095))
    np.testing.assert_allclose(row[[0, 4, 8, 12]], [0, 0.5, 1, 0], atol=1e-6)
    file = film(
        pixels, PixelPaddingValue=0, PixelPaddingRangeLimit=50, PhotometricInterpretation="MONOCHROME1"
    )
    assert levels(file)[0] == 0


def test_high_bits_that_are_not_stored_do_not_count(film: Callable[..., Path]) -> None:
    pixels = columns(0x8000 + 0, 0x4000 + 1000, 2000)
    np.testing.assert_allclose(levels(film(pixels))[[0, 6, 12]], [0, 0.5, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("elements", "spacing", "words"),
    [
        ({"PixelSpacing": [0.2, 0.1]}, (0.2, 0.1), "without a statement of calibration"),
        ({"ImagerPixelSpacing": [0.2, 0.1]}, (0.2, 0.1), "at the detector: not corrected"),
        (
            {"ImagerPixelSpacing": [0.2, 0.1], "EstimatedRadiographicMagnificationFactor": 1.25},
            (0.16, 0.08),
            "divided by the estimated magnification 1.25",
        ),
        ({"ImagerPixelSpacing": [0.2, 0.1], "PixelSpacing": [0.2, 0.1]}, (0.2, 0.1), "at the detector"),
        (
            {
                "ImagerPixelSpacing": [0.2, 0.2],
                "PixelSpacing": [0.17, 0.17],
                "PixelSpacingCalibrationType": "FIDUCIAL",
                "PixelSpacingCalibrationDescription": "25 mm ball",
            },
            (0.17, 0.17),
            "calibrated with an object of known size (25 mm ball)",
        ),
        (
            {"PixelSpacing": [0.17, 0.17], "PixelSpacingCalibrationType": "GEOMETRY"},
            (0.17, 0.17),
            "from geometry",
        ),
        (
            {"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.17, 0.17]},
            (0.17, 0.17),
            "by a method that is not stated",
        ),
        ({"NominalScannedPixelSpacing": [0.175, 0.175]}, (0.175, 0.175), "on the digitised film"),
        ({"PixelSpacing": [0, 0.1]}, None, ""),
        ({}, None, ""),
    ],
)
def test_spacing_says_what_it_is_worth(
    film: Callable[..., Path], elements: dict[str, object], spacing: tuple[float, float] | None, words: str
) -> None:
    radiograph = read_image(film(columns(0, 1), **elements))
    assert radiograph.spacing == (None if spacing is None else pytest.approx(spacing))
    assert words in radiograph.spacing_note
    assert bool(words) == bool(radiograph.spacing_note)


def _coded(value: str, meaning: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return [item]


NOT_A_CHEST = {
    "LL": ({"ViewPosition": "LL"}, "a lateral view (View Position LL)"),
    "RL": ({"ViewPosition": "RL"}, "a lateral view"),
    "LATERAL": ({"ViewPosition": "Lateral"}, "a lateral view"),
    "words": ({"ViewPosition": "CHEST LATERAL_L"}, "a lateral view (View Position CHEST LATERAL_L)"),
    "spine": ({"BodyPartExamined": "THORACIC SPINE"}, "shows another body part (THORACIC SPINE)"),
    "raw": ({"PresentationIntentType": "FOR PROCESSING"}, "raw pixels of a detector"),
    "LLO": ({"ViewPosition": "LLO"}, "an oblique view"),
    "code": (
        {"ViewCodeSequence": _coded("399173006", "left lateral")},
        "a lateral view (View Code LEFT LATERAL)",
    ),
    "meaning": ({"ViewCodeSequence": _coded("X", "Lateral chest")}, "a lateral view"),
    "orientation": ({"PatientOrientation": ["A", "F"]}, "its rows run towards A"),
    "hand": ({"BodyPartExamined": "HAND"}, "shows another body part (HAND)"),
    "region": ({"AnatomicRegionSequence": _coded("72696002", "Knee")}, "shows another body part (KNEE)"),
    "modality": ({"Modality": "CT"}, "of modality CT, not a radiograph"),
    "class": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "a CT Image, not a radiograph"),
    "mammography": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2"}, "a Digital Mammography X-Ray Image"),
    "photograph": (
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.4", "Modality": "OT"},
        "a VL Photographic Image, not a radiograph",
    ),
}
A_CHEST = {
    "PA": {"ViewPosition": "PA", "PatientOrientation": ["A", "F"]},
    "AP": {"ViewPosition": "AP", "BodyPartExamined": "CHEST"},
    "decubitus in words": {"ViewPosition": "LATERAL DECUBITUS"},
    "decubitus": {"ViewPosition": "LLD", "ViewCodeSequence": _coded("X", "lateral decubitus")},
    "German": {"BodyPartExamined": "THORAX"},
    "either": {"BodyPartExamined": "CHEST", "AnatomicRegionSequence": _coded("X", "Upper trunk")},
    "private class": {"SOPClassUID": "1.2.840.113619.4.26", "Modality": "CR"},
    "no class": {"SOPClassUID": None},
    "one frame of a capture": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2", "NumberOfFrames": 1},
    "nothing said": {"BodyPartExamined": "OTHER", "ViewPosition": "", "PatientOrientation": ["L", "F"]},
}


@pytest.mark.parametrize("case", NOT_A_CHEST)
def test_what_is_no_frontal_chest_is_refused_unless_forced(film: Callable[..., Path], case: str) -> None:
    elements, problem = NOT_A_CHEST[case]
    file = film(columns(0, 1), **elements)
    with pytest.raises(
        ImageError, match=re.escape(problem) + ".*a frontal chest radiograph is expected.*--force"
    ):
        read_image(file)
    with pytest.raises(ImageError, match=re.escape(problem)):
        read_image_bytes(file.read_bytes(), "x.dcm")
    forced = read_image(file, force=True)
    assert forced.size == read_image_bytes(file.read_bytes(), "x", force=True).size
    assert problem in forced.against


@pytest.mark.parametrize("case", A_CHEST)
def test_frontal_chests_are_read(film: Callable[..., Path], case: str) -> None:
    radiograph = read_image(film(columns(0, 1), **A_CHEST[case]))
    assert (radiograph.size, radiograph.against) == ((16, 16), "")


def test_what_cannot_be_read_is_first_told_what_it_is(film: Callable[..., Path]) -> None:
    """An export of a single frame, as the second reason asks for, would be rejected for the first."""
    volume = film(columns(0, 1), Modality="CT", NumberOfFrames=30)
    for force in (False, True):
        with pytest.raises(ImageError, match="of modality CT, not a radiograph") as told:
            read_image(volume, force=force)
    assert "nor can it be read: DICOM has 30 frames" in str(told.value)


def test_our_own_results_are_refused_even_if_forced(film: Callable[..., Path]) -> None:
    for force in (False, True):
        with pytest.raises(OwnResult, match="a result that multimix wrote"):
            read_image(film(columns(0, 1), Manufacturer="multimix"), force=force)


def _encapsulated(data: Dataset, frame: bytes, syntax: str) -> Dataset:
    data.file_meta.TransferSyntaxUID = UID(syntax)
    data.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    return data


def _compressed(data: Dataset, syntax: str) -> Dataset:
    """`data` with its pixels compressed by a library that is not the one that will decode them, where possible."""
    codecs = pytest.importorskip("imagecodecs")
    pixels = data.pixel_array
    if syntax in (RLELossless, JPEGLSLossless):
        data.compress(syntax, encoding_plugin="pydicom" if syntax == RLELossless else "pyjpegls")
        return data
    if syntax in (JPEGLossless, JPEGLosslessSV1):
        frame = (
            codecs.ljpeg_encode(pixels) if pixels.ndim == 2 else codecs.jpeg8_encode(pixels, lossless=True)
        )
    elif syntax in (HTJ2KLossless, HTJ2KLosslessRPCL):
        frame = codecs.htj2k_encode(pixels)
    elif syntax == JPEGBaseline8Bit:
        frame = codecs.jpeg8_encode(pixels, level=98, subsampling="444")
        if pixels.ndim == 3:
            data.PhotometricInterpretation = "YBR_FULL"
    elif syntax == JPEGExtended12Bit:
        frame = codecs.jpeg8_encode(pixels, level=98, bitspersample=12)
    else:
        options = {"reversible": syntax == JPEG2000Lossless, "level": 0 if syntax == JPEG2000Lossless else 90}
        frame = codecs.jpeg2k_encode(pixels, codecformat="j2k", mct=False, **options)
    return _encapsulated(data, frame, syntax)


SOURCES = {
    "DX": studies.dx,
    "CR": studies.cr,
    "8 bits": studies.capture,
    "RGB": lambda: studies.capture(
        np.stack([studies.phantom(64, 80)] * 2 + [studies.phantom(64, 80) // 2], -1)
    ),
}


@pytest.mark.parametrize(
    ("syntax", "kind", "tolerance"),
    [
        *(
            (syntax, kind, 0)
            for syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless)
            for kind in SOURCES
        ),
        *((JPEGLosslessSV1, kind, 0) for kind in ("DX", "CR", "8 bits")),
        (JPEGLossless, "CR", 0),
        *((HTJ2KLossless, kind, 0) for kind in SOURCES),
        (HTJ2KLosslessRPCL, "DX", 0),
        (JPEGBaseline8Bit, "8 bits", 0.02),
        (JPEGBaseline8Bit, "RGB", 0.06),
        (JPEGExtended12Bit, "DX", 0.02),
        (JPEG2000, "CR", 0.02),
    ],
)
def test_compressed_pixels_are_those_of_the_plain_file(
    tmp_path: Path, syntax: str, kind: str, tolerance: float
) -> None:
    plain = read_image(studies.save(SOURCES[kind](), tmp_path / "plain.dcm"), 3)
    data = _compressed(SOURCES[kind](), syntax)
    read = read_image(studies.save(data, tmp_path / "compressed.dcm"), 3)
    assert data.file_meta.TransferSyntaxUID == syntax
    assert abs(read.pixels - plain.pixels).max() <= tolerance


def test_a_syntax_that_is_not_known(tmp_path: Path) -> None:
    file = studies.save(_encapsulated(studies.capture(), b"moving pictures!", MPEG4HP41), tmp_path / "x.dcm")
    with pytest.raises(ImageError, match=r"compressed with MPEG-4.* could not be decoded.*multimix\[dicom\]"):
        read_image(file)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1, None])
@pytest.mark.parametrize("sizes", [(1000, 140), (121, 140), (119, 140), (140, 120), (9000, 9000)])
def test_lying_sizes_are_refused_before_memory_is_filled(
    tmp_path: Path, syntax: str | None, sizes: tuple[int, int]
) -> None:
    data = studies.capture() if syntax is None else _compressed(studies.capture(), syntax)
    data.Rows, data.Columns = sizes
    if syntax in (RLELossless, None) and sizes == (140, 120):
        data.Rows = 141  # as many pixels would be as many bytes
    file = studies.save(data, tmp_path / "x.dcm")
    with pytest.raises(ImageError, match=r"x\.dcm: .*(damaged)") as caught:
        read_image(file)
    assert "\n" not in str(caught.value)


def test_a_deflated_bomb_is_not_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = studies.dx()
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    file = studies.save(data, tmp_path / "x.dcm")
    plain = read_image(studies.save(studies.dx(), tmp_path / "plain.dcm"))
    np.testing.assert_array_equal(read_image(file).pixels, plain.pixels)
    data.add_new(0x00091001, "OB", bytes(20_000_000))
    monkeypatch.setattr("multimix.io.dicom.read.MAX_FILE_BYTES", 10_000_000)
    monkeypatch.setattr("multimix.io.limits.MAX_FILE_BYTES", 10_000_000)
    file = studies.save(data, tmp_path / "x.dcm")
    assert file.stat().st_size < 100_000
    with pytest.raises(ImageError, match="MB or more, expected at most 10 MB"):
        read_image(file)


def test_bytes_read_as_the_file(tmp_path: Path) -> None:
    file = studies.save(studies.cr(), tmp_path / "x.dcm")
    from_file, from_bytes = read_image(file), read_image_bytes(file.read_bytes(), "upload")
    np.testing.assert_array_equal(from_file.pixels, from_bytes.pixels)
    assert (from_bytes.path, from_bytes.spacing) == ("upload", from_file.spacing)
    with pytest.raises(ImageError, match=r"upload: is empty \(0 bytes\)"):
        read_image_bytes(b"", "upload")


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1])
def test_truncated_anywhere_is_one_line(tmp_path: Path, syntax: str, share: float) -> None:
    whole = studies.save(_compressed(studies.capture(), syntax), tmp_path / "x.dcm").read_bytes()
    with pytest.raises(ImageError) as caught:
        read_image_bytes(whole[: int(len(whole) * share)], "x.dcm")
    assert str(caught.value).startswith("x.dcm: ")
    assert len(str(caught.value)) < 400


def test_a_hostile_header_makes_no_long_message(film: Callable[..., Path]) -> None:
    with pytest.raises(ImageError) as caught:
        read_image(film(columns(0, 1), BodyPartExamined="HAND\x1b[31m" + "!" * 5000))
    assert len(str(caught.value)) < 400
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("elements", "problem", "remedy"),
    [
        ({"RescaleSlope": 0, "RescaleIntercept": 5}, "Rescale Slope 0", "correct the header"),
        ({"PhotometricInterpretation": None}, "does not state PhotometricInterpretation", "export it again"),
        ({"BitsStored": 20}, "have 20 bits in 16", "convert it to PNG"),
        ({"BitsStored": 12, "HighBit": 15}, "High Bit 15, expected 11 for 12 bits", "convert it to PNG"),
        ({"BitsStored": 11, "HighBit": 11}, "High Bit 11, expected 10 for 11 bits", "convert it to PNG"),
        (
            {"Modality": "SR", "Rows": None, "Columns": None, "PixelData": None},
            "has no image",
            "give a CR or DX",
        ),
        ({"PixelData": None}, "has no image", "give a CR or DX file"),
        ({"NumberOfFrames": 12}, "has 12 frames", "export the frame"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colours are PALETTE COLOR", "convert it to PNG"),
        ({"Rows": 20000, "Columns": 20000}, "more than 100 megapixels", "made smaller"),
        ({"Rows": 1, "Columns": 1}, "too small", "give the original image"),
        ({"Rows": 400}, "damaged or incomplete", "copy or export the file again"),
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


def test_a_file_without_preamble_is_no_dicom(film: Callable[..., Path]) -> None:
    file = film(columns(0, 1))
    file.write_bytes(file.read_bytes()[132:])
    with pytest.raises(
        ImageError, match=r"x\.dcm: is not a DICOM file \(it has no preamble, PS3\.10 7\.1\)"
    ) as caught:
        read_image(file)
    assert "force" not in str(caught.value)


def test_missing_extra_says_what_to_install(
    film: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = film(columns(0, 1))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImageError, match=r"x\.dcm: DICOM needs pydicom.*pip install 'multimix\[dicom\]'"):
        read_image(file)


def _without_syntax(file: Path) -> Path:
    """Remove Transfer Syntax UID (0002,0010) from the meta header and mend the length of that."""
    data = bytearray(file.read_bytes())
    at = data.find(b"\x02\x00\x10\x00UI")
    size = 8 + int.from_bytes(data[at + 6 : at + 8], "little")
    del data[at : at + size]
    group = data.find(b"\x02\x00\x00\x00UL\x04\x00") + 8
    data[group : group + 4] = (int.from_bytes(data[group : group + 4], "little") - size).to_bytes(4, "little")
    file.write_bytes(bytes(data))
    return file


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_missing_transfer_syntax_is_told_by_the_bytes(tmp_path: Path, syntax: str) -> None:
    data = studies.dx()
    expected = read_image(studies.save(data, tmp_path / "plain.dcm")).pixels
    if syntax == ExplicitVRBigEndian:
        data.PixelData = data.pixel_array.astype(">u2").tobytes()
    data.file_meta.TransferSyntaxUID = UID(syntax)
    file = studies.save(data, tmp_path / "x.dcm")
    np.testing.assert_array_equal(read_image(_without_syntax(file)).pixels, expected)


def test_a_missing_transfer_syntax_of_compressed_pixels_is_named(tmp_path: Path) -> None:
    data = _compressed(studies.capture(), RLELossless)
    file = _without_syntax(studies.save(data, tmp_path / "x.dcm"))
    with pytest.raises(
        ImageError, match=r"has no Transfer Syntax UID \(0002,0010\).*export it again"
    ) as caught:
        read_image(file)
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("missing", ["PixelRepresentation", "SamplesPerPixel", "HighBit", "BitsStored"])
def test_attributes_that_others_imply_may_be_missing(film: Callable[..., Path], missing: str) -> None:
    row = levels(film(columns(51, 102, dtype=np.uint8), bits=8, **{missing: None}))
    np.testing.assert_allclose(row[[0, 8]], [0.2, 0.4], atol=1e-6)


def test_no_reason_speaks_of_the_program(film: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise AttributeError("'FileMetaDataset' object has no attribute 'TransferSyntaxUID'")

    monkeypatch.setattr("multimix.io.dicom.read.decoded", fails)
    with pytest.raises(ImageError) as caught:
        read_image(film(columns(0, 1)))
    assert str(caught.value).endswith("x.dcm: damaged or incomplete; copy or export the file again")


@pytest.mark.parametrize("text", ["0,143\\0,143", "0.143", "wide\\high", "nan\\nan"])
def test_a_spacing_that_is_no_number_gives_no_area_and_says_so(film: Callable[..., Path], text: str) -> None:
    file = film(columns(0, 1), PixelSpacing=["0.123", "0.123"])
    place, old = text.encode().ljust(11), b"0.123\\0.123"
    assert len(place) == len(old)
    file.write_bytes(file.read_bytes().replace(old, place))
    radiograph = read_image(file)
    assert radiograph.spacing is None
    assert radiograph.note == "Pixel Spacing is no pair of millimetres, so areas are not known"


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (["L", "F"], Turn()),
        (["R", "F"], Turn(mirrored=True)),
        (["L", "H"], Turn(flipped=True)),
        (["R", "H"], Turn(mirrored=True, flipped=True)),
        (["F", "L"], Turn(transposed=True)),
        (["FL", "RF"], Turn(transposed=True, mirrored=True)),
        (["A", "F"], Turn()),
        (["L", "R"], Turn()),
        (["L"], Turn()),
        ("", Turn()),
    ],
)
def test_what_the_header_says_of_the_position(
    film: Callable[..., Path], orientation: list[str] | str, expected: Turn
) -> None:
    pixels = np.arange(16 * 20, dtype=np.uint16).reshape(16, 20)
    radiograph = read_image(film(pixels, PatientOrientation=orientation, ViewPosition="PA"))
    assert radiograph.turn == expected
    assert radiograph.size == (16, 20)  # as it is stored
