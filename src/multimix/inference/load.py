"""A predictor from a run folder, a weights file or the name of shipped weights."""

import os
from pathlib import Path

from multimix.errors import UsageError, needs_extra
from multimix.inference.predictor import Predictor
from multimix.reliability.calibration import Reliability
from multimix.weights.file import read_weights


def load(
    path: str | os.PathLike[str],
    device: str = "cpu",
    *,
    precision: str = "32-true",
    show_saliency: bool = False,
) -> Predictor:
    """Read the predictor of a run folder (its best weights), a weights file or the name of shipped weights.

    `show_saliency`: pictures show the saliency also where its tests failed.

    Raises CheckpointError where it cannot be used and UsageError where there is no such `device` or `precision`, or
    where torch is not installed.
    """
    if precision not in ("32-true", "bf16-mixed"):
        raise UsageError(f"--precision: expected 32-true or bf16-mixed, got {precision!r}.")
    file = read_weights(Path(path))
    with needs_extra(f"{path}: to compute these weights", "train"):
        from multimix.inference.torch_backend import TorchBackend
    backend = TorchBackend.read(file, str(device), precision)
    return Predictor(
        file.spec,
        backend,
        file.trivial_masks,
        file.reliability or Reliability(),
        file.verdict,
        show_saliency=show_saliency,
    )
