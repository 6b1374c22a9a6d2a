"""The experiment: every method at every label budget and seed, a run each, judged in both domains.

Each cell of the grid, see `experiment`, is a folder of its own:

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
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.synchronize import Event
from pathlib import Path

import pandas as pd
import torch

from multimix.data.manifest import read_manifest
from multimix.data.phantom import write_dataset
from multimix.data.seal import check_part, check_writable, find_seal, open_look, plan_of
from multimix.data.splits import select
from multimix.errors import MultimixError, UsageError
from multimix.evaluation.evaluate import evaluate_source, write_scores
from multimix.evaluation.thumbnail import with_floor
from multimix.experiment.spec import Cell, Spec
from multimix.inference.load import load
from multimix.inference.predictor import Predictor
from multimix.io.locks import folder_lock
from multimix.io.overlay import overlay
from multimix.io.readers import read_image, read_mask
from multimix.io.run_folder import CELL, FAILED, LOG, SCORES, SPEC
from multimix.io.tables import write_table
from multimix.io.writers import atomic_write, write_json, write_png
from multimix.recipes import method
from multimix.training.trainer import train
from multimix.types import Record

EXAMPLES = 2
"""Test images of every source that may be shown."""


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
    seal_log: Path | None = None,
) -> list[CellState]:
    """Run every cell that is not finished, `processes` at a time; returns how all ended.

    `watch` is called about once a second with the state of every cell. A cell that fails is retried by the next
    call; on Ctrl-C the running ones stop with a checkpoint. Where the test images are sealed, all cells are one look at
    them; `seal_log` is the seal's log where it does not lie beside the manifest. Raises UsageError where `out` holds
    another benchmark or one that runs, ManifestError where a source is missing, SealError where what is sealed has
    changed.
    """
    if data is not None and not spec.phantoms:
        records = read_manifest(data)
        select(records, spec.judged_on, "test")  # what is not there is told before hours of learning
        seal = find_seal(data, seal_log)
        if seal is not None and seal.split == "test":
            check_part(seal, records, spec.judged_on)
            check_writable(seal)
    _keep_spec(spec, out)
    with folder_lock(out):
        _run_cells(spec, _manifest(spec, data, out), out, processes, watch, seal_log)
        ended = states(spec, out)
        write_table(out / "summary.csv", summary(out, spec.cells()))
    return ended


def _run_cells(
    spec: Spec,
    manifest: Path,
    out: Path,
    processes: int,
    watch: Callable[[Sequence[CellState]], None],
    seal_log: Path | None,
) -> None:
    cells = spec.cells()
    for cell in cells:
        (out / cell.name / FAILED).unlink(missing_ok=True)
    todo = [cell for cell in cells if not (out / cell.name / CELL).is_file()]
    # A fresh process for every cell: threads and their number are inherited by forks and fixed by the first use.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    running: dict[object, tuple[multiprocessing.context.SpawnProcess, Path]] = {}
    try:
        while todo or running:
            while todo and len(running) < processes:
                cell = todo.pop(0)
                worker = context.Process(target=_run_safely, args=(spec, cell, manifest, out, stop, seal_log))
                worker.start()
                running[worker.sentinel] = worker, out / cell.name
            for sentinel in wait([worker.sentinel for worker, _ in running.values()], timeout=1.0):
                worker, folder = running.pop(sentinel)
                worker.join()  # a dead process may not have its exit status yet
                if worker.exitcode:
                    reason = f"its process ended with status {worker.exitcode} (-9: killed, as where memory runs out)"
                    write_json(folder / FAILED, {"reason": reason})
            watch(states(spec, out))
    finally:
        stop.set()
        for worker, _ in running.values():
            worker.join()


def _keep_spec(spec: Spec, out: Path) -> None:
    file = out / SPEC
    if file.is_file():
        if Spec.read(file).to_yaml() != spec.to_yaml():
            raise UsageError(f"{file}: another spec began here. Choose another --out, or give that spec.")
        return
    if out.is_dir() and any(out.iterdir()):
        raise UsageError(f"{out}: not empty, and no benchmark (no spec.yaml). Choose another --out.")
    with atomic_write(file) as temporary:
        temporary.write_text(spec.to_yaml(), "utf-8")


def _manifest(spec: Spec, data: Path | None, out: Path) -> Path:
    if spec.phantoms:
        made = out / "phantoms" / "manifest.csv"
        return (made if made.is_file() else write_dataset(made.parent, seed=spec.phantoms)).absolute()
    if data is None:
        raise UsageError("No data to learn from: give --data, a manifest or the folder that holds it.")
    return data.absolute()


def states(spec: Spec, out: Path) -> list[CellState]:
    """The state of every cell, read from disk."""
    return [_state(cell, spec, out / cell.name) for cell in spec.cells()]


def _state(cell: Cell, spec: Spec, folder: Path) -> CellState:
    steps = spec.run_of(cell.method).optim.steps
    if (folder / CELL).is_file():
        seconds = json.loads((folder / CELL).read_text("utf-8"))["seconds"]
        return CellState(cell, "finished", steps, steps, seconds)
    if (folder / FAILED).is_file():
        reason = json.loads((folder / FAILED).read_text("utf-8"))["reason"]
        return CellState(cell, "failed", 0, steps, reason=reason)
    log = folder / "run" / LOG
    if not log.is_file():
        return CellState(cell, "waiting", 0, steps)
    return CellState(cell, "training", _last_step(log), steps)


def _last_step(log: Path) -> int:
    for line in reversed(log.read_bytes()[-4096:].splitlines()):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):  # being written at this moment
            continue
    return 0


def _run_safely(
    spec: Spec, cell: Cell, manifest: Path, out: Path, stop: Event, seal_log: Path | None
) -> None:
    """`run_cell` in a process of its own; what goes wrong is written down and costs no other cell."""
    torch.set_num_threads(spec.threads)
    heed = partial(_heed_parent, stop)
    try:
        heed()
        run_cell(spec, cell, manifest, out, heed, seal_log)
    except (MultimixError, RuntimeError, OSError, MemoryError) as error:
        write_json(out / cell.name / FAILED, {"reason": f"{error}"})
    except KeyboardInterrupt:
        os._exit(130)  # said once, by the process that was interrupted with this one


def _heed_parent(stop: Event, *progress: object) -> None:
    """Told how far the cell is, after every image and step: whether to go on."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        # Killed: whoever starts the benchmark again must not find this cell still being written.
        os._exit(1)
    if stop.is_set():
        # As Ctrl-C does: training takes its step to the end and writes a checkpoint, all else ends at once.
        signal.raise_signal(signal.SIGINT)


