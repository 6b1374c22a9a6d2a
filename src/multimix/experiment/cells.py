"""A benchmark folder read back: its finished cells, and which are missing.

A cell is one method, one label budget and one seed: a folder with `cell.json` (what it is), `per_image.parquet`
and `scores.json` (how it did on every test source). A folder that lacks one of them is not finished.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from multimix.errors import ManifestError, UsageError
from multimix.evaluation.compare.groups import tuning_trials
from multimix.io.run_folder import CELL, FACTS, FAILED, PER_IMAGE, SCORES, SPEC, read_per_image
from multimix.recipes import METHODS, Method, cell_name

_NAME = re.compile(r"(?P<method>.+?)(?:-c(?P<c>\d+|all))?(?:-m(?P<m>\d+|all))?-s(?P<seed>\d+)")
_FILES = (CELL, f"{PER_IMAGE}.parquet", SCORES)


@dataclass(frozen=True)
class Setting:
    """A method at a label budget; its cells differ in the seed alone."""

    method: str
    """As in `recipes.METHODS`."""
    class_labels: int | None
    """None: all, or the method learns no classes."""
    mask_labels: int | None
    """None: all, or the method learns no masks."""

    @property
    def of(self) -> Method:
        """The method's flags and printed name."""
        return METHODS[self.method]

    @property
    def budget(self) -> tuple[str, str]:
        """(class labels, mask labels) as printed: '100', 'full', or '' where the method does not use them."""
        return (
            ("full" if self.class_labels is None else str(self.class_labels)) if self.of.classify else "",
            ("full" if self.mask_labels is None else str(self.mask_labels)) if self.of.segment else "",
        )

    def cell(self, seed: int) -> str:
        """The folder of its cell of that seed."""
        return cell_name(self.method, self.class_labels, self.mask_labels, seed)

    @property
    def order(self) -> tuple[float, float, int]:
        """Sorts settings as the paper does: by budget ascending, then by method."""
        c = float("inf") if self.class_labels is None else float(self.class_labels)
        m = float("inf") if self.mask_labels is None else float(self.mask_labels)
        number = list(METHODS).index(self.method)
        return c if self.of.classify else 0.0, m if self.of.segment else 0.0, number


@dataclass(frozen=True)
class Cell:
    """One finished cell."""

    folder: Path
    setting: Setting
    seed: int
    size: int
    steps: int
    seconds: float
    classes: tuple[str, ...]
    structures: tuple[str, ...]
    multi_label: bool
    parameters: int
    class_sources: tuple[str, ...]
    """In domain first."""
    mask_sources: tuple[str, ...]
    in_domain: tuple[str, ...]
    table: pd.DataFrame
    """Per image, all sources."""
    versions: tuple[tuple[str, str], ...] = ()
    """Name and version of what it was trained with; empty where its run is not stored."""
    trials: int | None = None
    """How many settings its method was tuned over; None where that is not recorded."""
    floors: Mapping[str, float] = field(default_factory=dict)
    """Class source -> AUC of thumbnails, or chance where that is more."""
    looks: Mapping[str, int] = field(default_factory=dict)
    """Source -> which look at its sealed test images this was; empty where they are not sealed."""


@dataclass(frozen=True)
class Benchmark:
    """All that is stored of a benchmark."""

    folder: Path
    cells: tuple[Cell, ...]
    """Finished; sorted by budget, method, seed."""
    missing: tuple[str, ...]
    """Names of the cells that were asked for or begun and are not finished."""
    failed: Mapping[str, str]
    """Name of a missing cell that failed -> its reason."""
    spec: str
    """The text of spec.yaml, empty where there is none."""

    def settings(self) -> list[Setting]:
        """Every setting with a finished cell, in the paper's order."""
        return sorted({cell.setting for cell in self.cells}, key=lambda setting: setting.order)

    def of(self, setting: Setting) -> list[Cell]:
        """The finished cells of a setting, by seed."""
        return [cell for cell in self.cells if cell.setting == setting]


