"""A weights file: one safetensors file, read and written without torch, never unpickled.

Its tensors are the network's (`model.*`), the mean training mask of every structure (`trivial.*`) and those of its
reliability (`reliability.*`). Its header is JSON and carries everything needed to build the network again.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from multimix.config import WIDTHS
from multimix.errors import CheckpointError
from multimix.io.writers import atomic_write
from multimix.reliability.calibration import Reliability
from multimix.reliability.map_verdict import MapVerdict
from multimix.weights import shipped_file, shipped_names

BEST, LAST = "best.safetensors", "last.safetensors"
VERDICT = "map_verdict"
"""Where the header has it."""

UNFIT = (LookupError, TypeError, AttributeError, RuntimeError, ValueError)
"""What a header or tensors raise when names, types or shapes are not those expected."""

Arrays = Mapping[str, np.ndarray]
"""Tensor name -> values."""


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
    """1 (grey) or 3 (RGB)."""
    multi_label: bool = False
    """Classes are not exclusive: each has a probability of its own."""
    method: str = "multimix"
    widths: tuple[int, ...] = WIDTHS
    dropout: float = 0.0
    bridge: bool = True
    locate: bool = False
    focus: bool = False
    guide: bool = False

    @property
    def classify(self) -> bool:
        """Whether the class head was trained."""
        return bool(self.classes)

    @property
    def segment(self) -> bool:
        """Whether the decoder was trained."""
        return bool(self.structures)


@dataclass(frozen=True)
class WeightsFile:
    """Everything in a weights file."""

    path: Path
    spec: ModelSpec
    network: Arrays
    """Parameters by name; half-precision floats are widened to float32."""
    trivial_masks: Arrays
    """Structure -> mean of the labelled training masks, (size size) float32 in [0, 1]; may be empty."""
    reliability: Reliability | None
    """How far the answers may be believed; None in a file that was written before that was measured."""
    verdict: MapVerdict | None = None
    """What tests of its heat map said; None where they were not made."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the network's weights, hexadecimal."""
        return digest(self.network)


def digest(network: Arrays) -> str:
    """SHA-256 of a network's weights: name, type, shape and values of each, in the order of names."""
    found = hashlib.sha256()
    for name in sorted(network):
        values = np.ascontiguousarray(network[name])
        # Types as torch names them, so that UIDs that follow from a digest stay what they were.
        found.update(f"{name} torch.{values.dtype} {network[name].shape}\n".encode())
        found.update(values.tobytes())
    return found.hexdigest()


def find_weights(path: Path) -> Path:
    """The weights file of a run folder (its best), of a file, or of the name of shipped weights.

    What is on the disk comes before the name. CheckpointError where there is none.
    """
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


def read_weights(path: Path) -> WeightsFile:
    """Read what `find_weights` finds; CheckpointError where there is none, or a damaged one or one of another kind."""
    file = find_weights(path)
    tensors, header = read_tensors(file)
    # Shipped weights are stored in half the bits that they are computed with.
    tensors = {name: t.astype(np.float32) if t.dtype == np.float16 else t for name, t in tensors.items()}
    try:
        spec = spec_of(header["spec"])
        reliability = None
        if "reliability" in header:
            reliability = Reliability.unpack(header["reliability"], part(tensors, "reliability."))
            reliability.check(len(spec.classes))
        verdict = MapVerdict.unpack(header[VERDICT]) if VERDICT in header else None
    except UNFIT as error:
        raise not_weights(file, error) from error
    return WeightsFile(file, spec, part(tensors, "model."), part(tensors, "trivial."), reliability, verdict)


def store_verdict(path: Path, verdict: MapVerdict) -> Path:
    """Put the verdict on its heat map into what `find_weights` finds, whole or not at all; returns the file.

    CheckpointError where there is none or it is damaged.
    """
    file = find_weights(path)
    tensors, header = read_tensors(file)
    write_tensors(file, tensors, header | {VERDICT: verdict.pack()})
    return file


def spec_of(stored: Mapping[str, Any]) -> ModelSpec:
    """The spec of a header; ValueError, TypeError or LookupError where something is missing or impossible."""
    known = {field.name for field in dataclasses.fields(ModelSpec)}
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
    spec = ModelSpec(**{k: v for k, v in values.items() if k in known})
    if any("/" in name for name in spec.structures):  # they become parts of file names
        raise ValueError(f"structures {spec.structures}")
    return spec


def write_weights(
    path: Path,
    network: Arrays,
    spec: ModelSpec,
    trivial_masks: Arrays,
    reliability: Reliability | None = None,
) -> None:
    """Write a weights file, whole or not at all."""
    tensors = {f"model.{name}": tensor for name, tensor in network.items()}
    tensors |= {f"trivial.{name}": tensor for name, tensor in trivial_masks.items()}
    header: dict[str, Any] = {"spec": dataclasses.asdict(spec)}
    if reliability is not None:
        header["reliability"], arrays = reliability.pack()
        tensors |= {f"reliability.{name}": tensor for name, tensor in arrays.items()}
    write_tensors(path, tensors, header)


def write_tensors(path: Path, tensors: Arrays, header: Mapping[str, Any]) -> None:
    """Write a safetensors file with a JSON header, whole or not at all."""
    payload = save(
        {name: np.ascontiguousarray(tensor).reshape(tensor.shape) for name, tensor in tensors.items()},
        {"multimix": json.dumps(header)},
    )
    with atomic_write(path) as temporary:
        temporary.write_bytes(payload)


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors and JSON header of a file that `write_tensors` wrote; CheckpointError on any other."""
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {}).get("multimix", "{}"))
            if not isinstance(header, dict):
                raise ValueError("its header is no JSON object")
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path}: not a readable safetensors file ({error}). Copy it again or train anew."
        ) from error


def not_weights(file: Path, error: Exception) -> CheckpointError:
    """What is said of a file whose content does not fit a network."""
    return CheckpointError(
        f"{file}: not weights of a MultiMix network ({short(error)}). Use best.safetensors of a run."
    )


def short(error: Exception) -> str:
    """The kind and the beginning of an error, which may go on to name every tensor of a network."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def part(tensors: Arrays, prefix: str) -> dict[str, np.ndarray]:
    """The tensors whose name begins with `prefix`, without it."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
