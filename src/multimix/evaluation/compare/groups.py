"""Runs to be compared: found on disk, read, and paired by seed."""

import glob
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from multimix.errors import CheckpointError, ManifestError, UsageError
from multimix.io.run_folder import CELL, PER_IMAGE, SPEC, per_image_table, read_per_image
from multimix.metrics.per_image import Scored, classes_of, exclusive, scored, structures_of
from multimix.types import UNKNOWN

_KEY = ["source", "split", "image"]
_SETTING = ("method", "class_labels", "mask_labels", "size", "steps")


@dataclass(frozen=True)
class Run:
    """What one trained model answered."""

    path: Path
    name: str
    table: pd.DataFrame
    """A line per image of the test split; of the only split where there is no test."""
    seed: int | None = None
    """From cell.json, as are those below; None without one."""
    setting: tuple[object, ...] | None = None
    """Method, label budgets, size, steps: the same for all seeds of a group."""
    multi_label: bool | None = None
    trials: int | None = None
    """How many settings its method was tuned over; None where that is not recorded."""

    def scored(self, source: str) -> Mapping[str, Scored]:
        """Every score on the source by name, images in the order of their names; errors as `per_image.scored`."""
        return self._scored[source]

    @cached_property
    def _scored(self) -> Mapping[str, Mapping[str, Scored]]:
        found = {}
        for source, table in self.table.groupby("source", sort=False):
            rows = table.sort_values("image", kind="stable", ignore_index=True)
            # As cell.json says; else labels are exclusive where probabilities add up to one.
            multi_label = self.multi_label if self.multi_label is not None else not exclusive(rows)
            classes, structures = classes_of(rows), structures_of(rows)
            found[str(source)] = scored(rows, classes, structures, multi_label=multi_label)
        return found


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone."""

    name: str
    runs: tuple[Run, ...]


def read_group(where: str) -> Group:
    """Read a per-image table, a folder that holds one, a run folder, or all that a pattern matches.

    Raises UsageError where nothing is there, the runs are not of one kind or one is a copy of another,
    CheckpointError where a folder holds no evaluation, ManifestError where a table cannot be used.
    """
    if Path(where).exists():
        return group([Path(where)])
    if not glob.has_magic(where):
        raise UsageError(
            f"{where}: no such file or folder. Name what `multimix evaluate` wrote, a run folder, or several "
            "by a quoted pattern such as 'DIR/multimix-*'."
        )
    found = sorted(map(Path, glob.glob(where)), key=_natural)
    if not found:
        raise UsageError(
            f"{where}: expected folders that match this pattern, found none. Check its spelling."
        )
    return group(found)


def group(paths: Sequence[Path]) -> Group:
    """Read the runs at `paths`; errors as in `read_group`."""
    if not paths:
        raise UsageError("expected at least one run on each side of a comparison, got none.")
    runs = tuple(map(read_run, paths))
    settings = list(dict.fromkeys(run.setting for run in runs))
    if len(settings) > 1:
        kinds = " and ".join(next(run.path.name for run in runs if run.setting == s) for s in settings[:2])
        raise UsageError(
            f"{kinds} are not seeds of one setting (method, labels, size, steps). Narrow the pattern, as in "
            "'DIR/multimix-c100-m10-*'."
        )
    if len(runs) == 1:
        return Group(runs[0].name, runs)
    _refuse_copies(runs)
    stems = {re.sub(r"[-_. ]*s?\d+$", "", run.name) for run in runs}
    return Group(stems.pop() if len(stems) == 1 else runs[0].path.absolute().parent.name, runs)


def _refuse_copies(runs: Sequence[Run]) -> None:
    """UsageError where two runs are one: seeds that are copies of each other would make any difference sure."""
    answers = [_answers(run) for run in runs]
    for first, second in combinations(range(len(runs)), 2):
        # What collapsed answers every image alike, and so may two that did.
        if answers[first].equals(answers[second]) and (answers[first].nunique() > 1).any():
            raise UsageError(
                f"{runs[first].path} and {runs[second].path}: their predictions are the same for every image to the "
                "last digit, so they are one run copied, not two seeds. Train the second with another --seed, or "
                "leave it out."
            )


def _answers(run: Run) -> pd.DataFrame:
    """The run's probabilities and Dice, a line per source and image."""
    table = run.table.set_index(["source", "image"]).sort_index()
    return table[sorted(name for name in map(str, table) if name.startswith(("p_", "dice_")))]


def read_run(path: Path) -> Run:
    """Read one run; of a folder its own per-image table, else all those in its `evaluation`."""
    files = [path] if path.is_file() else _tables(path)
    rows = pd.concat([_read(file) for file in files], ignore_index=True)
    rows = rows.drop_duplicates(ignore_index=True)
    if (twice := rows.duplicated(_KEY)).any():
        raise ManifestError(
            f"{path}: {rows['image'][twice].iloc[0]} was judged more than once, with different answers. "
            f"Name one of {', '.join(map(str, files))}."
        )
    splits = list(rows["split"].unique())
    if "test" not in splits and len(splits) > 1:
        raise ManifestError(
            f"{path}: expected images of split test, found {', '.join(splits)}. Name the folder of one of them."
        )
    rows = rows[rows["split"] == ("test" if "test" in splits else splits[0])]
    folder = path.parent if path.is_file() else path
    cell = _cell(folder / CELL)
    return Run(
        path,
        _name(folder),
        rows.drop(columns="split").reset_index(drop=True),
        cell.get("seed"),
        tuple(cell.get(key) for key in _SETTING) if cell else None,
        cell.get("multi_label"),
        tuning_trials(folder, cell),
    )


