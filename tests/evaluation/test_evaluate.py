import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bright import picky
from multimix.errors import CheckpointError, ImageError, ManifestError
from multimix.evaluation import evaluate
from multimix.io.run_folder import read_per_image
from multimix.reliability.calibration import Reliability
from multimix.types import NONE, Prediction, Record
from multimix.weights.file import ModelSpec

SIZE = (20, 30)


@dataclasses.dataclass
class FakePredictor:
    """Answers what the test tells it, by the file's stem."""

    answers: dict = dataclasses.field(default_factory=dict)
    predicted_masks: dict = dataclasses.field(default_factory=dict)
    classes: tuple = ("NORMAL", "PNEUMONIA")
    structures: tuple = ("lungs",)
    multi_label: bool = False
    channels: int = 1
    has_classes: bool = True
    has_masks: bool = True
    trivial_masks: dict = dataclasses.field(default_factory=dict)
    has_sets: bool = False
    refuses: bool = False
    spacing: tuple | None = None
    asked: int = 0

    @property
    def spec(self):
        classes, structures = self.classes * self.has_classes, self.structures * self.has_masks
        return ModelSpec(classes, structures, 32, self.channels, self.multi_label)

    @property
    def reliability(self):
        knows = picky().detector if self.refuses else None
        return Reliability(quantiles=(1.0,) * len(self.classes) * self.has_sets, detector=knows)

    def predict_radiographs(self, radiographs, *, force=False):
        assert force  # every image is evaluated
        for radiograph in radiographs:
            self.asked += 1
            assert radiograph.pixels.shape == (self.channels, *SIZE)
            stem = Path(radiograph.path).stem
            probabilities = dict(zip(self.classes, self.answers.get(stem, (1.0, 0.0)), strict=True))
            named = [name for name, p in probabilities.items() if p >= 0.5]
            masks = {name: self.predicted_masks.get(stem, box(4, 4)) for name in self.structures}
            yield Prediction(
                radiograph.path,
                probabilities,
                "|".join(named) or NONE,
                masks,
                np.zeros(SIZE, np.float32),
                self.spacing,
            )


def box(top, left, height=10, width=10):
    mask = np.zeros(SIZE, dtype=bool)
    mask[top : top + height, left : left + width] = True
    return mask


def save(path, mask):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    return path


@pytest.fixture
def records(tmp_path):
    """Four labelled images of three patients, each with a mask; the second one's mask is empty."""
    references = [box(4, 4), np.zeros(SIZE, dtype=bool), box(4, 6), box(4, 4)]
    labels = ["NORMAL", "NORMAL", "PNEUMONIA", "NORMAL"]
    return [
        Record(
            image=save(tmp_path / "images" / label / f"{i}.png", box(2, 2)),
            masks={"lungs": (save(tmp_path / "masks" / f"{i}.png", reference),)},
            label=label,
            split="test",
            patient=f"patient {min(i, 2)}",
            source="clinic",
        )
        for i, (label, reference) in enumerate(zip(labels, references, strict=True))
    ]


@pytest.fixture
def predictor():
    answers = {"0": (0.9, 0.1), "1": (0.4, 0.6), "2": (0.3, 0.7), "3": (0.8, 0.2)}
    return FakePredictor(answers, trivial_masks={"lungs": box(4, 6).astype(np.float32)})


def test_no_interval_where_patients_are_not_known(predictor, records):
    unknown = [dataclasses.replace(record, patient=f"?{record.image.stem}") for record in records]
    scores, _ = evaluate.evaluate_source(predictor, unknown)
    assert (scores.images, scores.patients) == (4, 0)
    assert all(np.isnan([e.low, e.high]).all() for e in scores.metrics.values())
    assert scores.metrics["accuracy"].value == pytest.approx(3 / 4)


