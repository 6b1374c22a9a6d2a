"""What is known about the model that answers: weights, what it was trained for, how it decides, how it was judged."""

import csv
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multimix.inference.predictor import Predictor
from multimix.io.dicom.objects import Algorithm, algorithm_of
from multimix.io.run_folder import SCORES, SPLIT
from multimix.serve.answers import NOTICE
from multimix.weights import shipped_card

_SHOWN = ("accuracy", "auc", "dice")
"""Beginnings of the names of the scores that people are shown."""

_ROLES = {"labelled_classes": "classes", "labelled_masks": "masks"}
"""Role in split.csv -> what those images taught; images without a label are not counted."""

_RANGES = "With stability=true each probability has a p_range."
_SALIENCY = (
    "Warm spots are what in the picture speaks for the answer, set against their surroundings. They need not be where "
    "a disease is"
)


@dataclass(frozen=True)
class About:
    """The model's card."""

    algorithm: Algorithm
    card: dict[str, Any]
    """As `GET /v1/model` answers."""


def about(run: Path, predictor: Predictor) -> About:
    """The card of a run folder, a weights file or the name of shipped weights that `load` has accepted.

    A run says what it learned from (split.csv) and holds the scores that `multimix evaluate` left; weights that ship
    have both beside them. What is damaged there is left out.
    """
    algorithm = algorithm_of(predictor.backend.digest)
    known = predictor.reliability
    point = known.operating_point(len(predictor.spec.classes), predictor.spec.multi_label)
    card = {
        "name": algorithm.name,
        "version": algorithm.version,
        "weights": algorithm.weights,
        **_history(run),
        "classes": list(predictor.spec.classes),
        "exclusive": not predictor.spec.multi_label,
        "structures": list(predictor.spec.structures),
        "size": predictor.spec.size,
        "thresholds": dict(zip(predictor.spec.classes, point, strict=False)),
        "decision": _decision(predictor),
        "calibrated": known.temperature != 1,
        "coverage": known.coverage if known.quantiles else None,
        "rejects": known.detector is not None,
        "saliency": f"{_SALIENCY}: {predictor.saliency_verdict}." if predictor.spec.classify else "",
        "intervals": f"{_sets(predictor)} {_RANGES}",
        "notice": NOTICE,
    }
    return About(algorithm, card)


def _decision(predictor: Predictor) -> str:
    """How a class is decided from the probabilities, in plain words."""
    if not predictor.spec.classify:
        return ""
    chosen = (
        "The threshold is where sensitivity and specificity are best on average for the validation images, so the "
        "class that is decided need not be the more probable one."
    )
    if predictor.spec.multi_label:
        each = "Each class is decided on its own, where its probability reaches its threshold."
        return f"{each} {chosen}" if predictor.reliability.thresholds else each
    if predictor.reliability.thresholds:
        return chosen
    half = "The threshold is one half, so the more probable class is decided."
    return half if len(predictor.spec.classes) == 2 else "The most probable class is decided."


def _sets(predictor: Predictor) -> str:
    if not predictor.reliability.quantiles:
        return "This run carries no interval for a single image."
    coverage = f"{predictor.reliability.coverage:.0%}".replace("%", " %")
    return (
        f"Of images like the validation images, prediction_set holds each class in at least {coverage} of those that "
        "have it."
    )


def _history(run: Path) -> dict[str, Any]:
    """'input' (what one image is), 'trained_on' and 'scores'."""
    nothing: dict[str, Any] = {"input": "image", "trained_on": [], "scores": []}
    if shipped := shipped_card(run):
        return nothing | shipped
    folder = run.parent if run.is_file() else run
    return nothing | {"trained_on": _trained_on(folder), "scores": _scores(folder)}


def _trained_on(run: Path) -> list[dict[str, Any]]:
    try:
        with (run / SPLIT).open(newline="", encoding="utf-8") as stream:
            count = Counter((row["source"], row["role"]) for row in csv.DictReader(stream))
    except (OSError, ValueError, LookupError, csv.Error):
        return []
    return trained_on(count)


def trained_on(count: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
    """From (source, role in split.csv) -> images to the lines of a card."""
    return [
        {"source": source, "taught": _ROLES[role], "images": images}
        for (source, role), images in sorted(count.items())
        if role in _ROLES
    ]


def _scores(run: Path) -> list[dict[str, Any]]:
    lines = []
    for file in sorted(run.glob(f"evaluation/*/{SCORES}")):
        try:
            lines += score_lines(json.loads(file.read_text(encoding="utf-8"))["scores"])
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue  # the card is a courtesy; the service works without
    return lines


def score_lines(scores: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """From the scores of a scores.json to the lines of a card."""
    return [
        {
            "source": str(score["source"]),
            "split": str(score["split"]),
            "images": int(score["images"]),
            "metric": name,
            **{key: _number(estimate[key]) for key in ("value", "low", "high")},
            "trivial": _number(estimate.get("trivial")),
        }
        for score in scores
        for name, estimate in score["metrics"].items()
        if name.startswith(_SHOWN)
    ]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
