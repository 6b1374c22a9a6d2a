"""tools/validation_scores.py: what each run's log says at its best score, and the mean over common seeds."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def keep(folder: Path, method: str, steps: int, seed: int, scores: list[float], **more: list[float]) -> None:
    """A cell as tools/keep_results.py leaves it; lines of losses, which have no score, between the validations."""
    run = folder / f"{method}-s{seed}" / "run"
    run.mkdir(parents=True)
    cell = {"method": method, "steps": steps, "seed": seed}
    (run.parent / "cell.json").write_text(json.dumps(cell), "utf-8")
    validations = [{"score": s} | {name: more[name][i] for name in more} for i, s in enumerate(scores)]
    lines = [line for validation in validations for line in ({"dice": 0.9}, validation)]
    (run / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")


def test_best_of_every_run_and_mean_of_common_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(tmp_path / "long", "umtl-s", 1000, 0, [0.5, 0.9, 0.7])
    keep(tmp_path / "short", "umtl-s", 500, 0, [0.75])
    keep(tmp_path / "short", "umtl-s", 500, 1, [0.25])
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    tool = importlib.import_module("validation_scores")
    monkeypatch.setattr("sys.argv", ["validation_scores.py", str(tmp_path / "long"), str(tmp_path / "short")])
    assert tool.main() == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    long, short = str(tmp_path / "long"), str(tmp_path / "short")
    assert [row.split() for row in rows] == [
        ["|", "UMTL-S", "|", long, "|", "1000", "|", "0.9000", "|", "|", "0.9000", "|"],
        ["|", "UMTL-S", "|", short, "|", "500", "|", "0.7500", "|", "0.2500", "|", "0.7500", "|"],
    ]


def test_the_same_cell_of_two_folders_has_two_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(tmp_path / "draws", "umtl-s", 500, 0, [0.75])
    keep(tmp_path / "equal", "umtl-s", 500, 0, [0.25])
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    tool = importlib.import_module("validation_scores")
    monkeypatch.setattr(
        "sys.argv", ["validation_scores.py", str(tmp_path / "draws"), str(tmp_path / "equal")]
    )
    assert tool.main() == 0
    assert [row.split()[-2] for row in capsys.readouterr().out.splitlines()[2:]] == ["0.7500", "0.2500"]


def test_another_column_is_read_where_the_score_is_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(tmp_path, "umtl-s", 500, 0, [0.5, 0.9, 0.9], val_log_loss=[0.1, 0.4, 0.2])
    keep(tmp_path, "umtl-s", 500, 1, [0.5])  # an older log
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    tool = importlib.import_module("validation_scores")
    monkeypatch.setattr("sys.argv", ["validation_scores.py", "--of", "val_log_loss", str(tmp_path)])
    assert tool.main() == 0
    (row,) = capsys.readouterr().out.splitlines()[2:]
    assert row.split() == ["|", "UMTL-S", "|", str(tmp_path), "|", "500", "|", "0.4000", "|", "0.4000", "|"]


def test_the_mean_may_be_of_some_seeds_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, score in enumerate((0.5, 0.25, 1.0)):
        keep(tmp_path, "umtl-s", 500, seed, [score])
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    tool = importlib.import_module("validation_scores")
    monkeypatch.setattr("sys.argv", ["validation_scores.py", str(tmp_path), "--seeds", "0", "2"])
    assert tool.main() == 0
    (row,) = capsys.readouterr().out.splitlines()[2:]
    assert row.split() == [
        "|",
        "UMTL-S",
        "|",
        str(tmp_path),
        "|",
        "500",
        "|",
        "0.5000",
        "|",
        "1.0000",
        "|",
        "0.7500",
        "|",
    ]


def test_a_folder_without_cells_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    tool = importlib.import_module("validation_scores")
    monkeypatch.setattr("sys.argv", ["validation_scores.py", str(tmp_path)])
    assert tool.main() == 1
    assert "no finished cell" in capsys.readouterr().err