def test_scores_by_hand(predictor, records):
    done = []
    scores, table = evaluate.evaluate_source(predictor, records, progress=lambda *counts: done.append(counts))
    assert (scores.source, scores.split, scores.images, scores.patients) == ("clinic", "test", 4, 3)
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    values = {name: estimate.value for name, estimate in scores.metrics.items()}
    # Decisions NORMAL, PNEUMONIA, PNEUMONIA, NORMAL.
    assert values["accuracy"] == pytest.approx(3 / 4)
    assert values["f1_NORMAL"] == pytest.approx(4 / 5)
    assert values["f1_PNEUMONIA"] == pytest.approx(2 / 3)
    assert values["auc"] == 1
    # Of NORMAL two of three, of PNEUMONIA its one.
    assert values["sensitivity_NORMAL"] == pytest.approx(2 / 3)
    assert values["sensitivity_PNEUMONIA"] == 1
    assert values["balanced_accuracy"] == pytest.approx(5 / 6)
    assert values["brier"] == pytest.approx(2 * np.mean([0.01, 0.36, 0.09, 0.04]))
    # 100 pixels each; the third is shifted by two columns, so 80 in common; the second is a failure.
    assert values["dice_lungs"] == pytest.approx((1 + 0 + 0.8 + 1) / 4)
    assert values["jaccard_lungs"] == pytest.approx((1 + 0 + 80 / 120 + 1) / 4)
    assert values["precision_lungs"] == values["recall_lungs"] == pytest.approx((1 + 0 + 0.8 + 1) / 4)
    assert values["hd95_px_lungs"] == pytest.approx((0 + np.hypot(*SIZE) + 2 + 0) / 4)
    assert not any("_mm_" in name for name in values)
    assert table["reference_area_px_lungs"].tolist() == [100, 0, 100, 100]
    assert table["area_px_lungs"].tolist() == [100] * 4


def test_trivial_answers_by_hand(predictor, records):
    scores, table = evaluate.evaluate_source(predictor, records)
    trivial = {name: estimate.trivial for name, estimate in scores.metrics.items()}
    # Always NORMAL, said with the base rate 3/4.
    assert trivial["accuracy"] == pytest.approx(3 / 4)
    assert trivial["f1_NORMAL"] == pytest.approx(6 / 7)
    assert trivial["f1_PNEUMONIA"] == 0
    assert trivial["auc"] == 0.5
    assert (trivial["sensitivity_NORMAL"], trivial["sensitivity_PNEUMONIA"]) == (1, 0)
    assert trivial["balanced_accuracy"] == 0.5
    assert trivial["brier"] == pytest.approx(1 - (9 / 16 + 1 / 16))
    assert trivial["ece"] == pytest.approx(0)
    # Confidences .9, .6, .7, .8, each in a bin of its own, right but for the second: no bootstrap holds the error.
    ece = scores.metrics["ece"]
    assert ece.value == pytest.approx(np.mean([0.1, 0.6, 0.3, 0.2]))
    assert np.isnan([ece.low, ece.high]).all()
    assert not np.isnan([scores.metrics["brier"].low, scores.metrics["brier"].high]).any()
    # The mean mask fits the third image and is two columns off in the first and fourth.
    assert table["mean_mask_dice_lungs"].tolist() == pytest.approx([0.8, 0, 1, 0.8])
    assert trivial["dice_lungs"] == pytest.approx(2.6 / 4)
    assert trivial["jaccard_lungs"] == pytest.approx((80 / 120 + 0 + 1 + 80 / 120) / 4)
    assert trivial["ssim_lungs"] is None


def test_intervals_are_by_patient(predictor, records):
    scores, _ = evaluate.evaluate_source(predictor, records)
    # Patients 0, 1 and 2 have 1 of 1, 0 of 1 and 2 of 2 right; all drawn thrice has chance 1/27 > 2.5 %.
    accuracy = scores.metrics["accuracy"]
    assert (accuracy.low, accuracy.high) == (0, 1)
    assert scores.metrics["dice_lungs"].low == 0


