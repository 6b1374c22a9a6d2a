"""The score that chooses the best checkpoint, by hand."""

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from multimix.networks.model import MultiMix
from multimix.networks.outputs import ModelOutput
from multimix.reliability.calibration import Reliability
from multimix.training.validation import ValidationSet, measure_reliability, score_in_words, validate

pytestmark = pytest.mark.numeric

CPU = torch.device("cpu")
SIDE = 4


class Brightness(MultiMix):
    """The mean grey value is the logit of the last class, and pixels above one half are inside."""

    def __init__(self) -> None:
        super().__init__(widths=(2,) * 5)
        self.batches: list[int] = []

    def classify(self, images: Tensor, rng: Generator | None = None) -> Tensor:
        assert rng is None
        assert torch.is_inference_mode_enabled()
        self.batches.append(len(images))
        bright = images.mean(dim=(1, 2, 3)) - 0.5
        return torch.stack([-bright, bright], dim=1)

    def forward(self, images: Tensor) -> ModelOutput:
        return ModelOutput(self.classify(images), images - 0.5, torch.zeros_like(images))


def grey(*levels: int) -> np.ndarray:
    return np.stack([np.full((1, SIDE, SIDE), level, np.uint8) for level in levels])


def rows(*counts: int) -> np.ndarray:
    """Masks whose first `count` rows are inside."""
    masks = np.zeros((len(counts), 1, SIDE, SIDE), np.uint8)
    for mask, count in zip(masks, counts, strict=True):
        mask[:, :count] = 1
    return masks


def empty() -> np.ndarray:
    return np.zeros((0, 1, SIDE, SIDE), np.uint8)


def test_auc_and_accuracy_by_hand() -> None:
    # Positives 130 and 250 against negatives 0 and 140: three of four pairs are in order, two of four decided
    # rightly (130, 140, 250 are called positive).
    found = validate(
        Brightness(), ValidationSet(grey(0, 140, 130, 250), torch.tensor([0, 0, 1, 1]), empty(), empty()), CPU
    )
    # With so few images nothing is said of the temperature. Logits are (-b, b), b the grey value less one half.
    lost = [np.log1p(np.exp(2 * b)) for b in (-0.5, 140 / 255 - 0.5, 0.5 - 130 / 255, 0.5 - 250 / 255)]
    assert found == pytest.approx(
        {"val_accuracy": 0.75, "val_auc": 0.75, "val_log_loss": np.mean(lost), "score": 0.75}, rel=1e-5
    )


def test_the_log_loss_is_of_calibrated_probabilities() -> None:
    # 20 images of each class, all but one of each decided rightly: the same logits, ten times as large, are as good.
    labels = torch.tensor([0] * 20 + [1] * 20)
    bright = [20] * 19 + [230] + [230] * 19 + [20]

    class Loud(Brightness):
        def classify(self, images: Tensor, rng: Generator | None = None) -> Tensor:
            return 10 * super().classify(images)

    validation = ValidationSet(grey(*bright), labels, empty(), empty())
    quiet, loud = (validate(model, validation, CPU)["val_log_loss"] for model in (Brightness(), Loud()))
    assert quiet == pytest.approx(loud, rel=1e-3)
    # As sure as it is often right, but for the softened labels of the temperature.
    assert quiet == pytest.approx(-0.95 * np.log(0.95) - 0.05 * np.log(0.05), rel=0.15)


def test_dice_by_hand() -> None:
    images = rows(2, 2, 4) * 255
    found = validate(
        Brightness(), ValidationSet(empty(), torch.zeros(0, dtype=torch.int64), images, rows(2, 1, 0)), CPU
    )
    # 2 of 2 rows; 1 of 2 rows: 2 * 1 / 3; everything where nothing is.
    assert found == pytest.approx({"val_dice": (1 + 2 / 3 + 0) / 3, "score": (1 + 2 / 3 + 0) / 3})


def test_nothing_where_nothing_is_counts_one() -> None:
    found = validate(
        Brightness(), ValidationSet(empty(), torch.zeros(0, dtype=torch.int64), grey(0), rows(0)), CPU
    )
    assert found["val_dice"] == 1


def test_the_score_is_the_mean_of_auc_and_dice() -> None:
    both = ValidationSet(grey(200, 0), torch.tensor([0, 1]), rows(2) * 255, rows(2))
    lost = np.mean([np.log1p(np.exp(2 * (200 / 255 - 0.5))), np.log1p(np.exp(1))])
    assert validate(Brightness(), both, CPU) == pytest.approx(
        {"val_accuracy": 0, "val_auc": 0, "val_log_loss": lost, "val_dice": 1, "score": 0.5}, rel=1e-5
    )


