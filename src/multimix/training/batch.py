"""What one training step sees and what it returns, as frozen dataclasses of tensors.

Shapes: B batch, C image channels, K classes, S structures, H×W pixels. Images are float32 in [0, 1]; masks are 0 or 1.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class LabelledClasses:
    """D^c_l: images with a class label."""

    images: Float[Tensor, "B C H W"]
    labels: Int[Tensor, " B"] | Float[Tensor, "B K"]
    """Class indices, or 0/1 per class where labels are not exclusive."""


@dataclass(frozen=True)
class TwoViews:
    """D^c_u: a weak and a strong view of the same unlabelled images."""

    weak: Float[Tensor, "B C H W"]
    strong: Float[Tensor, "B C H W"]


@dataclass(frozen=True)
class LabelledMasks:
    """D^s_l: images with a mask of every structure."""

    images: Float[Tensor, "B C H W"]
    masks: Float[Tensor, "B S H W"]


@dataclass(frozen=True)
class MixedViews:
    """Unlabelled images of both tasks for a teacher: what it sees, and what the student sees of the same pixels."""

    weak: Float[Tensor, "B C H W"]
    strong: Float[Tensor, "B C H W"]
    """In its box, each image shows the same place of its partner."""
    box: Bool[Tensor, "B 1 H W"]
    partner: Int[Tensor, " B"]
    """Row of the image that shows in the box."""


@dataclass(frozen=True)
class Confident:
    """A teacher's answers, and how far each counts."""

    answers: Float[Tensor, "B ..."]
    """0 or 1 times the weight; in between where images are mixed."""
    weights: Float[Tensor, "B ..."]
    """In [0, 1]: 0 where the teacher was not confident; the share of the image where images are mixed."""


@dataclass(frozen=True)
class PseudoLabelled:
    """Unlabelled images with a teacher's answers, mixed as the images are."""

    images: Float[Tensor, "B C H W"]
    classes: Confident | None
    """(B K)."""
    masks: Confident | None
    """(B S H W)."""


@dataclass(frozen=True)
class MultiMixBatch:
    """What one training step sees; a stream that the method does not use is None."""

    labelled_classes: LabelledClasses | None = None
    unlabelled_classes: TwoViews | None = None
    labelled_masks: LabelledMasks | None = None
    unlabelled_masks: Float[Tensor, "B C H W"] | None = None
    unlabelled: MixedViews | None = None
    """For a teacher, in place of the two unlabelled streams."""
    pseudo_labelled: PseudoLabelled | None = None
    """`unlabelled` once the teacher has answered."""

    def split(self, parts: int) -> Iterator["MultiMixBatch"]:
        """`parts` batches that each hold the same share of every stream; all sizes are divisible by `parts`."""
        for part in range(parts):
            yield _map(partial(_share, part, parts), self)

    def clone(self) -> "MultiMixBatch":
        """The same values in memory of its own."""
        return _map(Tensor.clone, self)


def _share(part: int, parts: int, rows: Tensor) -> Tensor:
    return rows[part * len(rows) // parts : (part + 1) * len(rows) // parts]


def _map(change: Callable[[Tensor], Tensor], carrier: Any) -> Any:
    """A carrier of tensors, or a tensor, with every tensor changed."""
    if carrier is None:
        return None
    if isinstance(carrier, Tensor):
        return change(carrier)
    return type(carrier)(*(_map(change, getattr(carrier, f.name)) for f in fields(carrier)))


def tensors(carrier: Any) -> list[Tensor]:
    """Every tensor in a carrier, in the order of its fields."""
    if isinstance(carrier, Tensor):
        return [carrier]
    return [t for f in fields(carrier) if (v := getattr(carrier, f.name)) is not None for t in tensors(v)]


@dataclass(frozen=True)
class LossBreakdown:
    """Each term before its weight, a scalar; None where the method has no such term."""

    classification: Float[Tensor, ""] | None = None
    pseudo_label: Float[Tensor, ""] | None = None
    dice: Float[Tensor, ""] | None = None
    consistency: Float[Tensor, ""] | None = None
    kept: Float[Tensor, ""] | None = None
    """Share of unlabelled images whose pseudo-label was confident; not a loss."""
    pseudo_mask: Float[Tensor, ""] | None = None
    location: Float[Tensor, ""] | None = None
    kept_pixels: Float[Tensor, ""] | None = None
    """Share of unlabelled pixels whose pseudo-mask was confident; not a loss."""
