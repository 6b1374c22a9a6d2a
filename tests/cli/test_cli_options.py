"""`--weights NAME` in place of RUN: predict, evaluate, serve, pacs run."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from multimix import weights
from multimix.errors import MultimixError
from multimix.networks.load import save_model
from multimix.networks.model import MultiMix
from multimix.weights.file import ModelSpec


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_xrays(tmp_path_factory.mktemp("xrays") / "data")


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights called tiny-xray; the working folder is empty."""
    spec = ModelSpec(("NORMAL", "PNEUMONIA"), ("lungs",), 16, widths=(2,) * 5)
    file = tmp_path / "shipped" / "tiny-xray.safetensors"
    torch.manual_seed(0)
    save_model(file, MultiMix.from_spec(spec).state_dict(), spec, {})
    monkeypatch.setattr(weights, "FOLDER", file.parent)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return file


def test_predict_answers_every_file_into_the_folder_answers(
    shipped: Path, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = sorted((manifest.parent / "images").iterdir())[:3]
    answer = tiny.multimix(capsys, "predict", "--weights", "tiny-xray", *images)
    assert (answer.code, answer.errors) == (0, [])
    with Path("answers/predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], row["status"]) for row in rows] == [(str(image), "ok") for image in images]
    assert sorted(path.name for path in shipped.parent.iterdir()) == [shipped.name]


def test_predict_with_the_option_last_and_another_folder(
    shipped: Path, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = sorted((manifest.parent / "images").iterdir())[0]
    answer = tiny.multimix(capsys, "predict", image, "--out", "here", "--weights=tiny-xray")
    assert answer.code == 0
    assert Path("here/predictions.csv").is_file()
    assert not Path("answers").exists()


def test_evaluate_judges_on_data_and_writes_here(
    shipped: Path, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = tiny.multimix(
        capsys,
        "evaluate",
        "--weights",
        "tiny-xray",
        manifest,
        "--class-source",
        "wards",
        "--mask-source",
        "lungs",
    )
    assert (answer.code, answer.errors) == (0, [])
    scores = json.loads(Path("evaluation/test-wards-lungs/scores.json").read_text("utf-8"))["scores"]
    assert [one["source"] for one in scores] == ["wards", "lungs"]
    assert [path.name for path in shipped.parent.iterdir()] == [shipped.name]


def test_serve_and_pacs_are_handed_the_file(
    shipped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = pytest.importorskip("multimix.serve.server")
    answerer = pytest.importorskip("multimix.pacs.answerer")
    asked: list[Path] = []

    def noted(run: Path, *_: Any) -> None:
        asked.append(run)
        raise MultimixError("enough")

    monkeypatch.setattr(server, "serve", noted)
    monkeypatch.setattr(answerer.Answerer, "load", noted)
    tiny.multimix(capsys, "serve", "--weights", "tiny-xray")
    tiny.multimix(
        capsys, "pacs", "run", "--weights", "tiny-xray", "--dicomweb", "http://127.0.0.1:1/x", "--once"
    )
    assert asked == [shipped, shipped]


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "x.png"),
        ("evaluate", "data"),
        ("serve",),
        ("pacs", "run", "--dicomweb", "http://127.0.0.1:1/x"),
    ],
)
def test_a_name_that_is_none_is_one_line_with_those_there_are(
    words: tuple[str, ...], shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = tiny.multimix(capsys, *words, "--weights", "large-xray")
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert "Choose from: tiny-xray" in answer.err


def test_a_node_alone_cannot_fetch_again_what_failed(
    shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("multimix.pacs.answerer")
    where = (
        "--port",
        "11112",
        "--accept",
        "S@127.0.0.1",
        "--peer",
        "A@127.0.0.1:1",
        "--queue",
        tmp_path / "queue",
    )
    answer = tiny.multimix(capsys, "pacs", "run", "--weights", "tiny-xray", *where, "--retry-failed")
    assert answer.code == 2
    assert "--retry-failed: with --port images are sent, not fetched" in answer.err
    assert not (tmp_path / "queue").exists()


@pytest.mark.parametrize("words", [("predict",), ("evaluate",), ("serve",), ("pacs", "run")])
def test_neither_run_nor_weights(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    answer = tiny.multimix(capsys, *words)
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert "Missing argument 'RUN'" in answer.err
    assert "--weights NAME" in answer.err


@pytest.mark.parametrize("words", [("evaluate", "run", "data"), ("serve", "run"), ("pacs", "run", "run")])
def test_both_run_and_weights(
    words: tuple[str, ...], shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = tiny.multimix(capsys, *words, "--weights", "tiny-xray")
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert "leave one out" in answer.err


def test_predict_without_images(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = tiny.multimix(capsys, "predict", "--weights", "tiny-xray")
    assert answer.code == 2
    assert "Missing argument 'FILE|FOLDER...'" in answer.err
