"""The commands: what they say, what they write, and how they end."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import multimix
import multimix.data.phantom
import multimix.training.trainer
import tiny
from multimix.config import RunConfig
from multimix.data.manifest import read_manifest
from multimix.recipes import recipe
from multimix.training.state import load_state
from multimix.types import patients_known
from multimix.weights.file import LAST

Run = Callable[..., tiny.Answer]

SILENT = """
import sys
from multimix.cli import main
sys.argv = ["multimix", *sys.argv[1:]]
try:
    main()
finally:
    heavy = {"torch", "numpy", "pandas", "scipy", "rich", "PIL", "yaml"} & set(sys.modules)
    sys.exit(f"imported {heavy}" if heavy else 0)
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str | Path) -> tiny.Answer:
        return tiny.multimix(capsys, *arguments)

    return call


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_xrays(tmp_path_factory.mktemp("xrays") / "data")


@pytest.fixture(scope="module")
def trained(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    multimix.training.trainer.train(tiny.run_config(manifest), folder)
    return folder


@pytest.mark.parametrize(
    "command", ["", "train", "evaluate", "predict", "demo", "data", "data index", "data check"]
)
def test_help_of_every_command_imports_nothing_heavy(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SILENT, *command.split(), "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: multimix")


def test_importing_the_package_imports_no_torch() -> None:
    code = (
        "import sys, multimix; print('torch' in sys.modules, multimix.__version__, callable(multimix.load))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", multimix.__version__, "True"]


def test_what_the_package_offers() -> None:
    assert {name for name in multimix.__all__ if hasattr(multimix, name)} == set(multimix.__all__)
    assert "load" in dir(multimix)
    with pytest.raises(AttributeError, match="module 'multimix' has no attribute 'nothing'"):
        _ = multimix.nothing


def test_version(run: Run) -> None:
    assert run("--version").out.split()[-1] == multimix.__version__


@pytest.mark.parametrize("arguments", [(), ("data",)])
def test_without_a_command_there_is_help(run: Run, arguments: tuple[str, ...]) -> None:
    answer = run(*arguments)
    assert answer.code == 2
    assert "Usage: multimix" in answer.out + answer.err


def test_train_evaluate_predict(run: Run, manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    answer = run("train", manifest, *tiny.OPTIONS, "--out", folder)
    assert (answer.code, answer.errors) == (0, [])
    assert f"{folder}: 4 steps" in answer.out
    assert re.search(r"best validation score 0\.\d{4} \(mean of AUC and Dice\)\. Next", answer.out)
    given, ours = tiny.run_config(manifest), recipe("ours")
    streams = replace(given.streams, balanced=False)
    assert "Too few validation images for prediction sets and refusal of unlike images" in answer.out
    # 6 of each class and 6 images with masks are there; of the masks not chosen the default learns nothing.
    assert (
        "Learned from images: 6 with class, 6 whose class was not seen, 3 with masks of every structure."
        in answer.out
    )
    expected = replace(given, method="multimix-plus", objective=ours.objective, streams=streams)
    assert RunConfig.read(folder / "config.yaml") == expected

    answer = run("evaluate", folder)
    assert (answer.code, answer.errors) == (0, [])
    assert "dice_lungs" in answer.out
    scores = json.loads((folder / "evaluation" / "test-wards-lungs" / "scores.json").read_text())["scores"]
    assert [(s["source"], s["split"], s["images"]) for s in scores] == [
        ("wards", "test", 6),
        ("lungs", "test", 3),
    ]
    assert "auc" in scores[0]["metrics"]
    assert "dice_lungs" not in scores[0]["metrics"]
    assert "dice_lungs" in scores[1]["metrics"]

    images = manifest.parent / "images"
    answer = run(
        "predict", folder, images / "test_0.png", images / "test_1.png", "--out", tmp_path / "answers"
    )
    assert (answer.code, answer.errors) == (0, [])
    assert answer.out == f"{tmp_path / 'answers' / 'predictions.csv'}: 2 answered, 0 failed\n"
    with (tmp_path / "answers" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["ok", "ok"]
    mask = np.asarray(Image.open(tmp_path / "answers" / rows[0]["mask"]))
    assert mask.shape == (32, 32)
    assert (mask > 0).sum() == int(rows[0]["area_px_lungs"])


def test_evaluate_weights_on_other_data(run: Run, trained: Path, manifest: Path, tmp_path: Path) -> None:
    answer = run(
        *("evaluate", trained / "best.safetensors", manifest.parent, "--split", "val"),
        *("--mask-source", "lungs", "--out", tmp_path, "--parquet"),
    )
    assert (answer.code, answer.errors) == (0, [])
    assert {path.name for path in tmp_path.iterdir()} == {"scores.json", "per_image.parquet"}
    scores = json.loads((tmp_path / "scores.json").read_text())["scores"]
    assert [(s["source"], s["split"], s["images"]) for s in scores] == [("lungs", "val", 3)]
    # Written again as CSV, the table of before would be read in its place.
    again = ("--mask-source", "lungs", "--out", tmp_path)
    assert run("evaluate", trained / "best.safetensors", manifest.parent, *again).code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"scores.json", "per_image.csv"}


def test_evaluate_says_what_splits_a_source_has(run: Run, trained: Path, tmp_path: Path) -> None:
    manifest = tiny.write_xrays(tmp_path / "data")
    manifest.write_text(manifest.read_text().replace(",test,", ",val,"))
    answer = run("evaluate", trained / "best.safetensors", manifest, "--class-source", "wards")
    assert answer.code == 2
    (error,) = answer.errors
    assert "no image of source 'wards' is in split 'test'; it has train 12, val 12." in error


def test_predict_says_why_an_input_was_not_answered(run: Run, trained: Path, tmp_path: Path) -> None:
    names = [tmp_path / f"gone_{number}.png" for number in range(7)]
    answer = run("predict", trained, *names, "--out", tmp_path / "out")
    assert answer.code == 1
    lines = [line for line in answer.err.splitlines() if "gone" in line]
    assert len(lines) == 5
    assert all("no such file; check the path" in line for line in lines)
    assert "2 more reasons are in the table" in answer.err


def test_evaluate_refuses_what_the_run_learned_from(run: Run, tmp_path: Path) -> None:
    manifest = tiny.write_xrays(tmp_path / "data")
    multimix.training.trainer.train(tiny.run_config(manifest), tmp_path / "run")
    assert run("evaluate", tmp_path / "run").code == 0
    before = sorted((tmp_path / "run").rglob("*"))
    swap = {"train": "test", "test": "train"}
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"split": swap.get(row["split"], row["split"])} for row in rows)
    learned = sum(row["split"] == "train" for row in rows)
    answer = run("evaluate", tmp_path / "run")
    assert answer.code == 2
    assert f"{learned} of {learned} test images were used in its training (split.csv), such as" in answer.err
    assert run("evaluate", tmp_path / "run", manifest.parent, "--class-source", "wards").code == 2
    assert run("evaluate", tmp_path / "run", "--split", "val").code == 0  # which it may have been chosen by
    assert run("evaluate", tmp_path / "run", "--split", "train").code == 0  # on purpose
    # A failure leaves no folder.
    failed = run("evaluate", tmp_path / "run", manifest, "--class-source", "lungs", "--split", "val")
    assert failed.code == 1
    added = set((tmp_path / "run").rglob("*")) - set(before)
    assert not [path for path in added if path.is_dir() and not any(path.iterdir())]


