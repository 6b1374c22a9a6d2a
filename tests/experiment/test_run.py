"""The grid: what is run, that it goes on where it stopped, and what is stored."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import tiny
from multimix.data.manifest import read_manifest
from multimix.data.seal import read_seal, seal_part
from multimix.errors import ManifestError, SealError, UsageError
from multimix.experiment.run import CellState, run_benchmark, states, summary, write_examples
from multimix.experiment.spec import Cell, Spec
from multimix.inference.load import load
from multimix.inference.torch_backend import predictor_of
from multimix.io.run_folder import CELL, read_log
from multimix.networks.load import load_model, save_model
from multimix.networks.model import MultiMix
from multimix.reliability.calibration import Reliability
from multimix.training.state import load_state
from multimix.types import Record
from multimix.weights.file import BEST, LAST, ModelSpec

SPEC = """
methods: [enc, multimix]
class_labels: [6]
mask_labels: [3]
seeds: [0]
class_source: [wards]
mask_source: [lungs]
run:
  device: cpu
  checkpoint_seconds: 0
  validate_every: 10
  data: {size: 16}
  model: {widths: [2, 2, 2, 2, 2]}
  streams: {classes: 2, unlabelled_classes: 2, masks: 2}
  optim: {steps: 40}
"""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_xrays(tmp_path_factory.mktemp("xrays") / "data")


@pytest.fixture(scope="module")
def spec_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("spec") / "spec.yaml"
    file.write_text(SPEC)
    return file


@pytest.fixture(scope="module")
def whole(manifest: Path, spec_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "benchmark"
    ended = run_benchmark(Spec.read(spec_file), manifest, out, processes=2)
    assert [state.state for state in ended] == ["finished", "finished"]
    return out


def test_the_most_probable_class_is_judged_and_no_operating_point(
    whole: Path, manifest: Path, spec_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "benchmark"
    shutil.copytree(whole, out)
    cell = out / "enc-c6-s0"
    (cell / CELL).unlink()
    known = load_model(cell / "run")
    # What was answered most often is decided for no more, so that an operating point would show.
    often = pd.read_parquet(cell / "per_image.parquet")["predicted"].mode()[0] == known.spec.classes[0]
    thresholds = (0.999, 0.001) if often else (0.001, 0.999)
    other = replace(known.reliability or Reliability(), thresholds=thresholds)
    save_model(cell / "run" / BEST, known.model.state_dict(), known.spec, known.trivial_masks, other)
    run_benchmark(Spec.read(spec_file), manifest, out, processes=1)
    rows = pd.read_parquet(cell / "per_image.parquet")
    most_probable = rows[[f"p_{name}" for name in known.spec.classes]].to_numpy().argmax(axis=1)
    assert rows["predicted"].tolist() == [known.spec.classes[index] for index in most_probable]
    assert load(cell / "run").reliability.thresholds == thresholds  # it is `predict` that decides by them


def test_a_cell_differs_from_another_in_method_budget_and_seed_alone(manifest: Path, spec_file: Path) -> None:
    spec = Spec.read(spec_file)
    one = Cell("multimix", 6, 3, 0).config(spec, manifest).to_mapping()
    other = Cell("enc", 6, None, 4).config(spec, manifest).to_mapping()
    different = {key for key in one if one[key] != other[key]}
    assert different == {"method", "seed", "data"}
    assert {k for k in one["data"] if one["data"][k] != other["data"][k]} == {"mask_source", "mask_labels"}


def test_what_is_stored(whole: Path) -> None:
    facts = json.loads((whole / "multimix-c6-m3-s0" / "cell.json").read_text())
    assert facts["method"] == "multimix"
    assert facts["steps"] == 40
    assert facts["in_domain"] == ["lungs", "wards"]
    assert facts["classes"] == ["NORMAL", "PNEUMONIA"]
    table = pd.read_parquet(whole / "multimix-c6-m3-s0" / "per_image.parquet")
    assert table["source"].value_counts().to_dict() == {"wards": 6, "lungs": 3}
    scores = pd.read_csv(whole / "summary.csv")
    assert set(scores["method"]) == {"enc", "multimix"}
    mine = scores.query("method == 'multimix' and metric == 'dice_lungs'")
    assert mine["value"].item() == pytest.approx(table["dice_lungs"].mean())


def test_both_methods_saw_the_same_labels(whole: Path) -> None:
    labelled = []
    for cell in ("enc-c6-s0", "multimix-c6-m3-s0"):
        split = pd.read_csv(whole / cell / "run" / "split.csv")
        labelled.append(
            sorted(split[split["role"] == "labelled_classes"]["image"].map(lambda p: Path(p).name))
        )
    assert labelled[0] == labelled[1]
    assert len(labelled[0]) == 6


def test_a_finished_benchmark_is_not_run_again(whole: Path, manifest: Path, spec_file: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in whole.rglob("cell.json")}
    run_benchmark(Spec.read(spec_file), manifest, whole)
    assert {file: file.stat().st_mtime_ns for file in whole.rglob("cell.json")} == before


def test_killed_in_the_middle_it_ends_in_the_same_table(
    whole: Path, manifest: Path, spec_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    command = [
        sys.executable,
        "-m",
        "multimix",
        "benchmark",
        spec_file,
        "--data",
        manifest,
        "--out",
        out,
        "-j",
        "1",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        log = out / "enc-c6-s0" / "run" / "log.jsonl"
        while process.poll() is None and not read_log(log):
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        # Its worker, which has the same output, notices at its next step or finishes its cell: then nothing is open.
        assert process.stdout is not None
        process.stdout.read()
    assert not (out / "summary.csv").exists()
    spec = Spec.read(spec_file)
    assert all(state.state == "finished" for state in run_benchmark(spec, manifest, out))
    assert (out / "summary.csv").read_bytes() == (whole / "summary.csv").read_bytes()
    for cell in spec.cells():
        for name in ("per_image.parquet", "scores.json"):
            assert (out / cell.name / name).read_bytes() == (whole / cell.name / name).read_bytes()


def test_ctrl_c_for_the_parent_alone_stops_its_cells_with_a_checkpoint(
    manifest: Path, tmp_path: Path
) -> None:
    file, out = tmp_path / "spec.yaml", tmp_path / "out"
    text = SPEC.replace("[enc, multimix]", "[enc]").replace("steps: 40", "steps: 400")
    file.write_text(text.replace("checkpoint_seconds: 0", "checkpoint_seconds: 1000"))
    # Else Ctrl-C is ignored where the tests run in the background of a shell.
    code = (
        "import signal as s; s.signal(s.SIGINT, s.default_int_handler); from multimix.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "benchmark", file, "--data", manifest, "--out", out]
    run = out / "enc-c6-s0" / "run"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not read_log(run / "log.jsonl"):
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        said = process.communicate()[1]
    assert (process.returncode, said.splitlines()[-1]) == (130, "Stopped.")
    assert "Traceback" not in said
    step = load_state(run / LAST).step
    # With no other checkpoint in 1000 seconds: the step that was being done when it was interrupted.
    assert read_log(run / "log.jsonl")[-1]["step"] <= step < 400
    assert not (out / "enc-c6-s0" / "cell.json").exists()
    (ended,) = run_benchmark(Spec.read(file), manifest, out)
    assert ended.state == "finished"
    losses = [line["step"] for line in read_log(run / "log.jsonl") if "classification" in line]
    assert losses == [*range(10, 401, 10)]


def test_a_cell_whose_process_dies_costs_no_other(manifest: Path, spec_file: Path, tmp_path: Path) -> None:
    spec, killed = Spec.read(spec_file), []

    def kill_the_first(now: Sequence[CellState]) -> None:
        # A cell is alone here, so the only child that has begun training is its process.
        if not killed and now[0].state == "training":
            (worker,) = multiprocessing.active_children()
            os.kill(worker.pid or 0, signal.SIGKILL)
            killed.append(worker.pid)

    ended = run_benchmark(replace_steps(spec, 400), manifest, tmp_path / "out", watch=kill_the_first)
    assert killed
    assert [state.state for state in ended] == ["failed", "finished"]
    assert "status -9" in ended[0].reason


def replace_steps(spec: Spec, steps: int) -> Spec:
    return replace(spec, run=replace(spec.run, optim=replace(spec.run.optim, steps=steps)))


def test_a_cell_that_fails_costs_no_other(manifest: Path, tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(
        SPEC.replace("class_labels: [6]", "class_labels: [1000]").replace("[enc, multimix]", "[enc, u-net]")
    )
    spec = Spec.read(file)
    ended = run_benchmark(spec, manifest, tmp_path / "out", processes=2)
    assert [state.state for state in ended] == ["failed", "finished"]
    assert "1000" in ended[0].reason
    assert [state.state for state in states(spec, tmp_path / "out")] == ["failed", "finished"]
    assert set(summary(tmp_path / "out", spec.cells())["method"]) == {"u-net"}


def test_another_spec_in_the_same_folder_is_refused(whole: Path, manifest: Path, spec_file: Path) -> None:
    with pytest.raises(UsageError, match="another spec"):
        run_benchmark(Spec(methods=("enc",)), manifest, whole)


def test_a_source_that_is_not_there_is_told_before_anything_is_done(manifest: Path, tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(SPEC + "cross_mask_source: [elsewhere]\n")
    with pytest.raises(
        ManifestError, match="no image of source 'elsewhere' in the manifest; it has 'lungs', 'wards'"
    ):
        run_benchmark(Spec.read(file), manifest, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_data_it_says_so(tmp_path: Path, spec_file: Path) -> None:
    with pytest.raises(UsageError, match="--data"):
        run_benchmark(Spec.read(spec_file), None, tmp_path / "out")


def test_a_second_benchmark_in_the_same_folder_is_refused(
    manifest: Path, spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multimix.io.locks.PATIENCE", 0.1)
    out, refused = tmp_path / "out", []

    def begin_another(now: Sequence[CellState]) -> None:
        if not refused:
            with pytest.raises(UsageError, match="another process is at work") as caught:
                run_benchmark(Spec.read(spec_file), manifest, out)
            refused.append(caught)

    ended = run_benchmark(Spec.read(spec_file), manifest, out, watch=begin_another)
    assert refused
    assert [state.state for state in ended] == ["finished", "finished"]


def test_examples_of_several_structures_and_folders_do_not_overwrite_each_other(tmp_path: Path) -> None:
    names = ("wards", "lateral")
    pixels = np.tile(np.arange(16, dtype=np.uint8) * 16, (16, 1))
    for name in names:
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "1.png")
        Image.fromarray((pixels > 90).astype(np.uint8) * 255).save(tmp_path / name / "mask.png")
    structures = ("heart", "lungs")
    model = MultiMix(structures=len(structures), widths=(2, 2, 2, 2, 2)).eval()
    predictor = predictor_of(model, ModelSpec(("a", "b"), structures, size=16))
    masks = dict.fromkeys(structures, (tmp_path / "wards" / "mask.png",))
    records = [Record(tmp_path / name / "1.png", masks=masks, source="s") for name in names]
    write_examples(predictor, records, tmp_path / "out")
    kinds = ("boundary_heart", "boundary_lungs", "saliency")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        f"s_{image}--{kind}.png" for image in ("1", "1_2") for kind in kinds
    }


def test_a_cell_says_the_size_that_it_was_trained_at(manifest: Path, tmp_path: Path, spec_file: Path) -> None:
    plain = Spec.read(spec_file)
    spec = replace(plain, methods=("enc",), own={"enc": {"data": {"size": 32}, "optim": {"steps": 2}}})
    run_benchmark(spec, manifest, tmp_path / "out", processes=1)
    cell = json.loads((tmp_path / "out" / "enc-c6-s0" / CELL).read_text())
    assert (plain.run.data.size, cell["size"], cell["steps"]) == (16, 32, 2)


def test_a_grid_is_one_look_at_a_sealed_part(manifest: Path, spec_file: Path, tmp_path: Path) -> None:
    data = shutil.copytree(manifest.parent, tmp_path / "data") / "manifest.csv"
    seal = seal_part(read_manifest(data), "test", tmp_path / "looks.jsonl")
    spec = Spec.read(spec_file)
    spec = replace(spec, run=replace(spec.run, optim=replace(spec.run.optim, steps=2)))
    run_benchmark(spec, data, tmp_path / "grid", processes=2, seal_log=seal.log)
    (look,) = read_seal(seal.log).looks
    assert look["sources"] == ["wards", "lungs"]
    assert look["by"] == "benchmark grid"
    for cell in ("enc-c6-s0", "multimix-c6-m3-s0"):
        stored = json.loads((tmp_path / "grid" / cell / "scores.json").read_text())["look"]
        assert stored == {"hash": look["hash"], "numbers": {"wards": 1, "lungs": 1}}
        assert read_seal(tmp_path / "grid" / cell / "seal.jsonl").looks == (look,)
    other = replace(spec, methods=("enc",), seeds=(1,))
    run_benchmark(other, data, tmp_path / "more", seal_log=seal.log)
    stored = json.loads((tmp_path / "more" / "enc-c6-s1" / "scores.json").read_text())["look"]
    assert stored["numbers"] == {"wards": 2, "lungs": 2}
    shutil.copy(data.parent / "images/val_NORMAL_0.png", data.parent / "images/test_NORMAL_0.png")
    with pytest.raises(SealError, match="'wards' are not those that were sealed"):
        run_benchmark(other, data, tmp_path / "third", seal_log=seal.log)
    assert not (tmp_path / "third").exists()
