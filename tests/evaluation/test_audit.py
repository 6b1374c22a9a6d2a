"""The audit flags each planted fault, that one and no other, and says nothing of a clean run."""

import csv
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from fitted import fit, pixels
from PIL import Image
from tests.data.pictures import ellipses

import tiny
from multimix.cli.audit import audit as command
from multimix.data.cache import open_cache
from multimix.data.manifest import read_manifest
from multimix.data.sets import hidden
from multimix.errors import CheckpointError, MultimixError
from multimix.evaluation.audit import FAULTS, AuditReport, audit
from multimix.evaluation.audit.arithmetic import impossible_means
from multimix.evaluation.audit.evaluations import read_evaluation
from multimix.evaluation.audit.normalisation import streams_out_of_range
from multimix.evaluation.audit.run_folder import locate, open_run_folder
from multimix.evaluation.evaluate import evaluate_source, write_scores
from multimix.inference.load import load
from multimix.io.writers import write_json
from multimix.networks.load import load_model, save_model
from multimix.reliability.calibration import Reliability
from multimix.training.batch import LabelledClasses, LabelledMasks, MixedViews, MultiMixBatch, TwoViews
from multimix.training.prepare import Prepared, validation_set
from multimix.training.trainer import train
from multimix.training.validation import validate
from multimix.types import Record
from multimix.weights.file import BEST, read_tensors, write_tensors


def config(manifest: Path, **changes: Any) -> Any:
    """A run of a moment on both tasks of tests/tiny.py."""
    base: dict[str, Any] = {
        "data": {"size": 48, "class_labels": 8, "mask_labels": 5},
        "model": {"widths": [4, 8, 8, 8, 8]},
        "streams": {"classes": 4, "unlabelled_classes": 2, "masks": 2},
        "optim": {"steps": 4},
        "validate_every": 1,
    }
    return tiny.run_config(manifest, **base | changes)


