"""Tables of scores: the grid beside the published numbers, and every score there is."""

from collections.abc import Iterable, Sequence

from multimix.experiment import published
from multimix.experiment.cells import Benchmark, Setting
from multimix.metrics.table import metric_of, title
from multimix.recipes import METHODS
from multimix.report.document import Table, number, with_interval
from multimix.report.grid import Grid, Score, sources

IMPOSSIBLE, BELOW = "†", "‡"

_OTHER_CONVENTION = ("covidcxr_v7", "kermany_v7", "covid")
"""Sources whose masks, drawn for V7, include the lung behind the heart."""


def structures(benchmark: Benchmark) -> list[str]:
    """Every structure that a cell segments."""
    return list(dict.fromkeys(name for cell in benchmark.cells for name in cell.structures))


def domain_sources(benchmark: Benchmark, domain: str) -> list[str]:
    """Sources of the domain: those that training images came from, or the others."""
    inside = {source for cell in benchmark.cells for source in cell.in_domain}
    return [s for s in sources(benchmark.cells) if (s in inside) == (domain == "in-domain")]


def main_scores(benchmark: Benchmark, grid: Grid, domain: str) -> list[tuple[str, str]]:
    """(source, metric) of the grid's columns: the main scores of class sources, then Dice of mask sources."""
    known = dict.fromkeys((source, metric) for _, source, metric in grid if metric_of(metric).main)
    inside = domain_sources(benchmark, domain)
    return [
        (s, m)
        for of_masks in (False, True)
        for s in inside
        for source, m in known
        if source == s and (metric_of(m).each == "structure") == of_masks
    ]


def grid_table(benchmark: Benchmark, grid: Grid, domain: str) -> Table:
    """The grid of one domain beside the published numbers."""
    columns = main_scores(benchmark, grid, domain)
    names = structures(benchmark)
    header = ["method", "class labels", "mask labels", "seeds"]
    for source, metric in columns:
        header.append(f"{source} {title(metric, names)}")
        if is_published(domain, source, metric):
            header.append("published")
    rows = [_grid_row(benchmark, grid, domain, setting, columns) for setting in benchmark.settings()]
    rows = [row for row in rows if any(row[4:])]
    rows += [
        row for row in (_trivial_row(grid, domain, columns), _observer_row(domain, columns)) if any(row[4:])
    ]
    return Table(
        f"{domain}-grid",
        f"{domain.capitalize()}: mean over seeds, its 95 % interval over patients and seeds"
        f"{', what the paper prints' if 'published' in header else ''}.",
        tuple(header),
        tuple(rows),
        words=1,
        notes=tuple(_notes(domain, header, rows)),
    )


def is_published(domain: str, source: str, metric: str) -> bool:
    """Whether the paper has a column for this score of this source."""
    by_class, by_mask = published.SOURCES[domain]
    if metric in {"accuracy", "auc"}:
        return source == by_class and (metric == "accuracy" or domain == "in-domain")
    return source == by_mask and metric == "dice_lungs"


def published_row(domain: str, setting: Setting) -> published.PublishedRow | None:
    """The paper's row of a setting."""
    return published.find(domain, setting.of.name, *setting.budget)


def _grid_row(
    benchmark: Benchmark, grid: Grid, domain: str, setting: Setting, columns: Sequence[tuple[str, str]]
) -> tuple[str, ...]:
    row = [setting.of.name, *setting.budget, str(len(benchmark.of(setting)))]
    printed = published_row(domain, setting)
    for source, metric in columns:
        score = grid.get((setting, source, metric))
        row.append(_score(score, metric) if score is not None else "")
        if is_published(domain, source, metric):
            row.append(_printed(printed, metric) if printed is not None else "")
    return tuple(row)


def _score(score: Score, metric: str) -> str:
    e = score.estimate
    below = metric == "accuracy" and e.trivial is not None and e.value < e.trivial
    return with_interval(e.value, e.low, e.high) + (f" {BELOW}" if below else "")


def _printed(row: published.PublishedRow, metric: str) -> str:
    name = metric.partition("_")[0]
    if name not in row.scores:
        return ""
    text = number(row.scores[name])
    if name == "dice" and row.impossible:
        return f"{text} {IMPOSSIBLE} (J {number(row.scores['jaccard'])})"
    return f"{text} {BELOW}" if name == "accuracy" and row.below_trivial else text


def trivial(grid: Grid, source: str, metric: str) -> float | None:
    """The trivial answer's score, mean over all settings that state it."""
    stated = [
        score.estimate.trivial
        for (_, s, m), score in grid.items()
        if (s, m) == (source, metric) and score.estimate.trivial is not None
    ]
    return sum(stated) / len(stated) if stated else None


