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

from multimix.errors import UsageError
from multimix.io.arrays import as_radiograph
from multimix.io.resize import to_model_size
from multimix.networks.load import load_model
from multimix.networks.model import MultiMix
from multimix.reliability.calibration import Reliability, names
from multimix.types import NONE, Prediction, Radiograph

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
    reliability: Reliability = Reliability()  # noqa: RUF009  a value, not a mutable
    """Calibrates, decides, and rejects images unlike those learned from; by default none of it."""

    @property
    def has_classes(self) -> bool:
        """Whether the model classifies."""
        return bool(self.classes)

    @property
    def has_masks(self) -> bool:
        """Whether the model segments."""
        return bool(self.structures)

    @property
    def has_sets(self) -> bool:
        """Whether answers carry prediction sets."""
        return bool(self.reliability.misses)

    @property
    def refuses(self) -> bool:
        """Whether the model knows which images it cannot answer."""
        return self.reliability.familiarity is not None

    def __call__(self, inputs: Any, *, force: bool = False) -> Prediction | list[Prediction]:
        """Answer one input with a Prediction, several (list, tuple, or a batch with four axes) with a list.

        An input is a path, a Radiograph, or a NumPy array or tensor (H W), (C H W) or (H W 3) of uint8,
        uint16 or float in [0, 1]. What the model is not for is rejected with a reason and no answer; `force` answers
        it all the same. Raises ImageError where one of them cannot be read.
        """
        several = isinstance(inputs, (list, tuple)) or getattr(inputs, "ndim", 0) == 4
        sources = inputs if several else [inputs]
        radiographs = [as_radiograph(one, self.channels, f"input {i}") for i, one in enumerate(sources)]
        answers = list(self.predict_radiographs(radiographs, force=force))
        return answers if several else answers[0]

    def predict_radiographs(
        self, radiographs: Iterable[Radiograph], batch_size: int = 16, *, force: bool = False
    ) -> Iterator[Prediction]:
        """Answer in order, holding `batch_size` radiographs at a time; their sizes may differ.

        The answers to rejected images are empty but for the reason, unless `force`.
        """
        for batch in _batches(radiographs, batch_size):
            for prediction in self._answer(batch):
                yield prediction if force else prediction.withheld()

    @torch.inference_mode()
    def _answer(self, batch: list[Radiograph]) -> list[Prediction]:
        pixels = (torch.tensor(r.pixels, dtype=torch.float32) for r in batch)
        images = torch.stack([to_model_size(p, self.size) for p in pixels]).to(self.device)
        familiarity = self.reliability.familiarity
        rejections = familiarity.refusals(images) if familiarity is not None else [""] * len(batch)
        if not self.has_classes:  # then nobody looks at the saliency, and the model may do without
            with self._autocast():
                mask_logits = self.model.segment(images)
            nothing = [None] * len(batch)
            return list(map(self._prediction, batch, nothing, mask_logits, nothing, rejections))
        with self._autocast():
            output = self.model(images)
        logits = output.class_logits.double().cpu().numpy()
        probabilities = self.reliability.probabilities(logits, self.multi_label)
        return list(
            map(self._prediction, batch, probabilities, output.mask_logits, output.saliency, rejections)
        )

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16-mixed")

    def _prediction(
        self,
        radiograph: Radiograph,
        probabilities: Float[np.ndarray, " K"] | None,
        mask_logits: Float[Tensor, "S h w"],
        saliency: Float[Tensor, "C h w"] | None,
        rejection: str,
    ) -> Prediction:
        by_class, masks = {}, {}
        point = self.reliability.operating_point(len(self.classes), self.multi_label)
        decided: tuple[str, ...] = ()
        inside_set: tuple[str, ...] = ()
        if probabilities is not None:
            by_class = dict(zip(self.classes, map(float, probabilities), strict=True))
            decided, inside_set = (
                names(choose(probabilities[None], self.multi_label)[0], self.classes)
                for choose in (self.reliability.decide, self.reliability.sets)
            )
        if self.has_masks:
            # The sign of the resized logits, so that the edge is as smooth as the model's answer.
            inside = _resize(mask_logits, radiograph.size) > 0
            masks = dict(zip(self.structures, inside.cpu().numpy(), strict=True))
        return Prediction(
            path=radiograph.path,
            probabilities=by_class,
            predicted="|".join(decided) or (NONE if by_class else ""),
            masks=masks,
            saliency=None if saliency is None else _saliency(saliency, radiograph.size),
            spacing=radiograph.spacing,
            spacing_note=radiograph.spacing_note,
            thresholds=dict(zip(self.classes, point, strict=bool(point))),
            prediction_set=inside_set,
            rejection=radiograph.against or rejection,
        )


def load(
    path: str | os.PathLike[str], device: str | torch.device = "cpu", *, precision: str = "32-true"
) -> Predictor:
    """Read the predictor of a run folder (its best weights), a weights file or the name of shipped weights.

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
        reliability=loaded.reliability or Reliability(),
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
