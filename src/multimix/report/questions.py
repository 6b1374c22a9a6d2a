"""The questions that the paper left open, each answered by paired differences between settings of one budget."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from multimix.evaluation.compare import Comparison, Group, compare, with_holm
from multimix.evaluation.compare.groups import group
from multimix.experiment.cells import Benchmark, Cell, Setting
from multimix.metrics.table import metric_of, ranked_by, title
from multimix.recipes import ABLATIONS, METHODS
from multimix.report.grid import Grid


@dataclass(frozen=True)
class Question:
    """A question and the pairs of methods that answer it."""

    name: str
    text: str
    pairs: tuple[tuple[str, str], ...]
    """(with, without)."""
    ours: bool = False
    """Not of the paper: where a benchmark does not answer it, it was not asked."""


QUESTIONS = (
    Question("bridge", "Does the saliency bridge help?", (("umtl-s", "umtl"), ("umtl-s-ssl", "umtl-ssl"))),
    Question(
        "pseudo-labels",
        "Do pseudo-labels help?",
        (("enc-ssl", "enc"), ("umtl-ssl", "umtl"), ("umtl-s-ssl", "umtl-s")),
    ),
    Question(
        "both-tasks",
        "Does learning both tasks in one model help?",
        (("umtl", "enc"), ("umtl", "u-net"), ("umtl-s", "u-net")),
    ),
    Question(
        "multimix", "How does MultiMix compare with the strongest supervised method?", (("multimix", ""),)
    ),
    Question(
        "ours",
        "How does MultiMix+ compare with the strongest supervised method, and with MultiMix?",
        (("multimix-plus", ""), ("multimix-plus", "multimix")),
        ours=True,
    ),
    Question(
        "ingredients",
        "What does each ingredient of MultiMix+ add?",
        tuple(("multimix-plus", name) for name in ABLATIONS if name != "multimix-plus"),
        ours=True,
    ),
)
"""Where the second method is '', it is chosen per source and metric: see `best_supervised`."""

UNDECIDED = "cannot be told apart"
VERDICTS = (
    "better",
    "worse",
    "ahead",
    "behind",
    "ahead by the interval alone",
    "behind by the interval alone",
    UNDECIDED,
)
"""What a difference can say of the first method. Ahead and behind, without more: the two were not tuned alike. By the
interval alone: it leaves zero out, but the test of the metric or Holm's correction does not agree."""


@dataclass(frozen=True)
class Answer:
    """One paired difference."""

    question: Question
    first: Setting
    second: Setting
    source: str
    metric: str
    result: Comparison
    """Corrected by Holm over the question's answers at the same labels; its names are for people."""

    @property
    def labels(self) -> tuple[str, str]:
        """(class labels, mask labels) as printed, of the two settings together."""
        c, m = zip(self.first.budget, self.second.budget, strict=True)
        return c[0] or c[1], m[0] or m[1]

    @property
    def kind(self) -> str:
        """One of VERDICTS."""
        r = self.result
        if r.verdict != UNDECIDED or not (r.low > 0 or r.high < 0):
            return r.verdict
        return f"{'ahead' if r.value > 0 else 'behind'} by the interval alone"

    @property
    def verdict(self) -> str:
        """The same in words: where the two were not tuned alike, with the number of trials of each."""
        effort = self.result.effort if self.kind != UNDECIDED else ""
        return f"{self.kind}, {effort}" if effort else self.kind


def answers(
    benchmark: Benchmark, grid: Grid, progress: Callable[[int, int], None] | None = None
) -> list[Answer]:
    """Every difference that the finished cells allow; `progress` is called with differences done and in all."""
    wanted = [item for question in QUESTIONS for item in _wanted(benchmark, grid, question)]
    names = list(dict.fromkeys(name for cell in benchmark.cells for name in cell.structures))
    groups: dict[tuple[Path, ...], Group] = {}
    found = []
    for done, (question, first, second, source, metric) in enumerate(wanted, 1):
        sides = []
        for cells in zip(*_paired(benchmark.of(first), benchmark.of(second)), strict=True):
            folders = tuple(cell.folder for cell in cells)
            if folders not in groups:
                groups[folders] = group(folders)
            sides.append(groups[folders])
        (result,), _ = compare(sides[0], sides[1], (metric,), (source,))
        result = replace(result, name_a=first.of.name, name_b=second.of.name, title=title(metric, names))
        found.append(Answer(question, first, second, source, metric, result))
        if progress is not None:
            progress(done, len(wanted))
    return _corrected(found)


def _corrected(found: Sequence[Answer]) -> list[Answer]:
    """With Holm's correction over each question's answers at the same labels."""
    families: dict[tuple[str, str, str], list[int]] = {}
    for index, answer in enumerate(found):
        families.setdefault((answer.question.name, *answer.labels), []).append(index)
    corrected = list(found)
    for family in families.values():
        for index, result in zip(family, with_holm([found[i].result for i in family]), strict=True):
            corrected[index] = replace(found[index], result=result)
    return corrected


def _wanted(
    benchmark: Benchmark, grid: Grid, question: Question
) -> Iterator[tuple[Question, Setting, Setting, str, str]]:
    settings = benchmark.settings()
    for with_it, without in question.pairs:
        for first in (setting for setting in settings if setting.method == with_it):
            for source, metric in _scores(grid, first):
                second = (
                    _partner(settings, first, without)
                    if without
                    else best_supervised(grid, first, source, metric)
                )
                if (
                    second is not None
                    and (second, source, metric) in grid
                    and _paired(benchmark.of(first), benchmark.of(second))
                ):
                    yield question, first, second, source, metric


def _scores(grid: Grid, setting: Setting) -> list[tuple[str, str]]:
    """(source, metric) of the scores that the questions are about, where they are defined."""
    mine = [(s, m) for known, s, m in grid if known == setting and metric_of(m).main]
    return [key for key in mine if not math.isnan(grid[setting, *key].estimate.value)]


def _partner(settings: Sequence[Setting], first: Setting, method: str) -> Setting | None:
    """The setting of `method` with the labels of `first`, as far as the method uses them."""
    flags = METHODS[method]
    wanted = Setting(
        method,
        first.class_labels if flags.classify else None,
        first.mask_labels if flags.segment else None,
    )
    return wanted if wanted in settings else None


def best_supervised(grid: Grid, first: Setting, source: str, metric: str) -> Setting | None:
    """The supervised setting with the labels of `first` that scores highest on these very test images.

    Whatever method the grid has that learns from labelled images alone is one. Chosen on the test images, so the
    choice favours the supervised side.
    """
    by = ranked_by(metric)
    known = [setting for setting, s, m in grid if (s, m) == (source, by)]
    partners = (_partner(known, first, name) for name, row in METHODS.items() if row.supervised)
    there = [partner for partner in partners if partner is not None]
    return max(there, key=lambda partner: grid[partner, source, by].estimate.value, default=None)


def _paired(first: Sequence[Cell], second: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Cells of equal seed."""
    other = {cell.seed: cell for cell in second}
    return [(cell, other[cell.seed]) for cell in first if cell.seed in other]
