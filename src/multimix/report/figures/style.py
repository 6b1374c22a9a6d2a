"""One look for every figure: a colour and a mark per method, sizes for one column, SVG without surprises.

The eight colours stay apart for readers with protanopia and deuteranopia (Machado, Oliveira and Fernandes, IEEE TVCG
15 (2009) 1291-1298) and stand out on white and on the dark page alike; marks and names say the same without colour.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from multimix.recipes import METHODS

COLOURS = {
    "u-net": "#0841f7",
    "enc": "#355b4e",
    "enc-ssl": "#87b3c5",
    "umtl": "#229cff",
    "umtl-s": "#39bc78",
    "umtl-ssl": "#f3950a",
    "umtl-s-ssl": "#970093",
    "multimix": "#ab360a",
    "multimix-plus": "#030619",
}
DARK_COLOURS = {
    "u-net": "#4466ff",
    "enc": "#4f8270",
    "enc-ssl": "#a9dcf0",
    "umtl": "#38a9ff",
    "umtl-s": "#4fe39a",
    "umtl-ssl": "#ffb83d",
    "umtl-s-ssl": "#c1139e",
    "multimix": "#cf4f14",
    "multimix-plus": "#1d20fb",
}
"""The same for a dark page: lighter, of the same hues."""

MARKS = {
    "u-net": "s",
    "enc": "v",
    "enc-ssl": "^",
    "umtl": "D",
    "umtl-s": "P",
    "umtl-ssl": "<",
    "umtl-s-ssl": "X",
    "multimix": "o",
    "multimix-plus": "*",
    "multimix-plus-no-style": "d",
    "multimix-plus-class-style": "8",
    "multimix-plus-no-locate": "H",
    "multimix-plus-no-bridge": ">",
    "multimix-plus-no-pseudo-labels": "p",
    "multimix-plus-guide": "|",
    "multimix-focus": "_",
    "multimix-focus-no-guide": "+",
    "multimix-focus-no-bridge": "x",
    "multimix-t": "h",
    "multimix-t-mask-teacher": "1",
    "u-net-style": "2",
    "enc-style": "3",
    "umtl-s-style": "4",
}

INK, FAINT, RULE, PAPER = "#1c2126", "#5b646d", "#d9dde1", "#fefefe"
"""Text and marks; secondary text and reference lines; grid; ground."""

COLOURS |= {name: FAINT for name in METHODS if name not in COLOURS}  # told apart by their marks

DARK = {INK: "#e6e9ec", FAINT: "#a3acb5", RULE: "#3a4149", PAPER: "#15181c"}
"""What takes the place of each of these on a dark page."""

WIDTH = 4.6
"""Inches of a panel: a column of text, or a phone."""

_STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so text has the same size everywhere
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": PAPER,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "svg.hashsalt": "multimix",  # the same figure gives the same file
    "svg.fonttype": "path",
}


@contextmanager
def panel(height: float, columns: int = 1) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of one column's width and `height` inches with `columns` axes side by side, in the common look.

    Draw inside the block: the look is set there and put back after it.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.subplots(1, columns, squeeze=False, sharey=columns > 1)
        yield figure, list(axes[0])


def svg(figure: Figure) -> str:
    """The figure as an SVG document, without date or random names."""
    text = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(text, format="svg", dpi=200, metadata={"Date": None, "Creator": None})
    # A hundredth of a point is finer than any screen; the rest of the digits would be half of the file.
    return re.sub(r' (?:d|x|y)="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text.getvalue())


def darkened(document: str) -> str:
    """The SVG for a dark page."""
    changed = DARK | {COLOURS[name]: dark for name, dark in DARK_COLOURS.items()}
    # In one pass, so that no colour is changed twice.
    return re.sub("|".join(changed), lambda colour: changed[colour[0]], document)


def reference(axes: Axes, value: float, text: str, *, across: bool = False, style: str = "--") -> None:
    """A line at `value` of x (of y where `across`) with its name beside it."""
    if across:
        axes.axhline(value, color=FAINT, linestyle=style, linewidth=1.0, zorder=1)
        axes.annotate(
            text, (1.0, value), xycoords=("axes fraction", "data"), xytext=(-2, 2), textcoords="offset points",
            ha="right", va="bottom", fontsize=7.5, color=FAINT,
        )  # fmt: skip
    else:
        axes.axvline(value, color=FAINT, linestyle=style, linewidth=1.0, zorder=1)
        axes.annotate(
            text, (value, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 2), textcoords="offset points",
            ha="center", va="bottom", fontsize=7.5, color=FAINT,
        )  # fmt: skip
