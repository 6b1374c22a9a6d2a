"""The experiment: every method at every label budget and seed, a run each, judged in both domains.

A spec (YAML) names the grid. Each cell of it is a folder of its own:

    DIR/spec.yaml                          what is run
    DIR/multimix-c100-m10-s0/run/          the training run
    DIR/multimix-c100-m10-s0/per_image.parquet, scores.json, examples/
    DIR/multimix-c100-m10-s0/cell.json     written last: the cell is finished
    DIR/summary.csv                        every score of every finished cell

The state is what lies on disk, so a benchmark that was killed goes on where it stopped and ends in the same table.
"""

import json
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pandas as pd
import torch
import yaml

from multimix.config import RunConfig, build, read_mapping
from multimix.data.manifest import read_manifest
from multimix.data.phantom import write_dataset
from multimix.data.splits import select
from multimix.errors import MultimixError, UsageError
from multimix.evaluate import evaluate_source, write_scores
from multimix.io.overlay import overlay
from multimix.io.readers import read_image, read_mask
from multimix.io.tables import write_table
from multimix.io.writers import atomic_write, write_json, write_png
from multimix.predict import Predictor, load
from multimix.recipes import METHODS, cell_name, method, recipe
from multimix.trainer import Progress, train
from multimix.types import Record

EXAMPLES = 2
"""Test images of every source that may be shown."""
FINISHED, FAILED = "cell.json", "failed.json"
SPECS = Path(__file__).parent / "specs"
"""The specs that come with the package: paper, quick, smoke."""


