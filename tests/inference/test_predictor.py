"""Radiographs in, answers out: one or many, good or broken, at their own size."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import studies
from bright import WIDTHS, Thresholds, half, picky, predictor
from multimix.errors import CheckpointError, ImageError, UsageError
from multimix.inference.load import load
from multimix.inference.torch_backend import predictor_of
from multimix.io.writers import write_png
from multimix.networks.load import save_model
from multimix.networks.model import MultiMix
from multimix.reliability.calibration import Reliability
from multimix.reliability.map_verdict import MapVerdict, in_words
from multimix.types import Prediction, Radiograph, Turn
from multimix.weights.file import ModelSpec, store_verdict

pytestmark = pytest.mark.numeric

PASSED = MapVerdict(60, "validation images of wards")
FAILED = replace(PASSED, failed=("localises",))
SHADED = np.tile(np.linspace(0, 0.9, 32, dtype=np.float32), (32, 1))
"""Nothing that a model would reject by its pixels alone; less than half as bright as white."""


def test_answer_by_hand() -> None:
    prediction = predictor()(half())
    assert isinstance(prediction, Prediction)
    # softmax(0, logit(1/2)) = 1/2 each; the mask is the bright half at the source's size.
    assert prediction.probabilities == pytest.approx({"NORMAL": 0.5, "PNEUMONIA": 0.5}, abs=1e-3)
    np.testing.assert_array_equal(prediction.masks["lungs"], half() > 0)
    assert prediction.area_px("lungs") == 30 * 40
    with pytest.raises(UsageError, match="area of 'heart': the model segments 'lungs'"):
        prediction.area_px("heart")
    assert prediction.saliency is not None
    assert prediction.saliency.shape == (60, 40)
    # The gradient is that of the left half; what is there stands out from its surroundings above where these are
    # darker, so just below the edge of the bright half.
    assert prediction.saliency.max() == 1.0
    row = prediction.saliency[:, :18].argmax() // 18
    assert 28 <= row <= 36
    np.testing.assert_allclose(prediction.saliency[:, 24:], 0.0)
    np.testing.assert_allclose(prediction.saliency[:20], 0.0)
    assert prediction.path == ""


def test_predicted_is_the_most_probable_or_all_that_are_likely() -> None:
    dark, bright = np.full((32, 32), 0.2, np.float32), np.full((32, 32), 0.9, np.float32)
    answers = predictor()([dark, bright])
    assert isinstance(answers, list)
    assert [a.predicted for a in answers] == ["NORMAL", "PNEUMONIA"]
    # softmax(0, ln 9) = 1/10, 9/10
    assert answers[1].probabilities == pytest.approx({"NORMAL": 0.1, "PNEUMONIA": 0.9}, abs=1e-5)
    answers = predictor(multi_label=True)([dark, bright])
    assert isinstance(answers, list)
    # Sigmoids on their own: 1/2 and the brightness.
    assert [a.predicted for a in answers] == ["NORMAL", "NORMAL|PNEUMONIA"]
    assert answers[0].probabilities == pytest.approx({"NORMAL": 0.5, "PNEUMONIA": 0.2}, abs=1e-5)


def test_one_or_many_and_sizes_may_differ(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", half())
    answer = predictor()
    mixed = answer([tmp_path / "a.png", str(tmp_path / "a.png"), half(80, 100), torch.from_numpy(half())])
    assert isinstance(mixed, list)
    assert [m.masks["lungs"].shape for m in mixed] == [(60, 40), (60, 40), (80, 100), (60, 40)]
    assert [m.path for m in mixed] == [str(tmp_path / "a.png")] * 2 + ["", ""]
    for batch in (torch.rand(3, 1, 32, 32), np.zeros((3, 20, 30, 3), np.uint8)):
        answers = answer(batch)
        assert isinstance(answers, list)
        assert len(answers) == 3
    assert answer([]) == []
    with pytest.raises(ImageError, match=r"absent\.png: no such file"):
        answer(tmp_path / "absent.png")


def test_radiographs_stream_in_order_with_their_spacing() -> None:
    taken = 0

    def radiographs() -> Iterator[Radiograph]:
        nonlocal taken
        for i in range(7):
            taken += 1
            yield Radiograph(np.full((1, 20 + i, 20), 0.5, np.float32), f"{i}", (0.1, 0.2))

    answers = predictor().predict_radiographs(radiographs(), batch_size=3)
    first = next(answers)
    assert taken == 3
    assert [first.path, *(a.path for a in answers)] == list("0123456")
    assert first.spacing == (0.1, 0.2)


@pytest.fixture
def weights(tmp_path: Path) -> tuple[Path, MultiMix]:
    torch.manual_seed(0)
    spec = ModelSpec(("a", "b", "c"), ("lungs", "heart"), size=32, widths=WIDTHS)
    model = MultiMix.from_spec(spec)
    save_model(tmp_path / "best.safetensors", model.state_dict(), spec, {"lungs": torch.full((32, 32), 0.25)})
    return tmp_path, model


def test_loaded_predictor_equals_the_model(weights: tuple[Path, MultiMix]) -> None:
    run, model = weights
    image = torch.rand(1, 48, 64, generator=torch.Generator().manual_seed(1))
    small = F.interpolate(image[None], (32, 32), mode="bilinear", antialias=True)
    output = model(small)
    predictor = load(run)
    prediction = predictor(image)
    assert isinstance(prediction, Prediction)
    expected = output.class_logits.softmax(1)[0].tolist()
    assert prediction.probabilities == pytest.approx(dict(zip("abc", expected, strict=True)), abs=1e-6)
    logits = F.interpolate(output.mask_logits, (48, 64), mode="bilinear")[0].detach().numpy()
    for i, structure in enumerate(("lungs", "heart")):
        sure = abs(logits[i]) > 1e-4
        np.testing.assert_array_equal(prediction.masks[structure][sure], logits[i][sure] > 0)
    np.testing.assert_allclose(predictor.trivial_masks["lungs"], 0.25)
    assert (predictor.spec.classes, predictor.spec.structures) == (("a", "b", "c"), ("lungs", "heart"))
    assert predictor.spec.classify
    assert predictor.spec.segment


def test_load_says_what_is_wrong(weights: tuple[Path, MultiMix], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such weights file"):
        load(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"--device nothing: cannot be used here"):
        load(weights[0], device="nothing")


def test_models_with_one_task() -> None:
    image = np.random.default_rng(0).random((40, 48), dtype=np.float32)
    model = MultiMix(widths=WIDTHS, bridge=False)
    segments = predictor_of(model, ModelSpec((), ("lungs",), 32))(image)
    assert isinstance(segments, Prediction)
    assert (segments.predicted, dict(segments.probabilities), segments.saliency) == ("", {}, None)
    assert segments.masks["lungs"].shape == (40, 48)
    classifies = predictor_of(model, ModelSpec(("a", "b"), (), 32))(image)
    assert isinstance(classifies, Prediction)
    assert dict(classifies.masks) == {}
    assert sum(classifies.probabilities.values()) == pytest.approx(1)


def test_half_precision_answers_nearly_the_same(weights: tuple[Path, MultiMix]) -> None:
    path, _ = weights
    grey = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    whole, half = (load(path, precision=precision)(grey) for precision in ("32-true", "bf16-mixed"))
    assert isinstance(whole, Prediction)
    assert isinstance(half, Prediction)
    for name, probability in whole.probabilities.items():
        assert half.probabilities[name] == pytest.approx(probability, abs=0.05)
    with pytest.raises(UsageError, match=r"--precision: expected 32-true or bf16-mixed, got 'fp8'\."):
        load(path, precision="fp8")


def test_reliability_calibrates_decides_and_rejects() -> None:
    images = [np.full((32, 32), level, np.float32) for level in (0.5, 0.9)]
    known = Reliability(2.0, (0.2, 0.8), 0.9, (0.76, 0.3), picky().detector)
    answers = replace(predictor(), reliability=known)([*images, SHADED], force=True)
    assert isinstance(answers, list)
    # Logits (0, ln 9) halved: (0, ln 3), so 1/4 and 3/4, which is below 0.8 : 0.2.
    assert answers[1].probabilities == pytest.approx({"NORMAL": 0.25, "PNEUMONIA": 0.75}, abs=1e-5)
    assert [a.predicted for a in answers] == ["NORMAL"] * 3
    assert [a.prediction_set for a in answers] == [("NORMAL",), ("NORMAL", "PNEUMONIA"), ("NORMAL",)]
    assert [dict(a.thresholds) for a in answers] == [{"NORMAL": 0.2, "PNEUMONIA": 0.8}] * 3
    assert (
        answers[1].decision == "NORMAL 0.250 reaches its threshold 0.200, although PNEUMONIA is more probable"
    )
    assert "one grey level" in answers[0].rejection
    assert [a.rejected for a in answers] == [True, True, False]
    assert answers[0].masks["lungs"].shape == (32, 32)


def test_a_rejected_image_has_no_answer_unless_forced() -> None:
    model, flat = replace(predictor(), reliability=picky()), np.full((32, 32), 0.9, np.float32)
    nothing, answer = model([flat, SHADED])
    assert "one grey level" in nothing.rejection
    assert (nothing.predicted, nothing.decision, dict(nothing.probabilities)) == ("", "", {})
    assert (dict(nothing.masks), nothing.saliency, nothing.prediction_set) == ({}, None, ())
    assert (answer.rejection, answer.predicted) == ("", "NORMAL")
    forced = model(flat, force=True)
    assert isinstance(forced, Prediction)
    assert (forced.rejection, forced.predicted) == (nothing.rejection, "PNEUMONIA")


def test_a_lateral_view_is_rejected_and_costs_no_other_image_its_answer(tmp_path: Path) -> None:
    frontal = studies.save(studies.dx(), tmp_path / "frontal.dcm")
    lateral = studies.save(studies.dx(ViewPosition="LL", ViewCodeSequence=None), tmp_path / "lateral.dcm")
    model = predictor()
    answers = model([frontal, lateral])
    assert isinstance(answers, list)
    assert [a.rejection for a in answers] == ["", "a lateral view (View Position LL)"]
    assert [bool(a.predicted) for a in answers] == [True, False]
    assert answers[1].path == str(lateral)
    forced = model(lateral, force=True)
    assert isinstance(forced, Prediction)
    assert (forced.rejected, bool(forced.predicted)) == (True, True)


def test_the_decision_in_words() -> None:
    def said(predicted: str, probabilities: dict[str, float], *thresholds: float) -> str:
        known = dict(zip(probabilities, thresholds, strict=False))
        return Prediction("", probabilities, predicted, {}, None, thresholds=known).decision

    pair = {"NORMAL": 0.533, "PNEUMONIA": 0.467}
    against = "PNEUMONIA 0.467 reaches its threshold 0.280, although NORMAL is more probable"
    assert said("PNEUMONIA", pair, 0.72, 0.28) == against
    assert said("NORMAL", pair, 0.5, 0.5) == "NORMAL 0.533 reaches its threshold 0.500"
    three = {"a": 0.2, "b|c": 0.5, "d": 0.3}
    assert said("b|c", three) == "b|c is the most probable class"
    assert said("b|c", three, 0.5, 0.5, 0.5) == "b|c 0.500 reaches its threshold 0.500"
    assert said("a|d", three, 0.1, 0.6, 0.3) == (
        "a 0.200 reaches its threshold 0.100; d 0.300 reaches its threshold 0.300, although b|c is more probable"
    )
    assert said("none", three, 0.6, 0.6, 0.6) == "no class reaches its threshold"
    assert said("", {}) == ""


def test_reliability_where_labels_are_not_exclusive() -> None:
    known = Reliability(thresholds=(0.6, 0.4), quantiles=(0.2, 0.7))
    answer = replace(predictor(multi_label=True), reliability=known)(np.full((32, 32), 0.45, np.float32))
    assert isinstance(answer, Prediction)
    # p is 1/2 and 0.45.
    assert (answer.predicted, answer.prediction_set) == ("PNEUMONIA", ("PNEUMONIA",))
    neither = replace(predictor(multi_label=True), reliability=Reliability(thresholds=(0.6, 0.5)))
    answer = neither(np.full((32, 32), 0.45, np.float32))
    assert isinstance(answer, Prediction)
    assert answer.predicted == "none"


def test_a_model_without_classes_rejects_too() -> None:
    known = Reliability(detector=picky().detector)
    model = MultiMix(widths=WIDTHS, bridge=False)
    answer = predictor_of(model, ModelSpec((), ("lungs",), 32), reliability=known)(
        np.zeros((32, 32), np.uint8)
    )
    assert isinstance(answer, Prediction)
    assert "one grey level" in answer.rejection
    assert answer.prediction_set == ()


def test_loaded_reliability_answers(weights: tuple[Path, MultiMix]) -> None:
    run, model = weights
    spec = ModelSpec(("a", "b", "c"), ("lungs", "heart"), size=32, widths=WIDTHS)
    plain = load(run)(half())
    assert isinstance(plain, Prediction)
    save_model(run / "best.safetensors", model.state_dict(), spec, {}, Reliability(3.0, quantiles=(1.0,) * 3))
    loaded = load(run)
    assert (loaded.reliability.quantiles, loaded.reliability.detector) == ((1.0,) * 3, None)
    answer = loaded(half())
    assert isinstance(answer, Prediction)
    assert answer.prediction_set == ("a", "b", "c")
    logits = np.log(list(plain.probabilities.values())) / 3
    expected = np.exp(logits) / np.exp(logits).sum()
    assert list(answer.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-6)


TURNS = [Turn(*which) for which in itertools.product((False, True), repeat=3)]


@pytest.mark.parametrize("turn", TURNS)
def test_the_model_sees_an_upright_image_and_answers_the_stored_one(turn: Turn) -> None:
    seen = []

    class Watching(Thresholds):
        def forward(self, images: torch.Tensor):
            seen.append(images.clone())
            return super().forward(images)

    upright = np.zeros((1, 64, 48), np.float32)
    upright[:, 40:, :20] = 1  # bright below on the left
    stored = Radiograph(np.ascontiguousarray(turn.back(upright)), turn=turn)
    np.testing.assert_array_equal(stored.upright, upright)
    assert stored.upright_size == (64, 48)
    model = predictor_of(Watching(), predictor().spec)
    answer, plain = model(stored), model(Radiograph(upright))
    torch.testing.assert_close(seen[0], seen[1])
    assert answer.probabilities == plain.probabilities
    assert answer.masks["lungs"].shape == stored.size
    np.testing.assert_array_equal(turn.upright(answer.masks["lungs"]), plain.masks["lungs"])
    np.testing.assert_array_equal(turn.upright(answer.saliency), plain.saliency)


def test_a_picture_in_colour_is_rejected_where_the_model_rejects() -> None:
    colourful = Radiograph(
        np.random.default_rng(0).random((1, 32, 32), np.float32), in_colour=True, note="odd"
    )
    answer = replace(predictor(), reliability=picky())(colourful)
    assert answer.rejection == "is a picture in colour, which no film is"
    assert answer.note == "odd"
    assert predictor()(colourful).rejection == ""


@pytest.mark.parametrize(
    ("verdict", "asked", "shown"),
    [(None, False, True), (PASSED, False, True), (FAILED, False, False), (FAILED, True, True)],
)
def test_pictures_leave_out_a_map_that_failed_unless_it_is_asked_for(
    verdict: MapVerdict | None, asked: bool, shown: bool
) -> None:
    answer = replace(predictor(), verdict=verdict, show_saliency=asked)(half())
    assert isinstance(answer, Prediction)
    assert answer.saliency is not None  # Python has it always, with the words
    assert (answer.pictured_saliency is not None) is shown
    assert answer.saliency_verdict == in_words(verdict)


def test_where_nothing_is_classified_nothing_is_said_of_a_map() -> None:
    whole = predictor()
    answer = replace(whole, spec=replace(whole.spec, classes=()))(half())
    assert isinstance(answer, Prediction)
    assert (answer.saliency, answer.saliency_verdict) == (None, "")


def test_the_verdict_comes_with_the_weights(tmp_path: Path) -> None:
    spec = ModelSpec(("NORMAL", "PNEUMONIA"), ("lungs",), 32, widths=WIDTHS)
    save_model(tmp_path / "best.safetensors", MultiMix.from_spec(spec).state_dict(), spec, {})
    store_verdict(tmp_path, FAILED)
    assert load(tmp_path).verdict == FAILED
    assert not load(tmp_path).saliency_shown
    assert load(tmp_path, show_saliency=True).saliency_shown