def run_cell(
    spec: Spec,
    cell: Cell,
    manifest: Path,
    out: Path,
    heed: Callable[..., None],
    seal_log: Path | None = None,
) -> None:
    """Train or go on, judge, store; the file that says so comes last. `heed` is told all progress, and may raise."""
    folder, row = out / cell.name, method(cell.method)
    trainer = train(cell.config(spec, manifest), folder / "run", resume=True, decoding=heed, report=heed)
    predictor = load(folder / "run", str(trainer.fabric.device))
    # The paper's accuracy is of the most probable class; an operating point is a choice beyond the method.
    predictor = replace(predictor, reliability=replace(predictor.reliability, thresholds=()))
    by_class = (*spec.class_source, *spec.cross_class_source) if row.classify else ()
    by_mask = (*spec.mask_source, *spec.cross_mask_source) if row.segment else ()
    records, base = read_manifest(manifest), manifest if manifest.is_dir() else manifest.parent
    look = open_look(
        find_seal(manifest, seal_log),
        records,
        "test",
        spec.judged_on,
        by=f"benchmark {out.resolve().name}",
        plan=plan_of(spec.to_yaml()),
    )
    judged = []
    for source in dict.fromkeys((*by_class, *by_mask)):
        known = select(records, (source,), "test")
        scores, table = evaluate_source(
            predictor,
            known,
            classes=source in by_class,
            masks=source in by_mask,
            base=base,
            progress=heed,
        )
        if source in by_class:
            scores = with_floor(scores, trainer.prepared.sets.labelled_classes, known, predictor.spec)
        judged.append((scores, table))
    write_scores(folder, [s for s, _ in judged], [t for _, t in judged], look=look, suffix=".parquet")
    for source in set(spec.shown) & {*by_class, *by_mask}:
        known = select(records, (source,), "test")
        # Spread over the source, in which classes often follow one another.
        write_examples(predictor, known[:: -(-len(known) // EXAMPLES)], folder / "examples")
    facts = asdict(cell) | {
        "size": trainer.config.data.size,
        "steps": trainer.step,
        "seconds": round(trainer.seconds, 1),
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "classes": predictor.spec.classes,
        "structures": predictor.spec.structures,
        "multi_label": predictor.spec.multi_label,
        "class_sources": by_class,
        "mask_sources": by_mask,
        "in_domain": sorted({*spec.class_source, *spec.mask_source}),
        "trials": spec.trials.get(cell.method),
    }
    write_json(folder / CELL, facts)


def write_examples(predictor: Predictor, records: Sequence[Record], folder: Path) -> None:
    """Pictures for the report: <source>_<image>--boundary.png (predicted, then reference) and --saliency.png.

    With several structures --boundary_<structure>.png; images of one name, from several folders, are numbered.
    """
    named, several = Counter[str](), len(predictor.spec.structures) > 1
    for record in records:
        radiograph = read_image(record.image, predictor.spec.channels, force=True)
        (answer,) = predictor.predict_radiographs([radiograph], force=True)
        name = f"{record.source}_{record.image.stem}"
        named[name] += 1
        name += f"_{named[name]}" if named[name] > 1 else ""
        for structure in sorted({*answer.masks} & {*record.masks}):
            reference = read_mask(record.masks[structure], radiograph.size)
            boundaries = {"predicted": answer.masks[structure], "reference": reference}
            kind = f"boundary_{structure}" if several else "boundary"
            write_png(folder / f"{name}--{kind}.png", overlay(radiograph.pixels, boundaries, None))
        if answer.pictured_saliency is not None:
            write_png(
                folder / f"{name}--saliency.png", overlay(radiograph.pixels, {}, answer.pictured_saliency)
            )


def summary(out: Path, cells: Sequence[Cell]) -> pd.DataFrame:
    """A row per finished cell, source and metric: value, low, high, trivial."""
    rows = [
        asdict(cell) | {"source": group["source"], "metric": name} | estimate
        for cell in cells
        if (out / cell.name / CELL).is_file()
        for group in json.loads((out / cell.name / SCORES).read_text("utf-8"))["scores"]
        for name, estimate in group["metrics"].items()
    ]
    return pd.DataFrame(rows)
