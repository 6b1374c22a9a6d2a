"""From radiographs to predictions: paths, arrays or tensors in, a Prediction of each at its own size out.

What computes the network is a backend; everything before and after it is NumPy.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float

from multimix.errors import UsageError
from multimix.io.arrays import as_radiograph
from multimix.io.resize import resized, to_model_size
from multimix.reliability.calibration import Reliability, names
from multimix.reliability.content import not_a_film
from multimix.reliability.map_verdict import MapVerdict, in_words
from multimix.types import NONE, Prediction, Radiograph
from multimix.weights.file import ModelSpec

_In = TypeVar("_In")


class Outputs(NamedTuple):
    """What a network says of a batch, at its own size s."""

    class_logits: Float[np.ndarray, "B K"] | None
    """float64; None where no class was asked for."""
    mask_logits: Float[np.ndarray, "B S s s"]
    saliency: Float[np.ndarray, "B s s"] | None
    """What in the picture speaks for the answer, see `attribution`, not scaled; None where no class was asked for."""


@runtime_checkable
class Backend(Protocol):
    """What computes a network."""

    @property
    def digest(self) -> str:
        """SHA-256 of the network's weights, hexadecimal."""
        ...

    def share_cores(self, threads: int) -> int:
        """From now on, in the whole process, a computation uses one core, so that several run side by side.

        Returns how many should: `threads`, or where it is 0 one for every core; 1 on a device that is not a CPU.
        """
        ...

    def run(self, images: Float[np.ndarray, "B C s s"], classify: bool) -> Outputs:
        """What the network says of images in [0, 1]; without `classify` no class head and no saliency."""
        ...


@dataclass(frozen=True)
class Predictor:
    """A trained model that answers for radiographs of any size."""

    spec: ModelSpec
    """Classes, structures, size and channels of the model."""
    backend: Backend
    trivial_masks: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Structure -> mean training mask: the baseline that needs no model."""
    reliability: Reliability = Reliability()  # noqa: RUF009  a value, not a mutable
    """Calibrates, decides, and rejects images unlike those learned from; by default none of it."""
    verdict: MapVerdict | None = None
    """What tests of the saliency said; None where they were not made."""
    show_saliency: bool = False
    """Whether pictures show the saliency also where its tests failed."""

    @property
    def model(self) -> Any:
        """The network that torch computes, a `MultiMix`; UsageError where something else computes it."""
        if not hasattr(self.backend, "model"):
            raise UsageError(
                "model: these weights are not computed by torch, so there is no network to show."
            )
        return self.backend.model

    @property
    def saliency_verdict(self) -> str:
        """What tests said of the saliency, in plain words; empty where nothing is classified, so that there is none."""
        return in_words(self.verdict) if self.spec.classify else ""

    @property
    def saliency_shown(self) -> bool:
        """Whether pictures show the saliency: where its tests did not fail, or it was asked for all the same."""
        return self.show_saliency or self.verdict is None or self.verdict.passed

    def __call__(self, inputs: Any, *, force: bool = False) -> Prediction | list[Prediction]:
        """Answer one input with a Prediction, several (list, tuple, or a batch with four axes) with a list.

        An input is a path, a Radiograph, an image of Pillow, or a NumPy array or tensor (H W), (C H W) or (H W 3) of
        uint8, uint16 or float in [0, 1]. What the model is not for is rejected with a reason and no answer; `force`
        answers it all the same. Raises ImageError where one of them cannot be read.
        """
        several = isinstance(inputs, (list, tuple)) or getattr(inputs, "ndim", 0) == 4
        sources = inputs if several else [inputs]
        radiographs = [as_radiograph(one, self.spec.channels, f"input {i}") for i, one in enumerate(sources)]
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

    def _answer(self, batch: list[Radiograph]) -> list[Prediction]:
        images = np.stack([to_model_size(r.upright, self.spec.size) for r in batch])
        rejections = self.rejections(batch, images)
        outputs = self.backend.run(images, self.spec.classify)
        nothing = [None] * len(batch)
        probabilities: Iterable[Any] = nothing
        if outputs.class_logits is not None:
            probabilities = self.reliability.probabilities(outputs.class_logits, self.spec.multi_label)
        maps: Iterable[Any] = nothing if outputs.saliency is None else outputs.saliency
        return list(map(self._prediction, batch, probabilities, outputs.mask_logits, maps, rejections))

    def rejections(
        self, radiographs: Sequence[Radiograph], images: Float[np.ndarray, "B C s s"]
    ) -> list[str]:
        """Why each radiograph is rejected, empty where it is not; `images` are they upright, at the model's size.

        No pass of the network is needed for it.
        """
        detector = self.reliability.detector
        unlike = [""] * len(radiographs) if detector is None else detector.rejections(images)
        if detector is not None and self.spec.channels == 1:
            unlike = [not_a_film(one) or why for one, why in zip(radiographs, unlike, strict=True)]
        return [one.against or why for one, why in zip(radiographs, unlike, strict=True)]

    def _prediction(
        self,
        radiograph: Radiograph,
        probabilities: Float[np.ndarray, " K"] | None,
        mask_logits: Float[np.ndarray, "S h w"],
        heat: Float[np.ndarray, "h w"] | None,
        rejection: str,
    ) -> Prediction:
        by_class, masks = {}, {}
        turn, size = radiograph.turn, radiograph.upright_size
        point = self.reliability.operating_point(len(self.spec.classes), self.spec.multi_label)
        decided: tuple[str, ...] = ()
        inside_set: tuple[str, ...] = ()
        if probabilities is not None:
            by_class = dict(zip(self.spec.classes, map(float, probabilities), strict=True))
            decided, inside_set = (
                names(choose(probabilities[None], self.spec.multi_label)[0], self.spec.classes)
                for choose in (self.reliability.decide, self.reliability.sets)
            )
        if self.spec.segment:
            # The sign of the resized logits, so that the edge is as smooth as the model's answer.
            inside = np.ascontiguousarray(turn.back(resized(mask_logits, size) > 0))
            masks = dict(zip(self.spec.structures, inside, strict=True))
        return Prediction(
            path=radiograph.path,
            probabilities=by_class,
            predicted="|".join(decided) or (NONE if by_class else ""),
            masks=masks,
            saliency=None if heat is None else np.ascontiguousarray(turn.back(_scaled(map_at(heat, size)))),
            spacing=radiograph.spacing,
            spacing_note=radiograph.spacing_note,
            thresholds=dict(zip(self.spec.classes, point, strict=bool(point))),
            prediction_set=inside_set,
            note=radiograph.note,
            rejection=rejection,
            saliency_verdict="" if heat is None else self.saliency_verdict,
            saliency_shown=self.saliency_shown,
        )


def map_at(heat: Float[np.ndarray, "h w"], size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    """A map at the radiograph's size (height, width), not scaled."""
    return resized(heat[None], size)[0]


def _scaled(full: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """A map scaled by its 99.5th percentile and cut at 1."""
    peak = float(np.percentile(full, 99.5)) or float(full.max())
    return full.clip(0, peak) / np.float32(peak) if peak > 0 else np.zeros_like(full)


def _batches(items: Iterable[_In], size: int) -> Iterator[list[_In]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