def test_evaluate_judges_other_images_of_the_same_names(
    run: Run, trained: Path, manifest: Path, tmp_path: Path
) -> None:
    other = tiny.write_xrays(tmp_path / "other", seed=1)
    other.write_text(other.read_text().replace(",train,", ",test,"))
    assert run("evaluate", trained, other, "--out", tmp_path / "scores").code == 0
    # Weights inside the run know its data as the run does.
    shutil.copytree(trained, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace(str(manifest.parent), str(tmp_path / "mine")))
    mine = tiny.write_xrays(tmp_path / "mine")
    mine.write_text(mine.read_text().replace(",train,", ",test,"))
    answer = run("evaluate", tmp_path / "run" / "best.safetensors", mine, "--class-source", "wards")
    assert answer.code == 2
    assert (
        "12 of 18 test images were used in its training (split.csv), such as train_NORMAL_0.png" in answer.err
    )
    mine.write_text(tiny.write_xrays(tmp_path / "again").read_text().replace(",train,", ",val,"))
    assert "18 of 27 val images" in run("evaluate", tmp_path / "run", "--split", "val").err


def test_evaluate_keeps_the_scores_of_another_manifest(
    run: Run, trained: Path, manifest: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    other = tiny.write_xrays(tmp_path / "other", seed=1)
    scores = tmp_path / "run" / "evaluation" / "test-wards-lungs" / "scores.json"
    for data in ((), (manifest,), (manifest.parent,)):
        assert run("evaluate", tmp_path / "run", *data).code == 0
    assert json.loads(scores.read_text())["manifest"] == str(manifest)
    before = scores.read_bytes()
    answer = run("evaluate", tmp_path / "run", other)
    assert answer.code == 2
    assert f"holds the scores of {manifest}, expected none or those of {other}. Give another" in answer.err
    assert scores.read_bytes() == before
    assert run("evaluate", tmp_path / "run", other, "--out", tmp_path / "elsewhere").code == 0
    for older in ('{"scores": []}', "[]", "no JSON"):  # of whose data nothing is known
        scores.write_text(older)
        assert run("evaluate", tmp_path / "run", other).code == 0
        assert json.loads(scores.read_text())["manifest"] == str(other)


def test_an_evaluation_that_fails_leaves_no_folder(
    run: Run, trained: Path, manifest: Path, tmp_path: Path
) -> None:
    words = ("evaluate", trained, manifest, "--class-source", "lungs", "--out")
    (tmp_path / "mine").mkdir()
    assert run(*words, tmp_path / "a" / "b" / "c").code == 1
    assert run(*words, tmp_path / "mine").code == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]


