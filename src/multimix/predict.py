"""From radiographs to answers: paths, arrays or tensors in, a Prediction of each at its own size out."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from multimix.checkpoint import load_model
from multimix.errors import UsageError
from multimix.io.arrays import as_radiograph
from multimix.io.resize import to_model_size
from multimix.model import MultiMix
from multimix.types import Prediction, Radiograph

_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True)
class Predictor:
    """A trained model that answers for radiographs of any size."""

    model: MultiMix
    """On `device`."""
    classes: tuple[str, ...]
    """Class names, in the order of the logits; empty where the model does not classify."""
    structures: tuple[str, ...]
    """Structure names, in the order of the mask channels; empty where the model does not segment."""
    size: int
    """Height and width the model sees, in pixels."""
    channels: int = 1
    """1 (grey) or 3 (RGB)."""
    multi_label: bool = False
    """Classes are not exclusive: each has a probability of its own."""
    trivial_masks: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Structure -> mean training mask: the answer that needs no model."""
    device: torch.device = torch.device("cpu")  # noqa: RUF009  a value, not a mutable
    precision: str = "32-true"
    """'32-true', or 'bf16-mixed': about twice as fast where the processor has it, and off by what 16 bits round."""

    @property
    def has_classes(self) -> bool:
        """Whether the model classifies."""
        return bool(self.classes)

    @property
    def has_masks(self) -> bool:
        """Whether the model segments."""
        return bool(self.structures)

    def __call__(self, inputs: Any) -> Prediction | list[Prediction]:
        """Answer one input with a Prediction, several (list, tuple, or a batch with four axes) with a list.

        An input is a path, a Radiograph, or a NumPy array or tensor (H W), (C H W) or (H W 3) of uint8,
        uint16 or float in [0, 1]. Raises ImageError where one of them cannot be read.
        """
        several = isinstance(inputs, (list, tuple)) or getattr(inputs, "ndim", 0) == 4
        sources = inputs if several else [inputs]
        radiographs = [as_radiograph(one, self.channels, f"input {i}") for i, one in enumerate(sources)]
        answers = list(self.predict_radiographs(radiographs))
        return answers if several else answers[0]

    def predict_radiographs(
        self, radiographs: Iterable[Radiograph], batch_size: int = 16
    ) -> Iterator[Prediction]:
        """Answer in order, holding `batch_size` radiographs at a time; their sizes may differ."""
        for batch in _batches(radiographs, batch_size):
            yield from self._answer(batch)

    @torch.inference_mode()
    def _answer(self, batch: list[Radiograph]) -> list[Prediction]:
        pixels = (torch.tensor(r.pixels, dtype=torch.float32) for r in batch)
        images = torch.stack([to_model_size(p, self.size) for p in pixels]).to(self.device)
        if not self.has_classes:  # then nobody looks at the saliency, and the model may do without
            with self._autocast():
                mask_logits = self.model.segment(images)
            return [self._prediction(r, None, m, None) for r, m in zip(batch, mask_logits, strict=True)]
        with self._autocast():
            output = self.model(images)
        logits = output.class_logits.float()
        probabilities = (logits.sigmoid() if self.multi_label else logits.softmax(dim=1)).cpu().numpy()
        return [
            self._prediction(*parts)
            for parts in zip(batch, probabilities, output.mask_logits, output.saliency, strict=True)
        ]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16-mixed")

    def _prediction(
        self,
        radiograph: Radiograph,
        probabilities: Float[np.ndarray, " K"] | None,
        mask_logits: Float[Tensor, "S h w"],
        saliency: Float[Tensor, "C h w"] | None,
    ) -> Prediction:
        by_class, masks = {}, {}
        if probabilities is not None:
            by_class = dict(zip(self.classes, map(float, probabilities), strict=True))
        if self.has_masks:
            # The sign of the resized logits, so that the edge is as smooth as the model's answer.
            inside = _resize(mask_logits, radiograph.size) > 0
            masks = dict(zip(self.structures, inside.cpu().numpy(), strict=True))
        return Prediction(
            path=radiograph.path,
            probabilities=by_class,
            predicted=self._predicted(by_class),
            masks=masks,
            saliency=None if saliency is None else _saliency(saliency, radiograph.size),
            spacing=radiograph.spacing,
            spacing_note=radiograph.spacing_note,
        )

    def _predicted(self, probabilities: Mapping[str, float]) -> str:
        if self.multi_label:
            return "|".join(name for name, p in probabilities.items() if p >= 0.5)
        return max(probabilities, key=probabilities.__getitem__, default="")


def load(
    path: str | os.PathLike[str], device: str | torch.device = "cpu", *, precision: str = "32-true"
) -> Predictor:
    """Read the predictor from a run folder (its best weights) or a weights file.

    Raises CheckpointError where it cannot be used and UsageError where there is no such `device` or `precision`.
    """
    if precision not in ("32-true", "bf16-mixed"):
        raise UsageError(f"--precision: expected 32-true or bf16-mixed, got {precision!r}.")
    loaded = load_model(Path(path))
    try:
        model = loaded.model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {device}: cannot be used here ({error}); use 'cpu'.") from error
    spec = loaded.spec
    return Predictor(
        model=model,
        classes=spec.classes,
        structures=spec.structures,
        size=spec.size,
        channels=spec.channels,
        multi_label=spec.multi_label,
        trivial_masks=loaded.trivial_masks,
        device=torch.device(device),
        precision=precision,
    )


def _resize(maps: Float[Tensor, "N h w"], size: tuple[int, int]) -> Float[Tensor, "N H W"]:
    return F.interpolate(maps[None].float(), size=size, mode="bilinear", antialias=True)[0]


def _saliency(saliency: Float[Tensor, "C h w"], size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    """The strongest channel, at the radiograph's size, scaled by its 99.5th percentile and cut at 1."""
    full = _resize(saliency.amax(dim=0, keepdim=True), size)[0].cpu().numpy()
    peak = float(np.percentile(full, 99.5)) or float(full.max())
    return full.clip(0, peak) / np.float32(peak) if peak > 0 else np.zeros_like(full)


def _batches(items: Iterable[_In], size: int) -> Iterator[list[_In]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
