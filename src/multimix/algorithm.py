"""Algorithm 1: what one step minimises, for every method of `recipes.METHODS`."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields

from torch import Generator, Tensor, nn, no_grad, stack

from multimix.config import ObjectiveConfig
from multimix.losses import CONSISTENCIES, classification_loss, dice_loss, pseudo_label_loss
from multimix.model import MultiMix
from multimix.types import LossBreakdown, MultiMixBatch


class Objective(nn.Module):
    """The model's loss on a batch. A method is the streams that the batch has: `data.sets` leaves out the others.

    Paper: Algorithm 1.
    """

    def __init__(self, model: MultiMix, weights: ObjectiveConfig, *, multi_label: bool = False):
        super().__init__()
        self.model, self.weights, self.multi_label = model, weights, multi_label

    def forward(self, batch: MultiMixBatch, rng: Generator | None = None) -> LossBreakdown:
        """One pass over the streams that the method uses; `rng` switches dropout on."""
        classification = pseudo = kept = dice = consistency = None
        # Step 1: labelled class images; encoder and head alone
        if batch.labelled_classes is not None:
            logits = self.model.classify(batch.labelled_classes.images, rng)
            classification = classification_loss(logits, batch.labelled_classes.labels)
        # Step 2: the weak view proposes a class, the strong view must agree where that was confident
        if batch.unlabelled_classes is not None:
            with no_grad():
                weak = self.model.classify(batch.unlabelled_classes.weak, rng)
            strong = self.model.classify(batch.unlabelled_classes.strong, rng)
            pseudo, kept = pseudo_label_loss(
                weak, strong, self.weights.threshold, multi_label=self.multi_label
            )
        # Step 3: labelled mask images, the decoder guided by the classifier's saliency
        if batch.labelled_masks is not None:
            # In float32: at 16 bits a sum over pixels, and 1 - p where p is near 1, are several percent off.
            masks = self.model.segment(batch.labelled_masks.images, rng).float()
            dice = dice_loss(masks, batch.labelled_masks.masks)
            # Step 4: predictions on unlabelled images must look like those on labelled ones
            if batch.unlabelled_masks is not None:
                unlabelled = self.model.segment(batch.unlabelled_masks, rng).float()
                consistency = CONSISTENCIES[self.weights.consistency](masks, unlabelled)
        return LossBreakdown(classification, pseudo, dice, consistency, kept)


def total(terms: LossBreakdown, weights: ObjectiveConfig) -> Tensor:
    """CE + lambda * pseudo-label + alpha * Dice + beta * KL, over the terms there are.

    Paper: Eq. (1) plus Eq. (2). The only place where lambda, alpha and beta appear.
    """
    weighted = (
        (1.0, terms.classification),
        (weights.pseudo_weight, terms.pseudo_label),
        (weights.dice_weight, terms.dice),
        (weights.consistency_weight, terms.consistency),
    )
    present = [weight * term for weight, term in weighted if term is not None]
    return sum(present[1:], present[0])


def gradient(
    objective: Objective,
    batch: MultiMixBatch,
    rng: Generator | None = None,
    *,
    parts: int = 1,
    autocast: Callable[[], AbstractContextManager[None]] = nullcontext,
    backward: Callable[[Tensor], None] = Tensor.backward,
) -> LossBreakdown:
    """Add the gradient of the total loss to `.grad`; returns the terms, detached.

    The batch is computed in `parts` equal parts one after another, in the memory of one of them: as every term is a
    mean over images, the mean over equal parts is the mean over all. `parts` divides the size of every stream.
    """
    computed = []
    for part in batch.split(parts):
        with autocast():
            terms = objective(part, rng)
            loss = total(terms, objective.weights) / parts
        backward(loss)
        computed.append(terms)
    return _mean(computed)


def _mean(parts: Sequence[LossBreakdown]) -> LossBreakdown:
    values = {f.name: [getattr(part, f.name) for part in parts] for f in fields(LossBreakdown)}
    return LossBreakdown(**{k: None if v[0] is None else stack(v).detach().mean() for k, v in values.items()})
