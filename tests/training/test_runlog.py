"""The log of a run: what is written comes back, cut lines are dropped, a resume repeats no step."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from multimix.errors import MultimixError, UsageError
from multimix.io.run_folder import read_log
from multimix.training.runlog import RunLog


def test_lines_come_back_in_order(tmp_path: Path):
    log = RunLog(tmp_path)
    log.write(10, {"dice": 0.5, "note": "ok"})
    log.write(20, {"dice": 0.25})
    log.close()
    assert read_log(tmp_path / "log.jsonl") == [
        {"step": 10, "dice": 0.5, "note": "ok"},
        {"step": 20, "dice": 0.25},
    ]


def test_every_line_is_on_disk_at_once(tmp_path: Path):
    RunLog(tmp_path).write(1, {"dice": 0.5})
    assert (tmp_path / "log.jsonl").read_text() == '{"step": 1, "dice": 0.5}\n'


def test_numbers_that_are_not_finite_become_null(tmp_path: Path):
    RunLog(tmp_path).write(1, {"a": float("nan"), "b": float("inf"), "c": -1.5, "d": 2})
    text = (tmp_path / "log.jsonl").read_text()
    values = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert values == {"step": 1, "a": None, "b": None, "c": -1.5, "d": 2}


@pytest.mark.parametrize("tail", [b'{"step": 3, "di', b'{"step": 3', b"\x00\x00\x00", b"\xff\xfe", b"\n\n"])
def test_a_line_cut_short_is_dropped(tail: bytes, tmp_path: Path):
    log = RunLog(tmp_path)
    log.write(1, {"dice": 0.5})
    log.write(2, {"dice": 0.4})
    with log.path.open("ab") as file:
        file.write(tail)
    assert [line["step"] for line in read_log(log.path)] == [1, 2]
    # The next line of a resumed run starts on a line of its own.
    RunLog(tmp_path, resume_at=2).write(3, {"dice": 0.3})
    assert [line["step"] for line in read_log(log.path)] == [1, 2, 3]


def test_resuming_drops_what_will_be_done_again(tmp_path: Path):
    log = RunLog(tmp_path)
    for step in (10, 20, 30, 40):
        log.write(step, {"dice": step / 100})
    RunLog(tmp_path, resume_at=20).write(30, {"dice": 0.0})
    assert read_log(log.path) == [
        {"step": 10, "dice": 0.1},
        {"step": 20, "dice": 0.2},
        {"step": 30, "dice": 0.0},
    ]


def test_a_new_run_starts_a_new_log(tmp_path: Path):
    RunLog(tmp_path).write(10, {"dice": 0.5})
    RunLog(tmp_path)
    assert read_log(tmp_path / "log.jsonl") == []


def test_no_log_is_an_empty_one(tmp_path: Path):
    assert read_log(tmp_path / "log.jsonl") == []


def test_a_log_that_cannot_be_written_says_how_to_go_on(tmp_path: Path):
    log = RunLog(tmp_path)
    log.path.unlink()
    log.path.mkdir()
    with pytest.raises(MultimixError, match=r"log\.jsonl: cannot be written .* --resume"):
        log.write(1, {"dice": 0.5})


class Board:
    """Stands for TensorBoard's writer."""

    made: list["Board"] = []  # noqa: RUF012

    def __init__(self, folder: str, purge_step: int | None):
        self.folder, self.purge_step, self.scalars, self.closed = folder, purge_step, [], False
        self.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def close(self) -> None:
        self.closed = True


def test_tensorboard_gets_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Board))
    monkeypatch.setattr(Board, "made", [])
    log = RunLog(tmp_path, tensorboard=True)
    log.write(5, {"dice": 0.5, "kept": 1, "note": "text", "broken": float("nan")})
    log.close()
    (board,) = Board.made
    assert board.scalars == [("dice", 0.5, 5), ("kept", 1, 5)]
    assert board.folder == str(tmp_path / "tensorboard")
    assert board.purge_step is None
    assert board.closed


def test_tensorboard_forgets_the_steps_that_will_be_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its purge_step is the first step to hide; step 20 itself has been done and stays."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Board))
    monkeypatch.setattr(Board, "made", [])
    RunLog(tmp_path, resume_at=20, tensorboard=True)
    assert Board.made[0].purge_step == 21


def test_without_tensorboard_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"pip install 'multimix\[track\]'"):
        RunLog(tmp_path, tensorboard=True)
