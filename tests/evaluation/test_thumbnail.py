import numpy as np
import pytest
from PIL import Image

from multimix.evaluation.thumbnail import SIDE, thumbnail_auc, thumbnails, with_floor
from multimix.types import Estimate, Record, Scores
from multimix.weights.file import ModelSpec


def films(folder, split, brightness, labels, seed=0):
    """Noise about a brightness, an image each."""
    rng, records = np.random.default_rng(seed), []
    for i, (level, label) in enumerate(zip(brightness, labels, strict=True)):
        file = folder / f"{split}-{i}.png"
        pixels = np.clip(level + rng.normal(0, 20, (48, 60)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(file)
        records.append(Record(file, label=label, split=split, patient=str(i), source="s"))
    return records


def test_a_thumbnail_is_the_mean_of_what_each_pixel_covers(tmp_path):
    # 48 rows of 0 and 255 in bands of two: every pixel of 24 rows covers one band.
    pixels = np.repeat(np.repeat([0, 255], 2)[None].repeat(12, 0).ravel()[:, None], 60, 1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (small,) = thumbnails([Record(tmp_path / "a.png")])
    expected = np.repeat(np.tile([0.0, 1.0], SIDE // 2)[:, None], SIDE, 1)
    np.testing.assert_allclose(small.reshape(SIDE, SIDE), expected, atol=1e-6)


@pytest.mark.parametrize("multi_label", [False, True])
def test_what_brightness_gives_away_is_the_floor(tmp_path, multi_label):
    labels = ["A", "B"] * 10
    bright = [80 if label == "A" else 160 for label in labels]
    learned = films(tmp_path, "train", bright, labels)
    # Of the judged images one of ten of each class has the other's brightness: of 100 pairs 81 + 9 + 9 are ordered by
    # nine against ten; with two levels of brightness, ties within a level being broken by noise, AUC is about .9.
    swapped = [160, 80, *bright[2:]]
    judged = films(tmp_path, "test", swapped, labels, seed=1)
    found = thumbnail_auc(learned, judged, ("A", "B"), multi_label)
    assert found == pytest.approx(0.9, abs=0.05)
    unknown = [Record(record.image, source="s") for record in judged]
    assert thumbnail_auc(learned, unknown, ("A", "B"), multi_label) is None
    assert thumbnail_auc([], judged, ("A", "B"), multi_label) is None
    assert thumbnail_auc(learned, judged[::2], ("A", "B"), multi_label) is None  # one class only


def test_the_floor_stands_beside_the_auc_where_it_is_above_chance(tmp_path):
    labels = ["A", "B"] * 5
    bright = [80 if label == "A" else 160 for label in labels]
    learned = films(tmp_path, "train", bright, labels)
    metrics = {"auc": Estimate(0.8, 0.7, 0.9, 0.5), "accuracy": Estimate(0.8, 0.7, 0.9, 0.5)}
    spec = ModelSpec(classes=("A", "B"), structures=("lungs",), size=32)
    for levels, floor in ((bright, 1.0), ([240 - level for level in bright], 0.5)):
        judged = films(tmp_path, "test", levels, labels, seed=1)
        found = with_floor(Scores("s", "test", 10, 10, metrics), learned, judged, spec)
        assert found.metrics["auc"] == Estimate(0.8, 0.7, 0.9, floor)
        assert found.metrics["accuracy"] == metrics["accuracy"]
    without = Scores("s", "test", 10, 10, {"dice_lungs": metrics["auc"]})
    assert with_floor(without, learned, judged, spec) == without