def test_accuracy_stands_in_where_auc_is_undefined() -> None:
    one_class = ValidationSet(grey(0, 10, 200), torch.tensor([0, 0, 0]), empty(), empty())
    found = validate(Brightness(), one_class, CPU)
    assert np.isnan(found["val_auc"])
    assert found["score"] == found["val_accuracy"] == pytest.approx(2 / 3)
    assert score_in_words(found) == "accuracy; AUC needs validation images with and without each class"
    # As a line of the log has it.
    line = {"step": 4, "val_auc": None, "val_accuracy": 1.0, "val_dice": 0.5, "score": 0.75}
    assert score_in_words(line).startswith("mean of accuracy and Dice; AUC needs")
    assert score_in_words(line | {"val_auc": 0.5}) == "mean of AUC and Dice"
    assert score_in_words({"val_dice": 0.5, "score": 0.5}) == "Dice"


def test_several_labels_at_once() -> None:
    # Logits are (-b, b): the first class is called where an image is dark, the second where it is bright.
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    found = validate(Brightness(), ValidationSet(grey(0, 255, 130), labels, empty(), empty()), CPU)
    # Class 0 ranks 0 > 130 > 255 and class 1 the reverse: each has its one positive on top.
    assert found["score"] == found["val_auc"] == 1


def test_batches_are_made_one_at_a_time_and_change_nothing() -> None:
    validation = ValidationSet(
        grey(*range(0, 250, 10)), torch.tensor([0, 1] * 12 + [0]), rows(1, 2, 3) * 255, rows(3, 2, 1)
    )
    model = Brightness()
    whole = validate(model, validation, CPU, batch=100)
    assert model.batches == [25, 3]
    model.batches.clear()
    assert validate(model, validation, CPU, batch=10) == whole
    assert model.batches == [10, 10, 5, 3]


def test_size_counts_both_parts() -> None:
    assert ValidationSet(grey(1, 2), torch.tensor([0, 1]), rows(1), rows(1)).size == 3


def no_classes() -> torch.Tensor:
    return torch.zeros(0, dtype=torch.int64)


def gradients(count: int, seed: int, side: int = 32) -> np.ndarray:
    """(count 1 side side) uint8, brighter downwards, each a little different."""
    rng = np.random.default_rng(seed)
    row = np.linspace(40, 200, side)[:, None] * np.ones((side, side))
    noise = rng.normal(0, 12, (count, 1, 4, 4)).repeat(side // 4, axis=2).repeat(side // 4, axis=3)
    return (row + noise).clip(0, 255).astype(np.uint8)


def test_reliability_is_of_the_models_own_logits() -> None:
    # Logits (-b, b) with b in [-1/2, 1/2] and classes told apart at 100 / 255: too unsure, and cut too high.
    levels = np.arange(0, 250, 2)
    validation = ValidationSet(
        grey(*levels), torch.from_numpy((levels > 100).astype(np.int64)), empty(), empty()
    )
    found = measure_reliability(Brightness(), validation, empty(), CPU, torch.Generator())
    assert found.temperature < 0.3
    assert found.detector is None
    assert len(found.quantiles) == 2
    cut = np.tanh((100.5 / 255 - 0.5) / found.temperature) / 2 + 0.5  # p of two logits (-b, b) is that of 2 b
    assert found.thresholds[1] == pytest.approx(cut, abs=0.02)


def test_familiarity_is_of_both_parts_and_needs_no_model() -> None:
    training = gradients(60, 0)
    validation = ValidationSet(empty(), no_classes(), gradients(25, 1), np.zeros((25, 1, 32, 32), np.uint8))
    model = Brightness()
    found = measure_reliability(model, validation, training, CPU, torch.Generator().manual_seed(0))
    assert model.batches == []
    assert (found.temperature, found.thresholds, found.quantiles) == (1, (), ())
    assert found.detector is not None
    new = torch.from_numpy(gradients(10, 2)).float() / 255
    assert found.detector.rejections(new.numpy()) == [""] * 10
    assert all(found.detector.rejections(new.flip(2).numpy()))


def test_without_validation_images_nothing_is_known() -> None:
    nothing = ValidationSet(empty(), no_classes(), empty(), empty())
    assert (
        measure_reliability(Brightness(), nothing, gradients(60, 0), CPU, torch.Generator()) == Reliability()
    )


def test_an_answer_that_is_no_number_is_scored_without_a_warning() -> None:
    class Broken(Brightness):
        def classify(self, images: Tensor, rng: Generator | None = None) -> Tensor:
            return super().classify(images) * torch.nan

    validation = ValidationSet(grey(*range(0, 240, 8)), torch.tensor([0, 1] * 15), empty(), empty())
    found = validate(Broken(), validation, CPU)
    assert set(found) == {"val_accuracy", "val_auc", "val_log_loss", "score"}
    assert np.isnan(list(found.values())).all()  # and none is the score of an answer that NaN was taken for
