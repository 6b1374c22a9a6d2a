"""An exported model where torch need not be installed: predicted with, evaluated, served; its file damaged."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import multimix
from multimix.cli import main
from multimix.data.manifest import write_manifest
from multimix.data.phantom import CHILD, generate
from multimix.errors import CheckpointError, UsageError
from multimix.types import Record

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: multimix[runtime]")

STORED = Path(__file__).resolve().parents[1] / "stored" / "small.onnx"
"""What `multimix export` made of tests/deployment/models.py."""


def chests(folder: Path, count: int = 3) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"chest_{number}.png" for number in range(count)]
    for path, image in zip(paths, generate(count, 80, seed=4, domain=CHILD).images, strict=True):
        Image.fromarray(image).save(path)
    return paths


def run(*words: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["multimix", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0)


def test_several_images_are_answered_as_each_alone(tmp_path: Path) -> None:
    predictor = multimix.load(STORED)
    paths = chests(tmp_path)
    together = predictor(paths, force=True)
    assert isinstance(together, list)
    for path, one in zip(paths, together, strict=True):
        alone = predictor(path, force=True)
        assert isinstance(alone, multimix.Prediction)
        assert alone.probabilities == one.probabilities
        assert sum(one.probabilities.values()) == pytest.approx(1)
        assert one.saliency is not None
        assert one.saliency.shape == (80, 80)
        assert all(np.array_equal(alone.masks[name], mask) for name, mask in one.masks.items())


def test_predict_goes_on_where_a_file_is_broken(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    first, second, _ = chests(folder)
    first.write_bytes(first.read_bytes()[:200])
    second.write_text("no image")
    assert run("predict", STORED, folder, "--out", tmp_path / "answers", "--force") == 1
    table = pd.read_csv(tmp_path / "answers" / "predictions.csv")
    assert list(table.status) == ["failed", "failed", "ok"]
    assert len(list((tmp_path / "answers" / "masks").iterdir())) == 2


def test_a_dicom_file_is_answered_with_objects_of_its_study(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed: multimix[dicom]")
    pytest.importorskip("highdicom", reason="highdicom is not installed: multimix[dicom]")
    import studies

    source = studies.dx()
    path = studies.save(source, tmp_path / "in" / "chest.dcm")
    assert run("predict", STORED, path, "--format", "dicom", "--force", "--out", tmp_path / "answers") == 0
    made = [pydicom.dcmread(file) for file in (tmp_path / "answers").rglob("*.dcm")]
    assert {one.Modality for one in made} >= {"SEG", "SR"}
    assert {one.StudyInstanceUID for one in made} == {source.StudyInstanceUID}


def test_evaluate_scores_it(tmp_path: Path) -> None:
    paths = chests(tmp_path / "images", 6)
    labels = ("NORMAL", "PNEUMONIA") * 3
    records = [
        Record(path, {}, label, "test", path.stem, "wards") for path, label in zip(paths, labels, strict=True)
    ]
    write_manifest(tmp_path / "manifest.csv", records)
    words = ("--class-source", "wards", "--out", tmp_path / "E")
    assert run("evaluate", STORED, tmp_path / "manifest.csv", *words) == 0
    assert len(pd.read_csv(next((tmp_path / "E").rglob("per_image.csv")))) == 6


def test_answers_side_by_side_are_the_same() -> None:
    predictor = multimix.load(STORED)
    image = generate(1, 64, seed=2).images[0]
    before = predictor(image, force=True)
    assert predictor.backend.share_cores(3) == 3
    after = predictor(image, force=True)
    assert isinstance(before, multimix.Prediction)
    assert isinstance(after, multimix.Prediction)
    assert after.probabilities == pytest.approx(before.probabilities, abs=1e-5)


def test_it_has_no_network_of_torch() -> None:
    with pytest.raises(UsageError, match="not computed by torch"):
        multimix.load(STORED).model  # noqa: B018


@pytest.mark.parametrize(("device", "precision"), [("cuda", "32-true"), ("cpu", "bf16-mixed")])
def test_it_is_computed_on_the_processor_in_32_bits(device: str, precision: str) -> None:
    with pytest.raises(UsageError, match="an exported model is computed on the processor"):
        multimix.load(STORED, device, precision=precision)


@pytest.mark.parametrize("kept", [0, 1, 1000, -1, -4000])
def test_a_file_that_was_cut_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(STORED.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"cut\.onnx: "):
        multimix.load(path)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    for content in (b"no model", bytes(range(256)) * 10, b"\xff" * 64):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"other\.onnx: "):
            multimix.load(path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        multimix.load(tmp_path / "missing.onnx")
