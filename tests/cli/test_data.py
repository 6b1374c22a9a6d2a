"""`multimix data` on the command line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.pictures import picture

import tiny
from multimix.data.manifest import read_manifest
from multimix.io.run_folder import read_config


def test_good_leaves_out_rows_that_cannot_be_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = ["image,label,split,patient"]
    for i in range(8):
        picture(tmp_path / f"{i}.png", i)
        rows.append(f"{i}.png,{'AB'[i % 2]},{('train', 'train', 'val', 'test')[i // 2]},p{i}")
    rows += ["8.png,A,part,p8", "gone.png,A,train,p9", "0.png,A"]
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    answer = tiny.multimix(capsys, "data", "check", tmp_path)
    assert answer.code == 1
    assert "3 errors" in answer.out
    assert "--good FILE writes a manifest" in answer.out
    answer = tiny.multimix(capsys, "data", "check", tmp_path, "--good", tmp_path / "good.csv")
    assert f"{tmp_path / 'good.csv'}: 8 of 11 rows" in answer.out
    assert len(read_manifest(tmp_path / "good.csv")) == 8
    assert tiny.multimix(capsys, "data", "check", tmp_path / "good.csv").code == 0


def test_classes_of_one_patient_are_confirmed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = ["image,label,patient"]
    for i in range(6):
        picture(tmp_path / f"{i}.png", i)
        rows.append(f"{i}.png,{'ABC'[i // 2]},p{i // 2}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    assert tiny.multimix(capsys, "data", "check", tmp_path).code == 1
    assert tiny.multimix(capsys, "data", "check", tmp_path, "--confirm-classes").code == 0


def test_images_in_colour_are_learned_in_colour(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for number in range(count):
            for name, colour in (("red", (190, 60, 60)), ("blue", (60, 60, 190))):
                pixels = np.full((32, 32, 3), colour) + rng.integers(-20, 20, (32, 32, 3))
                file = tmp_path / "spots" / split / name / f"{split}{name}{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(file)
    assert tiny.multimix(capsys, "data", "index", tmp_path / "spots", "--patient-per-image").code == 0
    options = (
        "--class-source",
        "spots",
        "--method",
        "enc",
        "--size",
        "16",
        "--steps",
        "1",
        "--device",
        "cpu",
    )
    run = tmp_path / "run"
    answer = tiny.multimix(
        capsys, "train", tmp_path / "spots", *options, "--set", "model.widths=[2,2,2,2,2]", "--out", run
    )
    assert answer.code == 0
    assert "Learned from images in colour: 8 with class" in answer.out
    assert read_config(run).data.channels == 3
    assert tiny.multimix(capsys, "train", "--out", run, "--resume").code == 0
    assert (
        tiny.multimix(capsys, "predict", run, tmp_path / "spots/val/red", "--out", tmp_path / "a").code == 0
    )


def test_a_split_and_folds_are_drawn_by_patient(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = ["image,label,patient,split"]
    for i in range(24):
        picture(tmp_path / f"{i}.png", i)
        rows.append(f"{i}.png,{'AB'[i % 2]},p{i // 2},train")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "drawn.csv"
    answer = tiny.multimix(capsys, "data", "split", tmp_path, "--out", out, "--shares", "0.5,0.25,0.25")
    assert f"{out}: train 12, val 6, test 6 of 24 images" in answer.out
    assert tiny.multimix(capsys, "data", "split", tmp_path, "--out", out).code == 2
    wrong = tiny.multimix(capsys, "data", "split", tmp_path, "--out", tmp_path / "x.csv", "--shares", "1")
    assert "expected three numbers" in wrong.err
    fold = tmp_path / "fold.csv"
    answer = tiny.multimix(capsys, "data", "split", tmp_path, "--out", fold, "--folds", "4")
    assert answer.code == 0, answer.err
    folds = [read_manifest(tmp_path / f"fold{number}.csv") for number in range(1, 5)]
    tested = [record.image.name for fold in folds for record in fold if record.split == "test"]
    assert sorted(tested) == sorted(f"{i}.png" for i in range(24))
