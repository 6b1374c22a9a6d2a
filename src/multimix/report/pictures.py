"""The report's figures, drawn from the cells of one budget; the examples that the benchmark stored."""

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from multimix.experiment import published
from multimix.experiment.cells import Benchmark, Cell, Setting
from multimix.metrics import classification
from multimix.metrics.table import title
from multimix.recipes import METHODS
from multimix.report import scores
from multimix.report.document import Panel, Pictures, Table, number
from multimix.report.figures.classes import (
    Answers,
    Confidences,
    average_precision,
    precision_recall,
    reliability,
    roc,
)
from multimix.report.figures.masks import agreement, area_difference, bland_altman, dice_boxes
from multimix.report.figures.overview import Difference, Point, budgets, differences, dots
from multimix.report.figures.style import svg
from multimix.report.grid import Grid, class_rows, mask_rows, sources
from multimix.report.questions import Answer


def main_budget(benchmark: Benchmark) -> list[Setting]:
    """The settings of the budget at which most methods were run, the smallest of equals; one per method."""
    settings = benchmark.settings()
    best: list[Setting] = []
    for wanted in [s for s in settings if s.of.classify and s.of.segment] or settings:
        # A method that learns one task has the budget of that task only.
        here = [
            s
            for s in settings
            if (not (s.of.classify and wanted.of.classify) or s.class_labels == wanted.class_labels)
            and (not (s.of.segment and wanted.of.segment) or s.mask_labels == wanted.mask_labels)
        ]
        here = list({s.method: s for s in reversed(here)}.values())
        if len(here) > len(best):
            best = here
    return sorted(best, key=lambda setting: setting.order[2])


def budget_name(settings: Sequence[Setting]) -> str:
    """'100 class labels, 10 masks'."""
    return labels_name(*(next((s.budget[i] for s in settings if s.budget[i]), "") for i in (0, 1)))


def labels_name(class_labels: str, mask_labels: str) -> str:
    """'100 class labels, all masks' of '100' and 'full'; what is empty is left out."""
    both = ((class_labels, "class labels"), (mask_labels, "masks"))
    return ", ".join(f"{'all' if count == 'full' else count} {what}" for count, what in both if count)


def panel(name: str, alt: str, figure: Figure) -> Panel:
    """The figure as a panel."""
    # Sources and classes are named by the user; a file is named in a safe way.
    return Panel(re.sub(r"[^\w.-]+", "_", name), alt, svg(figure))


def overview(benchmark: Benchmark, grid: Grid, domain: str) -> list[Panel]:
    """Every score of the grid's main budget, a panel each; against the label budget where there are several."""
    here, panels = main_budget(benchmark), []
    names = scores.structures(benchmark)
    for source, metric in scores.main_scores(benchmark, grid, domain):
        points = [_point(grid, domain, s, source, metric) for s in here if (s, source, metric) in grid]
        label = title(metric, names)
        lines = _lines(grid, source, metric)
        name = f"{source}-{metric}"
        if points:
            figure = dots(points, label, f"{source}, {label}", lines)
            panels.append(panel(f"scores-{name}", _alt(f"{label} on {source}", points), figure))
        panels += _against_budget(benchmark, grid, domain, source, metric)
    return panels


def _lines(grid: Grid, source: str, metric: str) -> dict[str, float]:
    lines = {}
    if (value := scores.trivial(grid, source, metric)) is not None:
        lines[
            "mean mask" if metric.startswith("dice") else _floor(value) if metric == "auc" else "majority"
        ] = value
    if (source, metric) == ("jsrt", "dice_lungs"):
        lines["second human"] = published.OBSERVER_DICE
    return lines


def _floor(auc: float) -> str:
    return "thumbnail" if auc > 0.5 else "chance"


def _point(grid: Grid, domain: str, setting: Setting, source: str, metric: str) -> Point:
    score, row = grid[setting, source, metric], scores.published_row(domain, setting)
    # The paper's column of this score, unless the row cannot be true.
    printed = None
    if row is not None and scores.is_published(domain, source, metric):
        name = metric.partition("_")[0]
        printed = row.scores.get(name) if not (name == "dice" and row.impossible) else None
    return Point(setting.method, score.estimate, score.seeds, printed)


def _alt(what: str, points: Sequence[Point]) -> str:
    return f"{what}: " + ", ".join(f"{p.method} {number(p.estimate.value)}" for p in points)


