"""Progress bars on standard error: rate, remaining time, the newest values."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multimix.types import Report


@contextmanager
def bar(title: str, unit: str) -> "Iterator[Report]":
    """Yield `report(done, total, values)`; the bar is there from the first report to the last."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    progress = Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=20),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[rate]}", table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        # The values take what room is left, and are cut where it is too little.
        TextColumn("{task.fields[values]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        console=Console(stderr=True),
        expand=True,
    )
    task = None

    def report(done: int, total: int, values: Mapping[str, float] = {}) -> None:
        nonlocal task
        if task is None:
            progress.start()
            # A resumed run starts in the middle: the rate counts from here.
            task = progress.add_task(title, total=total, completed=done, rate="", values="")
        speed = progress.tasks[0].speed
        progress.update(
            task,
            completed=done,
            rate=f"{speed:.1f} {unit}/s" if speed else "",
            values="  ".join(f"{name} {value:.3f}" for name, value in values.items()),
        )
        if done >= total:
            progress.stop()  # another bar may start now

    try:
        yield report
    finally:
        progress.stop()
