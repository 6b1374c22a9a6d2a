"""What is known about the model that answers: its weights, what it predicts, how it was judged."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multimix.inference.predictor import Predictor
from multimix.io.dicom.objects import Algorithm, algorithm_of
from multimix.io.run_folder import SCORES
from multimix.serve.answers import NOTICE

_SHOWN = ("accuracy", "auc", "dice")
"""Beginnings of the names of the scores that people are shown."""

_RANGES = "With stability=true each probability has a p_range."


@dataclass(frozen=True)
class About:
    """The model's card."""

    algorithm: Algorithm
    card: dict[str, Any]
    """As `GET /v1/model` answers."""


def about(run: Path, predictor: Predictor) -> About:
    """Read the card of a run folder or weights file that `predict.load` has accepted.

    Scores are those that `multimix evaluate` left in the run folder; a damaged file there is left out.
    """
    algorithm = algorithm_of(predictor.backend.digest)
    scores = _scores(run) if run.is_dir() else []
    card = {
        "name": algorithm.name,
        "version": algorithm.version,
        "weights": algorithm.weights,
        "classes": list(predictor.spec.classes),
        "exclusive": not predictor.spec.multi_label,
        "structures": list(predictor.spec.structures),
        "size": predictor.spec.size,
        "scores": scores,
        "intervals": f"{_sets(predictor)} {_RANGES}",
        "notice": NOTICE,
    }
    return About(algorithm, card)


def _sets(predictor: Predictor) -> str:
    if not predictor.reliability.misses:
        return "This run carries no interval for a single image."
    coverage = f"{predictor.reliability.coverage:.0%}".replace("%", " %")
    return (
        f"Of images like the validation images, prediction_set holds each class in at least {coverage} of those that "
        "have it."
    )


def _scores(run: Path) -> list[dict[str, Any]]:
    lines = []
    for file in sorted(run.glob(f"evaluation/*/{SCORES}")):
        try:
            for score in json.loads(file.read_text(encoding="utf-8"))["scores"]:
                lines += [
                    {
                        "source": str(score["source"]),
                        "split": str(score["split"]),
                        "images": int(score["images"]),
                        "metric": name,
                        **{key: _number(estimate[key]) for key in ("value", "low", "high")},
                        "trivial": _number(estimate.get("trivial")),
                    }
                    for name, estimate in score["metrics"].items()
                    if name.startswith(_SHOWN)
                ]
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue  # the card is a courtesy; the service works without
    return lines


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