def _against_budget(benchmark: Benchmark, grid: Grid, domain: str, source: str, metric: str) -> list[Panel]:
    """Score over the number of labels of its own task; nothing where there is one budget."""
    position = 1 if metric.startswith("dice") else 0
    settings = [s for s in benchmark.settings() if (s, source, metric) in grid]
    if len({s.budget[position] for s in settings}) < 2:
        return []
    others = {s.budget[1 - position] for s in settings} - {""}
    panels = []
    for other in sorted(others or {""}, key=lambda b: (not b.isdigit(), b.zfill(9))):
        series: dict[str, list[tuple[str, Point]]] = {}
        for s in settings:
            if s.budget[1 - position] in {other, ""}:
                point = _point(grid, domain, s, source, metric)
                series.setdefault(s.method, []).append((s.budget[position], point))
        both = [points for name, points in series.items() if METHODS[name].classify and METHODS[name].segment]
        if both and max(map(len, both)) < 2:
            continue  # nothing of its own: the methods of one task are in every other panel, too
        label = title(metric, scores.structures(benchmark))
        held = labels_name(*(("", other) if position == 0 else (other, "")))
        heading = ", ".join(filter(None, (source, label, held)))
        what = "masks" if position else "class images"
        figure = budgets(series, what, label, heading, _lines(grid, source, metric))
        text = f"Against the number of labelled {what}: {heading}"
        panels.append(panel(f"budget-{source}-{metric}-{other}", text, figure))
    return panels


def _judged_masks(benchmark: Benchmark) -> Iterator[tuple[str, str, str, dict[str, pd.DataFrame]]]:
    """(source, structure, heading, method -> rows of all seeds) of the main budget."""
    here, names = main_budget(benchmark), scores.structures(benchmark)
    for source in sources(benchmark.cells):
        for structure in names:
            tables = {s.method: [mask_rows(c, source, structure) for c in benchmark.of(s)] for s in here}
            full = {name: [rows for rows in each if len(rows)] for name, each in tables.items()}
            heading = source if len(names) == 1 else f"{source}, {structure}"
            joined = {name: pd.concat(each, ignore_index=True) for name, each in full.items() if each}
            if joined:
                yield source, structure, heading, joined


def mask_panels(benchmark: Benchmark, grid: Grid) -> tuple[list[Panel], list[Panel]]:
    """(Dice boxes of every method, Bland-Altman panels of the first and the last method) of every source."""
    boxes, areas = [], []
    for source, structure, heading, tables in _judged_masks(benchmark):
        lines = _lines(grid, source, f"dice_{structure}")
        figure = dice_boxes(
            tables, structure, heading, trivial=lines.get("mean mask"), observer=lines.get("second human")
        )
        text = f"Box plots of Dice of {structure} on {source} for {', '.join(tables)}"
        boxes.append(panel(f"dice-{source}-{structure}", text, figure))
        ends = {name: tables[name] for name in (next(iter(tables)), list(tables)[-1])}
        text = f"Bland-Altman plot of the area of {structure} on {source} for {', '.join(ends)}"
        areas.append(panel(f"area-{source}-{structure}", text, bland_altman(ends, structure, heading)))
    return boxes, areas


def area_table(benchmark: Benchmark) -> Table:
    """Bias and limits of agreement of every method of the main budget on every source."""
    rows = []
    for _, structure, heading, tables in _judged_masks(benchmark):
        for name, table in tables.items():
            limits = agreement(area_difference(table, structure))
            rows.append((heading, METHODS[name].name, *(number(value, 1, sign=True) for value in limits)))
    header = ("source", "method", "bias, %", "lower limit, %", "upper limit, %")
    caption = "Predicted less reference area in per cent of their mean: bias and 95 % limits of agreement."
    return Table("areas", caption, header, tuple(rows), words=2)


def class_panels(benchmark: Benchmark, grid: Grid) -> tuple[list[Panel], list[Panel]]:
    """(ROC and precision-recall panels, reliability panels) of every class source."""
    here, curves, calibration = main_budget(benchmark), [], []
    for source in sources(benchmark.cells):
        cells = {s.method: [c for c in benchmark.of(s) if len(class_rows(c, source))] for s in here}
        cells = {name: each for name, each in cells.items() if each}
        if not cells:
            continue
        first = next(iter(cells.values()))[0]
        # Of two exclusive classes one curve says all.
        for known in first.classes if first.multi_label or len(first.classes) > 2 else first.classes[1:]:
            curves += _curves(cells, source, known)
        confidences = {name: _confidences(each, source) for name, each in cells.items()}
        errors = {s.method: grid[s, source, "ece"].estimate.value for s in here if s.method in cells}
        text = f"Reliability diagram on {source}; expected calibration error: " + ", ".join(
            f"{name} {number(error)}" for name, error in errors.items()
        )
        calibration.append(panel(f"calibration-{source}", text, reliability(confidences, errors, source)))
    return curves, calibration


