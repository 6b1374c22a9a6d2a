"""What the network returns. Shapes: B batch, C image channels, K classes, S structures, H×W pixels."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class ModelOutput:
    """The network's full answer for a batch."""

    class_logits: Float[Tensor, "B K"]
    mask_logits: Float[Tensor, "B S H W"]
    gradient: Float[Tensor, "B C H W"]
    """d max_k class_logits / d image, not normalised."""

    @property
    def saliency(self) -> Float[Tensor, "B C H W"]:
        """The absolute gradient, which the bridge carries."""
        return self.gradient.abs()


@dataclass(frozen=True)
class TaskLogits:
    """What training compares with labels and masks."""

    classes: Float[Tensor, "B K"]
    masks: Float[Tensor, "B S H W"]
    location: Float[Tensor, "B S h w"] | None
    """Where the structures lie, in the cells of the deepest features; None where classes are pooled everywhere."""