def test_mean_mask_is_resized_and_cut_at_one_half(predictor, records):
    predictor.trivial_masks = {"lungs": np.repeat([[0.9, 0.2]], 4, axis=0)}
    _, table = evaluate.evaluate_source(predictor, records)
    left = np.zeros(SIZE, dtype=bool)
    # From .9 at column 7.5 to .2 at 22.5 (pixel edges), one half is passed at 16.07: 16 pixel centres before.
    left[:, :16] = True
    expected = [2 * (left & box(4, c)).sum() / (left.sum() + 100) for c in (4, 6)]
    assert table["mean_mask_dice_lungs"].tolist() == pytest.approx([expected[0], 0, expected[1], expected[0]])


def test_without_a_mean_mask_dice_has_no_trivial_answer(predictor, records):
    predictor.trivial_masks = {}
    scores, table = evaluate.evaluate_source(predictor, records)
    assert scores.metrics["dice_lungs"].trivial is None
    assert "mean_mask_dice_lungs" not in table


def test_columns_and_paths(predictor, records, tmp_path):
    _, table = evaluate.evaluate_source(predictor, records, base=tmp_path)
    assert table["image"][2] == "images/PNEUMONIA/2.png"
    head = [
        "image",
        "source",
        "split",
        "patient",
        "label",
        "predicted",
        "p_NORMAL",
        "p_PNEUMONIA",
        "dice_lungs",
    ]
    assert list(table.columns[:9]) == head
    _, table = evaluate.evaluate_source(predictor, records)
    assert table["image"][2] == "PNEUMONIA/2.png"
    assert table["predicted"].tolist() == ["NORMAL", "PNEUMONIA", "PNEUMONIA", "NORMAL"]


def test_spacing_gives_millimetres(predictor, records):
    predictor.spacing = (0.5, 0.25)
    scores, table = evaluate.evaluate_source(predictor, records)
    assert table["hd95_mm_lungs"].tolist() == pytest.approx([0, np.hypot(10, 7.5), 0.5, 0])
    # The shifted square: two columns apart at the sides, and along its rows partly 0, .25 and .5 mm.
    assert 0 < table["asd_mm_lungs"][2] < 0.5
    assert scores.metrics["asd_mm_lungs"].value == pytest.approx(table["asd_mm_lungs"].mean())
    table.loc[3, ["asd_mm_lungs", "hd95_mm_lungs"]] = np.nan
    fewer = evaluate.summarise(table, predictor.spec.classes, predictor.spec.structures)
    assert set(scores.metrics) - set(fewer.metrics) == {"asd_mm_lungs", "hd95_mm_lungs"}


def test_labels_of_another_kind_are_not_judged(predictor, records):
    others = [dataclasses.replace(record, label="nodule") for record in records]
    scores, table = evaluate.evaluate_source(predictor, others, classes=False)
    assert all(name.endswith("_lungs") for name in scores.metrics)
    assert table["label"].tolist() == ["nodule"] * 4
    assert "predicted" not in table


def test_only_what_the_model_has_learned_is_judged(records):
    scores, _ = evaluate.evaluate_source(FakePredictor(has_masks=False), records)
    assert list(scores.metrics) == [
        *("accuracy", "auc", "balanced_accuracy", "sensitivity_NORMAL", "sensitivity_PNEUMONIA"),
        *("f1_NORMAL", "f1_PNEUMONIA", "brier", "ece"),
    ]
    scores, _ = evaluate.evaluate_source(FakePredictor(has_classes=False), records)
    assert "accuracy" not in scores.metrics
    assert "dice_lungs" in scores.metrics


def test_images_without_label_or_mask(predictor, records):
    no_mask = dataclasses.replace(records[1], masks={})
    no_label = dataclasses.replace(records[2], label=None)
    neither = dataclasses.replace(records[3], label=None, masks={})
    scores, table = evaluate.evaluate_source(predictor, [records[0], no_mask, no_label, neither])
    assert scores.images == 3
    assert scores.metrics["accuracy"].value == pytest.approx(1 / 2)
    assert scores.metrics["dice_lungs"].value == pytest.approx((1 + 0.8) / 2)
    assert table["label"].tolist() == ["NORMAL", "NORMAL", ""]