def test_evaluate_needs_to_know_what_to_judge(
    run: Run, trained: Path, manifest: Path, tmp_path: Path
) -> None:
    weights = trained / "best.safetensors"
    answer = run("evaluate", weights)
    assert answer.code == 2
    assert "a weights file does not know its data. Give DATA" in answer.err
    (tmp_path / "a run").mkdir()
    blank = shutil.copy(weights, tmp_path / "a run")
    assert f"as in `multimix evaluate '{blank}' DATA`." in run("evaluate", blank).err
    answer = run("evaluate", weights, manifest)
    assert answer.code == 2
    assert "Name --class-source or --mask-source" in answer.err


def test_train_says_what_a_score_without_auc_is(run: Run, manifest: Path, tmp_path: Path) -> None:
    shutil.copytree(manifest.parent, tmp_path / "data")
    lines = (tmp_path / "data" / "manifest.csv").read_text().splitlines(keepends=True)
    kept = "".join(line for line in lines if "PNEUMONIA,val" not in line)
    (tmp_path / "data" / "manifest.csv").write_text(kept)
    options = ("--class-source", "wards", "--method", "enc", "--size", "16", "--steps", "1")
    answer = run(
        *(
            "train",
            tmp_path / "data",
            *options,
            "--set",
            "model.widths=[2,2,2,2,2]",
            "--out",
            tmp_path / "run",
        )
    )
    assert answer.code == 0
    made_of = r"\(accuracy; AUC needs validation images with and without each class\)\. Next"
    assert re.search(rf"best validation score [01]\.\d{{4}} {made_of}", answer.out)
    # Where the log is lost, the score is said alone.
    (tmp_path / "run" / "log.jsonl").unlink()
    answer = run("train", "--out", tmp_path / "run", "--resume")
    assert re.search(r"best validation score [01]\.\d{4}\. Next", answer.out)


