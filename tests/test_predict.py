"""Radiographs in, answers out: one or many, good or broken, at their own size."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from multimix.checkpoint import ModelSpec, save_model
from multimix.errors import CheckpointError, ImageError, MultimixError, UsageError
from multimix.io.writers import write_png
from multimix.model import MultiMix
from multimix.predict import Predictor, Summary, load, predict_files
from multimix.types import ModelOutput, Prediction, Radiograph

_WIDTHS = (2, 2, 2, 2, 2)


class _Thresholds(MultiMix):
    """Answers that can be told by hand: bright pixels are inside, and the left half is what counts."""

    def __init__(self, structures: int = 1):
        super().__init__(structures=structures, widths=_WIDTHS)
        self.structures = structures

    def forward(self, images: Tensor) -> ModelOutput:
        bright = images.mean(dim=(1, 2, 3))
        saliency = torch.zeros_like(images)
        saliency[..., : images.shape[-1] // 2] = 3.0
        return ModelOutput(
            class_logits=torch.stack([torch.zeros_like(bright), bright.logit()], dim=1),
            mask_logits=torch.cat(
                [images - (s + 1) / (self.structures + 1) for s in range(self.structures)], 1
            ),
            saliency=saliency,
        )


def _predictor(*structures: str, multi_label: bool = False) -> Predictor:
    names = structures or ("lungs",)
    return Predictor(_Thresholds(len(names)), ("NORMAL", "PNEUMONIA"), names, 32, multi_label=multi_label)


def _half(height: int = 60, width: int = 40, value: int = 255) -> np.ndarray:
    """Dark above, bright below."""
    pixels = np.zeros((height, width), dtype=np.uint8)
    pixels[height // 2 :] = value
    return pixels


def _rows(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_answer_by_hand() -> None:
    prediction = _predictor()(_half())
    assert isinstance(prediction, Prediction)
    # softmax(0, logit(1/2)) = 1/2 each; the mask is the bright half at the source's size.
    assert prediction.probabilities == pytest.approx({"NORMAL": 0.5, "PNEUMONIA": 0.5}, abs=1e-3)
    np.testing.assert_array_equal(prediction.masks["lungs"], _half() > 0)
    assert prediction.area_px("lungs") == 30 * 40
    assert prediction.saliency is not None
    assert prediction.saliency.shape == (60, 40)
    np.testing.assert_allclose(prediction.saliency[:, :18], 1.0)
    np.testing.assert_allclose(prediction.saliency[:, 22:], 0.0)
    assert prediction.path == ""


def test_predicted_is_the_most_probable_or_all_that_are_likely() -> None:
    dark, bright = np.full((32, 32), 0.2, np.float32), np.full((32, 32), 0.9, np.float32)
    answers = _predictor()([dark, bright])
    assert isinstance(answers, list)
    assert [a.predicted for a in answers] == ["NORMAL", "PNEUMONIA"]
    # softmax(0, ln 9) = 1/10, 9/10
    assert answers[1].probabilities == pytest.approx({"NORMAL": 0.1, "PNEUMONIA": 0.9}, abs=1e-5)
    answers = _predictor(multi_label=True)([dark, bright])
    assert isinstance(answers, list)
    # Sigmoids on their own: 1/2 and the brightness.
    assert [a.predicted for a in answers] == ["NORMAL", "NORMAL|PNEUMONIA"]
    assert answers[0].probabilities == pytest.approx({"NORMAL": 0.5, "PNEUMONIA": 0.2}, abs=1e-5)


def test_one_or_many_and_sizes_may_differ(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", _half())
    predictor = _predictor()
    mixed = predictor(
        [tmp_path / "a.png", str(tmp_path / "a.png"), _half(80, 100), torch.from_numpy(_half())]
    )
    assert isinstance(mixed, list)
    assert [m.masks["lungs"].shape for m in mixed] == [(60, 40), (60, 40), (80, 100), (60, 40)]
    assert [m.path for m in mixed] == [str(tmp_path / "a.png")] * 2 + ["", ""]
    for batch in (torch.rand(3, 1, 32, 32), np.zeros((3, 20, 30, 3), np.uint8)):
        answers = predictor(batch)
        assert isinstance(answers, list)
        assert len(answers) == 3
    assert predictor([]) == []
    with pytest.raises(ImageError, match=r"absent\.png: no such file"):
        predictor(tmp_path / "absent.png")


def test_radiographs_stream_in_order_with_their_spacing() -> None:
    taken = 0

    def radiographs() -> Iterator[Radiograph]:
        nonlocal taken
        for i in range(7):
            taken += 1
            yield Radiograph(np.full((1, 20 + i, 20), 0.5, np.float32), f"{i}", (0.1, 0.2))

    answers = _predictor().predict_radiographs(radiographs(), batch_size=3)
    first = next(answers)
    assert taken == 3
    assert [first.path, *(a.path for a in answers)] == list("0123456")
    assert first.spacing == (0.1, 0.2)


@pytest.fixture
def weights(tmp_path: Path) -> tuple[Path, MultiMix]:
    torch.manual_seed(0)
    spec = ModelSpec(("a", "b", "c"), ("lungs", "heart"), size=32, widths=_WIDTHS)
    model = spec.build()
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
    assert (predictor.classes, predictor.structures) == (("a", "b", "c"), ("lungs", "heart"))
    assert predictor.has_classes
    assert predictor.has_masks


def test_load_says_what_is_wrong(weights: tuple[Path, MultiMix], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such weights file"):
        load(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"--device nothing: cannot be used here"):
        load(weights[0], device="nothing")


def test_models_with_one_task() -> None:
    image = np.random.default_rng(0).random((40, 48), dtype=np.float32)
    model = MultiMix(widths=_WIDTHS, bridge=False)
    segments = Predictor(model, (), ("lungs",), 32)(image)
    assert isinstance(segments, Prediction)
    assert (segments.predicted, dict(segments.probabilities), segments.saliency) == ("", {}, None)
    assert segments.masks["lungs"].shape == (40, 48)
    classifies = Predictor(model, ("a", "b"), (), 32)(image)
    assert isinstance(classifies, Prediction)
    assert dict(classifies.masks) == {}
    assert sum(classifies.probabilities.values()) == pytest.approx(1)


def test_files_one_structure(tmp_path: Path) -> None:
    source = tmp_path / "in"
    write_png(source / "10.png", _half(64, 48))
    write_png(source / "2.png", _half(40, 90))
    seen: list[tuple[int, int]] = []
    out = tmp_path / "out"
    summary = predict_files(
        _predictor(), [source], out, progress=lambda done, all_: seen.append((done, all_))
    )
    assert summary == Summary(done=2, failed=0)
    assert seen == [(1, 2), (2, 2)]
    rows = _rows(out)
    columns = ["path", "status", "predicted", "p_NORMAL", "p_PNEUMONIA", "area_px_lungs", "mask", "overlay"]
    assert list(rows[0]) == [*columns, "error"]
    assert [r["path"] for r in rows] == [str(source / "2.png"), str(source / "10.png")]
    assert [r["mask"] for r in rows] == ["masks/2.png", "masks/10.png"]
    assert [r["overlay"] for r in rows] == ["overlays/2.png", "overlays/10.png"]
    for row, image in zip(rows, (_half(40, 90), _half(64, 48)), strict=True):
        # Every input is bright in its lower half, and not square: a transposed mask would not pass.
        np.testing.assert_array_equal(_read(out / row["mask"]), image)
        assert _read(out / row["overlay"]).shape == (*image.shape, 3)
        assert int(row["area_px_lungs"]) == image.size // 2
        assert float(row["p_NORMAL"]) + float(row["p_PNEUMONIA"]) == pytest.approx(1, abs=1e-5)


def test_mask_files_equal_the_prediction_for_several_structures(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_png(path, np.random.default_rng(0).integers(0, 256, (50, 70), dtype=np.uint8))
    predictor = _predictor("lungs", "heart")
    predict_files(predictor, [path], tmp_path / "out")
    prediction = predictor(path)
    assert isinstance(prediction, Prediction)
    (row,) = _rows(tmp_path / "out")
    assert row["mask"] == "masks/a_lungs.png|masks/a_heart.png"
    for name, structure in zip(row["mask"].split("|"), ("lungs", "heart"), strict=True):
        mask = _read(tmp_path / "out" / name)
        np.testing.assert_array_equal(mask, prediction.masks[structure] * np.uint8(255))
        assert int(row[f"area_px_{structure}"]) == (mask > 0).sum() > 0


def test_broken_files_are_rows_and_the_others_go_on(tmp_path: Path) -> None:
    source = tmp_path / "in"
    good = ["a, b.png", "röntgen 1.png", "sub/deep.png", "z.png"]
    for name in good:
        write_png(source / name, _half())
    whole = (source / "z.png").read_bytes()
    (source / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (source / "empty.png").write_bytes(b"")
    (source / "text.png").write_text("this is no image")
    (source / "folder.png").mkdir()
    write_png(source / "dot.png", np.zeros((1, 1), np.uint8))
    broken = ["dot.png", "empty.png", "text.png", "truncated.png"]
    absent, bare = tmp_path / "absent.png", tmp_path / "bare"
    bare.mkdir()
    summary = predict_files(_predictor(), [source, absent, bare], tmp_path / "out")
    assert summary == Summary(done=4, failed=6)
    rows = {r["path"]: r for r in _rows(tmp_path / "out")}
    assert set(rows) == {str(p) for p in (*(source / n for n in good + broken), absent, bare)}
    for name in good:
        row = rows[str(source / name)]
        assert (row["status"], row["error"]) == ("ok", "")
        assert row["mask"] == f"masks/{name}"
        np.testing.assert_array_equal(_read(tmp_path / "out" / row["mask"]), _half())
    for path in (*(source / n for n in broken), absent, bare):
        row = rows[str(path)]
        assert row["status"] == "failed"
        assert str(path) in row["error"]
        assert row["mask"] == row["overlay"] == row["predicted"] == ""
    masks = sorted(
        p.relative_to(tmp_path / "out/masks").as_posix() for p in (tmp_path / "out").rglob("masks/**/*.png")
    )
    assert masks == sorted(good)
    assert not [p for p in (tmp_path / "out").rglob("*") if p.name.startswith(".")]


def test_equal_names_do_not_overwrite_each_other(tmp_path: Path) -> None:
    for i, name in enumerate(("x/a.png", "y/a.png", "y/A.tif", "y/a_2.png", "y/deep/a.png")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_half(40, 30 + i)).save(tmp_path / name)
    inputs = [tmp_path / "x/a.png", tmp_path / "y/A.tif", tmp_path / "y", tmp_path / "x/a.png"]
    predict_files(_predictor(), inputs, tmp_path / "out")
    rows = _rows(tmp_path / "out")
    assert {Path(r["path"]).relative_to(tmp_path).as_posix(): r["mask"] for r in rows} == {
        "x/a.png": "masks/a.png",
        "y/A.tif": "masks/A_2.png",
        "y/a.png": "masks/a_3.png",
        "y/a_2.png": "masks/a_2_2.png",
        "y/deep/a.png": "masks/deep/a.png",
    }
    for row in rows:
        with Image.open(row["path"]) as image:
            assert _read(tmp_path / "out" / row["mask"]).shape == (image.height, image.width)


def test_structures_in_file_names_do_not_collide(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", _half(40, 30))
    write_png(tmp_path / "a_left.png", _half(40, 31))
    predict_files(
        _predictor("left_lung", "lung"), [tmp_path / "a.png", tmp_path / "a_left.png"], tmp_path / "out"
    )
    masks = [m for r in _rows(tmp_path / "out") for m in r["mask"].split("|")]
    assert len(set(masks)) == 4


def test_long_names_are_cut(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 120 + ".png")
    write_png(path, _half())
    assert predict_files(_predictor(), [path], tmp_path / "out") == Summary(1, 0)
    assert (tmp_path / "out" / _rows(tmp_path / "out")[0]["mask"]).is_file()


def test_area_in_mm2_where_spacing_is_known(tmp_path: Path) -> None:
    (tmp_path / "film.IMG").write_bytes(np.zeros((2048, 2048), ">u2").tobytes())  # 0 is white in JSRT
    write_png(tmp_path / "a.png", _half())
    predict_files(_predictor(), [tmp_path / "film.IMG", tmp_path / "a.png"], tmp_path / "out")
    film, other = _rows(tmp_path / "out")
    assert list(film)[5:7] == ["area_px_lungs", "area_mm2_lungs"]
    assert int(film["area_px_lungs"]) == 2048 * 2048
    assert float(film["area_mm2_lungs"]) == pytest.approx((2048 * 0.175) ** 2, abs=0.01)
    assert other["area_mm2_lungs"] == ""


def test_a_second_call_replaces_and_does_not_feed_on_the_first(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", _half())
    assert predict_files(_predictor(), [tmp_path], tmp_path) == Summary(1, 0)
    write_png(tmp_path / "a.png", _half(48, 32))
    assert predict_files(_predictor(), [tmp_path], tmp_path) == Summary(1, 0)
    assert _read(tmp_path / "masks/a.png").shape == (48, 32)


def test_places_that_are_refused(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", _half())
    (tmp_path / "bare").mkdir()
    with pytest.raises(UsageError, match=r"No image to answer.*bare"):
        predict_files(_predictor(), [tmp_path / "bare"], tmp_path / "out")
    with pytest.raises(UsageError, match="No image to answer: found none in no input"):
        predict_files(_predictor(), [], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match=r"a\.png: expected a folder to write to, found a file"):
        predict_files(_predictor(), [tmp_path / "a.png"], tmp_path / "a.png")
    # Somebody's own masks must not be overwritten.
    write_png(tmp_path / "masks/a.png", _half())
    with pytest.raises(UsageError, match=r"masks: exists but was not written by predict"):
        predict_files(_predictor(), [tmp_path / "a.png"], tmp_path)


def test_an_interruption_leaves_the_rows_that_are_done(tmp_path: Path) -> None:
    for i in range(12):
        write_png(tmp_path / f"in/{i}.png", _half())

    def interrupt(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_files(_predictor(), [tmp_path / "in"], tmp_path / "out", progress=interrupt)
    assert [Path(r["path"]).name for r in _rows(tmp_path / "out")] == ["0.png", "1.png"]


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more files are read ahead of the answers than the stages may hold."""
    for i in range(40):
        write_png(tmp_path / f"in/{i}.png", _half(32, 32))
    opened = answered = most = 0

    def counting(path: Path, channels: int) -> Any:
        nonlocal opened
        opened += 1
        return Radiograph(np.full((channels, 32, 32), 0.5, np.float32), str(path))

    def progress(done: int, _: int) -> None:
        nonlocal answered, most
        answered, most = done, max(most, opened - done)

    monkeypatch.setattr("multimix.predict.read_image", counting)
    predict_files(_predictor(), [tmp_path / "in"], tmp_path / "out", progress=progress)
    assert answered == 40
    assert most <= 16


def test_a_full_disk_ends_the_work_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_png(tmp_path / "a.png", _half())

    def full(path: Path, pixels: np.ndarray) -> None:
        raise MultimixError(f"{path}: no space left on the disk")

    monkeypatch.setattr("multimix.predict.write_png", full)
    with pytest.raises(MultimixError, match=re.escape("a.png: no space left")):
        predict_files(_predictor(), [tmp_path / "a.png"], tmp_path / "out")
    assert _rows(tmp_path / "out") == []
