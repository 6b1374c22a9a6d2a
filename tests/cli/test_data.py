"""`multimix data` on the command line."""

from pathlib import Path

import pytest
from tests.data.pictures import picture

import tiny
from multimix.data.manifest import read_manifest


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
