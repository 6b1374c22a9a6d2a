"""Carriers: frozen dataclasses that hand data from one room to the next.

Shapes: B batch, C image channels, K classes, S structures, H×W pixels. Images are float32 in [0, 1]
unless a field says otherwise; masks are 0 or 1.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from multimix.errors import UsageError
from multimix.metrics.classification import NONE

UNKNOWN = "?"
"""How the patient of an image begins where nobody knows who it is; the rest names the image, so that each stands for
itself and nothing is merged."""


def patients_known(patients: Iterable[str]) -> bool:
    """Whether every image's patient is known, so that an interval over patients may be given."""
    return not any(patient.startswith(UNKNOWN) for patient in patients)


@runtime_checkable
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
    """Unique within `source`; images of one patient never cross splits. Begins with UNKNOWN where it is not known."""
    source: str = ""
    """Name of the data set."""


@dataclass(frozen=True)
class Turn:
    """What makes an image upright: in this order transposed, mirrored left to right, flipped top to bottom."""

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    def upright(self, pixels: np.ndarray) -> np.ndarray:
        """Of (... H W), a view."""
        turned = pixels.swapaxes(-1, -2) if self.transposed else pixels
        return turned[..., :: -1 if self.flipped else 1, :: -1 if self.mirrored else 1]

    def back(self, pixels: np.ndarray) -> np.ndarray:
        """The inverse of `upright`."""
        turned = pixels[..., :: -1 if self.flipped else 1, :: -1 if self.mirrored else 1]
        return turned.swapaxes(-1, -2) if self.transposed else turned


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
    in_colour: bool = False
    """Whether it was a picture in real colour, of which one channel is left."""
    turn: Turn = Turn()
    """What makes it upright, as its file says; `pixels` lie as they are stored."""
    note: str = ""
    """What its file says that was not followed, and what follows from it, for people; else empty."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[1], self.pixels.shape[2]

    @property
    def upright(self) -> Float[np.ndarray, "C h w"]:
        """The pixels as a frontal chest is looked at: what a model is shown."""
        return np.ascontiguousarray(self.turn.upright(self.pixels))

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width of `upright`."""
        height, width = self.size
        return (width, height) if self.turn.transposed else (height, width)


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
    """0 where they are not known, and then no metric has an interval."""
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
    note: str = ""
    """What the file says that was not followed, for people; empty as a rule."""
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
            self.path,
            {},
            "",
            {},
            None,
            self.spacing,
            self.spacing_note,
            note=self.note,
            rejection=self.rejection,
        )

    def area_px(self, structure: str) -> int:
        """Pixels of `structure` at the radiograph's own size. UsageError where the model does not segment it."""
        if structure not in self.masks:
            known = ", ".join(map(repr, self.masks)) or "no structure"
            raise UsageError(f"area of {structure!r}: the model segments {known}; name one of these.")
        return int(self.masks[structure].sum())

    def area_mm2(self, structure: str) -> float | None:
        """Square millimetres of `structure`, None where the spacing is unknown. UsageError as `area_px`."""
        area = self.area_px(structure)
        return None if self.spacing is None else area * self.spacing[0] * self.spacing[1]
