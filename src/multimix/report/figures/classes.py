"""Panels about classes: ROC, precision and recall, calibration."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from multimix.recipes import METHODS
from multimix.report.figures.style import COLOURS, FAINT, INK, MARKS, panel

_GRID = np.linspace(0, 1, 201)


@dataclass(frozen=True)
class Answers:
    """What one seed of a method said of one source, for one class against the rest."""

    truth: Int[np.ndarray, " N"]
    """1 where the image has the class."""
    probability: Float[np.ndarray, " N"]
    """Of the class."""


ByMethod = Mapping[str, Sequence[Answers]]
"""Method -> one entry per seed."""


def roc_of(answers: Answers) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, " P"]]:
    """(false positive rate, sensitivity) at every threshold, from (0, 0) to (1, 1)."""
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(answers.truth, answers.probability, drop_intermediate=False)
    return false, true


def precision_recall_of(answers: Answers) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, " P"]]:
    """(recall, precision) at every threshold, recall ascending from 0."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(answers.truth, answers.probability)
    return recall[::-1], precision[::-1]


def average_precision(answers: Answers) -> float:
    """Area under precision over recall, as scikit-learn sums it: steps, not straight lines."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(answers.truth, answers.probability))


def roc(methods: ByMethod, areas: Mapping[str, float], title: str) -> Figure:
    """Sensitivity over false positive rate, mean over seeds at each rate; `areas`: method -> mean AUC.

    Paper: figures, ROC curves.
    """

    def curve(answers: Answers) -> Float[np.ndarray, " G"]:
        # The highest sensitivity that is reached without more false positives than this.
        false, true = roc_of(answers)
        return np.asarray(np.interp(_GRID, *_upper(false, true)))

    with panel(4.0) as (figure, (axes,)):
        axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1)
        axes.annotate(
            "chance", (0.16, 0.16), xytext=(4, -9), textcoords="offset points", fontsize=7.5, color=FAINT
        )
        _curves(axes, methods, areas, curve)
        axes.legend(loc="lower right", title="AUC", alignment="left", title_fontsize=8, handlelength=2.2)
        axes.set(xlabel="false positive rate", ylabel="sensitivity", title=title)
    return figure


def precision_recall(methods: ByMethod, areas: Mapping[str, float], title: str) -> Figure:
    """Precision over recall, mean over seeds at each recall; `areas`: method -> mean average precision."""

    def curve(answers: Answers) -> Float[np.ndarray, " G"]:
        # The precision at the first threshold that reaches this recall.
        recall, precision = precision_recall_of(answers)
        return precision[np.searchsorted(recall, _GRID, side="left").clip(max=len(recall) - 1)]

    share = float(np.mean([answers.truth.mean() for seeds in methods.values() for answers in seeds]))
    with panel(4.7) as (figure, (axes,)):
        axes.axhline(share, color=FAINT, linestyle=":", linewidth=1)
        axes.annotate(
            "chance", (0.99, share), xytext=(0, -2), textcoords="offset points", fontsize=7.5, color=FAINT, ha="right",
            va="top",
        )  # fmt: skip
        _curves(axes, methods, areas, curve)
        axes.set(xlabel="recall", ylabel="precision", title=title)
        _legend_below(figure, "average precision")
    return figure


def _upper(
    x: Float[np.ndarray, " P"], y: Float[np.ndarray, " P"]
) -> tuple[Float[np.ndarray, " Q"], Float[np.ndarray, " Q"]]:
    """The points of an ascending curve with the highest y of every x, which is what np.interp needs."""
    last = np.append(np.diff(x) > 0, True)
    return x[last], y[last]


def _curves(
    axes: Axes,
    methods: ByMethod,
    areas: Mapping[str, float],
    curve: Callable[[Answers], Float[np.ndarray, " G"]],
) -> None:
    for name in sorted(methods, key=lambda name: -areas[name]):
        flags = METHODS[name]
        axes.plot(
            _GRID,
            np.mean([curve(answers) for answers in methods[name]], axis=0),
            color=COLOURS[name],
            linewidth=2.2 if name == "multimix" else 1.4,
            linestyle="-" if flags.pseudo_labels or flags.teacher else (0, (5, 1.5)),
            label=f"{flags.name}  {areas[name]:.3f}",
        )
    axes.set(xlim=(0, 1), ylim=(0, 1.005), aspect="equal")
    axes.grid()


def _legend_below(figure: Figure, title: str) -> None:
    figure.legend(
        loc="outside lower center",
        ncols=3,
        title=title,
        title_fontsize=8,
        handlelength=2.2,
        columnspacing=1.2,
    )


@dataclass(frozen=True)
class Confidences:
    """The predicted class of every image of one seed."""

    confidence: Float[np.ndarray, " N"]
    right: Int[np.ndarray, " N"]


def reliability_of(
    answers: Confidences, bins: int = 10, least: int = 10
) -> tuple[Float[np.ndarray, " M"], Float[np.ndarray, " M"], Int[np.ndarray, " M"]]:
    """(mean confidence, share right, images) of every bin of equal width with at least `least` images."""
    which = np.clip(np.ceil(answers.confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(which, minlength=bins)
    kept = count >= least
    confidence = np.bincount(which, answers.confidence, minlength=bins)[kept] / count[kept]
    right = np.bincount(which, answers.right, minlength=bins)[kept] / count[kept]
    return confidence, right, count[kept]


def reliability(methods: Mapping[str, Confidences], errors: Mapping[str, float], title: str) -> Figure:
    """Share of right answers over how sure the model was; `errors`: method -> expected calibration error.

    All seeds of a method together. Bins of a tenth; those with fewer than 10 images are left out.
    """
    with panel(4.3) as (figure, (axes,)):
        axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1)
        for name in sorted(methods, key=lambda name: errors[name]):
            x, y, _ = reliability_of(methods[name])
            axes.plot(
                x,
                y,
                color=COLOURS[name],
                marker=MARKS[name],
                markersize=5,
                markeredgecolor=INK,
                markeredgewidth=0.4,
                linewidth=2.2 if name == "multimix" else 1.4,
                linestyle="-" if METHODS[name].pseudo_labels or METHODS[name].teacher else (0, (5, 1.5)),
                label=f"{METHODS[name].name}  {errors[name]:.3f}",
            )
        low = min((float(c.confidence.min()) for c in methods.values()), default=0.0)
        axes.set(
            xlim=(max(0.0, np.floor(low * 10) / 10) - 0.02, 1.02), ylim=(0, 1.02),
            xlabel="confidence in the answer", ylabel="share of answers that are right", title=title,
        )  # fmt: skip
        axes.annotate(
            "as sure as right", (0.72, 0.72), xytext=(0, 6), textcoords="offset points", fontsize=7.5, color=FAINT,
            ha="right",
        )  # fmt: skip
        axes.grid()
        _legend_below(figure, "expected calibration error")
    return figure
