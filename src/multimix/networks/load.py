"""Weights turned into a network again, and a network into weights.

The importer of the authors' released checkpoint is the one place that reads a `.pth`, and it reads tensors only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from multimix.errors import CheckpointError
from multimix.networks.model import MultiMix
from multimix.reliability.calibration import Reliability
from multimix.weights.file import (
    UNFIT,
    ModelSpec,
    read_weights,
    short,
    write_weights,
)


@dataclass(frozen=True)
class LoadedModel:
    """A network ready to answer."""

    model: MultiMix
    """In evaluation mode; its parameters require no gradient."""
    spec: ModelSpec
    trivial_masks: Mapping[str, np.ndarray]
    """Structure -> mean of the labelled training masks, (size size) float32 in [0, 1]."""
    reliability: Reliability | None = None
    """How far the answers may be believed; None in a file that was written before that was measured."""


def load_model(path: Path) -> LoadedModel:
    """The network of a run folder (its best weights), of a weights file, or of the name of shipped weights.

    CheckpointError where there is none, or where it is damaged or of another kind.
    """
    file = read_weights(path)
    return LoadedModel(MultiMix.from_file(file), file.spec, file.trivial_masks, file.reliability)


def save_model(
    path: Path,
    weights: Mapping[str, Tensor],
    spec: ModelSpec,
    trivial_masks: Mapping[str, Tensor],
    reliability: Reliability | None = None,
) -> None:
    """Write a weights file: the network, its spec, the mean training mask of every structure, its reliability."""
    write_weights(path, arrays(weights), spec, arrays(trivial_masks), reliability)


def arrays(weights: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Tensors as NumPy arrays in the processor's memory."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in weights.items()}


def load_released(path: str | Path) -> MultiMix:
    """The network of the authors' released checkpoint: a plain state dict (`.pth`).

    Nothing in the file is executed. Channels, classes and structures follow from the shapes. The released
    `conv_last_saliency`, which their network never calls, is left out. CheckpointError on any other file.
    """
    try:
        released = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file. Give the path of the released .pth file.") from error
    except Exception as error:
        # On a damaged file torch's reader raises nearly anything, AssertionError and struct.error included; on one
        # that holds more than tensors its message says how to execute it, so it is not passed on.
        raise CheckpointError(
            f"{path}: cannot be read as a PyTorch state dict ({type(error).__name__}): damaged, of another format, "
            "or with more inside than tensors, which is never executed. Copy or download it again."
        ) from error
    try:
        encoder = [released[f"encoder.dconv_down{i}.3.weight"].shape[0] for i in range(1, 6)]
        model = MultiMix(
            channels=released["encoder.dconv_down1.0.weight"].shape[1],
            classes=released["encoder.fc.weight"].shape[0],
            structures=released["decoder.conv_last.weight"].shape[0],
            widths=encoder,
        )
        model.load_state_dict({ours: released[theirs] for ours, theirs in _released_names().items()})
    except UNFIT as error:
        raise CheckpointError(
            f"{path}: not a released MultiMix checkpoint ({short(error)}). Expected a plain state dict with keys "
            "such as 'encoder.dconv_down1.0.weight'."
        ) from error
    return model.eval()


def _released_names() -> dict[str, str]:
    """Our parameter names -> the released ones."""
    blocks = {f"encoder.blocks.{i}": f"encoder.dconv_down{i + 1}" for i in range(5)}
    blocks |= {f"decoder.blocks.{i}": f"decoder.dconv_up{4 - i}" for i in range(4)}
    convolutions = {
        f"{ours}.conv{n}": f"{theirs}.{position}"
        for ours, theirs in blocks.items()
        for n, position in ((1, 0), (2, 3))
    }
    layers = convolutions | {"head.linear": "encoder.fc", "decoder.last": "decoder.conv_last"}
    return {f"{o}.{kind}": f"{t}.{kind}" for o, t in layers.items() for kind in ("weight", "bias")}
