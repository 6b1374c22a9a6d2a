"""Segmentation, report and overlay: valid for foreign tools, on the image's own pixels, in its own study."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.sr import srread
from pydicom.dataset import Dataset

import studies
from multimix.errors import ImageError
from multimix.io.dicom.codes import class_code, structure_code
from multimix.io.dicom.objects import WARNING, Algorithm, answer_objects, is_ours
from multimix.io.dicom.read import read_header
from multimix.io.dicom.report import as_enhanced, enhanced_uid
from multimix.io.readers import read_image
from multimix.types import Prediction, Radiograph

ALGORITHM = Algorithm("multimix", "1.2.3", "ab" * 32)


def _rgb() -> np.ndarray:
    return np.stack([studies.phantom(90, 120, seed) for seed in range(3)], axis=-1)


MAKERS = {
    "square MONOCHROME2 DX": studies.dx,
    "oblong MONOCHROME1 CR": studies.cr,
    "grey secondary capture": studies.capture,
    "RGB secondary capture": lambda **elements: studies.capture(_rgb(), **elements),
}


def _answer(radiograph: Radiograph, name: str = "x.dcm") -> Prediction:
    """Two structures, one of them empty and one with an odd name, and classes that are not exclusive."""
    height, width = radiograph.size
    saliency = np.zeros((height, width), np.float32)
    saliency[: height // 2, : width // 3] = 1
    return Prediction(
        path=name,
        probabilities={"NORMAL": 0.25, "Pleural_Thickening": 0.1234567},
        predicted="none",
        masks={
            "lungs": radiograph.pixels[0] < 0.5,
            "heart": np.zeros((height, width), bool),
            'Blöb "2"\\': np.tile(np.arange(width) > width // 2, (height, 1)),
        },
        saliency=saliency,
        spacing=radiograph.spacing,
        spacing_note=radiograph.spacing_note,
    )


def _objects(source: Dataset, folder: Path) -> tuple[Prediction, list[Path]]:
    """The answer to `source`, and its objects as files: Segmentation, report, overlay."""
    radiograph = read_image(studies.save(source, folder / "source.dcm"))
    prediction = _answer(radiograph)
    made = answer_objects(source, prediction, radiograph.pixels, ALGORITHM)
    files = []
    for data in made:
        files.append(folder / f"{data.Modality}.dcm")
        data.save_as(files[-1], enforce_file_format=True)
    return prediction, files


@pytest.mark.parametrize("kind", MAKERS)
def test_validator_finds_no_error(kind: str, tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    _, files = _objects(MAKERS[kind](), tmp_path)
    for file in [tmp_path / "source.dcm", *files]:
        told = subprocess.run(["dciodvfy", file], capture_output=True, text=True, check=False).stderr
        assert [line for line in told.splitlines() if line.startswith(("Error", "Abort"))] == []


@pytest.mark.parametrize("kind", MAKERS)
def test_segments_are_the_masks(kind: str, tmp_path: Path) -> None:
    source = MAKERS[kind]()
    prediction, (file, *_) = _objects(source, tmp_path)
    frames = pydicom.dcmread(file).pixel_array
    np.testing.assert_array_equal(frames, np.stack(list(prediction.masks.values())))
    segmentation = highdicom.seg.segread(file)
    assert (segmentation.Rows, segmentation.Columns) == (source.Rows, source.Columns)
    uids = (source.StudyInstanceUID, source.SeriesInstanceUID, source.SOPInstanceUID)
    assert segmentation.get_source_image_uids() == [uids]
    by_source = segmentation.get_pixels_by_source_instance([source.SOPInstanceUID])
    np.testing.assert_array_equal(by_source[0].transpose(2, 0, 1), frames)
    lungs = segmentation.get_segment_description(1)
    code = (lungs.segmented_property_type.value, lungs.segmented_property_type.scheme_designator)
    assert (lungs.segment_label, *code) == ("lungs", "39607008", "SCT")
    made_by = lungs.algorithm_identification
    assert (made_by.name, made_by.version) == ("multimix", "1.2.3")
    assert made_by.parameters == {"weights": "ab" * 32}


def test_foreign_tools_read_all_three(tmp_path: Path) -> None:
    if shutil.which("dcmdump") is None:
        pytest.skip("dcmdump is not installed (Debian package dcmtk)")
    _, files = _objects(studies.cr(), tmp_path)
    for file, word in zip(
        files, ("=SegmentationStorage", "=Comprehensive3DSRStorage", "=SecondaryCapture"), strict=True
    ):
        told = subprocess.run(["dcmdump", file], capture_output=True, text=True, check=True)
        assert word in told.stdout
        assert told.stderr == ""


def test_report_by_hand(tmp_path: Path) -> None:
    prediction, (segmentation, report, _) = _objects(studies.cr(), tmp_path)
    content = srread(report).content
    classes = content.get_image_measurement_groups()
    assert [g.finding_type.meaning for g in classes] == ["Normal", "Pleural_Thickening"]
    found = [[(m.name.meaning, m.value, m.unit.value) for m in g.get_measurements()] for g in classes]
    assert found == [[("Probability", 0.25, "1")], [("Probability", 0.123457, "1")]]
    structures = content.get_planar_roi_measurement_groups()
    assert [g.finding_type.meaning for g in structures] == ["Lung", "Heart", 'Blöb "2"']
    areas = [(m.value, m.unit.value) for g in structures for m in g.get_measurements()]
    # The CR has 0.2 x 0.175 mm per pixel.
    expected = [round(prediction.area_px(name) * 0.2 * 0.175, 3) for name in prediction.masks]
    assert areas == [(pytest.approx(area), "mm2") for area in expected]
    assert areas[1] == (0, "mm2")
    for number, group in enumerate(structures, start=1):
        referenced = group.referenced_segmentation_frame
        assert referenced.referenced_sop_instance_uid == pydicom.dcmread(segmentation).SOPInstanceUID
        assert referenced.referenced_segment_numbers == [number]
    text = pydicom.dcmread(report).to_json()
    for words in (
        "multimix",
        "1.2.3",
        "ab" * 32,
        WARNING,
        "0.2 x 0.175 mm per pixel",
        "Pixel Spacing, without",
    ):
        assert words in text


def test_the_report_says_what_was_decided_where_another_class_is_more_probable(tmp_path: Path) -> None:
    source = studies.cr()
    radiograph = read_image(studies.save(source, tmp_path / "a.dcm"))
    answer = replace(
        _answer(radiograph),
        probabilities={"NORMAL": 0.69, "PNEUMONIA": 0.31},
        predicted="PNEUMONIA",
        prediction_set=("PNEUMONIA",),
    )
    _, report, overlay = answer_objects(source, answer, radiograph.pixels, ALGORITHM)
    report.save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    groups = srread(tmp_path / "sr.dcm").content.get_image_measurement_groups()
    said = [[(e.name.meaning, e.value.meaning) for e in g.get_qualitative_evaluations()] for g in groups]
    assert said == [[("Presence of property", word)] for word in ("Absent", "Present")]
    text = pydicom.dcmread(tmp_path / "sr.dcm").to_json()
    assert "Answer: PNEUMONIA" in text
    assert "Not ruled out: PNEUMONIA" in text
    # Saliency is of the most probable class, as in the paper; which one that is stands there.
    assert "most probable class, NORMAL" in overlay.DerivationDescription


def test_what_was_answered_on_request_says_so_everywhere(tmp_path: Path) -> None:
    source = studies.dx(ViewPosition="LL", ViewCodeSequence=None)
    radiograph = read_image(studies.save(source, tmp_path / "a.dcm"), force=True)
    assert radiograph.against == "a lateral view (View Position LL)"
    plain = studies.dx()
    for image, words in ((source, radiograph.against), (plain, "looks turned")):
        answer = replace(_answer(radiograph), rejection=words)
        segmentation, report, overlay = answer_objects(image, answer, radiograph.pixels, ALGORITHM)
        assert segmentation.ContentDescription.endswith("on request")
        report.save_as(tmp_path / "sr.dcm", enforce_file_format=True)
        text = pydicom.dcmread(tmp_path / "sr.dcm").to_json()
        assert f"although rejected: {words}" in text
        assert f"although rejected: {words}" in overlay.ImageComments
        normal = answer_objects(plain, _answer(radiograph), radiograph.pixels, ALGORITHM)[-1]
        assert (overlay.pixel_array != normal.pixel_array).any()
        assert "on request" not in normal.ImageComments


def test_without_spacing_there_is_no_area(tmp_path: Path) -> None:
    _, (_, report, _) = _objects(studies.capture(), tmp_path)
    groups = srread(report).content.get_planar_roi_measurement_groups()
    assert [g.get_measurements() for g in groups] == [[], [], []]


def test_overlay_says_what_it_is(tmp_path: Path) -> None:
    _, (*_, file) = _objects(studies.dx(), tmp_path)
    overlay = pydicom.dcmread(file)
    assert (overlay.PhotometricInterpretation, overlay.BurnedInAnnotation) == ("RGB", "YES")
    assert WARNING in overlay.ImageComments
    assert WARNING in overlay.DerivationDescription
    assert overlay.SourceImageSequence[0].ReferencedSOPInstanceUID == studies.dx().SOPInstanceUID
    # 128 pixels are too few for the words: every pixel became two, with the words in a band below.
    pixels = overlay.pixel_array
    assert pixels.shape == (256, 256, 3)
    band = pixels[-18:].astype(int)
    yellow = (band[..., 0] > 200) & (band[..., 1] > 170) & (band[..., 2] < 120)
    black = band.sum(axis=2) == 0
    assert yellow.sum() > 150
    assert (yellow | black).mean() > 0.8
    columns = np.flatnonzero(yellow.any(axis=0))
    assert columns[0] > 0
    assert columns[-1] < 255


def test_patient_and_study_are_the_source_s(tmp_path: Path) -> None:
    source = studies.dx()
    _, files = _objects(source, tmp_path)
    for data in map(pydicom.dcmread, files):
        for keyword in (
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "StudyInstanceUID",
            "StudyDate",
            "AccessionNumber",
        ):
            assert data[keyword].value == source[keyword].value
        assert data.StudyDescription == "Chest"
        assert data.SeriesInstanceUID != source.SeriesInstanceUID
        assert is_ours(data)
    assert not is_ours(source)


def test_uids_follow_from_image_and_weights(tmp_path: Path) -> None:
    source = studies.dx()
    radiograph = read_image(studies.save(source, tmp_path / "a.dcm"))

    def uids(data: Dataset, algorithm: Algorithm) -> list[tuple[str, str]]:
        made = answer_objects(data, _answer(radiograph), radiograph.pixels, algorithm)
        return [(one.SOPInstanceUID, one.SeriesInstanceUID) for one in made]

    first = uids(source, ALGORITHM)
    assert uids(source, ALGORITHM) == first
    assert len({uid for pair in first for uid in pair}) == 6
    for uid in (uid for pair in first for uid in pair):
        assert uid.startswith("2.25.")
        assert len(uid) <= 64
    assert not set(uids(source, Algorithm("multimix", "1.2.3", "cd" * 32))) & set(first)
    other = uids(studies.dx(SOPInstanceUID="1.2.3.4"), ALGORITHM)
    # Another image of the same series: other instances in the same series of answers.
    assert [a == b for (a, _), (b, _) in zip(first, other, strict=True)] == [False] * 3
    assert [a == b for (_, a), (_, b) in zip(first, other, strict=True)] == [True] * 3


ODD_SOURCES = {
    # As devices write them, PS3.5 9.1 notwithstanding.
    "leading zeros": {
        "StudyInstanceUID": "1.3.51.0.7.1084395.05678.1",
        "SeriesInstanceUID": "1.3.51.0.7.1084395.05678.2",
        "SOPInstanceUID": "1.3.51.0.7.1084395.05678.3",
    },
    "zeros in one of them": {"SeriesInstanceUID": "1.2.840.00.7"},
    "a private class": {"SOPClassUID": "1.2.840.113619.4.26"},
    "a private class with zeros": {"SOPClassUID": "1.2.840.0113619.4.26"},
    "one frame of several": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2", "NumberOfFrames": 1},
    "no bits stored": {"BitsStored": None, "HighBit": None},
}


@pytest.mark.parametrize("kind", ODD_SOURCES)
def test_odd_images_are_answered_and_referred_to_as_they_are(kind: str, tmp_path: Path) -> None:
    radiograph = read_image(studies.save(studies.cr(), tmp_path / "a.dcm"))
    with pydicom.config.disable_value_validation():
        source = studies.cr(**ODD_SOURCES[kind])
        files = [
            studies.save(made, tmp_path / f"{made.Modality}.dcm")
            for made in answer_objects(source, _answer(radiograph), radiograph.pixels, ALGORITHM)
        ]
        source.save_as(tmp_path / "source.dcm", enforce_file_format=True)
        assert len(files) == 3
        for data in map(pydicom.dcmread, files):
            assert data.StudyInstanceUID == source.StudyInstanceUID
            references = [(i.ReferencedSOPClassUID, i.ReferencedSOPInstanceUID) for i in _references(data)]
            assert (source.SOPClassUID, source.SOPInstanceUID) in references
            known = {source.SOPInstanceUID, pydicom.dcmread(files[0]).SOPInstanceUID}
            assert {uid for _, uid in references} <= known
            assert "2.25" in data.SOPInstanceUID
        uids = highdicom.seg.segread(files[0]).get_source_image_uids()
        assert uids == [(source.StudyInstanceUID, source.SeriesInstanceUID, source.SOPInstanceUID)]


def test_an_odd_image_from_a_file_is_answered_without_a_warning(tmp_path: Path) -> None:
    radiograph = read_image(studies.save(studies.dx(), tmp_path / "a.dcm"))
    with pydicom.config.disable_value_validation():
        studies.save(studies.dx(**ODD_SOURCES["leading zeros"]), tmp_path / "x.dcm")
    with (tmp_path / "x.dcm").open("rb") as stream:
        header = read_header(stream, "x.dcm")
    made = answer_objects(
        header, _answer(radiograph), radiograph.pixels, ALGORITHM
    )  # a warning is an error here
    assert len(made) == 3


def _references(data: Dataset) -> Iterator[Dataset]:
    for element in data:
        if element.VR == "SQ":
            for item in element.value:
                if "ReferencedSOPInstanceUID" in item:
                    yield item
                yield from _references(item)


@pytest.mark.parametrize(
    "wanted", [("seg",), ("sr", "overlay"), ("overlay",), ("sr",), ("seg", "sr", "overlay")]
)
def test_only_what_is_wanted_is_made(wanted: tuple[str, ...], tmp_path: Path) -> None:
    source = studies.dx()
    radiograph = read_image(studies.save(source, tmp_path / "a.dcm"))
    made = answer_objects(source, _answer(radiograph), radiograph.pixels, ALGORITHM, wanted)
    assert [data.Modality for data in made] == [
        {"seg": "SEG", "sr": "SR", "overlay": "OT"}[w] for w in wanted
    ]
    if wanted == ("sr", "overlay"):  # a report that refers to no Segmentation has the areas all the same
        files = [studies.save(data, tmp_path / f"{data.Modality}.dcm") for data in made]
        assert not [item for item in _references(made[0]) if "66.4" in item.ReferencedSOPClassUID]
        groups = srread(files[0]).content.get_image_measurement_groups()
        assert [g.finding_type.meaning for g in groups] == [
            *("Normal", "Pleural_Thickening"),
            *("Lung", "Heart", 'Blöb "2"'),
        ]
        area = groups[2].get_measurements()[0]
        assert area.value == pytest.approx((radiograph.pixels[0] < 0.5).sum() * 0.143**2, abs=0.01)
        _validated(files)


def test_the_enhanced_report_is_the_same_in_another_class(tmp_path: Path) -> None:
    _, files = _objects(studies.cr(), tmp_path)
    plain = pydicom.dcmread(files[1])
    enhanced = as_enhanced(pydicom.dcmread(files[1]))
    assert enhanced.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.22"
    assert enhanced.SOPInstanceUID == enhanced_uid(plain.SOPInstanceUID) != plain.SOPInstanceUID
    assert enhanced.ContentSequence == plain.ContentSequence
    _validated([studies.save(enhanced, tmp_path / "enhanced.dcm")])


def _validated(files: list[Path]) -> None:
    """Without an error of dciodvfy, where it is installed."""
    for file in files if shutil.which("dciodvfy") else []:
        told = subprocess.run(["dciodvfy", file], capture_output=True, text=True, check=False).stderr
        assert [line for line in told.splitlines() if line.startswith(("Error", "Abort"))] == []


def test_lossy_history_is_carried_over(tmp_path: Path) -> None:
    history = {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": ["10.5", "2"],
        "LossyImageCompressionMethod": ["ISO_10918_1", "ISO_15444_1"],
    }
    _, (segmentation, _, overlay) = _objects(studies.dx(**history), tmp_path)
    for data in map(pydicom.dcmread, (segmentation, overlay)):
        assert data.LossyImageCompression == "01"
        assert list(data.LossyImageCompressionRatio) == [10.5, 2]
        assert list(data.LossyImageCompressionMethod) == history["LossyImageCompressionMethod"]
    _validated([segmentation, overlay])
    # A file that is compressed with loss and does not say so.
    source = studies.dx(LossyImageCompression=None)
    radiograph = read_image(studies.save(source, tmp_path / "a.dcm"))
    source.file_meta.TransferSyntaxUID = pydicom.uid.JPEGExtended12Bit
    made = answer_objects(source, _answer(radiograph), radiograph.pixels, ALGORITHM)
    assert [data.get("LossyImageCompression") for data in made] == ["01", None, "01"]
    assert made[0].LossyImageCompressionMethod == "ISO_10918_1"


def test_the_frame_of_reference_is_the_image_s_or_the_answer_s_own(tmp_path: Path) -> None:
    own = studies.uid("frame")
    _, (segmentation, *_) = _objects(
        studies.dx(FrameOfReferenceUID=own, PositionReferenceIndicator=""), tmp_path
    )
    assert pydicom.dcmread(segmentation).FrameOfReferenceUID == own
    frames = {
        pydicom.dcmread(_objects(studies.dx(SOPInstanceUID=f"1.2.{n}"), tmp_path)[1][0]).FrameOfReferenceUID
        for n in (1, 1, 2)
    }
    assert len(frames) == 2


def test_the_nominal_place_has_the_size_of_a_pixel(tmp_path: Path) -> None:
    for source, expected in (
        (studies.cr(), [0.2, 0.175]),
        (studies.capture(), [1, 1]),
        (studies.capture(PixelAspectRatio=[4, 3]), [4 / 3, 1]),
    ):
        _, (segmentation, *_) = _objects(source, tmp_path)
        shared = pydicom.dcmread(segmentation).SharedFunctionalGroupsSequence[0]
        assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == pytest.approx(expected)
        assert list(shared.PlaneOrientationSequence[0].ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (studies.cr, [8, 7]),  # 0.2 to 0.175 mm
        (studies.dx, None),
        (lambda: studies.capture(PixelAspectRatio=[4, 3]), [4, 3]),
        (lambda: studies.capture(PixelAspectRatio=[0, 3]), None),
    ],
)
def test_the_overlay_has_the_aspect_ratio_of_the_image(
    source: Callable[[], Dataset], expected: list[int] | None, tmp_path: Path
) -> None:
    _, (*_, overlay) = _objects(source(), tmp_path)
    ratio = pydicom.dcmread(overlay).get("PixelAspectRatio")
    assert (ratio if ratio is None else list(ratio)) == expected


def test_the_report_has_names_in_full_and_what_was_not_followed(tmp_path: Path) -> None:
    radiograph = read_image(studies.save(studies.dx(), tmp_path / "a.dcm"))
    names = [f"{'a long name ' * 8}{end}" for end in ("one", "two")]
    answer = replace(
        _answer(radiograph), probabilities=dict.fromkeys(names, 0.5), note="the window is no number; not used"
    )
    made = answer_objects(studies.dx(), answer, radiograph.pixels, ALGORITHM)
    file = studies.save(made[1], tmp_path / "sr.dcm")
    groups = srread(file).content.get_image_measurement_groups()
    assert [g.tracking_identifier for g in groups] == names
    assert len({g.finding_type.meaning for g in groups}) == 2
    assert "Of the file: the window is no number; not used" in pydicom.dcmread(file).to_json()


TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *(
        "ReferringPhysicianName",
        "StudyID",
        "AccessionNumber",
        "InstanceNumber",
        "PatientOrientation",
        "Modality",
    ),
    *("SpecificCharacterSet", "StudyDescription", "Manufacturer", "SeriesNumber"),
)


def test_sources_that_miss_type_2_attributes_still_work(tmp_path: Path) -> None:
    source = studies.cr(**dict.fromkeys(TYPE_2))
    _, files = _objects(source, tmp_path)
    segmentation = pydicom.dcmread(files[0])
    assert segmentation.StudyInstanceUID == source.StudyInstanceUID
    assert segmentation.PatientID == ""
    if shutil.which("dciodvfy"):
        told = subprocess.run(["dciodvfy", files[0]], capture_output=True, text=True, check=False).stderr
        assert "Error" not in told


def test_values_that_dicom_does_not_allow_are_left_out(tmp_path: Path) -> None:
    radiograph = read_image(studies.save(studies.dx(), tmp_path / "a.dcm"))
    odd = {
        "PatientBirthDate": ("DA", "1970-01-01?"),
        "PatientSex": ("CS", "female"),
        "StudyTime": ("TM", "noon"),
        "AccessionNumber": ("SH", "far too long for a short string"),
        "InstanceNumber": ("IS", "-4"),
        "PatientOrientation": ("CS", "LEFT"),
    }
    source = studies.dx()
    source.PatientName = "Anonymous"  # one component, which highdicom warns of
    for keyword, (vr, value) in odd.items():
        element = pydicom.DataElement(keyword, vr, None)
        element._value = value
        source[keyword] = element
    made = answer_objects(source, _answer(radiograph), radiograph.pixels, ALGORITHM)
    for data in made:
        assert (data.PatientBirthDate, data.PatientSex, data.AccessionNumber) == ("", "", "")
        assert data.PatientName == "Anonymous"
        assert data.InstanceNumber == 1


def test_the_patient_s_id_is_repeated_to_the_letter_or_not_at_all(tmp_path: Path) -> None:
    radiograph = read_image(studies.save(studies.dx(), tmp_path / "a.dcm"))
    name = "Yamada^Tarou=山田^太郎　様"  # with an ideographic space
    source = studies.dx(PatientID=" AB  12 ", PatientName=name, SpecificCharacterSet="ISO_IR 192")
    for made in answer_objects(source, _answer(radiograph), radiograph.pixels, ALGORITHM):
        assert made.PatientID == "AB  12"
        assert str(made.PatientName) == name
    for odd in ("9" * 70, "a\nb"):
        with pydicom.config.disable_value_validation():
            source = studies.dx(PatientID=odd)
        with pytest.raises(
            ImageError, match=r"x\.dcm: DICOM has a Patient ID that is not allowed.*use --format png"
        ):
            answer_objects(source, _answer(radiograph), radiograph.pixels, ALGORITHM)


@pytest.mark.parametrize(
    "keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"]
)
def test_a_source_without_uids_cannot_be_referred_to(keyword: str, tmp_path: Path) -> None:
    radiograph = read_image(studies.save(studies.dx(), tmp_path / "a.dcm"))
    source = studies.dx(**{keyword: None})
    with pytest.raises(ImageError, match=f"x.dcm: DICOM has no valid {keyword}.*use --format png"):
        answer_objects(source, _answer(radiograph), radiograph.pixels, ALGORITHM)


def test_an_answer_of_another_size_is_refused(tmp_path: Path) -> None:
    radiograph = read_image(studies.save(studies.cr(), tmp_path / "a.dcm"))
    with pytest.raises(ImageError, match="another size than the DICOM image"):
        answer_objects(studies.dx(), _answer(radiograph), radiograph.pixels, ALGORITHM)


def test_models_with_one_task(tmp_path: Path) -> None:
    source = studies.dx()
    radiograph = read_image(studies.save(source, tmp_path / "a.dcm"))
    whole = _answer(radiograph)
    segments = Prediction("a", {}, "", whole.masks, None, whole.spacing)
    classifies = Prediction("a", whole.probabilities, "NORMAL", {}, whole.saliency, whole.spacing)
    for prediction, modalities in ((segments, ["SEG", "SR"]), (classifies, ["SR", "OT"])):
        made = answer_objects(source, prediction, radiograph.pixels, ALGORITHM)
        assert [data.Modality for data in made] == modalities


def test_names_as_codes() -> None:
    for name in ("lungs", "Lung", "LUNG_"):
        assert structure_code(name).value == "39607008"
    assert structure_code("left lung").value == structure_code("Left-Lung").value == "44029006"
    assert class_code("PNEUMONIA").value == "233604007"
    long = [class_code("Structured report of " + "a" * 60 + end) for end in ("one", "two")]
    assert long[0].meaning != long[1].meaning
    assert all(len(code.meaning) <= 64 for code in long)
    unknown = class_code("Crépi\\tus")
    assert (unknown.scheme_designator, unknown.meaning) == ("99MULTIMIX", "Crépi tus")
    assert len(unknown.value) <= 16
    assert unknown.value != class_code("crepitus").value


def test_the_overlay_leaves_out_a_saliency_that_failed_and_says_so(tmp_path: Path) -> None:
    source = studies.dx()
    radiograph = read_image(studies.save(source, tmp_path / "a.dcm"))
    shown = replace(_answer(radiograph), saliency_verdict="it passed")
    failed = replace(shown, saliency_verdict="it does not localise", saliency_shown=False)
    bare = replace(shown, saliency=None)
    nothing = replace(shown, saliency=np.zeros(radiograph.size, np.float32))
    pictures = []
    for prediction, words in (
        (shown, "NORMAL: it passed"),
        (failed, "left out: it does not localise"),
        (nothing, "it passed"),
    ):
        overlay = answer_objects(source, prediction, radiograph.pixels, ALGORITHM)[-1]
        assert words in overlay.DerivationDescription
        pictures.append(overlay.pixel_array)
    assert not np.array_equal(pictures[0], pictures[1])
    assert np.array_equal(pictures[1], pictures[2])
    assert [data.Modality for data in answer_objects(source, bare, radiograph.pixels, ALGORITHM)] == [
        "SEG",
        "SR",
    ]
