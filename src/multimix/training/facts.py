"""What a run says of itself: config.yaml, split.csv and run.json; whether it still is that where it goes on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from multimix.config import RunConfig
from multimix.data.splits import write_split
from multimix.errors import CheckpointError, SplitError
from multimix.io.run_folder import CONFIG, FACTS, SPLIT
from multimix.io.writers import atomic_write, write_json
from multimix.training.machine import differences, machine
from multimix.training.prepare import Prepared, changed
from multimix.training.start import origin


def describe(config: RunConfig, prepared: Prepared, device: torch.device, folder: Path, resume: bool) -> str:
    """Write what the run is, or with `resume` see that it still is; returns what keeps it from being bit-equal.

    SplitError where its data has changed, CheckpointError where run.json cannot be read.
    """
    facts, known = prepared.describe() | {"machine": machine(device)}, folder / FACTS
    if resume and known.is_file():
        before = _refuse_other_data(known, facts["data"])
        return "; ".join(differences(before, facts))
    facts |= {"init": origin(config.init)} if config.init else {}
    with atomic_write(folder / CONFIG) as temporary:
        temporary.write_text(config.to_yaml(), "utf-8")
    write_split(folder / SPLIT, prepared.sets.roles())
    write_json(known, facts)
    return ""


def _refuse_other_data(known: Path, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """What run.json says; SplitError where it says other data."""
    try:
        facts = json.loads(known.read_text("utf-8"))
        before = dict(facts["data"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{known}: not readable as what a run knows of its data ({error}). Train anew into another folder."
        ) from error
    if other := changed(before, data):
        raise SplitError(
            f"{known.parent}: the data has changed since this run began ({', '.join(other)}, see {known}). Restore "
            "it, or train anew into another folder."
        )
    return facts
