"""Weights and training state on disk: safetensors, written in one step, never unpickled.

A weights file carries, in its header, everything needed to build the network again. The importer of the
authors' released checkpoint is the one place that reads a `.pth`, and it reads tensors only.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from multimix.errors import CheckpointError
from multimix.io.writers import atomic_write
from multimix.networks.model import MultiMix
from multimix.reliability.calibration import Reliability
from multimix.weights import shipped_file, shipped_names

BEST, LAST = "best.safetensors", "last.safetensors"

_UNFIT = (LookupError, TypeError, AttributeError, RuntimeError, ValueError)
"""What building or filling a network raises when names, types or shapes are not those expected."""


@dataclass(frozen=True)
class ModelSpec:
    """What the network answers, and how it is built."""

    classes: tuple[str, ...]
    """Names in the order of the class logits; empty where the method does not classify."""
    structures: tuple[str, ...]
    """Names in the order of the mask channels; empty where the method does not segment."""
    size: int
    """Height and width the network was trained at, in pixels."""
    channels: int = 1
    multi_label: bool = False
    method: str = "multimix"
    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    dropout: float = 0.0
    bridge: bool = True
    locate: bool = False

    @property
    def classify(self) -> bool:
        """The class head was trained."""
        return bool(self.classes)

    @property
    def segment(self) -> bool:
        """The decoder was trained."""
        return bool(self.structures)

    def build(self) -> MultiMix:
        """The network with initial weights from torch's global generator."""
        # A head that the method does not use exists all the same, with the least it can have.
        return MultiMix(
            self.channels,
            max(len(self.classes), 1),
            max(len(self.structures), 1),
            widths=self.widths,
            p=self.dropout,
            bridge=self.bridge,
            locate=self.locate,
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


def save_model(
    path: Path,
    weights: Mapping[str, Tensor],
    spec: ModelSpec,
    trivial_masks: Mapping[str, Tensor],
    reliability: Reliability | None = None,
) -> None:
    """Write a weights file: the network, its ModelSpec, the mean training mask of every structure, its reliability."""
    tensors = {f"model.{name}": tensor for name, tensor in weights.items()}
    tensors |= {f"trivial.{name}": tensor for name, tensor in trivial_masks.items()}
    header: dict[str, Any] = {"spec": dataclasses.asdict(spec)}
    if reliability is not None:
        header["reliability"], arrays = reliability.pack()
        tensors |= {f"reliability.{name}": tensor for name, tensor in arrays.items()}
    write_tensors(path, tensors, header)


def load_model(path: Path) -> LoadedModel:
    """The network of a run folder (its best weights), of a weights file, or of the name of shipped weights.

    What is on the disk comes before the name. CheckpointError where there is none, or where it is damaged or of
    another kind.
    """
    file = _weights_file(path)
    tensors, header = read_tensors(file)
    # Shipped weights are stored in half the bits that they are computed with.
    tensors = {name: t.float() if t.dtype == torch.float16 else t for name, t in tensors.items()}
    try:
        fields = header["spec"]
        known = {field.name for field in dataclasses.fields(ModelSpec)}
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        spec = ModelSpec(**{k: v for k, v in values.items() if k in known})
        if any("/" in name for name in spec.structures):  # they become parts of file names
            raise ValueError(f"structures {spec.structures}")
        model = spec.build()
        model.load_state_dict(_part(tensors, "model."))
        reliability = None
        if "reliability" in header:
            reliability = Reliability.unpack(header["reliability"], _part(tensors, "reliability."))
            reliability.check(len(spec.classes))
    except _UNFIT as error:
        raise CheckpointError(
            f"{file}: not weights of a MultiMix network ({_short(error)}). Use best.safetensors of a run."
        ) from error
    return LoadedModel(
        model.eval().requires_grad_(False),
        spec,
        {name: mask.numpy() for name, mask in _part(tensors, "trivial.").items()},
        reliability,
    )


def _weights_file(path: Path) -> Path:
    file = path / BEST if path.is_dir() else path
    if file.is_file():
        return file
    names = shipped_names()
    if str(path) in names:
        return shipped_file(str(path))
    shipped = f", or the name of weights that come with multimix ({', '.join(names)})" if names else ""
    raise CheckpointError(
        f"{file}: no such weights file. Give a folder that `multimix train` wrote, a .safetensors file{shipped}."
    )


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
    write_tensors(path, tensors, {"state": numbers})


def load_state(path: Path) -> TrainingState:
    """Read a training state; CheckpointError where it is damaged."""
    tensors, header = read_tensors(path)
    try:
        return TrainingState(
            **header["state"],
            weights=_part(tensors, "model."),
            average=_part(tensors, "average."),
            optimizer=_part(tensors, "optimizer."),
            recent=_part(tensors, "recent."),
        )
    except _UNFIT as error:
        raise CheckpointError(
            f"{path}: not a training state ({_short(error)}). Train anew into another folder."
        ) from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write a safetensors file with a JSON header, whole or not at all."""
    payload = save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        {"multimix": json.dumps(header)},
    )
    with atomic_write(path) as temporary:
        temporary.write_bytes(payload)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON header of a file that `write_tensors` wrote; CheckpointError on any other."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("multimix", "{}"))
            if not isinstance(header, dict):
                raise ValueError("its header is no JSON object")
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a readable safetensors file ({error}). Copy it again or train anew."
        ) from error


def _short(error: Exception) -> str:
    """The kind and the beginning of an error, which may go on to name every tensor of a network."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


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
    except _UNFIT as error:
        raise CheckpointError(
            f"{path}: not a released MultiMix checkpoint ({_short(error)}). Expected a plain state dict with keys "
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
