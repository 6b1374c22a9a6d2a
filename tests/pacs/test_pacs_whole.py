"""Must show: from the archive and back, with a real archive and foreign programs at both ends."""

import json
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from click.testing import CliRunner, Result
from orthanc import Orthanc, tool
from PIL import Image
from pydicom.dataset import Dataset

import studies
from multimix.cli.pacs import pacs
from multimix.inference.load import load

gdcm = pytest.importorskip("gdcm", reason="gdcm is not installed: `pip install python-gdcm`")

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
REPORT = "1.2.840.10008.5.1.4.1.1.88.34"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

MAKERS: dict[str, Callable[[], Dataset]] = {
    "dx": studies.dx,
    "cr": studies.cr,  # MONOCHROME1, 150 x 110
    "capture": studies.capture,  # 8 bits, 120 x 140
    "tall": lambda: studies.dx(
        (4095 - studies.phantom(170, 90).astype(np.uint16) * 16), PhotometricInterpretation="MONOCHROME1"
    ),
}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(pacs, [str(a) for a in arguments])


def once(model: Path, archive: Orthanc, queue: Path) -> Result:
    return run("run", model, "--dicomweb", archive.dicomweb, "--queue", queue, "--once")


def answers(archive: Orthanc, source: Dataset) -> dict[str, bytes]:
    """SOP class -> file, of what QIDO finds in the study beside the source."""
    found = archive.instances(source.StudyInstanceUID)
    return {item["kind"]: archive.file(item["uid"]) for item in found if item["uid"] != source.SOPInstanceUID}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_study_is_answered_in_the_archive(kind: str, model: Path, archive: Orthanc, tmp_path: Path):
    source = MAKERS[kind]()
    file = studies.save(source, tmp_path / "source.dcm")
    archive.store(file)
    done = once(model, archive, tmp_path / "queue")
    assert done.exit_code == 0, done.output
    assert "1 answered, 0 skipped, 0 failed, 0 waiting" in done.output

    found = archive.instances(source.StudyInstanceUID)
    assert sorted(item["kind"] for item in found) == sorted(
        [source.SOPClassUID, SEGMENTATION, REPORT, CAPTURE]
    )
    assert len({item["series"] for item in found}) == 4

    expected = load(model)(file)
    mask = np.asarray(Image.open(_predicted_mask(model, file, tmp_path)))
    assert mask.shape == (source.Rows, source.Columns)
    assert 0 < (mask == 255).sum() < mask.size
    objects = answers(archive, source)
    segmentation = highdicom.seg.segread(BytesIO(objects[SEGMENTATION]))
    frame = segmentation.pixel_array.reshape(-1, *mask.shape)[0]
    np.testing.assert_array_equal(frame * 255, mask)
    again = segmentation.get_pixels_by_source_instance([source.SOPInstanceUID])[0, :, :, 0]
    np.testing.assert_array_equal(again * 255, mask)
    numbers = [
        float(e.value) for e in pydicom.dcmread(BytesIO(objects[REPORT])).iterall() if e.tag == 0x0040A30A
    ]
    for probability in expected.probabilities.values():
        assert min(abs(number - probability) for number in numbers) < 1e-3
    for name, data in objects.items():
        _accepted(data, tmp_path / f"{name}.dcm")


def _predicted_mask(model: Path, file: Path, tmp_path: Path) -> Path:
    """What `multimix predict` writes for the same file."""
    from multimix.cli.predict import predict

    out = tmp_path / "predicted"
    done = CliRunner().invoke(predict, [str(model), str(file), "--out", str(out)])
    assert done.exit_code == 0, done.output
    return next((out / "masks").glob("*.png"))


