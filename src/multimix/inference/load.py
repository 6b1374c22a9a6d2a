"""A predictor from a run folder, a weights file, the name of shipped weights or an exported model."""

import os
from pathlib import Path

from multimix.errors import UsageError, needs_extra
from multimix.inference.predictor import Backend, Predictor
from multimix.reliability.calibration import Reliability
from multimix.weights.exported import ExportedFile, is_exported, read_exported
from multimix.weights.file import WeightsFile, read_weights


def load(
    path: str | os.PathLike[str],
    device: str = "cpu",
    *,
    precision: str = "32-true",
    uncertified: bool = False,
    show_saliency: bool = False,
) -> Predictor:
    """Read the predictor of a run folder (its best weights), a weights file, the name of shipped weights, or a .onnx.

    A file that `multimix export` wrote needs no torch. One that was changed since is refused, unless `uncertified`.

    `show_saliency`: pictures show the saliency also where its tests failed.

    Raises CheckpointError where it cannot be used and UsageError where there is no such `device` or `precision`, or
    where torch, or onnxruntime for a .onnx, is not installed.
    """
    if precision not in ("32-true", "bf16-mixed"):
        raise UsageError(f"--precision: expected 32-true or bf16-mixed, got {precision!r}.")
    if is_exported(Path(path)):
        return _exported(Path(path), str(device), precision, uncertified, show_saliency)
    file = read_weights(Path(path))
    with needs_extra(f"{path}: to compute these weights", "train"):
        from multimix.inference.torch_backend import TorchBackend
    backend = TorchBackend.read(file, str(device), precision)
    return _predictor(file, backend, show_saliency)


def _predictor(file: WeightsFile | ExportedFile, backend: Backend, show_saliency: bool) -> Predictor:
    return Predictor(
        file.spec,
        backend,
        file.trivial_masks,
        file.reliability or Reliability(),
        file.verdict,
        show_saliency=show_saliency,
    )


def _exported(path: Path, device: str, precision: str, uncertified: bool, show_saliency: bool) -> Predictor:
    if (device, precision) != ("cpu", "32-true"):
        raise UsageError(
            f"{path}: an exported model is computed on the processor in 32 bits, got --device {device} and "
            f"--precision {precision}; leave them out, or name the run that it was exported from."
        )
    file = read_exported(path, uncertified=uncertified)
    if file.pixels != "float32":
        raise UsageError(
            f"{path}: its graph takes {file.pixels} pixels, for other programs, and multimix resizes images before it "
            "asks; export it with --pixels float32."
        )
    with needs_extra(f"{path}: to compute this file", "runtime"):
        from multimix.inference.onnx_backend import OnnxBackend

        backend = OnnxBackend(file)
    return _predictor(file, backend, show_saliency)