def test_several_classes_and_labels_that_are_not_exclusive(records):
    labels = ["Mass|Nodule", "Effusion", "Nodule", "Mass"]
    given = [dataclasses.replace(r, label=label) for r, label in zip(records, labels, strict=True)]
    answers = {"0": (0.9, 0.1, 0.9), "1": (0.2, 0.8, 0.2), "2": (0.3, 0.1, 0.4), "3": (0.6, 0.6, 0.5)}
    predictor = FakePredictor(answers, classes=("Mass", "Effusion", "Nodule"), multi_label=True)
    scores, table = evaluate.evaluate_source(predictor, given, masks=False)
    assert table["predicted"].tolist() == ["Mass|Nodule", "Effusion", "none", "Mass|Effusion|Nodule"]
    # Wrong are image 2 Nodule, image 3 Effusion and Nodule.
    assert scores.metrics["accuracy"].value == pytest.approx(9 / 12)
    assert scores.metrics["f1_Nodule"].value == pytest.approx(2 * 1 / (2 * 1 + 1 + 1))
    assert scores.metrics["auc_Nodule"].value == pytest.approx(3 / 4)
    assert scores.metrics["auc"].value == pytest.approx((1 + 1 + 3 / 4) / 3)
    # Told as present or absent: Mass 2 of 2 and 2 of 2, Effusion 1 of 1 and 2 of 3, Nodule 1 of 2 and 1 of 2.
    found = [scores.metrics[f"{kind}_Effusion"].value for kind in ("sensitivity", "specificity")]
    assert found == pytest.approx([1, 2 / 3])
    assert scores.metrics["balanced_accuracy"].value == pytest.approx((1 + 1 + 1 + 2 / 3 + 1 / 2 + 1 / 2) / 6)
    # Base rates 1/2, 1/4, 1/2: half of Mass and Nodule and 3 of 4 Effusion are right.
    assert scores.metrics["accuracy"].trivial == pytest.approx((0.5 + 0.75 + 0.5) / 3)


def test_an_image_without_any_class_is_judged(records):
    labels = ["Mass", "none", "Mass|Nodule", "none"]
    given = [dataclasses.replace(r, label=label) for r, label in zip(records, labels, strict=True)]
    answers = {"0": (0.9, 0.1), "1": (0.2, 0.1), "2": (0.8, 0.7), "3": (0.6, 0.2)}
    predictor = FakePredictor(answers, classes=("Mass", "Nodule"), multi_label=True)
    scores, table = evaluate.evaluate_source(predictor, given, masks=False)
    assert scores.images == 4
    assert table["predicted"].tolist() == ["Mass", "none", "Mass|Nodule", "Mass"]
    assert scores.metrics["accuracy"].value == pytest.approx(7 / 8)  # wrong is image 3, Mass
    assert scores.metrics["auc_Mass"].value == 1
    with pytest.raises(ManifestError, match="label 'none' is not among the model's classes"):
        evaluate.evaluate_source(FakePredictor(), given[1:2], masks=False)


def test_decision_of_the_model_counts_and_not_the_largest_probability(predictor, records):
    _, table = evaluate.evaluate_source(predictor, records)
    table["predicted"] = "PNEUMONIA"
    scores = evaluate.summarise(table, predictor.spec.classes, predictor.spec.structures)
    assert scores.metrics["accuracy"].value == pytest.approx(1 / 4)
    assert scores.metrics["auc"].value == 1


def test_one_class_only_has_no_auc(predictor, records):
    scores, _ = evaluate.evaluate_source(predictor, [records[0], records[1], records[3]])
    auc = scores.metrics["auc"]
    assert np.isnan([auc.value, auc.low, auc.high, auc.trivial]).all()
    assert scores.metrics["f1_PNEUMONIA"].value == 0


def test_unknown_label_is_an_error_before_the_model_is_asked(predictor, records):
    records[2] = dataclasses.replace(records[2], label="TB")
    with pytest.raises(ManifestError, match=r"2\.png: label 'TB' is not among .* NORMAL, PNEUMONIA"):
        evaluate.evaluate_source(predictor, records)
    assert predictor.asked == 0