def test_every_way_to_set_a_value(run: Run, manifest: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "seed: 3\nvalidate_every: 2\ndata: {mask_labels: 2, class_labels: 4}\noptim: {steps: 9}\n"
    )
    answer = run(
        *("train", manifest, *tiny.OPTIONS, "--recipe", "paper", "--config", file, "--class-labels", "all"),
        *("--classes", "PNEUMONIA, NORMAL", "--set", "optim.steps=2", "--out", tmp_path / "run"),
    )
    assert (answer.code, answer.errors) == (0, [])
    stored = RunConfig.read(tmp_path / "run" / "config.yaml")
    assert stored.model.dropout == 0.25  # the recipe
    assert (stored.seed, stored.validate_every) == (3, 2)  # the file
    assert stored.data.mask_labels == 3  # an option beats the file
    assert stored.data.class_labels is None  # the last of two options; 'all' is no limit
    assert stored.data.classes == ("PNEUMONIA", "NORMAL")
    assert stored.optim.steps == 2  # --set beats options


def test_a_class_with_a_comma_is_named_as_the_help_says(run: Run, tmp_path: Path) -> None:
    assert "--set 'data.classes=[\"A, b\", C]'" in " ".join(run("train", "--help").out.split())
    manifest = tiny.write_xrays(tmp_path / "xrays")
    manifest.write_text(manifest.read_text().replace(",PNEUMONIA,", ',"Pneumonia, viral",'))
    classes = ("--set", 'data.classes=["Pneumonia, viral", NORMAL]')
    answer = run("train", manifest, *tiny.OPTIONS, *classes, "--out", tmp_path / "run")
    assert (answer.code, answer.errors) == (0, [])
    stored = RunConfig.read(tmp_path / "run" / "config.yaml")
    assert stored.data.classes == ("Pneumonia, viral", "NORMAL")


def test_the_manifest_is_stored_as_an_absolute_path(
    run: Run, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(manifest.parent / "images")
    (tmp_path / "run.yaml").write_text("data: {manifest: ../manifest.csv}\n")
    assert run("train", "--config", tmp_path / "run.yaml", *tiny.OPTIONS, "--out", tmp_path / "run").code == 0
    assert RunConfig.read(tmp_path / "run" / "config.yaml").data.manifest == str(manifest)


def test_an_existing_run_is_not_trained_over(run: Run, trained: Path, manifest: Path) -> None:
    before = {path.name: path.read_bytes() for path in trained.iterdir() if path.is_file()}
    answer = run("train", manifest, *tiny.OPTIONS, "--out", trained)
    assert answer.code == 2
    assert len(answer.errors) == 1
    assert "already holds a run. Add --resume" in answer.err
    assert {path.name: path.read_bytes() for path in trained.iterdir() if path.is_file()} == before


@pytest.fixture
def stopped(manifest: Path, tmp_path: Path) -> Path:
    """A run that Ctrl-C stopped after two of its four steps."""

    def report(progress: multimix.training.trainer.Progress) -> None:
        if progress.step == 1:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        multimix.training.trainer.train(tiny.run_config(manifest), tmp_path / "stopped", report=report)
    assert load_state(tmp_path / "stopped" / LAST).step == 2
    return tmp_path / "stopped"


def test_resume_needs_nothing_but_the_folder(run: Run, stopped: Path, tmp_path: Path) -> None:
    answer = run("train", "--out", stopped, "--resume")
    assert (answer.code, answer.errors) == (0, [])
    assert load_state(stopped / LAST).step == 4


def test_resume_takes_the_command_line_it_began_with(run: Run, stopped: Path, manifest: Path) -> None:
    assert run("train", manifest, *tiny.OPTIONS, "--out", stopped, "--resume").code == 0
    assert load_state(stopped / LAST).step == 4


def test_resume_takes_a_part_of_the_options(run: Run, stopped: Path, manifest: Path) -> None:
    assert run("train", manifest, "--size", "16", "--out", stopped, "--resume").code == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--seed", "5"), "seed \\(0, now 5\\)"),
        (("--size", "32"), "data.size \\(16, now 32\\)"),
        (("--set", "optim.learning_rate=0.5"), "optim.learning_rate \\(.*, now 0.5\\)"),
        (("--class-labels", "all"), "data.class_labels \\(6, now None\\)"),
        (("--recipe", "paper"), "model.dropout \\(.*, now 0.25\\)"),
        (("--method", "umtl"), "method \\('multimix', now 'umtl'\\)"),
    ],
)
def test_resume_refuses_other_options(run: Run, stopped: Path, options: tuple[str, ...], told: str) -> None:
    answer = run("train", "--out", stopped, "--resume", *options)
    assert answer.code == 2
    assert len(answer.errors) == 1
    assert re.search(told, answer.errors[0])
    assert "Leave them out when resuming" in answer.errors[0]
    assert load_state(stopped / LAST).step == 2


