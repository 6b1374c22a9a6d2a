"""The strongest supervised method of any grid, score by score, beside the strongest of the others, and their tuning."""

from collections.abc import Iterator, Sequence

from multimix.experiment import published
from multimix.experiment.cells import Benchmark, Setting
from multimix.metrics.table import ranked_by, title
from multimix.report import pictures, scores
from multimix.report.document import Table, number
from multimix.report.grid import Grid

UNKNOWN = "not recorded"


def supervised(benchmark: Benchmark) -> list[str]:
    """Names of the grid's methods that learn from labelled images alone, by their flags."""
    return list(dict.fromkeys(s.of.name for s in benchmark.settings() if s.of.supervised))


def trials(benchmark: Benchmark, setting: Setting) -> str:
    """How many settings its method was tuned over, as printed."""
    known = {cell.trials for cell in benchmark.of(setting)}
    count = known.pop() if len(known) == 1 else None
    return UNKNOWN if count is None else str(count)


def baseline_table(benchmark: Benchmark, grid: Grid) -> Table:
    """A row per label budget and main score: the strongest supervised method, and the strongest of the others."""
    names = scores.structures(benchmark)
    columns = [c for domain in published.DOMAINS for c in scores.main_scores(benchmark, grid, domain)]
    rows = []
    for budget in _budgets(benchmark):
        here = [s for s in benchmark.settings() if _within(s.budget, budget)]
        for source, metric in columns:
            first, second = (
                _strongest(grid, [s for s in here if s.of.supervised == flag], source, metric)
                for flag in (True, False)
            )
            if first is None:
                continue
            row = [pictures.labels_name(*budget), f"{source} {title(metric, names)}"]
            for setting in (first, second):
                row += _cells(benchmark, grid, setting, source, metric)
            rows.append(tuple(row))
    header = (
        "labels",
        "score",
        "strongest supervised",
        "score",
        "trials",
        "strongest other",
        "score",
        "trials",
    )
    return Table(
        "baselines",
        "The strongest method that learns from labelled images alone, chosen score by score on these very test images, "
        "and the strongest of the others. Trials: how many settings of its hyper-parameters were validated.",
        header,
        tuple(rows),
        words=3,
    )


def effort(benchmark: Benchmark) -> str:
    """Whether all methods were tuned over equally many settings, in a sentence."""
    each = {s.of.name: trials(benchmark, s) for s in benchmark.settings()}
    counts = set(each.values())
    listed = ", ".join(f"{name} {count}" for name, count in each.items())
    if counts == {UNKNOWN}:
        return "How many settings each method was tuned over is not recorded (trials in the spec)."
    if len(counts) == 1:
        return f"Every method was tuned over as many settings: {counts.pop()}."
    return f"Tuning effort differs, so who is ahead may be so for that alone. Settings tried: {listed}."


def _budgets(benchmark: Benchmark) -> list[tuple[str, str]]:
    """Label budgets as printed; those of one task only where no method learns both at it."""
    each = list(dict.fromkeys(s.budget for s in benchmark.settings()))
    both = [budget for budget in each if all(budget)]
    return both + [b for b in each if not all(b) and not any(_within(b, other) for other in both)]


def _within(budget: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether the two are the same in what the first has."""
    return all(not mine or mine == theirs for mine, theirs in zip(budget, other, strict=True))


def _strongest(grid: Grid, settings: Sequence[Setting], source: str, metric: str) -> Setting | None:
    by = ranked_by(metric)
    known = [s for s in settings if {(s, source, metric), (s, source, by)} <= set(grid)]
    return max(known, key=lambda s: grid[s, source, by].estimate.value, default=None)


def _cells(
    benchmark: Benchmark, grid: Grid, setting: Setting | None, source: str, metric: str
) -> Iterator[str]:
    """Name, score and trials of a setting; empty where there is none."""
    if setting is None:
        yield from ("", "", "")
        return
    yield setting.of.name
    yield number(grid[setting, source, metric].estimate.value)
    yield trials(benchmark, setting)
