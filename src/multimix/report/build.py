"""A benchmark folder in, report.html, report.md, figures and LaTeX tables out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from multimix.experiment import published
from multimix.experiment.cells import Benchmark, read_benchmark
from multimix.io.writers import atomic_write
from multimix.report.document import Section, picture_bytes, picture_file
from multimix.report.grid import Grid, grid
from multimix.report.page import html
from multimix.report.questions import Answer, answers
from multimix.report.scores import grid_table
from multimix.report.sections import document, results
from multimix.report.written import latex_table, markdown

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is, and how much there is."""


@dataclass(frozen=True)
class Written:
    """What a report left behind."""

    page: Path
    text: Path
    tables: tuple[Path, ...]
    figures: tuple[Path, ...]
    cells: int
    missing: tuple[str, ...]
    """Cells that are not finished."""


def write_report(folder: Path, out: Path | None = None, *, progress: Progress | None = None) -> Written:
    """Write the report of the benchmark `folder` into `out`, by default the same folder.

    Raises UsageError where the folder is no benchmark or has no finished cell, ManifestError where a stored file is
    damaged.
    """
    out = out or folder
    benchmark, scores, found = _computed(folder, progress)
    whole = document(benchmark, scores, found, _told(progress, "Drawing"))
    tables = {
        out / f"table_{domain.replace('-', '_')}.tex": latex_table(grid_table(benchmark, scores, domain))
        for domain in published.DOMAINS
    }
    page, text = out / "report.html", out / "report.md"
    # Pictures first: a page that is there has everything that it links to.
    figures = {out / "figures" / picture_file(panel): picture_bytes(panel) for panel in whole.panels()}
    texts = {**tables, text: markdown(whole), page: html(whole)}
    for path, content in {**figures, **{path: words.encode() for path, words in texts.items()}}.items():
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
    return Written(page, text, tuple(tables), tuple(figures), len(benchmark.cells), benchmark.missing)


def results_sections(folder: Path) -> tuple[Section, ...]:
    """The numbers of the benchmark `folder` for a page of documentation; errors as `write_report`."""
    return results(*_computed(folder, None))


def _computed(folder: Path, progress: Progress | None) -> tuple[Benchmark, Grid, list[Answer]]:
    benchmark = read_benchmark(folder)
    scores = grid(benchmark, _told(progress, "Scores"))
    return benchmark, scores, answers(benchmark, scores, _told(progress, "Comparing"))


def _told(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(what, done, total)
