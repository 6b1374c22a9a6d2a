"""Progress bars on standard error: rate, remaining time, the newest values."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multimix.types import Report


@contextmanager
def bar(title: str, unit: str) -> "Iterator[Report]":
    """Yield `report(done, total, values)`; the bar shows from the first report on."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[values]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = None

        def report(done: int, total: int, values: Mapping[str, float] = {}) -> None:
            nonlocal task
            if task is None:
                # A resumed run starts in the middle: the rate counts from here.
                task = progress.add_task(title, total=total, completed=done, rate="", values="")
                return
            speed = progress.tasks[0].speed
            progress.update(
                task,
                completed=done,
                rate=f"{speed:.1f} {unit}/s" if speed else "",
                values="  ".join(f"{name} {value:.3f}" for name, value in values.items()),
            )

        yield report