def _curves(cells: Mapping[str, Sequence[Cell]], source: str, known: str) -> list[Panel]:
    answers = {
        name: [
            each for each in (_answers(cell, source, known) for cell in seeds) if 0 < each.truth.mean() < 1
        ]
        for name, seeds in cells.items()
    }
    answers = {name: each for name, each in answers.items() if each}
    if not answers:  # the source has one side only
        return []
    areas = {name: float(np.mean([_area(a) for a in each])) for name, each in answers.items()}
    precisions = {
        name: float(np.mean([average_precision(a) for a in each])) for name, each in answers.items()
    }
    heading = f"{source}, {known}"
    return [
        panel(
            f"{kind}-{source}-{known}",
            f"{what} of {known} on {source}; area: " + ", ".join(f"{k} {number(v)}" for k, v in area.items()),
            draw(answers, area, heading),
        )
        for kind, what, draw, area in (
            ("roc", "ROC curves", roc, areas),
            ("pr", "Precision-recall curves", precision_recall, precisions),
        )
    ]


def _area(answers: Answers) -> float:
    both = np.stack([1 - answers.probability, answers.probability], axis=1)
    return float(classification.auc_of_class(answers.truth, both, index=1))


def _answers(cell: Cell, source: str, known: str) -> Answers:
    rows = class_rows(cell, source)
    truth = classification.membership(rows["label"].tolist(), [known], cell.multi_label)[:, 0]
    return Answers(truth, rows[f"p_{known}"].to_numpy(np.float64))


def _confidences(cells: Sequence[Cell], source: str) -> Confidences:
    """How sure and how right, all seeds together; where labels are not exclusive every class counts by itself."""
    confidence, right = [], []
    for cell in cells:
        rows = class_rows(cell, source)
        p = rows[[f"p_{name}" for name in cell.classes]].to_numpy(np.float64)
        truth = classification.membership(rows["label"].tolist(), cell.classes, cell.multi_label)
        if cell.multi_label:
            confidence.append(np.maximum(p, 1 - p).ravel())
            right.append(((p >= 0.5) == truth).astype(int).ravel())
        else:
            confidence.append(p.max(axis=1))
            right.append((p.argmax(axis=1) == truth.argmax(axis=1)).astype(int))
    return Confidences(np.concatenate(confidence), np.concatenate(right))


def question_panels(answers: Sequence[Answer], names: Sequence[str]) -> list[Panel]:
    """The paired differences of one question, a panel per score."""
    panels = []
    for metric in dict.fromkeys(answer.metric for answer in answers):
        mine = [answer for answer in answers if answer.metric == metric]
        rows = [
            Difference(
                f"{a.first.of.name} − {a.second.of.name}, {a.source}",
                a.first.method,
                a.result.value,
                a.result.low,
                a.result.high,
            )
            for a in mine
        ]
        label = title(metric, names)
        text = f"Paired differences in {label}: " + ", ".join(
            f"{r.name} {number(r.value, sign=True)}" for r in rows
        )
        figure = differences(rows, f"difference in {label}", label)
        panels.append(panel(f"{mine[0].question.name}-{metric}", text, figure))
    return panels


def examples(benchmark: Benchmark) -> list[Pictures]:
    """Stored example pictures, those of one image together: DIR/<cell>/examples/<image>--<kind>.png.

    Only the first seed of each setting of the main budget, so that methods can be compared.
    """
    found: dict[tuple[str, str], list[Panel]] = {}
    for setting in main_budget(benchmark):
        cell = benchmark.of(setting)[0]
        for path in sorted((cell.folder / "examples").glob("*.png")):
            image, _, kind = path.stem.partition("--")
            text = f"{setting.of.name}, seed {cell.seed}"
            found.setdefault((kind, image), []).append(
                Panel(f"{cell.folder.name}-{path.stem}", text, png=path)
            )
    return [
        Pictures(f"{image}{f', {kind}' if kind else ''}", tuple(panels), small=True)
        for (kind, image), panels in found.items()
    ]
