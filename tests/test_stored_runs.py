"""A run folder of version 0.1.0, written before the modules moved to their rooms: it loads, is evaluated, goes on."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import multimix
import tiny
from multimix.config import RunConfig
from multimix.training.state import load_state
from multimix.weights.file import BEST, LAST, read_weights

STORED = Path(__file__).parent / "stored" / "run"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of the run beside its images, which are generated as they were."""
    manifest = tiny.write_xrays(tmp_path / "xrays")
    shutil.copytree(STORED, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text("utf-8").replace("xrays/manifest.csv", str(manifest)), "utf-8")
    return tmp_path / "run"


def test_its_weights_answer_as_they_did(run: Path) -> None:
    table = pd.read_csv(run / "evaluation" / "test-wards-lungs" / "per_image.csv").set_index("image")
    predictor = multimix.load(run)
    for name in ("test_NORMAL_0", "test_PNEUMONIA_1"):
        answer = predictor(run.parent / "xrays" / "images" / f"{name}.png")
        assert isinstance(answer, multimix.Prediction)
        # Another processor and another way to resize move the last digits, not more.
        stored = table.loc[f"images/{name}.png", ["p_NORMAL", "p_PNEUMONIA"]]
        assert list(answer.probabilities.values()) == pytest.approx(list(stored), abs=1e-3)


def test_it_is_evaluated_to_the_same_scores(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = pd.read_csv(run / "evaluation" / "test-wards-lungs" / "per_image.csv")
    done = tiny.multimix(capsys, "evaluate", run, "--out", run / "again")
    assert done.code == 0, done.err
    again = pd.read_csv(run / "again" / "per_image.csv")
    assert list(again["image"]) == list(stored["image"])
    np.testing.assert_allclose(again["p_NORMAL"], stored["p_NORMAL"], atol=1e-3)


def test_it_goes_on(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert load_state(run / LAST).step == 9
    assert RunConfig.read(run / "config.yaml").optim.steps == 12
    done = tiny.multimix(capsys, "train", "--out", run, "--resume")
    assert done.code == 0, done.err
    assert load_state(run / LAST).step == 12


def test_its_weights_file_is_read_without_a_network() -> None:
    file = read_weights(STORED / BEST)
    assert file.spec.classes == ("NORMAL", "PNEUMONIA")
    assert file.spec.structures == ("lungs",)
    assert file.spec.widths == (2, 2, 2, 2, 2)
    assert {values.dtype for values in file.network.values()} == {np.dtype(np.float32)}