def _accepted(data: bytes, file: Path) -> None:
    """Foreign programs read the object as the archive hands it out, and find no error."""
    file.write_bytes(data)
    dumped = subprocess.run([tool("dcmdump"), str(file)], capture_output=True, timeout=60, check=False)
    assert dumped.returncode == 0, dumped.stderr
    reader = gdcm.Reader()
    reader.SetFileName(str(file))
    assert reader.Read()
    checked = subprocess.run(
        [tool("dciodvfy"), str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        errors="replace",
    )
    errors = [line for line in (checked.stdout + checked.stderr).splitlines() if line.startswith("Error")]
    assert errors == []


def test_the_same_study_twice_makes_one_result(model: Path, archive: Orthanc, tmp_path: Path):
    source = studies.dx()
    file = studies.save(source, tmp_path / "source.dcm")
    archive.store(file)
    assert once(model, archive, tmp_path / "queue").exit_code == 0
    before = archive.instances(source.StudyInstanceUID)
    archive.store(file)
    again = once(model, archive, tmp_path / "queue")
    assert again.exit_code == 0
    assert "0 answered" in again.output
    fresh = once(model, archive, tmp_path / "another queue")  # the archive itself knows
    assert fresh.exit_code == 0, fresh.output
    assert "1 answered" in fresh.output
    assert archive.instances(source.StudyInstanceUID) == before
    shown = json.loads(run("status", "--queue", tmp_path / "another queue", "--json").output)
    assert shown["counts"] == {
        "found": 0,
        "received": 0,
        "answered": 0,
        "sent": 1,
        "skipped": 0,
        "ignored": 1,
        "failed": 0,
    }


def test_one_bad_image_among_good_ones(model: Path, archive: Orthanc, tmp_path: Path):
    lateral = studies.dx(seed=1, ViewPosition="LL", ViewCodeSequence=None)
    letter = studies.capture(seed=2, BodyPartExamined=None)
    good = studies.cr(seed=3)
    for number, data in enumerate((lateral, letter, good)):
        studies.save(data, tmp_path / "in" / f"{number}.dcm")
    archive.store(tmp_path / "in")
    done = once(model, archive, tmp_path / "queue")
    assert done.exit_code == 0, done.output
    assert "1 answered, 2 skipped, 0 failed, 0 waiting" in done.output
    assert len(archive.instances(good.StudyInstanceUID)) == 4
    shown = run("status", "--queue", tmp_path / "queue").output
    assert "0 waiting (0 found, 0 received, 0 answered), 1 sent, 2 skipped, 0 ignored, 0 failed" in shown
    reasons = {line.split()[1]: line for line in shown.splitlines() if line.startswith("skipped")}
    assert "lateral" in reasons[lateral.SOPInstanceUID]
    assert "does not say which part" in reasons[letter.SOPInstanceUID]
    again = once(model, archive, tmp_path / "queue")
    assert again.exit_code == 0
    assert "0 answered, 0 skipped, 0 failed" in again.output
    retried = run(
        *("run", model, "--dicomweb", archive.dicomweb, "--queue", tmp_path / "queue", "--once"),
        "--retry-failed",
    )
    assert retried.exit_code == 0, retried.output
    assert "0 answered, 2 skipped, 0 failed" in retried.output
    forced = run(
        "run",
        model,
        "--dicomweb",
        archive.dicomweb,
        "--queue",
        tmp_path / "queue",
        "--once",
        "--retry-failed",
        "--force",
    )
    assert forced.exit_code == 0, forced.output
    assert "2 answered, 0 skipped, 0 failed" in forced.output
    assert len(archive.instances(lateral.StudyInstanceUID)) == 4


def test_since_and_modality_choose(model: Path, archive: Orthanc, tmp_path: Path):
    old, new, other = studies.dx(seed=1, StudyDate="20200101"), studies.dx(seed=2), studies.cr(seed=3)
    for number, data in enumerate((old, new, other)):
        studies.save(data, tmp_path / "in" / f"{number}.dcm")
    archive.store(tmp_path / "in")
    done = run(
        *("run", model, "--dicomweb", archive.dicomweb, "--queue", tmp_path / "queue", "--once"),
        *("--since", "2024-01-02", "--modality", "DX"),
    )
    assert done.exit_code == 0, done.output
    counts = [len(archive.instances(data.StudyInstanceUID)) for data in (old, new, other)]
    assert counts == [1, 4, 1]


def test_an_archive_that_is_down_keeps_the_queue(model: Path, archive: Orthanc, tmp_path: Path):
    archive.kill()
    arguments = (
        "run",
        model,
        "--dicomweb",
        archive.dicomweb,
        "--queue",
        tmp_path / "queue",
        "--once",
        "--wait",
        "0.5",
    )
    done = run(*arguments)
    assert done.exit_code == 1
    assert "Not finished" in done.output
    told = run("status", "--queue", tmp_path / "queue").output
    assert "ConnectionError; check the address, and that the archive runs" in told
    archive.start()
    astray = run(*(f"{word}x" if word == archive.dicomweb else word for word in arguments))
    assert astray.exit_code == 1
    assert "the search for studies is refused (HTTP 404); check the path of the URL" in astray.output
    assert run(*arguments).exit_code == 0
    assert "Trouble" not in run("status", "--queue", tmp_path / "queue").output
