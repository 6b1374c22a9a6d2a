"""`multimix seal`, and what `evaluate` and `benchmark` do with a sealed part."""

import json
import shutil
from pathlib import Path

import pytest

import tiny
from multimix.data.manifest import read_manifest
from multimix.data.seal import read_seal
from multimix.training.trainer import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/ and run/."""
    folder = tmp_path_factory.mktemp("seal")
    train(tiny.run_config(tiny.write_xrays(folder / "data")), folder / "run")
    return folder


@pytest.fixture
def study(trained: Path, tmp_path: Path) -> Path:
    """A copy of it to seal."""
    shutil.copytree(trained / "data", tmp_path / "data")
    shutil.copytree(trained / "run", tmp_path / "run")
    file = tmp_path / "run" / "config.yaml"
    file.write_text(file.read_text().replace(str(trained), str(tmp_path)))
    return tmp_path


def test_a_part_is_sealed_checked_and_refused(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = tiny.multimix(capsys, "seal", study / "data")
    assert first.code == 0, first.err
    assert "split test is sealed and unchanged" in first.out
    log = study / "data" / "manifest.seal.jsonl"
    before = log.read_bytes()
    again = tiny.multimix(capsys, "seal", study / "data")
    assert again.code == 0
    assert log.read_bytes() == before
    other = tiny.multimix(capsys, "seal", study / "data", "--split", "val")
    assert other.code == 2
    assert "seals the split test, not val" in other.err
    image = study / "data" / "images" / "test_NORMAL_0.png"
    image.write_bytes((study / "data" / "images" / "val_NORMAL_0.png").read_bytes())
    changed = tiny.multimix(capsys, "seal", study / "data")
    assert changed.code == 1
    assert "'wards' are not those that were sealed" in changed.errors[0]


def test_every_evaluation_is_a_look_and_says_which(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.multimix(capsys, "seal", study / "data")
    first = tiny.multimix(capsys, "evaluate", study / "run", "--class-source", "wards", "--out", study / "a")
    assert first.code == 0, first.err
    assert "look 1 at wards (confirmatory)" in first.out
    second = tiny.multimix(capsys, "evaluate", study / "run", "--out", study / "b")
    assert "look 2 at wards (exploratory), look 1 at lungs (confirmatory)" in second.out
    same = tiny.multimix(capsys, "evaluate", study / "run", "--out", study / "c")
    assert "look 2 at wards (exploratory), look 1 at lungs (confirmatory)" in same.out
    val = tiny.multimix(capsys, "evaluate", study / "run", "--split", "val", "--out", study / "d")
    assert "look" not in val.out
    log = read_seal(study / "data" / "manifest.seal.jsonl")
    assert [line["by"] for line in log.looks] == ["evaluate run"] * 2
    stored = json.loads((study / "b" / "scores.json").read_text())
    assert stored["look"] == {"hash": log.looks[1]["hash"], "numbers": {"wards": 2, "lungs": 1}}
    assert read_seal(study / "b" / "seal.jsonl").lines == log.lines
    assert "look" not in json.loads((study / "d" / "scores.json").read_text())
    assert not (study / "d" / "seal.jsonl").exists()


def test_a_changed_part_is_not_judged(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.multimix(capsys, "seal", study / "data")
    manifest = study / "data" / "manifest.csv"
    manifest.write_text(
        manifest.read_text().replace("test_NORMAL_0.png,,NORMAL", "test_NORMAL_0.png,,PNEUMONIA")
    )
    answer = tiny.multimix(capsys, "evaluate", study / "run", "--out", study / "a")
    assert answer.code == 1
    assert "labels were changed" in answer.errors[0]
    assert not (study / "a").exists()
    assert read_seal(study / "data" / "manifest.seal.jsonl").looks == ()


def test_the_log_may_lie_elsewhere(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = study / "looks" / "xrays.seal.jsonl"
    assert tiny.multimix(capsys, "seal", study / "data", "--seal-log", log).code == 0
    assert not (study / "data" / "manifest.seal.jsonl").exists()
    answer = tiny.multimix(capsys, "evaluate", study / "run", "--seal-log", log, "--out", study / "a")
    assert f"counted in {log}" in answer.out
    assert len(read_seal(log).looks) == 1
    wrong = tiny.multimix(
        capsys, "evaluate", study / "run", "--seal-log", study / "none", "--out", study / "b"
    )
    assert wrong.code == 2
    assert "no such file" in wrong.errors[0]


def test_a_log_that_cannot_be_written_is_told_before_anything_is_judged(
    study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.multimix(capsys, "seal", study / "data")

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("filelock.FileLock.acquire", read_only)
    answer = tiny.multimix(capsys, "evaluate", study / "run", "--out", study / "a")
    assert answer.code == 1
    assert "Read-only file system" in answer.errors[0]
    assert "name it with --seal-log" in answer.errors[0]
    assert not (study / "a").exists()


def test_a_part_of_the_training_patients_is_set_aside_and_sealed(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = study / "data" / "sealed.csv"
    answer = tiny.multimix(capsys, "seal", study / "data", "--from-train", "0.4", "--out", out)
    assert answer.code == 0, answer.err
    before = {r.image.name: r for r in read_manifest(study / "data")}
    after = read_manifest(out)
    assert {r.split for r in after} == {"train", "val", "test"}
    assert all(before[r.image.name].split in ("train", r.split) for r in after)
    assert not [r for r in after if before[r.image.name].split == "test"]
    seal = read_seal(study / "data" / "sealed.seal.jsonl")
    assert "blake2b-64(p) / 2^64 < 0.4" in seal.lines[0]["rule"]
    assert sum(about["images"] for about in seal.sources.values()) == sum(r.split == "test" for r in after)
    # The run has learned from today's training part, so it cannot be judged on what was set aside of it.
    judged = tiny.multimix(
        capsys, "evaluate", study / "run", out, "--class-source", "wards", "--out", study / "a"
    )
    assert judged.code == 1
    assert "has learned from" in judged.errors[0]
    assert read_seal(seal.log).looks == ()
    again = tiny.multimix(capsys, "seal", study / "data", "--from-train", "0.4", "--out", out)
    assert again.code == 2
    assert "exists" in again.errors[0]


def test_a_part_set_aside_is_made_anew_from_a_published_log(
    study: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    log = tmp_path / "published.seal.jsonl"
    first, second, third = (study / "data" / f"{name}.csv" for name in "abc")
    options = ("seal", study / "data", "--seal-log", log, "--from-train")
    assert tiny.multimix(capsys, *options, "0.4", "--out", first).code == 0
    before = log.read_bytes()
    assert tiny.multimix(capsys, *options, "0.4", "--out", second).code == 0
    assert second.read_bytes() == first.read_bytes()
    assert log.read_bytes() == before
    other = tiny.multimix(capsys, *options, "0.6", "--out", third)
    assert other.code == 1
    assert "are not those that were sealed" in other.errors[0]
    assert not third.exists()


def test_weights_that_do_not_say_whom_they_learned_from(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.multimix(capsys, "seal", study / "data")
    weights = shutil.copy(study / "run" / "best.safetensors", study / "w.safetensors")
    answer = tiny.multimix(
        capsys, "evaluate", weights, study / "data", "--class-source", "wards", "--out", study / "a"
    )
    assert answer.code == 0, answer.err
    assert "does not say whom it learned from" in answer.err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--from-train", "0.2"], "--from-train and --out belong together"),
        (["--out", "x.csv"], "--from-train and --out belong together"),
        (["--split", "dev"], "no image is in it"),
        (["--from-train", "0.2", "--out", "x.csv", "--split", "val"], "leave --split out"),
        (["--from-train", "2", "--out", "x.csv"], "a share of 2 cannot be set aside"),
    ],
)
def test_options_that_do_not_go_together(
    trained: Path,
    options: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = tiny.multimix(capsys, "seal", trained / "data", *options)
    assert answer.code == 2
    assert says in answer.errors[0]
    assert list(tmp_path.iterdir()) == []