def test_resume_where_there_is_nothing(run: Run, manifest: Path, tmp_path: Path) -> None:
    answer = run("train", "--out", tmp_path / "run", "--resume")
    assert answer.code == 2
    assert "no run to go on with, and no data to begin one. Give DATA" in answer.err
    # With data it begins, so that one command line serves first start and restart.
    assert run("train", manifest, *tiny.OPTIONS, "--out", tmp_path / "run", "--resume").code == 0


def test_ctrl_c_says_how_to_go_on(
    run: Run, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_step = multimix.training.trainer.Trainer.one_step

    def interrupted(self: multimix.training.trainer.Trainer) -> object:
        signal.raise_signal(signal.SIGINT)
        return one_step(self)

    monkeypatch.setattr(multimix.training.trainer.Trainer, "one_step", interrupted)
    answer = run("train", manifest, *tiny.OPTIONS, "--out", tmp_path / "run")
    assert answer.code == 130
    assert f"go on with `multimix train --out {tmp_path / 'run'} --resume`" in answer.err
    assert "Traceback" not in answer.err
    assert load_state(tmp_path / "run" / LAST).step == 1


def test_index_check_and_learn_from_a_plain_folder(run: Run, manifest: Path, tmp_path: Path) -> None:
    for record in read_manifest(manifest):
        if record.source == "wards":
            folder = tmp_path / "wards" / record.split / str(record.label)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / record.image.name).write_bytes(record.image.read_bytes())
    answer = run("data", "index", tmp_path / "wards", "--patient-per-image")
    assert (answer.code, answer.err) == (0, "")
    assert f"{tmp_path / 'wards' / 'manifest.csv'}: 24 images" in answer.out
    assert re.search(r"^Classes of wards: \w+ 12, \w+ 12$", answer.out, re.MULTILINE)
    assert run("data", "index", tmp_path / "wards").code == 2
    assert run("data", "index", tmp_path / "wards", "--replace").code == 0
    answer = run("data", "check", tmp_path / "wards")
    assert answer.code == 0
    assert "0 errors" in answer.out
    options = ("--class-source", "wards", "--size", "16", "--steps", "1", "--set", "model.widths=[2,2,2,2,2]")
    answer = run("train", tmp_path / "wards", "--method", "enc", *options, "--out", tmp_path / "run")
    assert (answer.code, answer.errors) == (0, [])