@dataclass(frozen=True)
class Spec:
    """What is compared, on what, and how it was tuned."""

    methods: tuple[str, ...] = tuple(METHODS)
    class_labels: tuple[int | None, ...] = (100,)
    """Budgets of class labels; null means all."""
    mask_labels: tuple[int | None, ...] = (10,)
    """Budgets of masks; null means all."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each decides labelled images, initial weights and batches, the same for every method."""
    class_source: tuple[str, ...] = ()
    """Learned from and judged on: the domain of the classes."""
    mask_source: tuple[str, ...] = ()
    """Learned from and judged on: the domain of the masks."""
    cross_class_source: tuple[str, ...] = ()
    """Judged only: a domain that was never seen."""
    cross_mask_source: tuple[str, ...] = ()
    """Judged only: a domain that was never seen."""
    shown: tuple[str, ...] = ()
    """Sources whose pictures may stand in a report: licences and patients decide."""
    phantoms: int = 0
    """Where it is not 0, the data are generated chest radiographs from this seed."""
    threads: int = 1
    """Processor threads of a cell; part of the spec, as sums round differently with their number."""
    tuning: str = ""
    """How the hyper-parameters were chosen, in words; the same effort for every method."""
    run: RunConfig = field(default_factory=RunConfig)
    """What all cells share; method, seed, sources and budgets are set by the grid."""

    def __post_init__(self) -> None:
        for name in self.methods:
            method(name)
        for name in ("methods", "class_labels", "mask_labels", "seeds"):
            if not getattr(self, name):
                raise UsageError(f"{name}: expected at least one, got none. Name some in the spec.")
        if self.threads < 1:
            raise UsageError(f"threads: expected at least 1, got {self.threads}. Change it in the spec.")

    @classmethod
    def read(cls, path: Path) -> "Spec":
        """A spec from a YAML file; a bare name such as `quick` is one of those that come with the package."""
        shipped = SPECS / f"{path}.yaml"
        file = shipped if not path.exists() and shipped.is_file() else path
        if not file.exists():
            names = ", ".join(sorted(p.stem for p in SPECS.glob("*.yaml")))
            raise UsageError(f"{path}: no such file. Give a YAML file, or one of: {names}.")
        mapping = read_mapping(file)
        base = cls(run=recipe(str(mapping.pop("recipe", "tuned"))))
        try:
            return build(cls, mapping, base, "")
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error

    def to_yaml(self) -> str:
        """The resolved spec."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items() if k != "run"}
        return yaml.safe_dump(plain | {"run": self.run.to_mapping()}, sort_keys=False)

    def cells(self) -> list["Cell"]:
        """The grid, seed by seed, so that a whole table stands early; a method has only the budgets it uses."""
        found = {
            Cell(name, c if method(name).classify else None, m if method(name).segment else None, seed): None
            for seed in self.seeds
            for c in self.class_labels
            for m in self.mask_labels
            for name in self.methods
        }
        return list(found)


@dataclass(frozen=True)
class Cell:
    """One run of the grid."""

    method: str
    class_labels: int | None
    """None: all, or the method does not classify."""
    mask_labels: int | None
    """None: all, or the method does not segment."""
    seed: int

    @property
    def name(self) -> str:
        """Its folder, such as multimix-c100-m10-s0."""
        return cell_name(self.method, self.class_labels, self.mask_labels, self.seed)

    def config(self, spec: Spec, manifest: Path) -> RunConfig:
        """The configuration of its run."""
        row = method(self.method)
        data = replace(
            spec.run.data,
            manifest=str(manifest),
            class_source=spec.class_source if row.classify else (),
            mask_source=spec.mask_source if row.segment else (),
            class_labels=self.class_labels,
            mask_labels=self.mask_labels,
        )
        return replace(spec.run, method=self.method, seed=self.seed, data=data)


@dataclass(frozen=True)
class CellState:
    """How far a cell is."""

    cell: Cell
    state: str
    """'waiting', 'training', 'finished' or 'failed'."""
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    """Of training, where finished."""
    reason: str = ""
    """Why it failed."""


def run_benchmark(
    spec: Spec,
    data: Path | None,
    out: Path,
    *,
    processes: int = 1,
    watch: Callable[[Sequence[CellState]], None] = lambda states: None,
) -> list[CellState]:
    """Run every cell that is not finished, `processes` at a time; returns how all ended.

    `watch` is called about once a second with the state of every cell. Raises UsageError where `out` holds another
    benchmark. A cell that fails is retried by the next call.
    """
    _keep_spec(spec, out)
    manifest = _manifest(spec, data, out)
    cells = spec.cells()
    for cell in cells:
        (out / cell.name / FAILED).unlink(missing_ok=True)
    todo = [cell for cell in cells if not (out / cell.name / FINISHED).is_file()]
    # Fresh processes, as threads and their number are inherited by forked ones and fixed by the first use.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, max_tasks_per_child=1) as pool:
        running = {pool.submit(_run_safely, spec, cell, manifest, out): cell for cell in todo}
        try:
            waiting: set[Future[None]] = set(running)
            while waiting:
                _, waiting = wait(waiting, timeout=1.0)
                watch(states(spec, out))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        for future in running:
            future.result()
    ended = states(spec, out)
    write_table(out / "summary.csv", summary(out, cells))
    return ended


def _keep_spec(spec: Spec, out: Path) -> None:
    file = out / "spec.yaml"
    if file.is_file():
        if file.read_text("utf-8") != spec.to_yaml():
            raise UsageError(
                f"{file}: this folder holds a benchmark of another spec. Choose another --out, or give that spec."
            )
        return
    if out.is_dir() and any(out.iterdir()):
        raise UsageError(f"{out}: not empty, and no benchmark (no spec.yaml). Choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as temporary:
        temporary.write_text(spec.to_yaml(), "utf-8")


def _manifest(spec: Spec, data: Path | None, out: Path) -> Path:
    if spec.phantoms:
        folder = out / "phantoms"
        made = folder / "manifest.csv"
        return (made if made.is_file() else write_dataset(folder, seed=spec.phantoms)).absolute()
    if data is None:
        raise UsageError(
            "No data to learn from: give --data with a manifest or the folder that holds manifest.csv."
        )
    return data.absolute()


def states(spec: Spec, out: Path) -> list[CellState]:
    """The state of every cell, read from disk."""
    return [_state(cell, spec, out / cell.name) for cell in spec.cells()]


def _state(cell: Cell, spec: Spec, folder: Path) -> CellState:
    steps = spec.run.optim.steps
    if (folder / FINISHED).is_file():
        seconds = json.loads((folder / FINISHED).read_text("utf-8"))["seconds"]
        return CellState(cell, "finished", steps, steps, seconds)
    if (folder / FAILED).is_file():
        reason = json.loads((folder / FAILED).read_text("utf-8"))["reason"]
        return CellState(cell, "failed", 0, steps, reason=reason)
    log = folder / "run" / "log.jsonl"
    if not log.is_file():
        return CellState(cell, "waiting", 0, steps)
    return CellState(cell, "training", _last_step(log), steps)


def _last_step(log: Path) -> int:
    lines = log.read_bytes()[-4096:].splitlines()
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):  # being written at this moment
            continue
    return 0


def _run_safely(spec: Spec, cell: Cell, manifest: Path, out: Path) -> None:
    """`run_cell` in a process of its own; what goes wrong is written down and costs no other cell."""
    torch.set_num_threads(spec.threads)
    try:
        run_cell(spec, cell, manifest, out)
    except (MultimixError, RuntimeError, OSError, MemoryError) as error:
        write_json(out / cell.name / FAILED, {"reason": f"{error}"})
    except KeyboardInterrupt:
        os._exit(130)  # said once, by the process that was interrupted with this one


def _stop_with_parent(progress: Progress) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        # Killed: whoever starts the benchmark again must not find this cell still being written.
        os._exit(1)


def run_cell(spec: Spec, cell: Cell, manifest: Path, out: Path) -> None:
    """Train or go on, judge, store; the file that says so comes last."""
    folder, row = out / cell.name, method(cell.method)
    trainer = train(cell.config(spec, manifest), folder / "run", resume=True, report=_stop_with_parent)
    predictor = load(folder / "run")
    by_class = (*spec.class_source, *spec.cross_class_source) if row.classify else ()
    by_mask = (*spec.mask_source, *spec.cross_mask_source) if row.segment else ()
    records = read_manifest(manifest)
    base = manifest if manifest.is_dir() else manifest.parent
    judged = [
        evaluate_source(
            predictor,
            select(records, (source,), "test"),
            classes=source in by_class,
            masks=source in by_mask,
            base=base,
        )
        for source in dict.fromkeys((*by_class, *by_mask))
    ]
    write_scores(folder, [s for s, _ in judged], [t for _, t in judged], suffix=".parquet")
    for source in set(spec.shown) & {*by_class, *by_mask}:
        known = select(records, (source,), "test")
        # Spread over the source, in which classes often follow one another.
        write_examples(predictor, known[:: -(-len(known) // EXAMPLES)], folder / "examples")
    facts = asdict(cell) | {
        "size": spec.run.data.size,
        "steps": trainer.step,
        "seconds": round(trainer.seconds, 1),
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "classes": predictor.classes,
        "structures": predictor.structures,
        "multi_label": predictor.multi_label,
        "class_sources": by_class,
        "mask_sources": by_mask,
        "in_domain": sorted({*spec.class_source, *spec.mask_source}),
    }
    write_json(folder / FINISHED, facts)


def write_examples(predictor: Predictor, records: Sequence[Record], folder: Path) -> None:
    """Pictures for the report: <source>_<image>--boundary.png (predicted, then reference) and --saliency.png."""
    for record in records:
        radiograph = read_image(record.image, predictor.channels, force=True)
        (answer,) = predictor.predict_radiographs([radiograph])
        name = f"{record.source}_{record.image.stem}"
        for structure in set(answer.masks) & set(record.masks):
            reference = read_mask(record.masks[structure], radiograph.size)
            boundaries = {"predicted": answer.masks[structure], "reference": reference}
            write_png(folder / f"{name}--boundary.png", overlay(radiograph.pixels, boundaries, None))
        if answer.saliency is not None:
            write_png(folder / f"{name}--saliency.png", overlay(radiograph.pixels, {}, answer.saliency))


def summary(out: Path, cells: Sequence[Cell]) -> pd.DataFrame:
    """A row per finished cell, source and metric: value, low, high, trivial."""
    rows = [
        asdict(cell) | {"source": group["source"], "metric": name} | estimate
        for cell in cells
        if (out / cell.name / FINISHED).is_file()
        for group in json.loads((out / cell.name / "scores.json").read_text("utf-8"))["scores"]
        for name, estimate in group["metrics"].items()
    ]
    return pd.DataFrame(rows)
