"""A network whose answers can be told by hand, and images for it."""

import numpy as np
import torch
from torch import Tensor

from multimix.inference.predictor import Predictor
from multimix.inference.torch_backend import predictor_of
from multimix.networks.model import MultiMix
from multimix.networks.outputs import ModelOutput
from multimix.reliability.calibration import Reliability
from multimix.reliability.ood import Detector, Gaussian
from multimix.weights.file import ModelSpec

WIDTHS = (2, 2, 2, 2, 2)


class Thresholds(MultiMix):
    """Answers that can be told by hand: bright pixels are inside, and more light in the left half moves the class."""

    def __init__(self, structures: int = 1):
        super().__init__(structures=structures, widths=WIDTHS)
        self.structures = structures

    def forward(self, images: Tensor) -> ModelOutput:
        bright = images.mean(dim=(1, 2, 3))
        gradient = torch.zeros_like(images)
        gradient[..., : images.shape[-1] // 2] = 3.0
        return ModelOutput(
            class_logits=torch.stack([torch.zeros_like(bright), bright.logit(1e-6)], dim=1),
            mask_logits=torch.cat(
                [images - (s + 1) / (self.structures + 1) for s in range(self.structures)], 1
            ),
            gradient=gradient,
        )


def predictor(*structures: str, multi_label: bool = False) -> Predictor:
    """A predictor of `structures`, 'lungs' where none is named, and the classes NORMAL and PNEUMONIA."""
    names = structures or ("lungs",)
    spec = ModelSpec(("NORMAL", "PNEUMONIA"), names, 32, multi_label=multi_label)
    return predictor_of(Thresholds(len(names)), spec)


def half(height: int = 60, width: int = 40, value: int = 255) -> np.ndarray:
    """Dark above, bright below."""
    pixels = np.zeros((height, width), dtype=np.uint8)
    pixels[height // 2 :] = value
    return pixels


def picky() -> Reliability:
    """Refuses images of one grey level and none else; its prediction sets hold both classes."""
    anything = Gaussian(np.zeros(256), np.eye(256)[:1], np.ones(1), 1.0)
    return Reliability(quantiles=(1.0, 1.0), detector=Detector(anything, anything, 100.0, 2.0, 2.0))
