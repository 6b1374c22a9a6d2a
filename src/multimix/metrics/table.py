"""Every score as a row: name, title, range, direction, digits, function.

`evaluate`, `compare`, `report` and `audit` read it here, so that a score is the same thing in all of them;
`per_image` computes them from a table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from multimix.metrics import classification
from multimix.metrics.classification import Score, Weights

Values = Float[np.ndarray, " N"]


@dataclass(frozen=True)
class Answers:
    """What is known of labelled images, and what a classifier said of them."""

    classes: tuple[str, ...]
    multi_label: bool
    member: Int[np.ndarray, "N K"]
    """1 where the image has the class."""
    decided: Int[np.ndarray, "N K"]
    """1 where the classifier says so; its own word, which need not be the most probable class."""
    probabilities: Float[np.ndarray, "N K"]
    inside: Int[np.ndarray, "N K"] | None
    """1 where the prediction set holds the class; None without sets."""

    @property
    def labels(self) -> classification.Labels:
        """As the functions of `classification` take them."""
        return self.member if self.multi_label else self.member.argmax(axis=1)

    @property
    def said(self) -> Float[np.ndarray, "N K"]:
        """The decisions in the place of probabilities."""
        return self.decided.astype(np.float64)

    def baseline(self) -> "Answers":
        """What needs no model: these images' own base rates for each, so its majority class, and the set of all."""
        rates = np.tile(self.member.mean(axis=0), (len(self.member), 1))
        decided = classification.decisions(self.labels, rates)
        inside = None if self.inside is None else np.ones_like(self.inside)
        return Answers(self.classes, self.multi_label, self.member, decided, rates, inside)


@dataclass(frozen=True)
class Metric:
    """A row of METRICS."""

    name: str
    """In tables; `<name>_<class>` or `<name>_<structure>` where there is one of each."""
    title: str
    """For people."""
    each: Literal["", "class", "structure"] = ""
    """What there is one of each."""
    values: Callable[[Answers, int], Values | None] | None = None
    """Of each image, of the class of that index: the score is their mean. nan where an image does not count; None
    where the answers cannot tell. Of a metric that has neither this nor `whole` the table itself holds the values."""
    whole: Callable[[Answers, int, Weights], Score] | None = None
    """Of all images together."""
    low: float = 0.0
    high: float = 1.0
    lower_is_better: bool = False
    digits: int = 3
    """After the point, for people."""
    main: bool = False
    """Stands in every table, and is compared where none is asked for."""
    of_pair: bool = True
    """Told also of two exclusive classes, where of one it says what another score says of the other."""
    interval: bool = True
    """False where no bootstrap holds the truth."""


def _right(a: Answers, index: int) -> Values:
    same = a.decided == a.member
    return same.mean(axis=1) if a.multi_label else same.all(axis=1).astype(np.float64)


def _said_of(a: Answers, index: int, present: int) -> Values:
    """1 where presence or absence of the class was told rightly; nan of images of the other kind."""
    return np.where(a.member[:, index] == present, a.decided[:, index] == present, np.nan).astype(np.float64)


def _coverage(a: Answers, index: int) -> Values | None:
    return None if a.inside is None else classification.covered(a.inside, a.member)


def _set_size(a: Answers, index: int) -> Values | None:
    return None if a.inside is None else a.inside.sum(axis=1).astype(np.float64)


METRICS = (
    Metric("accuracy", "accuracy", values=_right, main=True),
    Metric("auc", "AUC", whole=lambda a, _, w: classification.auc(a.labels, a.probabilities, w), main=True),
    Metric(
        "balanced_accuracy",
        "balanced accuracy",
        whole=lambda a, _, w: classification.balanced_accuracy(a.labels, a.said, w),
        main=True,
    ),
    Metric("sensitivity", "sensitivity", "class", values=partial(_said_of, present=1), main=True),
    # Of two exclusive classes, that of one is the sensitivity of the other.
    Metric(
        "specificity", "specificity", "class", values=partial(_said_of, present=0), main=True, of_pair=False
    ),
    Metric("f1", "F1", "class", whole=lambda a, k, w: classification.f1(a.labels, a.said, w, index=k)),
    Metric(
        "auc",
        "AUC",
        "class",
        whole=lambda a, k, w: classification.auc_of_class(a.labels, a.probabilities, w, index=k),
        of_pair=False,
    ),
    Metric(
        "brier",
        "Brier",
        whole=lambda a, _, w: classification.brier(a.labels, a.probabilities, w),
        high=2.0,
        lower_is_better=True,
    ),
    # Few images show too much of it, and their resamples still more (docs/statistics.md).
    Metric(
        "ece",
        "ECE",
        whole=lambda a, _, w: classification.calibration_error(a.labels, a.probabilities, w),
        lower_is_better=True,
        interval=False,
    ),
    Metric("coverage", "coverage of sets", values=_coverage),
    Metric("set_size", "classes in a set", values=_set_size, high=np.inf, lower_is_better=True),
    Metric("dice", "Dice", "structure", main=True),
    Metric("jaccard", "Jaccard", "structure"),
    Metric("precision", "precision", "structure"),
    Metric("recall", "recall", "structure"),
    Metric("ssim", "SSIM", "structure", low=-1.0),
    Metric("asd_px", "surface distance, px", "structure", high=np.inf, lower_is_better=True, digits=2),
    Metric("hd95_px", "Hausdorff 95 %, px", "structure", high=np.inf, lower_is_better=True, digits=2),
    Metric("asd_mm", "surface distance, mm", "structure", high=np.inf, lower_is_better=True, digits=2),
    Metric("hd95_mm", "Hausdorff 95 %, mm", "structure", high=np.inf, lower_is_better=True, digits=2),
    Metric("rejected", "rejected"),
    Metric("refused", "rejected"),  # in tables of before
)
"""In the order of every table."""


def find(name: str) -> tuple[Metric, str] | None:
    """The row of a score's name, and the class or structure in it, if any; None of a name that is no score's."""
    for metric in METRICS:
        if name == metric.name and not metric.each:
            return metric, ""
    for metric in METRICS:
        if metric.each and name.startswith(f"{metric.name}_"):
            return metric, name.removeprefix(f"{metric.name}_")
    return next(((metric, "") for metric in METRICS if metric.name == name), None)


def metric_of(name: str) -> Metric:
    """The row of a score's name; KeyError of a name that is no score's."""
    if (found := find(name)) is None:
        raise KeyError(name)
    return found[0]


def ranked_by(name: str) -> str:
    """The score by which the best of several is chosen: sensitivity alone is had by always giving one answer."""
    return "balanced_accuracy" if metric_of(name).name in ("sensitivity", "specificity") else name


def title(name: str, structures: Sequence[str]) -> str:
    """A score's name for people; the structure is named where there are several."""
    if (found := find(name)) is None:
        raise KeyError(name)
    metric, of = found
    alone = metric.each == "structure" and list(structures) == [of]
    return metric.title if alone or not of else f"{metric.title} of {of}"
