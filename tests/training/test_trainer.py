"""Training: it learns, writes what it says, and goes on as if nothing had happened."""

import csv
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import multimix.training.trainer
import tiny
from multimix.config import RunConfig
from multimix.data.manifest import read_manifest
from multimix.errors import CheckpointError, SplitError, TrainingError, UsageError
from multimix.io.locks import LOCK
from multimix.io.run_folder import read_log
from multimix.networks.load import load_model, save_model
from multimix.recipes import METHODS
from multimix.training.algorithm import WEIGHTS
from multimix.training.batch import MultiMixBatch
from multimix.training.machine import machine
from multimix.training.prepare import prepare
from multimix.training.schedule import learning_rate
from multimix.training.state import load_state
from multimix.training.trainer import Progress, Trainer, train
from multimix.types import Record
from multimix.weights.file import BEST, LAST, read_tensors


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_xrays(tmp_path_factory.mktemp("xrays") / "data")


def tensors(run: Path, name: str = LAST) -> dict[str, Tensor]:
    return {key: torch.from_numpy(values) for key, values in read_tensors(run / name)[0].items()}


def assert_equal_runs(one: Path, other: Path) -> None:
    for name in (BEST, LAST):
        a, b = tensors(one, name), tensors(other, name)
        assert a.keys() == b.keys()
        assert [key for key in a if not torch.equal(a[key], b[key])] == []
    assert (one / "log.jsonl").read_text() == (other / "log.jsonl").read_text()
    a, b = load_state(one / LAST), load_state(other / LAST)
    assert (a.step, a.best_score, a.stale) == (b.step, b.best_score, b.stale)


def at_step(step: int, act: Callable[[], object]) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.step == step:
            act()

    return report


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def long_run(manifest: Path, **changes: Any) -> RunConfig:
    """13 steps with dropout, validated out of step with the log."""
    return tiny.run_config(
        manifest, **{"validate_every": 4, "optim": {"steps": 13}, "model": {"dropout": 0.25}} | changes
    )