def test_one_class_against_none(run: Run, manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(manifest.parent, folder)
    table = (folder / "manifest.csv").read_text()
    (folder / "manifest.csv").write_text(table.replace(",NORMAL,", ",none,"))
    options = ("--class-source", "wards", "--method", "enc", "--multi-label", "--size", "16", "--steps", "2")
    answer = run("train", folder, *options, "--set", "model.widths=[2,2,2,2,2]", "--out", tmp_path / "run")
    assert (answer.code, answer.errors) == (0, [])
    assert multimix.load(tmp_path / "run").spec.classes == ("PNEUMONIA",)
    answer = run("evaluate", tmp_path / "run", "--out", tmp_path / "scores")
    assert (answer.code, answer.errors) == (0, [])
    (scores,) = json.loads((tmp_path / "scores" / "scores.json").read_text())["scores"]
    assert scores["images"] == 6
    assert scores["metrics"]["auc_PNEUMONIA"]["value"] is not None


def test_a_tensorboard_that_is_not_installed_is_told_before_anything_is_written(
    run: Run, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setenv("MULTIMIX_CACHE", str(tmp_path / "cache"))
    answer = run("train", manifest, *tiny.OPTIONS, "--tensorboard", "--out", tmp_path / "run")
    assert answer.code == 2
    assert answer.errors == [
        "Error: --tensorboard needs an extra. Install it with `pip install 'multimix[track]'`."
    ]
    assert list(tmp_path.iterdir()) == []


def test_names_are_not_markup(run: Run, tmp_path: Path) -> None:
    for number, name in enumerate(("A/1.png", "A/2.png", "B/3.png")):
        file = tmp_path / "[red]x" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((32, 32), number, np.uint8)).save(file)
    answer = run("data", "index", tmp_path / "[red]x", "--patient-per-image")
    assert (answer.code, answer.err) == (0, "")
    assert "│ [red]x │" in answer.out


def test_check_fails_on_what_would_corrupt_a_result(run: Run, tmp_path: Path) -> None:
    manifest = tiny.write_xrays(tmp_path / "data")
    images = manifest.parent / "images"
    (images / "test_0.png").write_bytes((images / "train_0.png").read_bytes())
    (images / "train_1.png").unlink()
    answer = run("data", "check", manifest)
    assert answer.code == 1
    assert "2 errors" in answer.out
    assert "train_1.png" in answer.out
    assert "train_0.png = test_0.png" in answer.out or "test_0.png = train_0.png" in answer.out


def test_phantom(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = partial(multimix.data.phantom.write_dataset, train=2, val=1, test=1, other=1)
    monkeypatch.setattr(multimix.data.phantom, "write_dataset", few)
    answer = run("data", "phantom", tmp_path / "phantoms", "--size", "32")
    assert (answer.code, answer.err) == (0, "")
    assert {r.source for r in read_manifest(tmp_path / "phantoms")} == {"phantom_a", "phantom_b"}
    answer = run("data", "phantom", tmp_path / "phantoms")
    assert answer.code == 2
    assert "already holds a manifest" in answer.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("train",), "Missing option '--out' / '-o'. See `multimix train --help`."),
        (("train", "x", "--out", "y", "--sizee", "3"), "No such option"),
        (("train", "x", "--out", "y", "--size", "big"), "'big' is not a valid integer"),
        (("train", "x", "--out", "y", "--size", "100000"), "100000 is not in the range 16<=x<=4096"),
        (("data", "phantom", "x", "--size", "100000"), "100000 is not in the range 32<=x<=4096"),
        (("predict", "x"), "Missing argument 'FILE|FOLDER...'"),
        (("data", "index", "x", "--layout", "y"), "'y' is not one of"),
        (("nothing",), "No such command 'nothing'."),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(run: Run, arguments: tuple[str, ...], told: str) -> None:
    answer = run(*arguments)
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert answer.err.startswith("Error: ")
    assert told in answer.err
    assert "--help`" in answer.err


def test_ctrl_c_before_the_run_began_promises_nothing(
    run: Run, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(multimix.training.trainer, "prepare", interrupted)
    answer = run("train", manifest, *tiny.OPTIONS, "--out", tmp_path / "run")
    assert answer.code == 130
    assert "--resume" not in answer.err


def test_an_index_of_nothing_to_learn_from_is_an_error(run: Run, tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(np.full((32, 32), number, np.uint8)).save(tmp_path / f"{number}.png")
    answer = run("data", "index", tmp_path)
    assert answer.code == 1
    assert answer.errors[-1].endswith("or move the images into folders per class.")
    assert "none of its 3 images has a label or a mask" in answer.errors[-1]
    assert len(read_manifest(tmp_path)) == 3  # all the same, since it may be joined to others
    assert not patients_known(r.patient for r in read_manifest(tmp_path))
    assert "not known" in answer.out


def test_scores_of_a_run_that_was_stopped_say_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    manifest, run = tiny.write_xrays(tmp_path / "xrays"), tmp_path / "run"
    assert tiny.multimix(capsys, "train", manifest, *tiny.OPTIONS, "--out", run).code == 0
    assert "has stopped" not in tiny.multimix(capsys, "evaluate", run).err
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("steps: 4", "steps: 40"))
    answer = tiny.multimix(capsys, "evaluate", run)
    assert answer.code == 0
    assert "has stopped at step 4 of 40" in answer.err
