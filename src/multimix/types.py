"""Carriers: frozen dataclasses that hand data from one room to the next.

Shapes: B batch, C image channels, K classes, S structures, H×W pixels. Images are float32 in [0, 1]
unless a field says otherwise; masks are 0 or 1.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from multimix.errors import UsageError
from multimix.metrics.classification import NONE


class Report(Protocol):
    """Told how far a long piece of work is; a progress bar is one."""

    def __call__(self, done: int, total: int, values: Mapping[str, float] = ..., /) -> None:
        """`done` of `total`, and the newest values by name."""


@dataclass(frozen=True)
class Record:
    """One row of a manifest: an image and what is known about it."""

    image: Path
    """Absolute path of the image file."""
    masks: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    """Structure -> files whose union is its mask (left and right lung lie in two files in some sources)."""
    label: str | None = None
    """Class name; several joined by '|', or 'none', where labels are not exclusive; None where unlabelled."""
    split: str = "train"
    """'train', 'val' or 'test'."""
    patient: str = ""
    """Unique within `source`; images of one patient never cross splits."""
    source: str = ""
    """Name of the data set."""


@dataclass(frozen=True)
class Radiograph:
    """A decoded image at its own size."""

    pixels: Float[np.ndarray, "C H W"]
    """float32 in [0, 1]; 0 is black; one channel (grey) or three (RGB)."""
    path: str = ""
    """Where it came from, as the user wrote it; empty for arrays."""
    spacing: tuple[float, float] | None = None
    """Millimetres per pixel (row, column), None where unknown."""
    spacing_note: str = ""
    """Where `spacing` was measured and how far to trust it, for people; empty where nothing is known."""
    against: str = ""
    """Why its file says that it is no frontal chest radiograph, where it was read all the same; else empty."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[1], self.pixels.shape[2]


@dataclass(frozen=True)
class Estimate:
    """A score with its 95 % interval over patients and the answer that needs no model."""

    value: float
    low: float
    """nan, as `high`, where the images do not determine an interval."""
    high: float
    trivial: float | None = None
    """The same score of the trivial answer (majority class, mean mask); None where there is none."""


@dataclass(frozen=True)
class Scores:
    """How a model did on one source and split."""

    source: str
    split: str
    images: int
    patients: int
    metrics: Mapping[str, Estimate]
    """Metric name ('accuracy', 'auc', 'dice_lungs', ...) -> estimate."""


@dataclass(frozen=True)
class Prediction:
    """The answer for one radiograph, at the radiograph's own size."""

    path: str
    probabilities: Mapping[str, float]
    """Class name -> probability; sums to 1 where classes are exclusive; empty without a class head."""
    predicted: str
    """The class that the probabilities decide, the most probable one unless the model knows a better operating
    point; where labels are not exclusive all decided classes joined by '|', or 'none'; empty without a class head,
    and where the image was rejected."""
    masks: Mapping[str, Bool[np.ndarray, "H W"]]
    """Structure -> mask; empty without a decoder."""
    saliency: Float[np.ndarray, "H W"] | None
    """Scaled to [0, 1] by its own 99.5th percentile; None without a class head."""
    spacing: tuple[float, float] | None = None
    """Millimetres per pixel (row, column), None where unknown."""
    spacing_note: str = ""
    """Where `spacing` was measured and how far to trust it, for people; empty where nothing is known."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Class name -> the probability from which it is decided; empty where the largest probability decides."""
    prediction_set: tuple[str, ...] = ()
    """The classes that are not ruled out at the coverage that the model states; empty where it states none."""
    rejection: str = ""
    """Why the image is not one that the model is for, in plain words; empty where it is or nothing is known. Such an
    image has no probabilities, masks and saliency unless they were asked for all the same (`force`)."""

    @property
    def rejected(self) -> bool:
        """Whether the image is not one that the model is for."""
        return bool(self.rejection)

    @property
    def decision(self) -> str:
        """How `predicted` follows from the probabilities, in plain words; empty where nothing is predicted."""
        if not self.predicted:
            return ""
        if not self.thresholds:
            return f"{self.predicted} is the most probable class"
        if self.predicted == NONE and NONE not in self.probabilities:
            return "no class reaches its threshold"
        names = self.predicted.split("|") if self.predicted not in self.probabilities else [self.predicted]
        reached = [
            f"{n} {self.probabilities[n]:.3f} reaches its threshold {self.thresholds[n]:.3f}" for n in names
        ]
        likeliest = max(self.probabilities, key=lambda name: self.probabilities[name])
        against = f", although {likeliest} is more probable" if likeliest not in names else ""
        return "; ".join(reached) + against

    def withheld(self) -> "Prediction":
        """Itself, or nothing but path, spacing and reason where the image was rejected."""
        if not self.rejected:
            return self
        return Prediction(
            self.path, {}, "", {}, None, self.spacing, self.spacing_note, rejection=self.rejection
        )

    def area_px(self, structure: str) -> int:
        """Pixels of `structure` at the radiograph's own size. UsageError where the model does not segment it."""
        if structure not in self.masks:
            known = ", ".join(map(repr, self.masks)) or "no structure"
            raise UsageError(f"area of {structure!r}: the model segments {known}; name one of these.")
        return int(self.masks[structure].sum())


@runtime_checkable
class Judged(Protocol):
    """What can be evaluated: multimix.inference.predictor.Predictor is one."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the head."""
        ...

    @property
    def structures(self) -> tuple[str, ...]:
        """Structure names in the order of the mask channels."""
        ...

    @property
    def multi_label(self) -> bool:
        """Whether labels are not exclusive."""
        ...

    @property
    def channels(self) -> int:
        """Image channels that the model takes."""
        ...

    @property
    def has_classes(self) -> bool:
        """Whether the method trained the class head."""
        ...

    @property
    def has_masks(self) -> bool:
        """Whether the method trained the decoder."""
        ...

    @property
    def trivial_masks(self) -> Mapping[str, np.ndarray]:
        """Structure -> mean of the labelled training masks (h w), float in [0, 1]; may be empty."""
        ...

    @property
    def has_sets(self) -> bool:
        """Whether predictions carry prediction sets."""
        ...

    @property
    def refuses(self) -> bool:
        """Whether it knows which images it cannot answer."""
        ...

    def predict_radiographs(
        self, radiographs: Iterable[Radiograph], *, force: bool = False
    ) -> Iterator[Prediction]:
        """One prediction per radiograph, in order; those of rejected images are empty unless `force`."""
        ...
