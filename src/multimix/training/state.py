"""The training state on disk: everything that a run needs to go on as if it had never stopped."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from multimix.errors import CheckpointError
from multimix.networks.load import arrays
from multimix.weights.file import UNFIT, Arrays, part, read_tensors, short, write_tensors


@dataclass(frozen=True)
class TrainingState:
    """Everything that a run needs to go on as if it had never stopped."""

    step: int
    """Steps done."""
    seconds: float
    """Training time so far."""
    best_score: float | None
    """Best validation score so far; None before the first validation."""
    stale: int
    """Validations since the best one."""
    weights: Mapping[str, Tensor]
    average: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    """'<parameter number>.<slot>' -> tensor."""
    recent: Mapping[str, Tensor] = field(default_factory=dict)
    """Loss term -> its values since the last line of the log, (steps,)."""


def save_state(path: Path, state: TrainingState) -> None:
    """Write the training state."""
    parts = {
        "model.": state.weights,
        "average.": state.average,
        "optimizer.": state.optimizer,
        "recent.": state.recent,
    }
    tensors = {prefix + name: tensor for prefix, part in parts.items() for name, tensor in part.items()}
    numbers = {k: getattr(state, k) for k in ("step", "seconds", "best_score", "stale")}
    write_tensors(path, arrays(tensors), {"state": numbers})


def load_state(path: Path) -> TrainingState:
    """Read a training state; CheckpointError where it is damaged."""
    stored, header = read_tensors(path)
    try:
        return TrainingState(
            **header["state"],
            weights=_tensors(stored, "model."),
            average=_tensors(stored, "average."),
            optimizer=_tensors(stored, "optimizer."),
            recent=_tensors(stored, "recent."),
        )
    except UNFIT as error:
        raise CheckpointError(
            f"{path}: not a training state ({short(error)}). Train anew into another folder."
        ) from error


def _tensors(stored: Arrays, prefix: str) -> dict[str, Tensor]:
    return {name: torch.from_numpy(values) for name, values in part(stored, prefix).items()}