def read_benchmark(folder: Path) -> Benchmark:
    """Read every finished cell of `folder`.

    Raises UsageError where the folder is no benchmark or holds no finished cell, and ManifestError where a
    file of a cell is damaged.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder. Give the --out folder of `multimix benchmark`.")
    begun = [path for path in sorted(folder.iterdir()) if path.is_dir() and _NAME.fullmatch(path.name)]
    done = [path for path in begun if all((path / name).is_file() for name in _FILES)]
    if not done:
        state = f"{len(begun)} begun, none finished" if begun else "no cell folders"
        raise UsageError(
            f"{folder}: expected finished cells such as multimix-c100-m10-s0/ with {', '.join(_FILES)}, found "
            f"{state}. Run `multimix benchmark SPEC --out {folder}` first."
        )
    cells = sorted((_read_cell(path) for path in done), key=lambda cell: (cell.setting.order, cell.seed))
    spec = folder / SPEC
    text = spec.read_text("utf-8", errors="replace") if spec.is_file() else ""
    finished = {cell.setting.cell(cell.seed) for cell in cells}
    wanted = [*_asked_for(text), *_holes(cells), *(path.name for path in begun)]
    missing = tuple(sorted(set(wanted) - finished - {path.name for path in done}))
    failures = {path.name: path / FAILED for path in begun if path not in done}
    failed = {
        name: str(_read_json(file).get("reason", "")) for name, file in failures.items() if file.is_file()
    }
    return Benchmark(folder, tuple(cells), missing, failed, text)


def _read_cell(folder: Path) -> Cell:
    about = _read_json(folder / CELL)
    scores = _read_json(folder / SCORES)
    try:
        if about["method"] not in METHODS:
            raise ValueError(f"method {about['method']!r} is none of {', '.join(METHODS)}")
        flags = METHODS[about["method"]]
        return Cell(
            folder,
            Setting(
                about["method"],
                about["class_labels"] if flags.classify else None,
                about["mask_labels"] if flags.segment else None,
            ),
            int(about["seed"]),
            int(about["size"]),
            int(about["steps"]),
            float(about["seconds"]),
            tuple(about["classes"]) if flags.classify else (),
            tuple(about["structures"]) if flags.segment else (),
            bool(about["multi_label"]),
            int(about["parameters"]),
            tuple(about["class_sources"]) if flags.classify else (),
            tuple(about["mask_sources"]) if flags.segment else (),
            tuple(about["in_domain"]),
            _read_table(folder / f"{PER_IMAGE}.parquet"),
            _versions(folder / "run" / FACTS),
            tuning_trials(folder, about),
            _floors(scores),
            _looks(scores),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ManifestError(
            f"{folder}: not a cell of a benchmark ({type(error).__name__}: {error}). Remove the folder and run the "
            "benchmark again; it makes that cell anew."
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ManifestError(
            f"{path}: cannot be read as JSON ({error}). Remove the cell's folder and run the benchmark again."
        ) from error
    if not isinstance(content, dict):
        raise ManifestError(
            f"{path}: expected a JSON object. Remove the cell's folder and run the benchmark again."
        )
    return content


def _read_table(path: Path) -> pd.DataFrame:
    table = read_per_image(path)
    if lacking := {"image", "source", "split", "patient", "label"} - set(table.columns):
        raise ManifestError(
            f"{path}: lacks the column {min(lacking)!r}. Run the benchmark again for that cell."
        )
    return table


def _floors(scores: Mapping[str, Any]) -> dict[str, float]:
    each = {group["source"]: group["metrics"].get("auc", {}).get("trivial") for group in scores["scores"]}
    return {source: float(auc) for source, auc in each.items() if auc is not None}


def _looks(scores: Mapping[str, Any]) -> dict[str, int]:
    look = scores.get("look") or {"numbers": {}}
    return {str(source): int(number) for source, number in look["numbers"].items()}


def _versions(path: Path) -> tuple[tuple[str, str], ...]:
    if not path.is_file():
        return ()
    return tuple((str(name), str(number)) for name, number in _read_json(path).get("versions", {}).items())


def _holes(cells: Sequence[Cell]) -> list[str]:
    """Seeds that some settings have and others lack."""
    seeds = {cell.seed for cell in cells}
    return [setting.cell(seed) for setting in {cell.setting for cell in cells} for seed in seeds]


def _asked_for(spec: str) -> list[str]:
    """Names of the cells that the spec lists; empty where it is not understood: then only the folders tell."""
    try:
        content = yaml.safe_load(spec)
        settings = {
            Setting(name, c if METHODS[name].classify else None, m if METHODS[name].segment else None)
            for name in content["methods"]
            for c in content["class_labels"]
            for m in content["mask_labels"]
        }
        return [setting.cell(int(seed)) for setting in settings for seed in content["seeds"]]
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        return []
