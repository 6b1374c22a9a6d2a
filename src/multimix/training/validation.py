"""What validation images say: the score that chooses the best checkpoint, and how far its answers may be believed.

All of it at the network's own size.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multimix.metrics.classification import accuracy, auc, balanced_log_loss
from multimix.networks.model import MultiMix
from multimix.reliability.calibration import Reliability, best_temperature, measure_classes
from multimix.reliability.ood import CUT_OUTS, Detector, cut_outs, fit_detector, thumbnails


@dataclass(frozen=True)
class ValidationSet:
    """Decoded validation images, uint8, and what is known about them; either part may be empty."""

    class_images: np.ndarray
    """(N C H W) uint8."""
    labels: Tensor
    """(N,) or (N K)."""
    mask_images: np.ndarray
    """(M C H W) uint8."""
    masks: np.ndarray
    """(M S H W) uint8, 0 or 1."""

    @property
    def size(self) -> int:
        """Images in both parts."""
        return len(self.class_images) + len(self.mask_images)


@torch.inference_mode()
def validate(
    model: MultiMix, validation: ValidationSet, device: torch.device, batch: int = 32
) -> Mapping[str, float]:
    """'score' and its parts: AUC (accuracy where AUC is undefined) and mean Dice of the structures.

    Beside them 'val_log_loss', class-balanced and with calibrated probabilities, which the score does not see.
    """
    scores: dict[str, float] = {}
    if len(validation.class_images):
        logits = _class_logits(model, validation.class_images, device, batch).double().numpy()
        labels = validation.labels.numpy().astype(np.int64)
        multi_label = labels.ndim == 2
        if not np.isfinite(logits).all():  # of weights that are not finite no score is
            return dict.fromkeys(("val_accuracy", "val_auc", "val_log_loss", "score"), float("nan"))
        probabilities = Reliability().probabilities(logits, multi_label)
        calibrated = Reliability(best_temperature(logits, labels)).probabilities(logits, multi_label)
        scores["val_accuracy"] = float(accuracy(labels, probabilities))
        scores["val_auc"] = float(auc(labels, probabilities))
        scores["val_log_loss"] = float(balanced_log_loss(labels, calibrated))
    if len(validation.mask_images):
        predicted = [model(x).mask_logits > 0 for x in _batches(validation.mask_images, device, batch)]
        scores["val_dice"] = _mean_dice(torch.cat(predicted).cpu().numpy(), validation.masks)
    return scores | {"score": float(np.mean([scores[name] for name in _parts(scores)]))}


def _parts(scores: Mapping[str, Any]) -> list[str]:
    """Which of the scores 'score' is the mean of; None, as the log has it, and nan are undefined."""
    defined = {name for name, value in scores.items() if value is not None and not np.isnan(value)}
    classes = "val_auc" if "val_auc" in defined else "val_accuracy"
    return [name for name in (classes, "val_dice") if name in defined]


def score_in_words(scores: Mapping[str, Any]) -> str:
    """What the 'score' of `validate`, or of its line in the log, is made of."""
    parts = _parts(scores)
    words = {"val_auc": "AUC", "val_accuracy": "accuracy", "val_dice": "Dice"}
    said = ("mean of " if len(parts) > 1 else "") + " and ".join(words[name] for name in parts)
    if "val_accuracy" in parts:
        said += "; AUC needs validation images with and without each class"
    return said


@torch.inference_mode()
def measure_reliability(
    model: MultiMix,
    validation: ValidationSet,
    training: np.ndarray,
    device: torch.device,
    rng: torch.Generator,
    batch: int = 32,
) -> Reliability:
    """Calibration, operating point and prediction sets from validation images; detector from `training` as well.

    `training` is (N C H W) uint8. Nothing but the boxes that are cut out of it depends on `rng`.
    """
    detector = _detector(validation, training, rng, batch)
    if not len(validation.class_images):
        return Reliability(detector=detector)
    logits = _class_logits(model, validation.class_images, device, batch).double().numpy()
    return replace(measure_classes(logits, validation.labels.numpy().astype(np.int64)), detector=detector)


def _detector(
    validation: ValidationSet, training: np.ndarray, rng: torch.Generator, batch: int
) -> Detector | None:
    def small(images: np.ndarray) -> np.ndarray:
        return np.concatenate([thumbnails(x) for x in _unit(images, batch)])

    parts = [
        thumbnails(box) for images in _unit(training, batch) for box in cut_outs(images, _places(images, rng))
    ]
    kinds = [small(kind) for kind in (validation.class_images, validation.mask_images) if len(kind)]
    if not parts or not kinds:
        return None
    return fit_detector(small(training), np.concatenate(parts), kinds)


def _unit(images: np.ndarray, batch: int) -> Iterator[np.ndarray]:
    for i in range(0, len(images), batch):
        yield np.asarray(images[i : i + batch], np.float32) / 255


def _places(images: np.ndarray, rng: torch.Generator) -> np.ndarray:
    return np.stack([torch.rand(2, 2, generator=rng).numpy() for _ in range(CUT_OUTS * len(images))])


def _class_logits(model: MultiMix, images: np.ndarray, device: torch.device, batch: int) -> Tensor:
    return torch.cat([model.classify(x) for x in _batches(images, device, batch)]).cpu()


def _batches(images: np.ndarray, device: torch.device, batch: int) -> Iterator[Tensor]:
    for i in range(0, len(images), batch):
        yield torch.from_numpy(np.array(images[i : i + batch])).to(device).float() / 255


def _mean_dice(predicted: np.ndarray, reference: np.ndarray) -> float:
    overlap = (predicted & (reference > 0)).sum(axis=(2, 3))
    total = predicted.sum(axis=(2, 3)) + reference.sum(axis=(2, 3), dtype=np.int64)
    return float(np.where(total > 0, 2 * overlap / np.maximum(total, 1), 1.0).mean())