def test_exclusive_labels_are_not_split(predictor, records):
    records[2] = dataclasses.replace(records[2], label="NORMAL|PNEUMONIA")
    with pytest.raises(ManifestError, match=r"'NORMAL\|PNEUMONIA'"):
        evaluate.evaluate_source(predictor, records)


def test_unreadable_image_stops(predictor, records):
    records[2].image.write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"2\.png"):
        evaluate.evaluate_source(predictor, records)


def test_mask_of_another_size_is_an_error(predictor, records):
    save(records[1].masks["lungs"][0], np.ones((30, 20), dtype=bool))
    with pytest.raises(ImageError, match=r"1\.png: mask is 20 x 30 but its image is 30 x 20"):
        evaluate.evaluate_source(predictor, records)


def test_probabilities_that_are_no_numbers_are_an_error(predictor, records):
    predictor.answers["1"] = (float("nan"), float("nan"))
    with pytest.raises(CheckpointError, match=r"1\.png: .* not finite"):
        evaluate.evaluate_source(predictor, records)


def test_nothing_to_judge_is_an_error(predictor, records):
    bare = [dataclasses.replace(record, label=None, masks={}) for record in records]
    with pytest.raises(ManifestError, match=r"'clinic' split 'test': .* a class label or a mask .* among 4"):
        evaluate.evaluate_source(predictor, bare)
    with pytest.raises(ManifestError, match="no records"):
        evaluate.evaluate_source(predictor, [])


def test_one_source_at_a_time(predictor, records):
    _, table = evaluate.evaluate_source(predictor, records)
    table.loc[0, "source"] = "another"
    with pytest.raises(ValueError, match="one source"):
        evaluate.summarise(table, predictor.spec.classes, predictor.spec.structures)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_scores_can_be_had_again_from_the_stored_table(predictor, records, tmp_path, suffix):
    predictor.answers = {str(i): (1 - p, p) for i, p in enumerate(np.random.default_rng(0).random(4))}
    predictor.classes = ("NA", "1")  # names that a table reader would turn into something else
    renamed = [dataclasses.replace(r, label={"NORMAL": "NA"}.get(r.label, "1")) for r in records]
    plain = [dataclasses.replace(r, label="nodule", source="films") for r in records]
    both, table = evaluate.evaluate_source(predictor, renamed, seed=3)
    masks, mask_table = evaluate.evaluate_source(predictor, plain, classes=False, seed=3)
    _, stored = evaluate.write_scores(tmp_path / "scores", [both, masks], [table, mask_table], suffix=suffix)
    again = read_per_image(stored)
    for scores in (both, masks):
        rows = again[again["source"] == scores.source]
        found = evaluate.summarise(rows, predictor.spec.classes, predictor.spec.structures, seed=3)
        assert repr(found) == repr(scores)  # to the last bit; nan is not equal to itself


def test_whole_numbers_stay_whole_in_the_stored_table(predictor, records, tmp_path):
    records[1] = dataclasses.replace(records[1], masks={})
    scores, table = evaluate.evaluate_source(predictor, records)
    _, stored = evaluate.write_scores(tmp_path, [scores], [table])
    text = pd.read_csv(stored, dtype=str)
    assert text["area_px_lungs"].tolist()[::2] == ["100", "100"]
    assert text["area_px_lungs"].isna().tolist() == [False, True, False, False]


def test_the_table_of_before_goes_when_the_new_one_is_whole(predictor, records, tmp_path, monkeypatch):
    scores, table = evaluate.evaluate_source(predictor, records)
    folder = tmp_path / "scores"
    evaluate.write_scores(folder, [scores], [table], suffix=".parquet")

    def full(path, table):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "write_table", full)
        with pytest.raises(OSError, match="disk full"):
            evaluate.write_scores(folder, [scores], [table])
    assert {file.name for file in folder.iterdir()} == {"scores.json", "per_image.parquet"}
    evaluate.write_scores(folder, [scores], [table])
    assert {file.name for file in folder.iterdir()} == {"scores.json", "per_image.csv"}


