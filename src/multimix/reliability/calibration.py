"""How far a model may be believed: all of it from validation images, once, at the end of training.

temperature   divides the class logits so that probabilities come true [Guo et al., ICML 2017, arXiv:1706.04599]
thresholds    the operating point: class k is decided by arg max p_k / t_k
quantiles     of split-conformal prediction sets at a stated coverage [Angelopoulos and Bates, arXiv:2107.07511]
detector      of out-of-distribution images: what is too far from the training images is rejected

Each is left neutral where validation has too few images to say it.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from multimix.reliability.ood import Detector

COVERAGE = 0.9
"""Share of images whose true class the prediction set is meant to hold."""
ENOUGH = 20
"""Validation images of a class below which nothing is concluded about it."""

_RENAMED = {"misses": "quantiles", "familiarity": "detector"}
"""What files of version 0.1.0 call these."""

Labels = Int[np.ndarray, " N"] | Int[np.ndarray, "N K"]
Values = Float[np.ndarray, "N K"]


@dataclass(frozen=True)
class Reliability:
    """What a weights file knows about its own answers; the default changes nothing."""

    temperature: float = 1.0
    """Divides the class logits; above 1 where the network is too sure of itself."""
    thresholds: tuple[float, ...] = ()
    """Per class: t_k of arg max p_k / t_k, summing to 1; where classes are not exclusive, p_k >= t_k says class k.
    Empty: 1/K and 1/2."""
    coverage: float = COVERAGE
    """Of the prediction sets, in (0, 1)."""
    quantiles: tuple[float, ...] = ()
    """Per class the largest 1 - p_k with which it still belongs to the set; empty where sets are not known."""
    detector: Detector | None = None
    """None where nothing is refused."""

    def probabilities(self, logits: Values, multi_label: bool) -> Values:
        """Calibrated probabilities of class logits (N K), float64."""
        scaled = logits.astype(np.float64) / self.temperature
        return _sigmoid(scaled) if multi_label else _softmax(scaled)

    def operating_point(self, classes: int, multi_label: bool) -> tuple[float, ...]:
        """Per class the probability from which it is decided; empty where the largest probability decides."""
        return self.thresholds or ((0.5,) * classes if multi_label or classes == 2 else ())

    def decide(self, probabilities: Values, multi_label: bool) -> Bool[np.ndarray, "N K"]:
        """The classes that the answer says: one per image, or any number where they are not exclusive."""
        if multi_label:
            return probabilities >= np.array(self.thresholds or 0.5)
        best = (probabilities / np.array(self.thresholds or 1.0)).argmax(axis=1)
        return np.eye(probabilities.shape[1], dtype=bool)[best]

    def sets(self, probabilities: Values, multi_label: bool) -> Bool[np.ndarray, "N K"]:
        """The classes of the prediction sets; no class where sets are not known.

        A set of exclusive classes always holds the decided one, so it is never empty and covers at least as often as
        the decision is right. Where classes are not exclusive an empty set rules every class out.
        """
        if not self.quantiles:
            return np.zeros(probabilities.shape, dtype=bool)
        inside = 1 - probabilities <= np.array(self.quantiles)
        return inside if multi_label else inside | self.decide(probabilities, multi_label)

    def pack(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Numbers for a JSON header, and arrays by name."""
        numbers = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "detector"}
        if self.detector is None:
            return numbers, {}
        more, tensors = self.detector.pack()
        return numbers | {"detector": more}, tensors

    @classmethod
    def unpack(cls, numbers: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> "Reliability":
        """The inverse of `pack`; ValueError, TypeError or LookupError where something is missing or impossible."""
        numbers = {_RENAMED.get(name, name): value for name, value in numbers.items()}
        detector = None
        if numbers.get("detector") is not None:
            detector = Detector.unpack(numbers["detector"], tensors)
        return cls(
            temperature=float(numbers["temperature"]),
            thresholds=tuple(map(float, numbers["thresholds"])),
            coverage=float(numbers["coverage"]),
            quantiles=tuple(map(float, numbers["quantiles"])),
            detector=detector,
        )

    def check(self, classes: int) -> None:
        """ValueError where the numbers cannot be those of a model with so many classes."""
        values = (self.temperature, *self.thresholds, *self.quantiles, self.coverage)
        if not all(map(math.isfinite, values)) or self.temperature <= 0 or not 0 < self.coverage < 1:
            raise ValueError(f"temperature {self.temperature}, coverage {self.coverage}")
        if any(not 0 < t < 1 for t in self.thresholds) or any(not 0 <= m <= 1 for m in self.quantiles):
            raise ValueError(f"thresholds {self.thresholds}, quantiles {self.quantiles}")
        if len(self.thresholds) not in (0, classes) or len(self.quantiles) not in (0, classes):
            raise ValueError(
                f"{len(self.thresholds)} thresholds, {len(self.quantiles)} quantiles, {classes} classes"
            )


def measure_classes(logits: Values, labels: Labels) -> Reliability:
    """Temperature, operating point and prediction sets of validation logits (N K).

    `labels` are class indices (N,), or 0 and 1 (N, K) where classes are not exclusive.
    """
    multi_label = labels.ndim == 2
    member = labels.astype(bool) if multi_label else np.eye(logits.shape[1], dtype=bool)[labels]
    made = Reliability(temperature=best_temperature(logits, labels))
    probabilities = made.probabilities(logits, multi_label)
    rare = np.minimum(member.sum(axis=0), (~member).sum(axis=0))
    thresholds: tuple[float, ...] = ()
    quantiles: tuple[float, ...] = ()
    if multi_label:
        columns = zip(probabilities.T, member.T, rare, strict=True)
        thresholds = tuple(best_threshold(p, y) if n >= ENOUGH else 0.5 for p, y, n in columns)
    elif logits.shape[1] == 2 and rare.min() >= ENOUGH:
        upper = best_threshold(probabilities[:, 1], member[:, 1])
        thresholds = (1 - upper, upper)
    if member.sum(axis=0).min() >= ENOUGH:
        quantiles = tuple(
            conformal_quantile(1 - p[y], COVERAGE) for p, y in zip(probabilities.T, member.T, strict=True)
        )
    return dataclasses.replace(made, thresholds=thresholds, quantiles=quantiles)


def best_temperature(logits: Values, labels: Labels) -> float:
    """The temperature in [1/20, 20] that minimises the negative log-likelihood [arXiv:1706.04599, section 4.2].

    1 with fewer than ENOUGH images, or where all are of one class. The labels are softened to (n + 1) / (n + 2), n
    images of the class, as Platt (1999) does: validation images that are all decided rightly would else make the
    network infinitely sure.
    """
    from scipy.optimize import minimize_scalar

    multi_label, classes = labels.ndim == 2, logits.shape[1]
    member = labels.astype(np.float64) if multi_label else np.eye(classes)[labels]
    count = member.sum(axis=0)
    if len(logits) < ENOUGH or count.max() == len(logits):
        return 1.0
    sure, rest = (count + 1) / (count + 2), 1 / (count + 2)
    if multi_label:
        absent = len(logits) - count
        target = np.where(member > 0, sure, 1 / (absent + 2))
    else:
        others = (member @ rest)[:, None] * (1 - member) / max(classes - 1, 1)
        target = member * sure + others

    def loss(log_temperature: float) -> float:
        scaled = logits.astype(np.float64) / math.exp(log_temperature)
        if multi_label:  # -y log p - (1 - y) log (1 - p) = log (1 + e^z) - y z
            return float((np.logaddexp(0, scaled) - target * scaled).mean())
        return float((np.logaddexp.reduce(scaled, axis=1) - (target * scaled).sum(axis=1)).mean())

    found = minimize_scalar(loss, bounds=(-math.log(20), math.log(20)), method="bounded")
    return float(math.exp(found.x))


def best_threshold(probabilities: Float[np.ndarray, " N"], positive: Bool[np.ndarray, " N"]) -> float:
    """The t in (0, 1) for which p >= t has the best balanced accuracy, (sensitivity + specificity) / 2.

    Between two probabilities any t is as good, so their middle is taken. Of several that differ by less than half an
    image of the rarer side, the middle one.
    """
    order = np.argsort(probabilities, kind="stable")
    values, is_positive = probabilities[order], positive[order]
    positives, negatives = int(positive.sum()), int((~positive).sum())
    # Cut c: the c smallest are called negative.
    missed = np.concatenate([[0], np.cumsum(is_positive)])
    rightly = np.concatenate([[0], np.cumsum(~is_positive)])
    score = (1 - missed / positives + rightly / negatives) / 2
    edges = np.concatenate([[0.0], values, [1.0]])
    possible = np.flatnonzero(edges[1:] > edges[:-1])
    slack = 0.25 / min(positives, negatives)
    good = possible[score[possible] >= score[possible].max() - slack]
    cut = good[len(good) // 2]
    return float(np.clip((edges[cut] + edges[cut + 1]) / 2, 1e-6, 1 - 1e-6))


def conformal_quantile(scores: Float[np.ndarray, " N"], coverage: float) -> float:
    """The ceil((n + 1) coverage)-th smallest score; 1 where n is too small for one.

    A new image of the same kind has a score at most this with a chance of at least `coverage`, and at most
    `coverage` + 1 / (n + 1) [arXiv:2107.07511, section 1].
    """
    rank = math.ceil((len(scores) + 1) * coverage)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else 1.0


def names(inside: Bool[np.ndarray, " K"], classes: Sequence[str]) -> tuple[str, ...]:
    """The classes that are inside."""
    return tuple(name for name, has in zip(classes, inside, strict=True) if has)


def _softmax(logits: Values) -> Values:
    return np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))


def _sigmoid(logits: Values) -> Values:
    return np.exp(-np.logaddexp(0, -logits))
