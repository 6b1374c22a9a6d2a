"""`multimix benchmark`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from multimix.cli.options import seal_log_option

if TYPE_CHECKING:
    from rich.console import RenderableType

    from multimix.experiment.run import CellState


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Manifest or its folder; not for a spec of generated images, such as smoke.",
)
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), help="Folder of the benchmark.")
@click.option(
    "--processes",
    "-j",
    type=click.IntRange(min=1),
    help="Cells at a time. [default: cores / threads of a cell, on a CUDA device 4]",
)
@seal_log_option
def benchmark(spec: Path, data: Path | None, out: Path, processes: int | None, seal_log: Path | None) -> None:
    """Run a grid of methods, label budgets and seeds; go on where it stopped.

    \b
    Examples:
      multimix benchmark smoke --out smoke
      multimix benchmark quick --data xrays --out results
      multimix benchmark my_spec.yaml --data xrays --out results --processes 4

    SPEC is a YAML file, or the name of one that comes with the package: paper, quick, ours, ablations, supervised,
    focus, long, draws, equal, published, labels, cuda, smoke. A finished cell is never run again, an interrupted one
    goes on. Every cell keeps its answer for every test image, so that `multimix compare` and `multimix report` need no
    training. Where the test images are sealed (`multimix seal`), the whole grid is one look at them.
    """
    import os
    import time

    from rich.console import Console
    from rich.live import Live
    from torch import cuda

    from multimix.experiment.run import run_benchmark, states
    from multimix.experiment.spec import Spec

    read = Spec.read(spec)
    # A card computes for one cell at a time; several hide that none keeps it busy, and share its memory.
    on_card = read.run.device != "cpu" and cuda.is_available()
    workers = processes or (4 if on_card else max(1, (os.cpu_count() or 1) // read.threads))
    console, begun, table = Console(stderr=True), time.monotonic(), ""
    seen: set[str] = set()
    before: dict[str, int] = {}

    def watch(now: "Sequence[CellState]") -> None:
        if not before:
            before.update({s.cell.name: s.step for s in now})
        left = remaining(now, before, time.monotonic() - begun)
        if console.is_terminal:
            live.update(grid(now, left))
        for state in now:
            if state.state in ("finished", "failed") and state.cell.name not in seen:
                seen.add(state.cell.name)
                if not console.is_terminal:
                    console.print(f"{state.cell.name}: {state.state} {state.reason}; {left}", highlight=False)

    with Live(table, console=console, auto_refresh=False, transient=True) as live:
        if (out / "spec.yaml").is_file():
            seen.update(s.cell.name for s in states(read, out) if s.state == "finished")
        ended = run_benchmark(read, data, out, processes=workers, watch=watch, seal_log=seal_log)
    Console().print(grid(ended, ""))
    click.echo(f"Every score: {out / 'summary.csv'}\nNext: multimix report {out}")
    failed = [state for state in ended if state.state == "failed"]
    for state in failed:
        click.echo(f"{state.cell.name}: {state.reason}", err=True)
    if failed:
        raise SystemExit(1)


def remaining(now: "Sequence[CellState]", before: dict[str, int], seconds: float) -> str:
    """'about 12 min left', from the steps taken since this start; a cell's steps are taken as equally long."""
    done = sum(state.step - before.get(state.cell.name, 0) for state in now)
    left = sum(state.steps - state.step for state in now if state.state != "failed")
    if done <= 0:
        return "time left not known yet"
    minutes = seconds * left / done / 60
    return f"about {minutes:.0f} min left" if minutes >= 1 else "less than a minute left"


def grid(now: "Sequence[CellState]", left: str) -> "RenderableType":
    """A row per method and budget, a column per seed."""
    from rich.table import Table

    seeds = sorted({state.cell.seed for state in now})
    counts = {
        kind: sum(s.state == kind for s in now) for kind in ("finished", "training", "waiting", "failed")
    }
    title = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    table = Table("cell", *(f"seed {seed}" for seed in seeds), caption=left or None, title=title)
    rows: dict[str, dict[int, str]] = {}
    for state in now:
        rows.setdefault(state.cell.name.rpartition("-")[0], {})[state.cell.seed] = _cell(state)
    for name, row in rows.items():
        table.add_row(name, *(row.get(seed, "") for seed in seeds))
    return table


def _cell(state: "CellState") -> str:
    if state.state == "finished":
        return f"[green]done[/] {state.seconds / 60:.1f} min"
    if state.state == "training":
        return f"{state.step} of {state.steps}"
    return f"[red]{state.state}[/]" if state.state == "failed" else "[dim]waiting[/]"
