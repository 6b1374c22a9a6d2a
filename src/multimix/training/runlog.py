"""What a run says while it trains: one JSON object per line, and TensorBoard where it is installed."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multimix.errors import MultimixError, UsageError
from multimix.io.run_folder import LOG, read_log
from multimix.io.writers import atomic_write


class RunLog:
    """Appends to RUN/log.jsonl; every line has the 'step' after which it was written."""

    def __init__(self, folder: Path, *, resume_at: int = 0, tensorboard: bool = False):
        """Lines after step `resume_at` are dropped: those steps will be done, and logged, again."""
        self.path = folder / LOG
        kept = [line for line in read_log(self.path) if line["step"] <= resume_at] if resume_at else []
        with atomic_write(self.path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")
        self.board = _board(folder, resume_at) if tensorboard else None

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Append one line; numbers that are not finite become null."""
        line = {"step": step} | {k: _finite(v) for k, v in values.items()}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise MultimixError(
                f"{self.path}: cannot be written ({error.strerror or error}). Free some space, then `multimix train "
                "--resume`; everything up to the last checkpoint is kept."
            ) from error
        if self.board is not None:
            for name, value in line.items():
                if isinstance(value, int | float) and name != "step":
                    self.board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush TensorBoard's file."""
        if self.board is not None:
            self.board.close()


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def board_writer() -> Any:
    """TensorBoard's SummaryWriter; UsageError where the extra is not installed, to be had before a run begins."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            "--tensorboard needs an extra. Install it with `pip install 'multimix[track]'`."
        ) from error
    return SummaryWriter


def _board(folder: Path, resume_at: int) -> Any:
    return board_writer()(str(folder / "tensorboard"), purge_step=resume_at + 1 if resume_at else None)
