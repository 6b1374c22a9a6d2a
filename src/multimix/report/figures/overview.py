"""Panels about scores: every method side by side, scores against label budget, differences of pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from multimix.recipes import METHODS
from multimix.report.figures.style import COLOURS, FAINT, INK, MARKS, PAPER, panel, reference
from multimix.types import Estimate


@dataclass(frozen=True)
class Point:
    """A score to be drawn."""

    method: str
    estimate: Estimate
    seeds: tuple[float, ...]
    published: float | None = None
    """What the paper prints for it; None where nothing or nothing that can be true."""


def dots(points: Sequence[Point], label: str, title: str, lines: Mapping[str, float]) -> Figure:
    """One row per method: mean and interval, a small dot per seed, the published number as a hollow ring.

    `lines`: name -> value of a reference, as the trivial answer or a human observer.
    """
    with panel(1.05 + 0.3 * len(points)) as (figure, (axes,)):
        for row, point in enumerate(reversed(points)):
            colour, e = COLOURS[point.method], point.estimate
            axes.plot([e.low, e.high], [row, row], color=colour, linewidth=2.4, solid_capstyle="butt")
            axes.plot(
                e.value, row, marker="o", markersize=7, color=colour, markeredgecolor=INK, markeredgewidth=0.6
            )
            if len(point.seeds) > 1:
                axes.plot(point.seeds, [row - 0.3] * len(point.seeds), "|", color=colour, markersize=5)
            if point.published is not None:
                axes.plot(
                    point.published, row, marker="o", markersize=7, markerfacecolor=PAPER, markeredgecolor=FAINT,
                    linestyle="", zorder=3,
                )  # fmt: skip
        axes.set_yticks(range(len(points)), [METHODS[point.method].name for point in reversed(points)])
        axes.set_ylim(-0.6, len(points) - 0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.locator_params(axis="x", nbins=6)
        axes.set_xlabel(label)
        axes.set_title(title, pad=16)
        for name, value in lines.items():
            reference(axes, value, name, style=":")
    return figure


def budgets(
    series: Mapping[str, Sequence[tuple[str, Point]]], labels: str, score: str, title: str,
    lines: Mapping[str, float],
) -> Figure:  # fmt: skip
    """Score over label budget, a line per method with its interval.

    `series`: method -> (budget as printed, point), budgets ascending. Budgets stand at equal steps, methods a
    little beside each other.

    Paper: figures, accuracy against label budget.
    """
    steps = sorted(
        {b for points in series.values() for b, _ in points}, key=lambda b: (not b.isdigit(), b.zfill(9))
    )
    with panel(3.4) as (figure, (axes,)):
        for index, (name, points) in enumerate(series.items()):
            shift = 0.07 * (index - (len(series) - 1) / 2)
            x = np.array([steps.index(budget) + shift for budget, _ in points])
            y = np.array([point.estimate.value for _, point in points])
            low = np.array([point.estimate.low for _, point in points])
            high = np.array([point.estimate.high for _, point in points])
            flags = METHODS[name]
            axes.errorbar(
                x, y, yerr=[y - low, high - y], color=COLOURS[name], marker=MARKS[name], markersize=5, linewidth=1.3,
                linestyle="-" if flags.pseudo_labels or flags.teacher else (0, (5, 1.5)), elinewidth=1.0,
                label=flags.name,
            )  # fmt: skip
        axes.set_xticks(range(len(steps)), ["all" if step == "full" else step for step in steps])
        axes.set_xlim(-0.5, len(steps) - 0.5)
        axes.set(xlabel=f"labelled {labels}", ylabel=score, title=title)
        axes.grid(axis="y")
        for name, value in lines.items():
            reference(axes, value, name, across=True, style=":")
        figure.legend(loc="outside lower center", ncols=4)
    return figure


@dataclass(frozen=True)
class Difference:
    """A paired difference to be drawn."""

    name: str
    """'UMTL-S − UMTL, jsrt'."""
    method: str
    """The first of the pair, which gives the colour."""
    value: float
    low: float
    high: float


def differences(rows: Sequence[Difference], label: str, title: str) -> Figure:
    """One row per pair and source: the difference and its 95 % interval; right of zero is for the first."""
    with panel(0.95 + 0.26 * len(rows)) as (figure, (axes,)):
        axes.axvline(0, color=INK, linewidth=0.9)
        for row, item in enumerate(reversed(rows)):
            colour = COLOURS[item.method]
            axes.plot([item.low, item.high], [row, row], color=colour, linewidth=2.2, solid_capstyle="butt")
            apart = item.low > 0 or item.high < 0
            axes.plot(
                item.value, row, marker="o", markersize=6, markerfacecolor=colour if apart else PAPER,
                markeredgecolor=colour, markeredgewidth=1.2,
            )  # fmt: skip
        axes.set_yticks(range(len(rows)), [item.name for item in reversed(rows)], fontsize=8)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(label)
        axes.set_title(title)
    return figure
