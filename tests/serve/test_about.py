"""What the card says of a model: what it was trained for, how it decides, how good it is."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import services

from bright import picky
from multimix.inference.load import load
from multimix.inference.predictor import Predictor
from multimix.io.writers import write_json
from multimix.reliability.calibration import Reliability
from multimix.serve.about import about
from multimix.serve.schemas import Card


def card(run: Path, predictor: Predictor) -> Card:
    return Card.model_validate(about(run, predictor).card, extra="forbid")


def test_a_run_says_what_it_learned_from(tmp_path: Path):
    run = services.weights(tmp_path)
    assert (card(run, load(run)).input, card(run, load(run)).trained_on) == ("image", [])
    roles = {"labelled_classes": 3, "unlabelled_classes": 9, "val_classes": 2, "labelled_masks": 1}
    with (run / "split.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["role", "image", "label", "source", "patient"])
        for role, number in roles.items():
            table.writerows([role, f"{i}.png", "", "skin", ""] for i in range(number))
    for place in (run, run / "best.safetensors"):
        found = card(place, load(place)).trained_on
        assert [(line.source, line.taught, line.images) for line in found] == [
            ("skin", "classes", 3),
            ("skin", "masks", 1),
        ]
    (run / "split.csv").write_text("no table", encoding="utf-8")
    assert card(run, load(run)).trained_on == []


def test_shipped_weights_say_what_they_are_for_and_how_good_they_are():
    found = card(Path("chest-xray"), load("chest-xray"))
    assert found.input == "frontal chest X-ray"
    assert {(line.source, line.taught) for line in found.trained_on} == {
        ("kermany", "classes"),
        ("nih", "classes"),
        ("kermany_v7", "masks"),
    }
    scores = {(line.source, line.metric): line.value for line in found.scores}
    assert scores["kermany", "auc"] == pytest.approx(0.978, abs=5e-4)  # as in docs/model_card.md
    assert found.rejects
    assert found.calibrated
    assert found.thresholds == pytest.approx({"NORMAL": 0.720, "PNEUMONIA": 0.280}, abs=5e-4)


def test_how_it_decides(predictor: Predictor, run: Path):
    plain = card(run, predictor)
    assert (plain.decision, plain.calibrated, plain.coverage, plain.rejects) == (
        "The threshold is one half, so the more probable class is decided.",
        False,
        None,
        False,
    )
    assert plain.thresholds == {"NORMAL": 0.5, "PNEUMONIA": 0.5}
    known = card(run, replace(predictor, reliability=Reliability(2.0, (0.7, 0.3), 0.9, (1.0, 1.0))))
    assert known.decision.endswith("so the class that is decided need not be the more probable one.")
    assert (known.calibrated, known.coverage) == (True, 0.9)
    assert card(run, replace(predictor, reliability=picky())).rejects
    several = card(run, replace(predictor, spec=replace(predictor.spec, multi_label=True)))
    assert (
        several.decision == "Each class is decided on its own, where its probability reaches its threshold."
    )
    assert "need not be where a disease is" in plain.saliency
    assert "has not been tested" in plain.saliency


def test_damaged_scores_are_left_out(tmp_path: Path):
    run = services.weights(tmp_path)
    write_json(run / "evaluation" / "a" / "scores.json", {"scores": [{"source": 1}]})
    assert card(run, load(run)).scores == []