def tuning_trials(folder: Path, about: Mapping[str, Any]) -> int | None:
    """How many settings the method of a cell was tuned over: by its cell.json, else by the spec of its benchmark."""
    if about.get("trials") is not None:
        return int(about["trials"])
    try:
        spec = yaml.safe_load((folder.parent / SPEC).read_text("utf-8"))
        return int(spec["trials"][about["method"]])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError):  # no spec, or it does not say so
        return None


def _name(folder: Path) -> str:
    """The run's folder, also where the evaluation within it is named."""
    folder = folder.absolute()
    if "evaluation" in (folder.name, folder.parent.name):
        folder = folder.parent if folder.name == "evaluation" else folder.parent.parent
    return folder.name


def _tables(folder: Path) -> list[Path]:
    within = (
        (f"*/{PER_IMAGE}.*",)
        if folder.name == "evaluation"
        else (f"evaluation/{PER_IMAGE}.*", f"evaluation/*/{PER_IMAGE}.*")
    )
    for pattern in (f"{PER_IMAGE}.*", *within):
        folders = sorted({file.parent for file in folder.glob(pattern)})
        if found := [file for each in folders if (file := per_image_table(each)) is not None]:
            return found
    if next(folder.glob(f"*/{CELL}"), None) is not None:
        raise UsageError(
            f"{folder}: this is a benchmark, not a run. Name its cells by a quoted pattern, as in "
            f"'{folder}/multimix-*'."
        )
    raise CheckpointError(
        f"{folder}: expected per_image.csv or per_image.parquet, here or in evaluation/; found neither. "
        "Judge the run first with `multimix evaluate`."
    )


def _read(file: Path) -> pd.DataFrame:
    """A per-image table with every column that a comparison needs."""
    table = read_per_image(file)
    if table.empty or (missing := [name for name in (*_KEY, "patient") if name not in table]):
        what = "no images" if table.empty else f"no column {', '.join(missing)}"
        raise ManifestError(f"{file}: {what}. Judge the run again with `multimix evaluate`.")
    if "label" not in table:
        table["label"] = ""
    table["patient"] = table["patient"].where(table["patient"] != "", UNKNOWN + table["image"])
    return table


def _cell(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        cell = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ManifestError(f"{file}: not readable as JSON ({error}). Mend or remove it.") from error
    if not isinstance(cell, dict) or not isinstance(cell.get("seed"), int):
        raise ManifestError(f"{file}: expected a whole number as `seed`, found none. Mend or remove it.")
    return cell


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    """Sorts run-2 before run-10."""
    parts = re.split(r"(\d+)", str(path))
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def paired(a: Group, b: Group) -> tuple[tuple[Run, ...], tuple[Run, ...], str]:
    """The runs of both groups that belong together, in order, and how that was decided, in words.

    By the seed of cell.json where all have one, else in the order of their names. Seeds that one side lacks
    are left out. Raises UsageError where no pairs can be made, or a run would be compared with itself.
    """
    first, second, how = _by_seed(a, b) or _by_order(a, b)
    for one, other in zip(first, second, strict=True):
        if one.path.resolve() == other.path.resolve():
            raise UsageError(f"{one.path}: stands on both sides. Name two different runs or groups.")
    return first, second, how


def _by_seed(a: Group, b: Group) -> tuple[tuple[Run, ...], tuple[Run, ...], str] | None:
    if any(run.seed is None for run in (*a.runs, *b.runs)) or (len(a.runs) == len(b.runs) == 1):
        return None
    of: list[dict[int, Run]] = []
    for side in (a, b):
        of.append({run.seed: run for run in side.runs if run.seed is not None})
        if len(of[-1]) < len(side.runs):
            raise UsageError(f"{side.name}: two of its runs have the same seed. Narrow the pattern.")
    common = sorted(of[0].keys() & of[1].keys())
    if not common:
        raise UsageError(
            f"{a.name} has seeds {_listed(of[0])}, {b.name} has {_listed(of[1])}: none in common. Runs are "
            "compared seed by seed; train the missing ones."
        )
    how = f"Paired by the seed in cell.json: {_listed(common)}."
    if left := sorted(of[0].keys() ^ of[1].keys()):
        how += f" Left out, since only one side has them: {_listed(left)}."
    return tuple(of[0][seed] for seed in common), tuple(of[1][seed] for seed in common), how


def _by_order(a: Group, b: Group) -> tuple[tuple[Run, ...], tuple[Run, ...], str]:
    if len(a.runs) != len(b.runs):
        raise UsageError(
            f"{a.name} is {len(a.runs)} runs, {b.name} is {len(b.runs)}. Without a cell.json that names their seeds, "
            "runs are paired in order and must be as many on both sides; name as many of each."
        )
    if len(a.runs) == 1:
        seeds = [run.seed for run in (*a.runs, *b.runs)]
        apart = None not in seeds and seeds[0] != seeds[1]
        return (
            a.runs,
            b.runs,
            "One run on each side" + (f", of seeds {seeds[0]} and {seeds[1]}." if apart else "."),
        )
    pairs = ", ".join(f"{x.name} with {y.name}" for x, y in zip(a.runs, b.runs, strict=True))
    return a.runs, b.runs, f"Paired in the order of their names, since not all have a cell.json: {pairs}."


def _listed(numbers: Sequence[int] | dict[int, Run]) -> str:
    return ", ".join(map(str, sorted(numbers)))
