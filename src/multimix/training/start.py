"""The initial weights of a run that begins from those of an earlier network.

Classes and structures are kept by name, all else where its shape is the same. The first convolution fits images of
another number of channels: grey weights are spread over the colours, and those of colours are added up.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from multimix.data.sets import TrainingSets
from multimix.errors import SplitError, UsageError
from multimix.io.run_folder import FACTS, SPLIT, read_roles
from multimix.networks.load import arrays
from multimix.networks.model import MultiMix
from multimix.types import UNKNOWN, Record
from multimix.weights import shipped_card
from multimix.weights.file import ModelSpec, WeightsFile, read_weights

_FIRST = "encoder.blocks.0.conv1.weight"


@dataclass(frozen=True)
class Start:
    """What became of the earlier weights."""

    weights: str
    """As the user named them."""
    new: tuple[str, ...]
    """What they did not have, or in another shape: classes, structures, layers."""


def begin_from(model: MultiMix, spec: ModelSpec, weights: str) -> Start:
    """Copy into a network of `spec` what fits of a run, a weights file or shipped weights.

    Raises CheckpointError where there are none.
    """
    file = read_weights(Path(weights))
    own = arrays(model.state_dict())
    new: dict[str, None] = {}
    kept = {name: _fitted(name, values, spec, file, new) for name, values in own.items()}
    model.load_state_dict({name: torch.from_numpy(values) for name, values in kept.items()})
    return Start(weights, tuple(new))


def _fitted(
    name: str, own: np.ndarray, spec: ModelSpec, file: WeightsFile, new: dict[str, None]
) -> np.ndarray:
    """The earlier values of a tensor, its own ones where there are none; what is its own is noted in `new`."""
    earlier = file.network.get(name)
    for prefix, kind in (("head.linear.", "class"), ("decoder.last.", "structure"), ("locate.", "structure")):
        if name.startswith(prefix):
            ours, theirs = (s.classes if kind == "class" else s.structures for s in (spec, file.spec))
            return _by_name(own, earlier, kind, ours, theirs, new)
    if name == _FIRST and earlier is not None and earlier.shape[0] == own.shape[0]:
        return _recoloured(earlier, own.shape[1])
    if earlier is None or earlier.shape != own.shape:
        new[name.rpartition(".")[0]] = None
        return own
    return earlier


def _by_name(
    own: np.ndarray,
    earlier: np.ndarray | None,
    kind: str,
    ours: tuple[str, ...],
    theirs: tuple[str, ...],
    new: dict[str, None],
) -> np.ndarray:
    """The rows of the names that both have."""
    fits = earlier is not None and earlier.shape[1:] == own.shape[1:]
    rows = own.copy()
    for row, name in enumerate(ours):
        if earlier is not None and fits and name in theirs:
            rows[row] = earlier[theirs.index(name)]
        else:
            new[f"{kind} {name!r}"] = None
    return rows


def _recoloured(weights: np.ndarray, channels: int) -> np.ndarray:
    """Weights (O C 3 3) for images of 1 or 3 channels; on a grey image the answer stays the same."""
    if weights.shape[1] == channels:
        return weights
    if channels == 1:
        return weights.sum(axis=1, keepdims=True)
    return np.repeat(weights / weights.dtype.type(channels), channels, axis=1)


def origin(weights: str) -> Mapping[str, Any]:
    """What run.json says of the earlier weights."""
    return {"weights": weights, "digest": read_weights(Path(weights)).digest}


def _known(run: Path, judged: Sequence[Record]) -> set[str]:
    """The patients of `judged` that a run learned from, or that chose its weights and are test images now."""
    roles: dict[bool, set[tuple[str, str]]] = {True: set(), False: set()}
    for row in read_roles(run):
        roles[row["role"].startswith("val_")].add((row["source"], row["patient"]))
    learned, chosen_by = roles[False], roles[True]
    return {
        record.patient
        for record in judged
        if not record.patient.startswith(UNKNOWN)
        and (record.source, record.patient) in (learned if record.split == "val" else learned | chosen_by)
    }


def check_start(weights: str, widths: tuple[int, ...], sets: TrainingSets) -> str:
    """Refuse earlier weights that do not fit, or that learned from patients this run is chosen by or judged on.

    Returns why the latter cannot be told, or what speaks for it, for people; empty where they did not. Raises
    CheckpointError where there are no such weights, UsageError where no layer of them fits `widths`, SplitError.
    """
    if (known := read_weights(Path(weights)).spec.widths) != widths:
        raise UsageError(
            f"--init {weights}: its encoder has the widths {list(known)}, this run {list(widths)}, so nothing would be "
            f"kept. Add --set 'model.widths={list(known)}'."
        )
    here, judged = Path(weights), [record for record in sets.everything if record.split != "train"]
    if card := shipped_card(here):
        both = {entry["source"] for entry in card["trained_on"]} & {record.source for record in judged}
        return f"{weights} has learned from images of {', '.join(sorted(both))}" if both else ""
    seen: set[Path] = set()
    while here not in seen:
        seen.add(here)
        if not (here.is_dir() and (here / SPLIT).is_file()):
            return "" if shipped_card(here) else f"{here} does not say whom it learned from"
        if patients := sorted(_known(here, judged)):
            raise SplitError(
                f"--init {weights}: {here} has learned from {len(patients)} patients of validation or test, such as "
                f"{patients[0]}. Begin from other weights, or give both runs the same split."
            )
        try:  # the weights that those began from
            here = Path(json.loads((here / FACTS).read_text("utf-8"))["init"]["weights"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""
    return ""
