"""The files of a run folder, of an evaluation and of a benchmark's cell: the one place that knows their names.

    RUN/config.yaml     the resolved configuration
    RUN/run.json        versions, machine, data fingerprints, sizes
    RUN/split.csv       which image played which role
    RUN/log.jsonl       losses and validation scores by step
    scores.json         scores by source and split, beside
    per_image.csv       or .parquet: the prediction for every image
    cell.json           what a finished cell of a benchmark is; failed.json, why one is not

The weights beside them, best.safetensors and last.safetensors, are named by `weights.file`.
"""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from multimix.config import RunConfig
from multimix.errors import CheckpointError, ManifestError, MultimixError

CONFIG, FACTS, SPLIT, LOG = "config.yaml", "run.json", "split.csv", "log.jsonl"
SCORES, PER_IMAGE = "scores.json", "per_image"
CELL, FAILED, SPEC = "cell.json", "failed.json", "spec.yaml"

ROLES = ("role", "image", "label", "source", "patient")
"""Columns of split.csv."""
TEXT = ("image", "source", "split", "patient", "label", "predicted", "prediction_set")
"""Columns of a per-image table that are text; all others are numbers."""


def read_config(run: Path) -> RunConfig | None:
    """The configuration of a run folder; None where `run` holds none, such as a weights file."""
    file = run / CONFIG
    return RunConfig.read(file) if file.is_file() else None


def read_object(file: Path) -> dict[str, Any]:
    """A JSON object; CheckpointError where there is none."""
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{file}: cannot be read as JSON ({error}). Restore it, or make it anew."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: expected a JSON object, got {type(content).__name__}. Make it anew.")
    return content


def read_log(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a log; a line cut short by a kill is dropped. Empty where there is no log."""
    lines = []
    for text in path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def read_roles(run: Path) -> list[dict[str, str]]:
    """The rows of split.csv, with the columns ROLES; CheckpointError where it cannot be read or has no row."""
    file = run / SPLIT
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CheckpointError(f"{file}: cannot be read ({error}). Restore it; training writes it.") from error
    if not rows or not set(ROLES) <= set(rows[0]):
        raise CheckpointError(
            f"{file}: expected the columns {', '.join(ROLES)} and a row for every image. Restore it; training writes "
            "it."
        )
    return [{name: row[name] or "" for name in ROLES} for row in rows]


def read_scores(folder: Path) -> tuple[dict[str, Any], ...]:
    """The scores of an evaluation, one entry per source and split; MultimixError where they are damaged."""
    file = folder / SCORES
    try:
        return tuple(dict(entry) for entry in json.loads(file.read_text("utf-8"))["scores"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MultimixError(f"{file}: not the scores of an evaluation ({error}). Evaluate again.") from error


def per_image_table(folder: Path) -> Path | None:
    """The per-image table in `folder`, None where there is none; ManifestError where there are two, one stale."""
    found = [file for kind in ("parquet", "csv") if (file := folder / f"per_image.{kind}").is_file()]
    if len(found) > 1:
        older = min(found, key=lambda file: file.stat().st_mtime_ns).name
        raise ManifestError(
            f"{folder}: holds {found[0].name} and {found[1].name}, expected one of them. Remove the older, {older}, or "
            "judge the run again with `multimix evaluate`."
        )
    return found[0] if found else None


def read_per_image(path: Path) -> pd.DataFrame:
    """A per-image table of `multimix evaluate`, number for number: text "" where empty, float64 nan where empty.

    Raises ManifestError where it cannot be read.
    """
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            # A class may be called "NA" or "1", so names stay text; float() brings numbers back to the last bit.
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
        for name in set(table) - set(TEXT):
            column = table[name]
            table[name] = (
                column.astype("float64")
                if path.suffix == ".parquet"
                else [float(cell) if cell else np.nan for cell in column]
            )
        for name in set(TEXT) & set(table):
            table[name] = table[name].fillna("").astype(str)
    except (OSError, ValueError, TypeError) as error:  # pandas and Arrow raise subclasses of these
        raise ManifestError(
            f"{path}: not a per-image table that can be read ({str(error).splitlines()[0][:120]}). Judge the run "
            "again with `multimix evaluate`."
        ) from error
    return table
