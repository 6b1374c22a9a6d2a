"""Segmentation and report as others read them: OHIF's own loader, dcmqi (3D Slicer), dcmtk.

`npm install` in `tests/io/dicom/readers` brings the first, `pip install dcmqi` the second, Debian's dcmtk the third;
what is missing is skipped.
"""

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

import studies
from multimix.io.dicom.objects import Algorithm, answer_objects
from multimix.io.dicom.report import as_enhanced
from multimix.io.readers import read_image, read_mask
from multimix.types import Prediction

READERS = Path(__file__).parent / "readers"
SOURCES = {"DX": studies.dx, "CR, oblong": studies.cr, "capture": studies.capture}


def answered(source: Dataset, folder: Path, structures: int = 3) -> tuple[Prediction, list[Path]]:
    """An answer of up to three structures, of which one is empty and two overlap; and its files."""
    radiograph = read_image(studies.save(source, folder / "source.dcm"))
    height, width = radiograph.size
    masks = {
        "lungs": radiograph.pixels[0] < 0.5,
        "heart": np.zeros((height, width), bool),
        "right half": np.tile(np.arange(width) > width // 2, (height, 1)),
    }
    prediction = Prediction(
        "source.dcm",
        {"NORMAL": 0.2, "PNEUMONIA": 0.8},
        "PNEUMONIA",
        dict(list(masks.items())[:structures]),
        None,
        radiograph.spacing,
        radiograph.spacing_note,
    )
    files = []
    for made in answer_objects(source, prediction, radiograph.pixels, Algorithm("multimix", "1", "ab" * 32)):
        files.append(studies.save(made, folder / f"{made.Modality}.dcm"))
    return prediction, files


def tool(name: str) -> str:
    """A program beside Python or on the path, or a skip."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    return found or pytest.skip(f"{name} is not installed")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reader of OHIF as one file that Node runs."""
    esbuild = READERS / "node_modules" / ".bin" / "esbuild"
    if shutil.which("node") is None or not esbuild.exists():
        pytest.skip("needs node, and `npm install` in tests/io/dicom/readers")
    file = tmp_path_factory.mktemp("readers") / "read_segmentation.cjs"
    options = ("--bundle", "--platform=node", "--format=cjs", "--log-level=error", f"--outfile={file}")
    subprocess.run([esbuild, READERS / "read_segmentation.mjs", *options], check=True, timeout=120)
    return file


@pytest.mark.parametrize("kind", SOURCES)
def test_ohif_reads_the_masks_pixel_for_pixel(bundle: Path, kind: str, tmp_path: Path) -> None:
    prediction, (segmentation, _) = answered(SOURCES[kind](), tmp_path)
    command = ["node", "-r", READERS / "browser.cjs", bundle, tmp_path / "source.dcm", segmentation]
    done = subprocess.run(
        [*command, tmp_path / "x.json"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    read = json.loads((tmp_path / "x.json").read_text())
    assert read["segments"] == [None, *prediction.masks]
    shape = next(iter(prediction.masks.values())).shape
    for number, mask in enumerate(prediction.masks.values(), start=1):
        found = np.zeros(mask.size, bool)
        for layer in read["layers"]:
            for start, length in layer.get(str(number), []):
                found[start : start + length] = True
        np.testing.assert_array_equal(found.reshape(shape), mask)


@pytest.mark.parametrize("kind", SOURCES)
def test_dcmqi_reads_the_masks_pixel_for_pixel(kind: str, tmp_path: Path) -> None:
    prediction, (segmentation, _) = answered(SOURCES[kind](), tmp_path)
    command = [tool("segimage2itkimage"), "--inputDICOM", segmentation, "--outputDirectory", tmp_path]
    subprocess.run([*command, "--outputType", "nrrd"], check=True, capture_output=True, timeout=120)
    for number, mask in enumerate(prediction.masks.values(), start=1):
        header, data = (tmp_path / f"{number}.nrrd").read_bytes().split(b"\n\n", 1)
        fields = dict(line.split(": ", 1) for line in header.decode().splitlines() if ": " in line)
        assert (fields["type"], fields["encoding"], fields["endian"]) == ("short", "gzip", "little")
        width, height, depth = map(int, fields["sizes"].split())
        values = np.frombuffer(gzip.decompress(data), "<i2").reshape(depth, height, width)
        np.testing.assert_array_equal(values[0] > 0, mask)
        if prediction.spacing is not None:
            row, column = prediction.spacing
            across, down, _ = (json.loads(f"[{one[1:-1]}]") for one in fields["space directions"].split(" "))
            assert (across[0], down[1]) == pytest.approx((column, row))


def test_dcmqi_reads_the_report(tmp_path: Path) -> None:
    _, (_, report) = answered(studies.cr(), tmp_path)
    command = [tool("tid1500reader"), "--inputDICOM", report, "--outputMetadata", tmp_path / "x.json"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    groups = json.loads((tmp_path / "x.json").read_text())["Measurements"]
    assert [g["TrackingIdentifier"] for g in groups] == [
        "NORMAL",
        "PNEUMONIA",
        "lungs",
        "heart",
        "right half",
    ]
    values = [g["measurementItems"][0]["value"] for g in groups]
    assert [float(value) for value in values[:2]] == [0.2, 0.8]
    said = [g["qualitativeEvaluations"][0]["conceptValue"]["CodeMeaning"] for g in groups[:2]]
    assert said == ["Absent", "Present"]


@pytest.mark.parametrize("enhanced", [False, True])
def test_dcmtk_reads_the_report(enhanced: bool, tmp_path: Path) -> None:
    import pydicom

    _, (_, report) = answered(studies.dx(), tmp_path)
    if enhanced:
        made = as_enhanced(pydicom.dcmread(report))
        report = studies.save(made, tmp_path / "enhanced.dcm")
    told = subprocess.run([tool("dsrdump"), report], capture_output=True, text=True, check=True, timeout=60)
    assert "Error" not in told.stderr
    assert told.stdout.startswith(f"{'Enhanced' if enhanced else 'Comprehensive 3D'} SR Document")
    for words in ('"Probability")="0.8"', '"Absent")', '"Area")'):
        assert words in told.stdout


def test_our_own_segmentation_is_read_as_a_mask(tmp_path: Path) -> None:
    prediction, (segmentation, _) = answered(studies.cr(), tmp_path, structures=1)
    np.testing.assert_array_equal(read_mask([segmentation], (150, 110)), prediction.masks["lungs"])