@pytest.fixture(scope="module")
def whole(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The long run, without a break."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(long_run(manifest), folder)
    return folder


@pytest.mark.numeric
def test_learns(manifest: Path, tmp_path: Path) -> None:
    config = tiny.run_config(
        manifest,
        data={"size": 32, "class_labels": 12, "mask_labels": 6},
        model={"widths": [8, 8, 8, 16, 16]},
        streams={"classes": 6, "unlabelled_classes": 6, "masks": 4, "balanced": True},
        optim={"steps": 60, "learning_rate": 0.01, "ema_decay": 0.8},
        validate_every=60,
    )
    train(config, tmp_path)
    first, last = (
        line for line in read_log(tmp_path / "log.jsonl") if line["step"] in (10, 60) and "dice" in line
    )
    # Limits that eight other seeds, which differ by more than any rounding, keep with room to spare: they end at a
    # half of the class loss at most, 0.6 of the Dice loss, AUC 1 and Dice 0.85.
    assert last["classification"] < 0.8 * first["classification"]
    assert last["dice"] < 0.8 * first["dice"]
    scores = read_log(tmp_path / "log.jsonl")[-1]
    # The validation images were seen by nobody: six with a class, three with a mask.
    assert scores["val_auc"] >= 7 / 9
    assert scores["val_dice"] > 0.7


def test_what_lies_in_the_folder(whole: Path, manifest: Path) -> None:
    names = {BEST, LAST, "config.yaml", "log.jsonl", "run.json", "split.csv", LOCK}
    assert {path.name for path in whole.iterdir()} == names
    assert RunConfig.read(whole / "config.yaml") == long_run(manifest)
    facts = json.loads((whole / "run.json").read_text())
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["machine"] == machine(torch.device("cpu"))
    assert facts["classes"] == ["NORMAL", "PNEUMONIA"]
    assert facts["structures"] == ["lungs"]
    assert facts["data"]["images"] == {
        "labelled_classes": 6,
        "unlabelled_classes": 6,
        "labelled_masks": 3,
        "unlabelled_masks": 3,
        "val_classes": 6,
        "val_masks": 3,
    }
    with (whole / "split.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 27
    assert {row["label"] for row in rows if row["role"].startswith("unlabelled")} == {""}


def test_the_log_has_a_line_every_ten_steps_and_every_validation(whole: Path, manifest: Path) -> None:
    lines = read_log(whole / "log.jsonl")
    assert [line["step"] for line in lines if "learning_rate" in line] == [10, 13]
    assert [line["step"] for line in lines if "score" in line] == [4, 8, 12, 13]
    losses = {"step", "classification", "pseudo_label", "dice", "consistency", "kept", "learning_rate"}
    assert {key for line in lines if "learning_rate" in line for key in line} == losses
    assert lines[2]["learning_rate"] == learning_rate(long_run(manifest).optim, 9)


@pytest.mark.numeric
def test_the_same_seed_is_the_same_run(whole: Path, manifest: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    train(long_run(manifest), tmp_path / "again")
    assert_equal_runs(whole, tmp_path / "again")
    train(long_run(manifest, seed=1, optim={"steps": 1}), tmp_path / "other")
    name = "model.encoder.blocks.0.conv1.weight"
    assert not torch.equal(tensors(whole)[name], tensors(tmp_path / "other")[name])


def test_the_best_checkpoint_is_the_best_validation(whole: Path) -> None:
    state, scores = (
        load_state(whole / LAST),
        [x["score"] for x in read_log(whole / "log.jsonl") if "score" in x],
    )
    assert state.best_score == max(scores)
    assert state.stale == len(scores) - 1 - scores.index(max(scores))


@pytest.mark.numeric
def test_the_average_of_the_weights_is_what_is_kept(manifest: Path, tmp_path: Path) -> None:
    train(tiny.run_config(manifest, optim={"steps": 2, "ema_decay": 0.0}), tmp_path / "raw")
    last = tensors(tmp_path / "raw")
    best = {k: v for k, v in tensors(tmp_path / "raw", BEST).items() if k.startswith("model.")}
    assert all(torch.equal(best[name], last[name]) for name in best)
    config = tiny.run_config(manifest, optim={"steps": 1, "ema_decay": 0.99})
    trainer = Trainer(config, multimix.training.trainer.prepare(config), tmp_path / "mean")
    name = "encoder.blocks.0.conv1.weight"
    start = trainer.model.state_dict()[name].clone()
    trainer.run()
    # After the first step the average is 1/10 of the initial weights and 9/10 of the new ones.
    new, kept = tensors(tmp_path / "mean")[f"model.{name}"], tensors(tmp_path / "mean", BEST)[f"model.{name}"]
    torch.testing.assert_close(kept, 0.1 * start + 0.9 * new)
    assert not torch.equal(start, new)


def test_the_mean_training_mask_lies_beside_the_weights(whole: Path) -> None:
    with (whole / "split.csv").open(newline="") as file:
        names = [Path(row["image"]).name for row in csv.DictReader(file) if row["role"] == "labelled_masks"]
    folder = Path(RunConfig.read(whole / "config.yaml").data.manifest).parent
    masks = [np.asarray(Image.open(folder / "masks" / name)) > 0 for name in names]
    trivial = load_model(whole).trivial_masks["lungs"]
    assert trivial.shape == (16, 16)
    # Halving a 32 x 32 mask and cutting it at one half moves its edge by less than a pixel.
    assert trivial.mean() == pytest.approx(np.mean(masks), abs=0.02)
    assert set(np.unique((trivial * 3).round(4))) <= {0, 1, 2, 3}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains(manifest: Path, tmp_path: Path, name: str) -> None:
    row = METHODS[name]
    given = {"optim": {"steps": 2}, "objective": {"masks_after": 0.0}}
    train(tiny.run_config(manifest, method=name, **given), tmp_path)
    losses, scores = read_log(tmp_path / "log.jsonl")
    assert {key for key in losses if key in WEIGHTS} == set(row.terms)
    assert ("kept" in losses, "kept_pixels" in losses) == (
        "pseudo_label" in row.terms,
        "pseudo_mask" in row.terms,
    )
    assert ("val_auc" in scores, "val_dice" in scores) == (row.classify, row.segment)
    spec = load_model(tmp_path).spec
    assert spec.classes == (("NORMAL", "PNEUMONIA") if row.classify else ())
    assert spec.structures == (("lungs",) if row.segment else ())


@pytest.mark.numeric
def test_half_precision_trains_and_says_nothing_of_it(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(logging.Logger, "handle", lambda self, record: told.append(record.getMessage()))
    train(tiny.run_config(manifest, precision="bf16-mixed", optim={"steps": 3}), tmp_path)
    assert told == []
    assert all(t.dtype == torch.float32 and t.isfinite().all() for t in tensors(tmp_path).values())


def as_double(held: Any) -> Any:
    """A batch, or a stream of one, with its float tensors in float64."""
    if isinstance(held, Tensor):
        return held.double() if held.is_floating_point() else held
    if held is None:
        return None
    return replace(held, **{field: as_double(value) for field, value in vars(held).items()})


@pytest.mark.numeric
@pytest.mark.parametrize("name", ["multimix", "multimix-plus", "multimix-t"])
def test_a_step_in_parts_is_the_same_step(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    moved = []
    for parts in (1, 2):
        config = tiny.run_config(
            manifest,
            method=name,
            seed=1,
            streams={"classes": 4, "unlabelled_classes": 4, "masks": 2, "micro_batches": parts},
        )
        trainer = Trainer(config, prepare(config), tmp_path / str(parts))
        # In float64 no rectifier is so near to zero that rounding in another order decides it.
        for network in (trainer.model, trainer.teacher):
            network.double()
        drawn = trainer.streams.batch
        monkeypatch.setattr(trainer.streams, "batch", lambda step, drawn=drawn: as_double(drawn(step)))
        terms = trainer.one_step()
        gradients = [p.grad for p in trainer.model.parameters() if p.grad is not None]
        moved.append((terms, gradients))
    for name, whole in vars(moved[0][0]).items():
        torch.testing.assert_close(vars(moved[1][0])[name], whole, msg=name)
    for whole, parts in zip(moved[0][1], moved[1][1], strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-6, atol=1e-9)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork, which makes killing quick")
def test_ten_kills_leave_no_trace(manifest: Path, tmp_path: Path) -> None:
    arguments = [
        *(str(manifest), *tiny.OPTIONS, "--steps", "30", "--set", "validate_every=7"),
        *("--set", "model.dropout=0.25", "--set", "checkpoint_seconds=0"),
    ]
    script = Path(__file__).with_name("killed_runs.py")
    command = [
        sys.executable,
        str(script),
        "10",
        str(tmp_path / "whole"),
        str(tmp_path / "broken"),
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = json.loads(done.stdout.splitlines()[-1])
    assert steps == sorted(steps)  # nothing that was done is lost
    assert len({step for step in steps if 0 < step < 30}) >= 4, steps
    assert_equal_runs(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.numeric
@pytest.mark.parametrize("step", [2, 4, 10, 12])
def test_ctrl_c_saves_and_resuming_leaves_no_trace(
    whole: Path, manifest: Path, tmp_path: Path, step: int
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(long_run(manifest), tmp_path, report=at_step(step, ctrl_c))
    assert signal.getsignal(signal.SIGINT) == handler
    assert load_state(tmp_path / LAST).step == step + 1
    assert train(long_run(manifest), tmp_path, resume=True).step == 13
    assert_equal_runs(whole, tmp_path)


def test_ctrl_c_inside_a_step_waits_for_its_end(
    whole: Path, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validate = multimix.training.trainer.validate

    def interrupted(*arguments: Any) -> Any:
        if not (tmp_path / LAST).exists():
            ctrl_c()
        return validate(*arguments)

    monkeypatch.setattr(multimix.training.trainer, "validate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(long_run(manifest), tmp_path)
    state = load_state(tmp_path / LAST)
    assert (state.step, state.best_score is None) == (4, False)
    train(long_run(manifest), tmp_path, resume=True)
    assert_equal_runs(whole, tmp_path)


def test_ctrl_c_twice_does_not_wait(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*arguments: Any) -> Any:
        ctrl_c()
        ctrl_c()

    monkeypatch.setattr(multimix.training.trainer, "validate", slow)
    with pytest.raises(KeyboardInterrupt):
        train(long_run(manifest, checkpoint_seconds=0), tmp_path)
    assert load_state(tmp_path / LAST).step == 3


def test_ctrl_c_after_the_last_step_is_heard(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = multimix.training.trainer.Trainer._measure_reliability

    def interrupted(self: Any) -> None:
        ctrl_c()
        measure(self)

    monkeypatch.setattr(multimix.training.trainer.Trainer, "_measure_reliability", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(long_run(manifest), tmp_path)
    assert load_state(tmp_path / LAST).step == 13


def test_resuming_a_finished_run_changes_nothing(whole: Path, manifest: Path) -> None:
    before = {path.name: path.read_bytes() for path in whole.iterdir()}
    assert train(long_run(manifest), whole, resume=True).step == 13
    assert {path.name: path.read_bytes() for path in whole.iterdir()} == before


@pytest.mark.numeric
def test_a_finished_run_knows_how_far_it_may_be_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny, "COUNTS", {"train": 24, "val": 21, "test": 1})
    config = tiny.run_config(tiny.write_xrays(tmp_path / "data"))
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", report=at_step(3, ctrl_c))
    assert load_model(tmp_path / "run").reliability is None  # the run has not come to its end
    train(config, tmp_path / "run", resume=True)
    loaded = load_model(tmp_path / "run")
    known = loaded.reliability
    assert known is not None
    assert known.temperature != 1
    assert (len(known.thresholds), len(known.quantiles)) == (2, 2)
    assert known.detector is not None
    before = (tmp_path / "run" / BEST).read_bytes()
    train(config, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / BEST).read_bytes() == before
    # A run of an older version has none, and gets the same.
    masks = {name: torch.from_numpy(mask) for name, mask in loaded.trivial_masks.items()}
    save_model(tmp_path / "run" / BEST, loaded.model.state_dict(), loaded.spec, masks)
    train(config, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / BEST).read_bytes() == before
    train(config, tmp_path / "whole")
    assert (tmp_path / "whole" / BEST).read_bytes() == before


def test_without_resume_a_run_begins_anew(whole: Path, manifest: Path, tmp_path: Path) -> None:
    train(long_run(manifest, seed=1, optim={"steps": 1}), tmp_path)
    train(long_run(manifest), tmp_path)
    assert_equal_runs(whole, tmp_path)


def test_checkpoints_come_by_the_clock(manifest: Path, tmp_path: Path) -> None:
    seen = []

    def report(progress: Progress) -> None:
        seen.append(load_state(tmp_path / LAST).step if (tmp_path / LAST).is_file() else None)

    train(tiny.run_config(manifest, optim={"steps": 3}), tmp_path / "unused")
    train(tiny.run_config(manifest, optim={"steps": 3}, checkpoint_seconds=0), tmp_path, report=report)
    assert seen == [1, 2, 3]
    seen.clear()
    (tmp_path / LAST).unlink()
    train(tiny.run_config(manifest, optim={"steps": 3}, checkpoint_seconds=1000), tmp_path, report=report)
    assert seen == [None, None, 3]


def test_a_loss_that_is_not_finite_stops_the_run(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned = poison(monkeypatch, step=3)
    with pytest.raises(TrainingError, match=r"the dice loss is not finite at step 10.*learning_rate"):
        train(long_run(manifest, method="u-net", validate_every=100), tmp_path)
    assert poisoned == [3]
    assert not (tmp_path / LAST).exists()
    assert not (tmp_path / BEST).exists()


@pytest.mark.numeric
def test_broken_weights_never_reach_a_checkpoint(
    whole: Path, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        poison(patch, step=5)
        with pytest.raises(
            TrainingError, match=r"the weights are not finite at step 6.*last checkpoint is kept"
        ):
            train(long_run(manifest, checkpoint_seconds=0), tmp_path)
    assert load_state(tmp_path / LAST).step == 5
    assert all(t.isfinite().all() for name in (BEST, LAST) for t in tensors(tmp_path, name).values())
    train(long_run(manifest, checkpoint_seconds=0), tmp_path, resume=True)
    assert_equal_runs(whole, tmp_path)


def test_broken_weights_are_never_the_best(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, step=2)
    with pytest.raises(TrainingError, match="the weights are not finite at step 4"):
        train(long_run(manifest), tmp_path)
    assert not (tmp_path / BEST).exists()


def test_a_learning_rate_that_is_far_too_high(manifest: Path, tmp_path: Path) -> None:
    config = long_run(manifest, optim={"steps": 13, "learning_rate": 1e30}, checkpoint_seconds=0)
    with pytest.raises(TrainingError, match="not finite"):
        train(config, tmp_path)
    assert all(t.isfinite().all() for name, t in tensors(tmp_path).items() if name.startswith("model."))


def poison(monkeypatch: pytest.MonkeyPatch, step: int) -> list[int]:
    """The images of one step become NaN."""
    batch, poisoned = multimix.training.streams.Streams.batch, []

    def broken(self: Any, at: int) -> MultiMixBatch:
        made = batch(self, at)
        if at == step:
            poisoned.append(at)
            assert made.labelled_masks is not None
            made.labelled_masks.images.fill_(float("nan"))
        return made

    monkeypatch.setattr(multimix.training.streams.Streams, "batch", broken)
    return poisoned


def too_much() -> None:
    torch.empty(2**60, dtype=torch.uint8)


def gpu_full() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def python_full() -> None:
    raise MemoryError


@pytest.mark.parametrize("fill", [too_much, gpu_full, python_full])
def test_out_of_memory_says_what_to_lower(manifest: Path, tmp_path: Path, fill: Callable[[], None]) -> None:
    config = tiny.run_config(manifest, checkpoint_seconds=0)
    with pytest.raises(
        TrainingError, match=r"Out of memory at --size 16 with 2 class and 2 mask images.*Lower --size"
    ):
        train(config, tmp_path, report=at_step(2, fill))
    assert load_state(tmp_path / LAST).step == 2


def test_any_other_error_is_passed_on_as_it_is(manifest: Path, tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError("unsupported memory format")

    with pytest.raises(RuntimeError, match="unsupported memory format") as caught:
        train(tiny.run_config(manifest), tmp_path, report=at_step(1, fail))
    assert caught.value.__cause__ is None


def test_patience(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.5, 0.7, 0.7, 0.6, 0.9])
    monkeypatch.setattr(multimix.training.trainer, "validate", lambda *arguments: {"score": next(scores)})
    config = long_run(manifest, validate_every=2, patience=2)
    trainer = train(config, tmp_path)
    assert (trainer.step, trainer.best_score, trainer.stale) == (8, 0.7, 2)
    assert train(config, tmp_path, resume=True).step == 8  # having stopped, it stays stopped


def test_without_validation_images_the_last_weights_are_the_best(tmp_path: Path) -> None:
    path = tiny.write_xrays(tmp_path / "data")
    path.write_text("".join(x for x in path.read_text().splitlines(True) if ",val," not in x))
    trainer = train(tiny.run_config(path, optim={"steps": 2, "ema_decay": 0.0}), tmp_path / "run")
    assert trainer.best_score is None
    best, last = tensors(tmp_path / "run", BEST), tensors(tmp_path / "run")
    assert torch.equal(best["model.head.linear.weight"], last["model.head.linear.weight"])


def stopped_run(root: Path) -> tuple[RunConfig, Path, list[Record]]:
    """A run of its own data that stopped at step 2."""
    path = tiny.write_xrays(root / "data")
    config = tiny.run_config(path)
    with pytest.raises(KeyboardInterrupt):
        train(config, root / "run", report=at_step(1, ctrl_c))
    return config, root / "run", read_manifest(path)


def chosen(run: Path, role: str) -> Path:
    """The first image of a role."""
    with (run / "split.csv").open(newline="") as file:
        name = next(row["image"] for row in csv.DictReader(file) if row["role"] == role)
    return run.parent / "data" / "images" / Path(name).name


def flip_label(manifest: Path, image: Path) -> None:
    swap = {"NORMAL": "PNEUMONIA", "PNEUMONIA": "NORMAL"}
    lines = manifest.read_text().splitlines(True)
    changed = [
        re.sub(r",(NORMAL|PNEUMONIA),", lambda m: f",{swap[m[1]]},", x) if image.name in x else x
        for x in lines
    ]
    assert changed != lines
    manifest.write_text("".join(changed))


def test_changed_data_is_refused(tmp_path: Path) -> None:
    config, run, _ = stopped_run(tmp_path)
    image = chosen(run, "labelled_classes")
    before = image.read_bytes()
    Image.fromarray(255 - np.asarray(Image.open(image))).save(image)
    with pytest.raises(
        SplitError, match=r"the data has changed since this run began \(pixels.*another folder"
    ):
        train(config, run, resume=True)
    image.write_bytes(before)
    assert train(config, run, resume=True).step == 4


def test_a_changed_mask_is_refused(tmp_path: Path) -> None:
    config, run, _ = stopped_run(tmp_path)
    mask = tmp_path / "data" / "masks" / chosen(run, "labelled_masks").name
    Image.fromarray(255 - np.asarray(Image.open(mask))).save(mask)
    with pytest.raises(SplitError, match=r"the data has changed since this run began \(pixels"):
        train(config, run, resume=True)


def test_two_images_that_changed_places_are_refused(tmp_path: Path) -> None:
    config, run, _ = stopped_run(tmp_path)
    one, other = chosen(run, "labelled_classes"), chosen(run, "unlabelled_classes")
    a, b = one.read_bytes(), other.read_bytes()
    one.write_bytes(b)
    other.write_bytes(a)
    with pytest.raises(SplitError, match=r"the data has changed since this run began \(pixels"):
        train(config, run, resume=True)


def test_a_changed_label_is_refused(tmp_path: Path) -> None:
    config, run, _ = stopped_run(tmp_path)
    flip_label(tmp_path / "data" / "manifest.csv", chosen(run, "val_classes"))
    with pytest.raises(SplitError, match=r"the data has changed since this run began \(fingerprint"):
        train(config, run, resume=True)


def edit_facts(run: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    file = run / "run.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))


def test_a_run_that_goes_on_elsewhere_says_so_in_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, run, _ = stopped_run(tmp_path)
    edit_facts(
        run, lambda facts: facts | {"machine": facts["machine"] | {"processor": "Abacus", "threads": 64}}
    )
    trainer = train(config, run, resume=True)
    now = machine(trainer.fabric.device)
    assert caplog.messages == [
        f"{run}: goes on, but not bit for bit as it would have without the break: processor Abacus, now "
        f"{now['processor']}; threads 64, now {now['threads']}."
    ]
    caplog.clear()
    train(config, run, resume=True)  # finished: nothing is left that could differ
    assert caplog.messages == []


def test_a_run_that_goes_on_where_it_began_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, run, _ = stopped_run(tmp_path)
    train(config, run, resume=True)
    assert caplog.messages == []


def test_a_run_of_an_older_version_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config, run, _ = stopped_run(tmp_path)
    edit_facts(run, lambda facts: {name: value for name, value in facts.items() if name != "machine"})
    assert train(config, run, resume=True).step == 4
    assert caplog.messages == []


def test_a_changed_label_of_a_test_image_is_refused(tmp_path: Path) -> None:
    # Training never sees it, so only its own fingerprint can tell that the scores would be of other labels.
    config, run, records = stopped_run(tmp_path)
    image = next(record.image for record in records if record.split == "test" and record.label)
    flip_label(tmp_path / "data" / "manifest.csv", image)
    with pytest.raises(SplitError, match=r"the data has changed since this run began \(test, see"):
        train(config, run, resume=True)
    # A run of before did not note it, and goes on.
    facts = json.loads((run / "run.json").read_text())
    del facts["data"]["test"]
    (run / "run.json").write_text(json.dumps(facts))
    assert train(config, run, resume=True).step == 4


def test_data_may_move(tmp_path: Path) -> None:
    config, run, _ = stopped_run(tmp_path)
    (tmp_path / "data").rename(tmp_path / "moved")
    moved = RunConfig.from_mapping({"data": {"manifest": str(tmp_path / "moved")}}, config)
    assert train(moved, run, resume=True).step == 4


def test_the_same_picture_in_two_splits_is_refused(tmp_path: Path) -> None:
    path = tiny.write_xrays(tmp_path / "data")
    images = tmp_path / "data" / "images"
    (images / "test_0.png").write_bytes((images / "train_0.png").read_bytes())
    with pytest.raises(
        SplitError, match=r"train_0\.png \(train\) and .*test_0\.png \(test\) are the same picture"
    ):
        train(tiny.run_config(path), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_network_is_refused(whole: Path, tmp_path: Path) -> None:
    config, run, _ = stopped_run(tmp_path)
    wider = tiny.run_config(Path(config.data.manifest), model={"widths": [3, 3, 3, 3, 3]})
    with pytest.raises(CheckpointError, match=r"last\.safetensors: the state of another network"):
        train(wider, run, resume=True)


@pytest.mark.parametrize("content", ["", "[]", "{}", "text", '{"data": 1}'])
def test_a_damaged_run_json_is_refused(tmp_path: Path, content: str) -> None:
    config, run, _ = stopped_run(tmp_path)
    (run / "run.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"run\.json.*another folder"):
        train(config, run, resume=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device that should be missing")
def test_a_device_that_is_not_there(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--device cuda: cannot be used here.*--device cpu"):
        train(tiny.run_config(manifest, device="cuda"), tmp_path)


def test_one_step_leaves_the_global_generators_alone(whole: Path, manifest: Path, tmp_path: Path) -> None:
    prepared = multimix.training.trainer.prepare(long_run(manifest))
    trainer = Trainer(long_run(manifest), prepared, tmp_path)
    before = torch.get_rng_state()
    trainer.one_step()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_too_large_for_the_memory(manifest: Path, tmp_path: Path) -> None:
    config = tiny.run_config(manifest, model={"widths": [2, 2, 2, 2, 2**40]})
    with pytest.raises(TrainingError, match=r"Out of memory.*or model\.widths"):
        train(config, tmp_path)


def test_a_missing_device_leaves_no_run_behind(manifest: Path, tmp_path: Path) -> None:
    if torch.backends.mps.is_available():
        pytest.skip("this machine has the device that is to be missing")
    with pytest.raises(UsageError, match="--device mps: cannot be used here"):
        train(tiny.run_config(manifest, device="mps"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