def _trivial_row(grid: Grid, domain: str, columns: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    row = ["no model", "", "", ""]
    for source, metric in columns:
        value = trivial(grid, source, metric)
        row.append("" if value is None else number(value))
        if is_published(domain, source, metric):
            always = domain == "cross-domain" and metric == "accuracy"
            row.append(number(published.ALWAYS_NORMAL) if always else "")
    return tuple(row)


def _observer_row(domain: str, columns: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    row = ["second human", "", "", ""]
    for source, metric in columns:
        row.append(number(published.OBSERVER_DICE) if (source, metric) == ("jsrt", "dice_lungs") else "")
        row += [""] if is_published(domain, source, metric) else []
    return tuple(row)


def _notes(domain: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    text = "\n".join(" ".join(row) for row in rows)
    notes = []
    if "no model" in text:
        notes.append(
            "no model: the majority class of the test images; the mean training mask; AUC 0.5, or that of a ridge "
            "regression on 24 x 24 thumbnails of the labelled images where it is higher and known."
        )
    if "second human" in text:
        notes.append(
            "second human: JSRT's second observer against the first, on all 247 films: mean Jaccard 0.946, so Dice "
            "about 0.972 [van Ginneken, Stegmann and Loog, Medical Image Analysis 10 (2006) 19-40]; quoted, not "
            "computed here."
        )
    if IMPOSSIBLE in text:
        notes.append(
            f"{IMPOSSIBLE} published mean Jaccard (J) above mean Dice: impossible, since J = D / (2 − D) ≤ D for "
            "every image."
        )
    if BELOW in text:
        of_paper = ", for the paper's own set 2754 / 4185 = 0.658" if domain == "cross-domain" else ""
        notes.append(f"{BELOW} below what always answering the commonest class scores{of_paper}.")
    if other := [name for name in _OTHER_CONVENTION if any(f"{name} " in column for column in header)]:
        notes.append(
            f"{', '.join(other)}: masks of another convention, with the lung behind the heart. Dice has a ceiling well "
            "below 1 there for that reason alone."
        )
    if "published" in header:
        notes.append("The paper's test sets are larger than these and of another split; compare with care.")
    return notes


def all_scores(benchmark: Benchmark, grid: Grid) -> list[Table]:
    """Every score of every setting, a table per source."""
    names = structures(benchmark)
    tables = []
    for source in sources(benchmark.cells):
        metrics = list(dict.fromkeys(m for _, s, m in grid if s == source))
        rows = []
        for setting in benchmark.settings():
            scores = [grid.get((setting, source, metric)) for metric in metrics]
            if any(score is not None for score in scores):
                rows.append((setting.of.name, *setting.budget, *map(_cell, metrics, scores)))
        if rows:
            tables.append(
                Table(
                    f"scores-{source}",
                    f"{source}: every score, mean over seeds with its 95 % interval over patients and seeds.",
                    ("method", "class labels", "mask labels", *(title(metric, names) for metric in metrics)),
                    tuple(rows),
                )
            )
    return tables


def _cell(metric: str, score: Score | None) -> str:
    if score is None:
        return ""
    estimate = score.estimate
    return with_interval(estimate.value, estimate.low, estimate.high, metric_of(metric).digits)


def seed_table(benchmark: Benchmark, grid: Grid) -> Table:
    """The grid's scores of every seed by itself."""
    names = structures(benchmark)
    columns = [c for domain in published.DOMAINS for c in main_scores(benchmark, grid, domain)]
    rows = []
    for setting in benchmark.settings():
        cells = benchmark.of(setting)
        for index, cell in enumerate(cells):
            found = [grid.get((setting, source, metric)) for source, metric in columns]
            values = ["" if score is None else number(score.seeds[index]) for score in found]
            rows.append((setting.of.name, *setting.budget, str(cell.seed), *values))
    header = (
        "method",
        "class labels",
        "mask labels",
        "seed",
        *(f"{s} {title(m, names)}" for s, m in columns),
    )
    return Table("seeds", "Each seed by itself: how much the draw of labels matters.", header, tuple(rows))


def published_table() -> Table:
    """All 108 published rows, the impossible ones marked."""
    metrics = (
        "accuracy", "f1_normal", "f1_pneumonia", "auc", "dice", "jaccard", "ssim", "hausdorff", "precision", "recall",
    )  # fmt: skip
    order = [method.name for method in METHODS.values()]
    rows = []
    for row in sorted(
        published.rows(), key=lambda row: (published.DOMAINS.index(row.domain), order.index(row.method))
    ):
        marks = (IMPOSSIBLE if row.impossible else "") + (BELOW if row.below_trivial else "")
        cells = (number(row.scores[name]) if name in row.scores else "" for name in metrics)
        rows.append((row.domain, row.method, row.class_labels, row.mask_labels, *cells, marks))
    impossible = sum(row.impossible for row in published.rows())
    below = sum(row.below_trivial for row in published.rows())
    return Table(
        "published",
        "The supplement's Tables 3 and 4 as printed; AUC from its ROC figures.",
        (
            "domain", "method", "class labels", "mask labels", "accuracy", "F1 normal", "F1 pneumonia", "AUC", "Dice",
            "Jaccard", "SSIM", "Hausdorff", "precision", "recall", "mark",
        ),
        tuple(rows),
        words=2,
        notes=(
            f"{IMPOSSIBLE} mean Jaccard above mean Dice, which no set of images can give: {impossible} rows.",
            f"{BELOW} accuracy below always answering 'normal' (0.658 on that set): {below} rows, every one of the "
            "cross-domain table that has an accuracy.",
        ),
    )  # fmt: skip