@dataclass(frozen=True)
class Study:
    """A run, its data and its evaluation, to plant a fault in.

    What training gave the run is replaced: its weights by a network that knows every image, its log by that of a
    network on the way there. So the findings are of what is planted, however the processor rounds.
    """

    data: Path
    run: Path

    @property
    def manifest(self) -> Path:
        return self.data / "manifest.csv"

    @property
    def scores(self) -> Path:
        return self.run / "evaluation" / "test" / "scores.json"

    @property
    def table(self) -> Path:
        return self.scores.with_name("per_image.csv")

    def judge(self) -> None:
        """Evaluate both sources on the test split."""
        predictor, records = load(self.run), read_manifest(self.manifest)
        chosen = [
            [r for r in records if (r.source, r.split) == (name, "test")] for name in ("wards", "lungs")
        ]
        judged = [evaluate_source(predictor, mine, base=self.data) for mine in chosen]
        write_scores(self.scores.parent, [s for s, _ in judged], [t for _, t in judged])

    def record(self) -> None:
        """Write into run.json the data as it is, and into the log how the weights score, as training would have."""
        material = open_run_folder(self.run, None, (), None)
        sets, images, masks = material.sets, material.images, material.masks
        validation = validation_set(sets, images, masks, multi_label=False)
        write_json(self.run / "run.json", Prepared(sets, images, masks, validation, {}).describe())
        best = validate(material.loaded.model, validation, torch.device("cpu"))["score"]
        planted = {"kept": lambda step: 0.5, "score": lambda step: best * step / 4}
        self.edit_log(
            lambda line: line | {key: value(line["step"]) for key, value in planted.items() if key in line}
        )

    def learn(self) -> None:
        """Fit the weights to the images as they are, every one of them; record and evaluate."""
        loaded, records = load_model(self.run), read_manifest(self.manifest)
        stored = {"size": loaded.spec.size, "channels": 1}
        labelled = [record for record in records if record.label]
        classes = open_cache([hidden(record) for record in labelled], structures=(), **stored)
        with_masks = open_cache([r for r in records if r.masks], structures=loaded.spec.structures, **stored)
        labels = torch.tensor([loaded.spec.classes.index(str(record.label)) for record in labelled])
        fit(
            loaded.model,
            (pixels(classes.images), labels),
            (pixels(with_masks.images), torch.tensor(with_masks.masks)),
        )
        means = {name: torch.from_numpy(mask) for name, mask in loaded.trivial_masks.items()}
        save_model(self.run / BEST, loaded.model.state_dict(), loaded.spec, means)
        self.record()
        self.judge()

    def edit_log(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        lines = [json.loads(line) for line in (self.run / "log.jsonl").read_text().splitlines()]
        (self.run / "log.jsonl").write_text("".join(json.dumps(change(line)) + "\n" for line in lines))

    def edit_scores(self, source: str, **values: float) -> None:
        scores = json.loads(self.scores.read_text())
        entry = next(entry for entry in scores["scores"] if entry["source"] == source)
        for name, value in values.items():
            entry["metrics"][name]["value"] = value
        self.scores.write_text(json.dumps(scores))

    def rows(self, file: Path) -> list[dict[str, str]]:
        with file.open(newline="") as stream:
            return list(csv.DictReader(stream))

    def edit_rows(self, file: Path, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
        pd.DataFrame([change(row) for row in self.rows(file)]).to_csv(file, index=False)

    def edit_images(
        self, chosen: Callable[[Record], bool], change: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        for record in read_manifest(self.manifest):
            if chosen(record):
                pixels = change(np.asarray(Image.open(record.image)))
                Image.fromarray(pixels.astype(np.uint8)).save(record.image)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("clean")
    tiny.write_xrays(folder / "data")
    study = Study(folder / "data", folder / "run")
    train(config(study.manifest), study.run)
    study.learn()
    return study


@pytest.fixture
def study(clean: Study, tmp_path: Path) -> Study:
    """A copy to plant a fault in."""
    shutil.copytree(clean.data, tmp_path / "data")
    shutil.copytree(clean.run, tmp_path / "run")
    file = tmp_path / "run" / "config.yaml"
    file.write_text(file.read_text().replace(str(clean.data), str(tmp_path / "data")))
    return Study(tmp_path / "data", tmp_path / "run")


def faults(report: AuditReport) -> set[str]:
    assert not [missed for missed in report.unchecked if "the check failed" in missed.reason]
    return {finding.fault for finding in report.findings}


FEW = {"bridge-unused", "map-elsewhere"}
"""Faults that need more validation images than these runs have: tests/evaluation/test_audit_explanation.py."""


@pytest.mark.numeric
def test_silent_on_a_clean_run(clean: Study) -> None:
    report = audit(clean.run)
    assert report.findings == ()
    assert {missed.fault for missed in report.unchecked} == FEW
    assert all("3 validation patients are too few" in missed.reason for missed in report.unchecked)
    assert set(report.checked) == set(FAULTS) - FEW


# One function per fault: it plants it, as the released code or careless data would.


def dead_kl(study: Study) -> None:
    file = study.run / "config.yaml"
    file.write_text(file.read_text().replace("consistency: bernoulli", "consistency: released"))


def nothing_kept(study: Study) -> None:
    study.edit_log(lambda line: line | {"kept": 0.0} if "kept" in line else line)


def everything_kept(study: Study) -> None:
    study.edit_log(lambda line: line | {"kept": 1.0} if "kept" in line else line)


def first_is_best(study: Study) -> None:
    lines = [json.loads(line) for line in (study.run / "log.jsonl").read_text().splitlines()]
    scores = [line["score"] for line in lines if "score" in line]
    falling = iter(sorted(scores, reverse=True))
    study.edit_log(lambda line: line | {"score": next(falling)} if "score" in line else line)


def dark_test_images(study: Study) -> None:
    # 12 bits in a 16-bit file would be sixteen times as dark; half is enough to be found.
    study.edit_images(lambda record: record.split == "test", lambda pixels: pixels // 2)
    study.learn()


def patient_in_two_splits(study: Study) -> None:
    study.edit_rows(
        study.manifest,
        lambda row: row | {"patient": "train_NORMAL_0"} if row["patient"] == "test_NORMAL_1" else row,
    )
    study.judge()
    study.record()


def copied_picture(study: Study) -> None:
    shutil.copy(study.data / "images/train_NORMAL_0.png", study.data / "images/test_NORMAL_0.png")
    study.learn()


def swapped_classes(study: Study) -> None:
    other = {"NORMAL": "PNEUMONIA", "PNEUMONIA": "NORMAL", "": ""}
    study.edit_rows(
        study.manifest, lambda row: row | {"label": other[row["label"]]} if row["split"] == "test" else row
    )
    study.judge()
    study.record()


def jaccard_above_dice(study: Study) -> None:
    study.edit_scores("lungs", jaccard_lungs=0.99)


def sizes_by_class(study: Study) -> None:
    """As in a collection cut to one size: the originals' sizes are written in the manifest."""
    rng = np.random.default_rng(0)

    def sized(row: dict[str, str]) -> dict[str, str]:
        width = rng.integers(1500, 1900) if row["label"] == "NORMAL" else rng.integers(900, 1300)
        return row | {"original_width": str(width), "original_height": str(width * 3 // 4)}

    study.edit_rows(study.manifest, sized)


def marked_class(study: Study) -> None:
    """A bright letter in the corner of one class, as a hospital's film marker."""

    def mark(pixels: np.ndarray) -> np.ndarray:
        pixels = pixels.copy()
        pixels[1:6, 1:6] = 255
        return pixels

    study.edit_images(lambda record: record.label == "PNEUMONIA", mark)
    study.learn()


def chosen_on_test(study: Study) -> None:
    """The images that chose the checkpoint are those of the manifest's test split."""
    other = {"val": "test", "test": "val", "train": "train"}
    study.edit_rows(study.manifest, lambda row: row | {"split": other[row["split"]]})
    shutil.rmtree(study.scores.parent)
    study.record()


TWELVE = {
    dead_kl: "zero-gradient",
    nothing_kept: "pseudo-labels-none",
    everything_kept: "pseudo-labels-all",
    first_is_best: "best-is-first",
    dark_test_images: "normalisation",
    patient_in_two_splits: "shared-patient",
    copied_picture: "shared-pixels",
    swapped_classes: "below-trivial",
    jaccard_above_dice: "impossible-scores",
    sizes_by_class: "size-shortcut",
    marked_class: "thumbnail-shortcut",
    chosen_on_test: "wrong-role",
}


@pytest.mark.numeric
@pytest.mark.parametrize("plant", TWELVE, ids=lambda plant: plant.__name__)
def test_flags_the_planted_fault_and_no_other(plant: Callable[[Study], None], study: Study) -> None:
    plant(study)
    report = audit(study.run)
    assert faults(report) == {TWELVE[plant]}
    assert {finding.severity for finding in report.findings} == {"wrong"}
    for finding in report.findings:
        assert finding.meaning.endswith(".")
        assert finding.advice.endswith(".")
        assert finding.evidence


# What else is looked for; some of these faults bring others with them.


def nan_weights(study: Study) -> None:
    tensors, header = read_tensors(study.run / BEST)
    tensors["model.head.linear.bias"][0] = np.nan
    write_tensors(study.run / BEST, tensors, header)


def other_best(study: Study) -> None:
    """The best checkpoint is that of before the first step, as in the released code."""
    tensors, header = read_tensors(study.run / BEST)
    for name, tensor in tensors.items():
        if name.startswith("model."):
            tensors[name] = np.random.default_rng(1).normal(0, 0.1, tensor.shape).astype(np.float32)
    write_tensors(study.run / BEST, tensors, header)


def constant_answer(study: Study) -> None:
    tensors, header = read_tensors(study.run / BEST)
    tensors["model.head.linear.weight"][:] = 0
    write_tensors(study.run / BEST, tensors, header)
    study.judge()


def labels_in_the_unlabelled_stream(study: Study) -> None:
    study.edit_rows(
        study.run / "split.csv",
        lambda row: row | {"label": "NORMAL"} if row["role"] == "unlabelled_classes" else row,
    )


def more_labels_than_the_budget(study: Study) -> None:
    file = study.run / "config.yaml"
    file.write_text(file.read_text().replace("class_labels: 8", "class_labels: 4"))


def labelled_images_as_unlabelled(study: Study) -> None:
    file = study.run / "split.csv"
    rows = [row for row in study.rows(file) if row["role"] != "unlabelled_masks"]
    copies = [row | {"role": "unlabelled_masks"} for row in rows if row["role"] == "labelled_masks"]
    pd.DataFrame(rows + copies).to_csv(file, index=False)


def class_never_labelled(study: Study) -> None:
    file = study.run / "split.csv"
    rows = study.rows(file)
    kept = [r for r in rows if (r["role"], r["label"]) != ("labelled_classes", "PNEUMONIA")]
    pd.DataFrame(kept).to_csv(file, index=False)


def another_training_image(study: Study) -> None:
    study.edit_images(lambda record: record.image.stem == "train_NORMAL_1", lambda pixels: pixels[::-1])


def another_test_label(study: Study) -> None:
    """Of one image that training never sees, so that only its own fingerprint can tell."""
    study.edit_rows(
        study.manifest,
        lambda row: row | ({"label": "PNEUMONIA"} if "test_NORMAL_1." in row["image"] else {}),
    )


def trained_on_test_images(study: Study) -> None:
    study.edit_rows(
        study.run / "split.csv",
        lambda row: row | {"image": row["image"].replace("train_NORMAL", "test_NORMAL")},
    )


OTHERS = {
    nan_weights: "weights-not-finite",
    other_best: "best-not-best",
    constant_answer: "collapse",
    labels_in_the_unlabelled_stream: "visible-labels",
    more_labels_than_the_budget: "visible-labels",
    labelled_images_as_unlabelled: "same-stream",
    class_never_labelled: "unseen-class",
    another_training_image: "data-changed",
    another_test_label: "data-changed",
    trained_on_test_images: "wrong-role",
}


@pytest.mark.numeric
@pytest.mark.parametrize("plant", OTHERS, ids=lambda plant: plant.__name__)
def test_flags_other_faults(plant: Callable[[Study], None], study: Study) -> None:
    plant(study)
    assert OTHERS[plant] in faults(audit(study.run))


@pytest.mark.numeric
def test_an_evaluation_of_other_weights_is_stale(study: Study) -> None:
    other_best(study)
    assert faults(audit(study.run)) == {"best-not-best", "stale-evaluation"}


@pytest.mark.numeric
def test_calibrated_answers_are_not_stale(study: Study) -> None:
    loaded = load_model(study.run)
    means = {name: torch.from_numpy(mask) for name, mask in loaded.trivial_masks.items()}
    known = Reliability(temperature=4.0)
    save_model(study.run / BEST, loaded.model.state_dict(), loaded.spec, means, known)
    study.judge()
    assert pd.read_csv(study.table)["p_PNEUMONIA"].between(0.02, 0.98).any()
    assert "stale-evaluation" not in faults(audit(study.run))


@pytest.mark.numeric
def test_a_weight_of_zero_is_a_term_that_teaches_nothing(study: Study) -> None:
    file = study.run / "config.yaml"
    file.write_text(file.read_text().replace("pseudo_weight: 0.25", "pseudo_weight: 0.0"))
    (finding,) = audit(study.run).findings
    assert (finding.fault, finding.where) == ("zero-gradient", "pseudo_label")
    assert "objective.pseudo_weight" in finding.advice
    assert finding.evidence["gradient of dice"] > 1e-6


@pytest.mark.numeric
def test_trained_with_a_threshold_that_nothing_passes(clean: Study, tmp_path: Path) -> None:
    changes = {"objective": {"threshold": 1.0}, "optim": {"steps": 2}}
    train(config(clean.manifest, **changes), tmp_path / "run")
    report = audit(tmp_path / "run")
    assert "pseudo-labels-none" in faults(report)
    # That term has no gradient because nothing was kept: one fault, not two.
    assert "zero-gradient" not in faults(report)


def test_a_validation_that_stopped_after_the_first_is_found(study: Study) -> None:
    lines = [json.loads(line) for line in (study.run / "log.jsonl").read_text().splitlines()]
    kept = [line for line in lines if "score" not in line or line["step"] == 1]
    (study.run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    assert "best-is-first" in faults(audit(study.run))


def test_the_title_of_a_best_checkpoint_fits_a_validation_that_never_ran(study: Study) -> None:
    lines = [json.loads(line) for line in (study.run / "log.jsonl").read_text().splitlines()]
    kept = [line for line in lines if "score" not in line]
    (study.run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    (found,) = [one for one in audit(study.run).findings if one.fault == "best-is-first"]
    assert found.meaning.startswith("Validation never ran")
    assert found.title == "a best checkpoint that nobody chose"


def test_sizes_of_the_files(study: Study) -> None:
    for record in read_manifest(study.manifest):
        if record.label == "PNEUMONIA":
            Image.open(record.image).resize((40, 26)).save(record.image)
    (found,) = [finding for finding in audit(study.run).findings if finding.fault == "size-shortcut"]
    assert found.severity == "wrong"
    assert found.evidence["auc of size"] == 1.0
    assert found.evidence["images"] == 24


def test_images_that_cannot_be_read_leave_sizes_unchecked(study: Study) -> None:
    for record in read_manifest(study.manifest):
        if record.label is not None:
            record.image.write_bytes(b"no image")
    missed = [one for one in audit(study.run).unchecked if one.fault == "size-shortcut"]
    assert missed
    assert not [one for one in missed if "the check failed" in one.reason]


def test_nearly_the_same_picture_is_doubtful(study: Study) -> None:
    pixels = np.asarray(Image.open(study.data / "images/train_1.png")).astype(int)
    brighter = (pixels * 1.1 + 3).clip(0, 255).astype(np.uint8)
    Image.fromarray(brighter).save(study.data / "images/test_1.png")
    (found,) = [finding for finding in audit(study.run).findings if finding.fault == "shared-pixels"]
    assert found.severity == "doubtful"
    assert "test_1.png" in str(found.evidence["examples"])
    assert "train_1.png" in str(found.evidence["examples"])


def test_a_mirrored_copy_is_doubtful(study: Study) -> None:
    pixels = np.asarray(Image.open(study.data / "images/train_1.png"))
    Image.fromarray(pixels[:, ::-1]).save(study.data / "images/test_1.png")
    (found,) = [finding for finding in audit(study.run).findings if finding.fault == "shared-pixels"]
    assert (found.severity, found.evidence["mirrored"]) == ("doubtful", 1)
    assert "test_1.png" in str(found.evidence["examples"])


def test_negatives_within_a_source_are_doubtful(study: Study) -> None:
    images = [record.image for record in read_manifest(study.manifest) if record.source == "wards"]
    names = images[::6]
    for number, image in enumerate(images):
        film = 200 - 120 * ellipses(number, 32).astype(np.uint8) + number
        Image.fromarray(255 - film if image in names else film).save(image)
    found = [finding for finding in audit(study.run).findings if "negatives" in finding.meaning]
    assert [(finding.severity, finding.evidence["images"]) for finding in found] == [("doubtful", len(names))]


def test_data_that_moved(study: Study, tmp_path: Path) -> None:
    study.data.rename(tmp_path / "elsewhere")
    report = audit(study.run)
    assert report.findings == ()
    assert {"shared-patient", "normalisation"} <= {missed.fault for missed in report.unchecked}
    assert all("--data" in m.reason for m in report.unchecked if m.fault == "shared-patient")
    assert {"pseudo-labels-none", "best-is-first", "impossible-scores"} <= set(report.checked)
    found = audit(study.run, tmp_path / "elsewhere")
    assert found.findings == ()
    assert {missed.fault for missed in found.unchecked} == FEW


def test_scores_alone_are_audited(study: Study, tmp_path: Path) -> None:
    study.edit_scores("wards", accuracy=0.4)
    report = audit(study.scores.parent)
    assert faults(report) == {"impossible-scores", "below-trivial"}
    (found,) = [finding for finding in report.findings if finding.fault == "impossible-scores"]
    assert "accuracy does not fit the F1 scores" in found.meaning
    assert found.evidence["accuracy of the table"] == 1.0


def test_each_image_must_agree_with_itself(study: Study) -> None:
    table = pd.read_csv(study.table)
    table.loc[table["dice_lungs"].notna(), "jaccard_lungs"] *= 0.99
    table.to_csv(study.table, index=False)
    found = audit(study.run).findings
    assert {finding.fault for finding in found} == {"impossible-scores"}
    assert "the Jaccard of lungs is not D / (2 - D) in 3 images" in found[0].meaning


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a run"):
        audit(tmp_path)
    with pytest.raises(CheckpointError, match="scores"):
        audit(tmp_path, scores=[tmp_path])


def test_damaged_files_leave_the_other_checks_alone(study: Study) -> None:
    (study.run / BEST).write_bytes(b"no weights")
    study.table.write_text("half a ta")
    (study.run / "split.csv").write_text("role,image\n")
    report = audit(study.run)
    assert {"best-is-first", "pseudo-labels-none"} <= set(report.checked)
    assert {"zero-gradient", "wrong-role", "impossible-scores"} <= {
        missed.fault for missed in report.unchecked
    }
    assert not [missed for missed in report.unchecked if "the check failed" in missed.reason]


@pytest.mark.parametrize(("older", "newer"), [("csv", "parquet"), ("parquet", "csv")])
def test_two_tables_of_one_evaluation_are_told(study: Study, older: str, newer: str) -> None:
    pd.read_csv(study.table).to_parquet(study.table.with_suffix(".parquet"))
    for age, suffix in enumerate((newer, older)):
        os.utime(study.table.with_suffix(f".{suffix}"), (1000 - age, 1000 - age))
    with pytest.raises(
        MultimixError, match=rf"expected one of them\. Remove the older, per_image\.{older}, or"
    ):
        read_evaluation(study.scores.parent)


def test_command(study: Study, tmp_path: Path) -> None:
    quiet = CliRunner().invoke(command, [str(study.run)])
    assert quiet.exit_code == 0
    assert quiet.stdout.endswith(
        f"{study.run}: {len(set(FAULTS) - FEW)} checks made: 0 wrong, 0 doubtful, 0 note\n"
    )
    study.edit_scores("lungs", jaccard_lungs=0.99)
    loud = CliRunner().invoke(command, [str(study.run), "--json", str(tmp_path / "audit.json")])
    assert loud.exit_code == 1
    assert "These cannot be true together" in loud.stdout
    assert "jaccard_lungs 0.99" in loud.stdout
    stored = json.loads((tmp_path / "audit.json").read_text())
    assert stored["wrong"] == 1
    (found,) = stored["findings"]
    assert (found["fault"], found["severity"]) == ("impossible-scores", "wrong")
    assert found["evidence"]["jaccard_lungs"] == 0.99
    assert {missed["fault"] for missed in stored["unchecked"]} == FEW


def test_images_are_found_below_any_folder() -> None:
    records = [
        Record(Path(f"/moved/{split}/a/1.png"), split=split, source="s") for split in ("test", "train", "val")
    ]
    names = [("s", "train/a/1.png"), ("s", "val/a/1.png"), ("s", "a/2.png"), ("t", "train/a/1.png")]
    assert locate(names, records) == [records[1], records[2], None, None]


def test_accuracy_over_pairs_of_image_and_class_may_exceed_every_f1(study: Study) -> None:
    # 100 images, three classes of 10 each, none ever found, one false alarm each: accuracy 1 - 33 / 300, every F1 0.
    values = {
        "accuracy": 0.89,
        "f1_a": 0.0,
        "f1_b": 0.0,
        "f1_c": 0.0,
        "auc_a": 0.5,
        "auc_b": 0.5,
        "auc_c": 0.5,
    }
    entry = {
        "source": "films",
        "split": "test",
        "metrics": {name: {"value": value} for name, value in values.items()},
    }
    study.scores.write_text(json.dumps({"scores": [entry]}))
    study.table.unlink()
    assert "impossible-scores" not in faults(audit(study.scores.parent))
    # Of one class per image two F1 scores give the accuracy: a / (1 - a) = 0.5 / 1 + 0.5 / 1 says a = 1 / 2.
    entry["metrics"] = {
        name: {"value": value} for name, value in {"accuracy": 0.9, "f1_a": 0.5, "f1_b": 0.5}.items()
    }
    study.scores.write_text(json.dumps({"scores": [entry]}))
    assert "impossible-scores" in faults(audit(study.scores.parent))


def test_mask_scores_by_hand() -> None:
    # Two images with D = 1 and D = 0 have J = 1 and J = 0: J = D is the most there can be, D / (2 - D) the least.
    assert not list(impossible_means({"dice_x": 0.5, "jaccard_x": 0.5}))
    assert not list(impossible_means({"dice_x": 0.5, "jaccard_x": 1 / 3}))
    assert list(impossible_means({"dice_x": 0.5, "jaccard_x": 0.51}))
    assert list(impossible_means({"dice_x": 0.5, "jaccard_x": 0.32}))


@pytest.mark.real
def test_published_rows_with_more_jaccard_than_dice(shared: Path) -> None:
    # ../shared/paper/README.md counts 26.
    table = pd.read_csv(shared / "paper" / "results.csv")
    rows = table[table["dice"].notna() & table["jaccard"].notna()]
    found = [
        list(impossible_means({"dice_lungs": float(d), "jaccard_lungs": float(j)}))
        for d, j in zip(rows["dice"], rows["jaccard"], strict=True)
    ]
    assert sum("exceeds the mean Dice" in what for problems in found for what, _ in problems) == 26


def test_every_stream_of_a_batch_is_looked_at() -> None:
    inside, above, below = (torch.full((1, 1, 16, 16), level) for level in (1.0, 1.01, -0.01))
    drawn = MultiMixBatch(
        labelled_classes=LabelledClasses(above, torch.zeros(1, dtype=torch.int64)),
        unlabelled_classes=TwoViews(inside, above),
        labelled_masks=LabelledMasks(below, torch.zeros(1, 1, 16, 16)),
        unlabelled_masks=inside,
        unlabelled=MixedViews(
            above, below, torch.zeros(1, 1, 16, 16, dtype=torch.bool), torch.zeros(1, dtype=torch.int64)
        ),
    )
    found = {finding.where: finding.evidence for finding in streams_out_of_range(drawn)}
    assert list(found) == [
        "labelled_classes",
        "strong view",
        "teacher's view",
        "student's view",
        "labelled_masks",
    ]
    assert found["teacher's view"] == pytest.approx({"lowest": 1.01, "highest": 1.01})
    assert found["student's view"] == pytest.approx({"lowest": -0.01, "highest": -0.01})
