"""tools/calibration_study.py: calibration error of kept cells, and what a temperature could do about it."""

import importlib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from multimix.reliability.calibration import Reliability

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module("calibration_study")


def test_columns_of_a_cell_that_is_too_sure(tool: ModuleType, tmp_path: Path) -> None:
    # Of 100 test images all are called WELL with .9, and 60 are; other splits and sources are not looked at.
    table = pd.DataFrame(
        {
            "source": "ward",
            "split": "test",
            "label": ["WELL"] * 60 + ["ILL"] * 40,
            "p_ILL": 0.1,
            "p_WELL": 0.9,
        }
    )
    others = [table.assign(split="val", label="WELL"), table.assign(source="else", label="ILL")]
    cell = SimpleNamespace(folder=tmp_path, classes=("ILL", "WELL"), table=pd.concat([table, *others]))
    kept, views, asked, flawless = tool.errors(cell, "ward")
    assert kept == pytest.approx(0.3)
    assert np.isnan(views)
    assert asked < 0.01  # at a temperature of log 9 / log 1.5 it says .6
    assert flawless == pytest.approx((2 / np.pi * 0.9 * 0.1 / 100) ** 0.5, abs=0.004)  # mean |x| of a normal


def test_temperature_of_views_over_the_kept_one(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Logits -3 and 3 for dark and bright; a quarter of either kind has the other label.
    images = np.repeat(np.array([0, 255], np.uint8), 40)[:, None, None, None].repeat(8, 2).repeat(8, 3)
    labels = torch.tensor(([0] * 30 + [1] * 10) + ([1] * 30 + [0] * 10))
    validation = SimpleNamespace(class_images=images, labels=labels)
    seen = []

    def classify(views: torch.Tensor) -> torch.Tensor:
        seen.append(views)
        bright = views.mean(dim=(1, 2, 3)) * 2 - 1
        return torch.stack([-3 * bright, 3 * bright], dim=1)

    stored = SimpleNamespace(model=SimpleNamespace(classify=classify), reliability=Reliability(2.0))
    config = SimpleNamespace(seed=0, streams=SimpleNamespace(augmentation="radiograph"))
    monkeypatch.setattr(tool, "load_model", lambda file: stored)
    monkeypatch.setattr(tool, "prepare", lambda config: SimpleNamespace(validation=validation))
    monkeypatch.setattr(tool.RunConfig, "read", lambda file: config)
    monkeypatch.setattr(tool, "strong_view", lambda part, augmentation, rng: part)
    # The odds of being right are 3 where the logits are 6 apart: the temperature is 6 / log 3.
    assert tool.views_over_kept(tmp_path) == pytest.approx(6 / np.log(3) / 2, rel=0.01)
    assert sum(map(len, seen)) == 8 * 80


def test_kept_draws(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["calibration_study.py", str(ROOT / "results/draws")])
    assert tool.main() == 0
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 2 + 15 + 1
    assert rows[-1].startswith("| mean | | 0.042 [")
    monkeypatch.setattr("sys.argv", ["calibration_study.py", str(ROOT / "results/draws"), "--method", "unet"])
    assert tool.main() == 1
    assert "No cell of unet" in capsys.readouterr().err


def test_mean_over_the_cells_that_have_a_value(tool: ModuleType) -> None:
    # Of 1 and 3 the standard error is 1, and t of one degree of freedom at .975 is 12.706.
    assert tool.mean(np.array([1.0, np.nan, 3.0])) == "2.000 [-10.706, 14.706]"
    assert tool.mean(np.array([0.5, np.nan])) == "0.500"
    assert tool.mean(np.array([np.nan])) == ""
