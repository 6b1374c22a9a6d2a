"""Tampering with a sealed part, its log or what a look left behind is found; a look as it should be is not."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import tiny
from multimix.data.manifest import read_manifest
from multimix.data.seal import count_look, open_look, read_seal, seal_part
from multimix.evaluation.audit import audit
from multimix.evaluation.audit.findings import Finding, Unchecked
from multimix.evaluation.audit.looks import seal_broken
from multimix.evaluation.audit.run_folder import open_run_folder
from multimix.evaluation.evaluate import evaluate_source, write_scores
from multimix.inference.load import load
from multimix.io.chain import append_line
from multimix.io.writers import write_json
from multimix.training.trainer import train


@dataclass(frozen=True)
class Study:
    """Sealed data, and a run that looked at it once, after another look."""

    folder: Path

    @property
    def manifest(self) -> Path:
        return self.folder / "data" / "manifest.csv"

    @property
    def log(self) -> Path:
        return self.folder / "data" / "manifest.seal.jsonl"

    @property
    def scores(self) -> Path:
        return self.folder / "run" / "evaluation" / "test" / "scores.json"

    @property
    def copy(self) -> Path:
        return self.scores.with_name("seal.jsonl")

    def found(self) -> list[Finding | Unchecked]:
        return list(seal_broken(open_run_folder(self.folder / "run")))

    def edit(self, file: Path, change: Callable[[list[str]], list[str]]) -> None:
        file.write_text("".join(line + "\n" for line in change(file.read_text().splitlines())))

    def edit_rows(self, change: Callable[[dict[str, str]], dict[str, str] | None]) -> None:
        with self.manifest.open(newline="") as stream:
            kept = [new for row in csv.DictReader(stream) if (new := change(dict(row)))]
        with self.manifest.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(kept[0]))
            writer.writeheader()
            writer.writerows(kept)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = Study(tmp_path_factory.mktemp("looks"))
    train(tiny.run_config(tiny.write_xrays(study.folder / "data")), study.folder / "run")
    records = read_manifest(study.manifest)
    seal = seal_part(records, "test", study.log)
    count_look(seal, ["wards"], by="an earlier model", plan="0")
    look = open_look(seal, records, "test", ["wards", "lungs"], by="evaluate run", plan="1")
    predictor = load(study.folder / "run")
    judged = [
        evaluate_source(predictor, [r for r in records if (r.source, r.split) == (name, "test")])
        for name in ("wards", "lungs")
    ]
    write_scores(study.scores.parent, [s for s, _ in judged], [t for _, t in judged], look=look)
    return study


@pytest.fixture
def study(clean: Study, tmp_path: Path) -> Study:
    shutil.copytree(clean.folder, tmp_path / "study")
    file = tmp_path / "study" / "run" / "config.yaml"
    file.write_text(file.read_text().replace(str(clean.folder), str(tmp_path / "study")))
    return Study(tmp_path / "study")


def test_a_look_as_it_should_be(clean: Study) -> None:
    assert json.loads(clean.scores.read_text())["look"]["numbers"] == {"wards": 2, "lungs": 1}
    assert clean.found() == []


def test_further_looks_leave_an_earlier_one_in_order(study: Study) -> None:
    count_look(read_seal(study.log), ["wards"], by="a later model", plan="2")
    assert study.found() == []


def test_without_a_seal_there_is_nothing_to_break(study: Study) -> None:
    study.log.unlink()
    write_json(study.scores, {"scores": json.loads(study.scores.read_text())["scores"]})
    study.copy.unlink()
    assert study.found() == []


def edit_a_line(study: Study) -> None:
    study.edit(study.log, lambda lines: [lines[0], lines[1].replace("earlier", "late"), lines[2]])


def drop_a_line(study: Study) -> None:
    study.edit(study.log, lambda lines: [lines[0], lines[2]])


def drop_the_last_line(study: Study) -> None:
    study.edit(study.log, lambda lines: lines[:2])


def write_the_log_anew_without_the_earlier_look(study: Study) -> None:
    first, _, last = read_seal(study.log).lines
    study.log.unlink()
    for line in (first, last):
        append_line(study.log, {k: v for k, v in line.items() if k not in ("number", "previous", "hash")})


def change_a_label(study: Study) -> None:
    study.edit_rows(lambda r: r | {"label": "PNEUMONIA"} if "test_NORMAL_0" in r["image"] else r)


def replace_an_image(study: Study) -> None:
    images = study.manifest.parent / "images"
    shutil.copy(images / "val_NORMAL_0.png", images / "test_NORMAL_0.png")


def remove_an_image(study: Study) -> None:
    (study.manifest.parent / "images" / "test_NORMAL_0.png").unlink()


def change_the_manifest(study: Study) -> None:
    study.edit_rows(lambda r: None if "test_NORMAL_0" in r["image"] else r)


def call_it_the_first_look(study: Study) -> None:
    study.scores.write_text(study.scores.read_text().replace('"wards": 2', '"wards": 1'))


def name_another_look(study: Study) -> None:
    stored = json.loads(study.scores.read_text())
    stored["look"]["hash"] = "0" * 64
    write_json(study.scores, stored)


def hide_the_look(study: Study) -> None:
    write_json(study.scores, {"scores": json.loads(study.scores.read_text())["scores"]})


def edit_the_copy(study: Study) -> None:
    study.edit(study.copy, lambda lines: [lines[0], lines[2]])


def lose_the_copy(study: Study) -> None:
    study.copy.unlink()


def score_a_source_that_was_not_looked_at(study: Study) -> None:
    seal = read_seal(study.log)
    look = count_look(seal, ["wards"], by="x", plan="3")
    stored = json.loads(study.scores.read_text())
    stored["look"] = {"hash": look.hash, "numbers": look.numbers}
    write_json(study.scores, stored)
    shutil.copy(study.log, study.copy)


TAMPERING = {
    edit_a_line: "line 2: is not as it was written",
    drop_a_line: "line 2: does not follow",
    drop_the_last_line: "no longer begins with what it held at this look",
    write_the_log_anew_without_the_earlier_look: "no longer begins with what it held at this look",
    change_a_label: "labels were changed",
    replace_an_image: "image files were replaced",
    remove_an_image: "test_NORMAL_0.png: cannot be read",
    change_the_manifest: "(5 images, sealed were 6)",
    call_it_the_first_look: "call it by another number",
    name_another_look: "name a look that the log beside them does not have",
    hide_the_look: "the log does not know of these scores",
    edit_the_copy: "line 2: does not follow",
    lose_the_copy: "seal.jsonl: cannot be read",
    score_a_source_that_was_not_looked_at: "scores of lungs, at which this look did not look",
}


@pytest.mark.parametrize("tamper", TAMPERING, ids=lambda tamper: tamper.__name__)
def test_tampering_is_found(tamper: Callable[[Study], None], study: Study) -> None:
    tamper(study)
    findings = [one for one in study.found() if isinstance(one, Finding)]
    assert [(one.fault, one.severity) for one in findings] == [("seal-broken", "wrong")]
    assert TAMPERING[tamper] in findings[0].meaning
    assert str(study.folder.parent) not in findings[0].where


def test_scores_without_their_data_are_checked_by_the_copy(study: Study, tmp_path: Path) -> None:
    stored = shutil.copytree(study.scores.parent, tmp_path / "stored")
    report = audit(stored)
    assert not [one for one in report.findings if one.fault == "seal-broken"]
    (missed,) = [one for one in report.unchecked if one.fault == "seal-broken"]
    assert "its copy was checked" in missed.reason
    study.edit(stored / "seal.jsonl", lambda lines: [lines[0], lines[2]])
    assert [one.severity for one in audit(stored).findings if one.fault == "seal-broken"] == ["wrong"]


def test_a_log_elsewhere_is_named(study: Study, tmp_path: Path) -> None:
    moved = study.log.rename(tmp_path / "elsewhere.jsonl")
    (missed,) = study.found()
    assert isinstance(missed, Unchecked)
    assert list(seal_broken(open_run_folder(study.folder / "run", seal_log=moved))) == []
