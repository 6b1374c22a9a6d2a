"""Panels about masks: Dice of every image, lung areas against the reference."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from multimix.recipes import METHODS
from multimix.report.figures.style import COLOURS, FAINT, INK, panel, reference


def dice_boxes(
    tables: Mapping[str, pd.DataFrame],
    structure: str,
    title: str,
    *,
    trivial: float | None = None,
    observer: float | None = None,
) -> Figure:
    """Dice of every image and seed, one box per method.

    `tables`: method -> per-image rows of one source. Boxes are quartiles with the median, whiskers reach to the
    last image within 1.5 times the box, every image beyond is a dot. `trivial` is the mean training mask's mean
    Dice, `observer` that of a second human.

    Paper: figures, box plots of Dice.
    """
    names = list(tables)
    with panel(0.95 + 0.3 * len(names)) as (figure, (axes,)):
        for row, name in enumerate(reversed(names)):
            values = tables[name][f"dice_{structure}"].to_numpy(np.float64)
            axes.boxplot(
                values,
                orientation="horizontal",
                positions=[row],
                widths=0.62,
                patch_artist=True,
                boxprops={"facecolor": COLOURS[name], "edgecolor": INK, "linewidth": 0.7},
                medianprops={"color": "#ffffff", "linewidth": 1.6},
                whiskerprops={"color": INK, "linewidth": 0.8},
                capprops={"color": INK, "linewidth": 0.8},
                flierprops={
                    "marker": "o",
                    "markersize": 2.2,
                    "markerfacecolor": COLOURS[name],
                    "markeredgewidth": 0,
                    "alpha": 0.6,
                },
            )
        axes.set_yticks(range(len(names)), [METHODS[name].name for name in reversed(names)])
        axes.set_xlabel(f"Dice of {structure}, each image")
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        axes.set_title(title, pad=16)
        if trivial is not None:
            reference(axes, trivial, "mean mask", style=":")
        if observer is not None:
            reference(axes, observer, "second human")
        axes.set_xlim(right=min(1.0, axes.get_xlim()[1]))
    return figure


def area_difference(table: pd.DataFrame, structure: str) -> np.ndarray:
    """(N,) predicted less reference area in per cent of their mean; 200 where one of the two is empty."""
    predicted = table[f"area_px_{structure}"].to_numpy(np.float64)
    true = table[f"reference_area_px_{structure}"].to_numpy(np.float64)
    total = predicted + true
    return 200 * np.divide(predicted - true, total, out=np.zeros_like(total), where=total > 0)


def agreement(differences: np.ndarray) -> tuple[float, float, float]:
    """Bias and 95 % limits of agreement, mean -/+ 1.96 standard deviations [Bland and Altman, Lancet 327 (1986)
    307-310]; nan limits for fewer than two images.
    """
    bias = float(differences.mean())
    spread = 1.96 * float(differences.std(ddof=1)) if len(differences) > 1 else float("nan")
    return bias, bias - spread, bias + spread


def bland_altman(tables: Mapping[str, pd.DataFrame], structure: str, title: str) -> Figure:
    """Area differences over areas, the methods side by side on one scale.

    `tables`: method -> per-image rows of one source, all seeds.

    Paper: figures, Bland-Altman of lung area.
    """
    with panel(2.7, columns=len(tables)) as (figure, all_axes):
        for axes, (name, table) in zip(all_axes, tables.items(), strict=True):
            _bland_altman(axes, name, table, structure)
        all_axes[0].set_ylabel("predicted − reference area, %")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
        figure.supxlabel("mean of the two areas, 1000 pixels", fontsize=9)
    return figure


def _bland_altman(axes: Axes, name: str, table: pd.DataFrame, structure: str) -> None:
    differences = area_difference(table, structure)
    mean = (table[f"area_px_{structure}"] + table[f"reference_area_px_{structure}"]) / 2000
    axes.scatter(mean.to_numpy(np.float64), differences, s=7, color=COLOURS[name], alpha=0.5, linewidths=0)
    bias, low, high = agreement(differences)
    axes.axhline(0, color=FAINT, linewidth=0.6)
    axes.axhline(bias, color=INK, linewidth=1.2)
    for value, side in ((bias, "bottom"), (low, "top"), (high, "bottom")):
        if value != bias:
            axes.axhline(value, color=INK, linewidth=1.0, linestyle="--")
        axes.annotate(
            f"{value:+.1f}", (1, value), xycoords=("axes fraction", "data"), xytext=(-1, 1 if side == "bottom" else -1),
            textcoords="offset points", ha="right", va=side, fontsize=7.5,
        )  # fmt: skip
    axes.set_title(METHODS[name].name, fontsize=9, fontweight="normal")
    axes.margins(y=0.12)
    axes.set_xlim(right=axes.get_xlim()[1] * 1.12)
