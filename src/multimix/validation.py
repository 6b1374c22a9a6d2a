"""The score that chooses the best checkpoint: validation images only, at the network's own size."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from multimix.metrics import accuracy, auc
from multimix.model import MultiMix


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
    """'score' and its parts: AUC (accuracy where AUC is undefined) and mean Dice of the structures."""
    scores: dict[str, float] = {}
    if len(validation.class_images):
        logits = torch.cat(
            [model.classify(x) for x in _batches(validation.class_images, device, batch)]
        ).cpu()
        exclusive = validation.labels.dim() == 1
        probabilities = (logits.softmax(dim=1) if exclusive else logits.sigmoid()).double().numpy()
        labels = validation.labels.numpy().astype(int)
        scores["val_accuracy"] = float(accuracy(labels, probabilities))
        scores["val_auc"] = float(auc(labels, probabilities))
    if len(validation.mask_images):
        predicted = [model(x).mask_logits > 0 for x in _batches(validation.mask_images, device, batch)]
        scores["val_dice"] = _mean_dice(torch.cat(predicted).cpu().numpy(), validation.masks)
    classes = scores.get("val_auc", np.nan)
    if np.isnan(classes):
        classes = scores.get("val_accuracy", np.nan)
    parts = [part for part in (classes, scores.get("val_dice", np.nan)) if not np.isnan(part)]
    return scores | {"score": float(np.mean(parts))}


def _batches(images: np.ndarray, device: torch.device, batch: int) -> Iterator[Tensor]:
    for i in range(0, len(images), batch):
        yield torch.from_numpy(np.array(images[i : i + batch])).to(device).float() / 255


def _mean_dice(predicted: np.ndarray, reference: np.ndarray) -> float:
    overlap = (predicted & (reference > 0)).sum(axis=(2, 3))
    total = predicted.sum(axis=(2, 3)) + reference.sum(axis=(2, 3), dtype=np.int64)
    return float(np.where(total > 0, 2 * overlap / np.maximum(total, 1), 1.0).mean())