def test_scores_json(predictor, records, tmp_path):
    scores, table = evaluate.evaluate_source(predictor, [records[0], records[1], records[3]])
    summary, _ = evaluate.write_scores(tmp_path, [scores], [table], manifest=tmp_path / "manifest.csv")
    stored = json.loads(summary.read_text())
    assert stored["manifest"] == str(tmp_path / "manifest.csv")
    assert stored["scores"][0]["source"] == "clinic"
    assert stored["scores"][0]["images"] == 3
    assert stored["scores"][0]["metrics"]["auc"] == {
        "value": None,
        "low": None,
        "high": None,
        "trivial": None,
    }
    assert stored["scores"][0]["metrics"]["accuracy"]["value"] == pytest.approx(2 / 3)


@dataclasses.dataclass
class ReservedPredictor(FakePredictor):
    """Says which classes it does not rule out, and refuses what the test names."""

    sets: dict = dataclasses.field(default_factory=dict)
    strange: tuple = ()

    def predict_radiographs(self, radiographs, *, force=False):
        for prediction in super().predict_radiographs(radiographs, force=force):
            stem = Path(prediction.path).stem
            reason = "looks odd" if stem in self.strange else ""
            yield dataclasses.replace(prediction, prediction_set=self.sets[stem], rejection=reason)


@pytest.fixture
def reserved(predictor):
    both = ("NORMAL", "PNEUMONIA")
    sets = {"0": ("NORMAL",), "1": ("PNEUMONIA",), "2": both, "3": both}
    return ReservedPredictor(
        **vars(predictor) | {"has_sets": True, "refuses": True}, sets=sets, strange=("3",)
    )


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_prediction_sets_and_rejections_by_hand(reserved, records, tmp_path, suffix):
    scores, table = evaluate.evaluate_source(reserved, records)
    values = {name: (estimate.value, estimate.trivial) for name, estimate in scores.metrics.items()}
    assert values["coverage"] == (3 / 4, 1)
    assert values["set_size"] == (6 / 4, 2)
    assert values["rejected"] == (1 / 4, None)
    # What would be rejected is judged all the same.
    assert scores.images == 4
    plain, _ = evaluate.evaluate_source(
        FakePredictor(reserved.answers, trivial_masks=reserved.trivial_masks), records
    )
    rest = {k: v for k, v in scores.metrics.items() if k not in ("coverage", "set_size", "rejected")}
    assert repr(plain.metrics) == repr(rest)  # some have no interval, and nan is not nan
    assert table["rejected"].tolist() == [0, 0, 0, 1]
    _, file = evaluate.write_scores(tmp_path, [scores], [table], suffix=suffix)
    stored = read_per_image(file)
    assert stored["prediction_set"].tolist() == [
        "NORMAL",
        "PNEUMONIA",
        "NORMAL|PNEUMONIA",
        "NORMAL|PNEUMONIA",
    ]
    assert repr(evaluate.summarise(stored, reserved.classes, reserved.structures)) == repr(scores)
    old = stored.rename(columns={"rejected": "refused"})  # as it was called before
    again = evaluate.summarise(old, reserved.classes, reserved.structures)
    assert repr(again.metrics["refused"]) == repr(scores.metrics["rejected"])


def test_coverage_where_labels_are_not_exclusive(reserved, records):
    labels = ["NORMAL|PNEUMONIA", "none", "PNEUMONIA", "NORMAL"]
    given = [dataclasses.replace(r, label=label) for r, label in zip(records, labels, strict=True)]
    reserved.multi_label = True
    reserved.sets |= {"1": ()}
    scores, _ = evaluate.evaluate_source(reserved, given, masks=False)
    # Half of the first image's classes, and all of the third's and fourth's; the second has none.
    assert scores.metrics["coverage"].value == pytest.approx(2.5 / 3)
    assert scores.metrics["set_size"].value == pytest.approx(5 / 4)


def test_what_the_model_does_not_know_is_not_reported(reserved, records):
    reserved.has_sets = reserved.refuses = False
    scores, table = evaluate.evaluate_source(reserved, records)
    assert not {"coverage", "set_size", "rejected"} & set(scores.metrics)
    assert not {"prediction_set", "rejected"} & set(table)
