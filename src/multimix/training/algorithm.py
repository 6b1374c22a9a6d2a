"""Algorithm 1: what one step minimises, for every method of `recipes.METHODS`, the paper's and ours."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, replace

from torch import Generator, Tensor, cat, maximum, nn, no_grad, stack, where
from torch.nn.functional import one_hot

from multimix.config import ObjectiveConfig
from multimix.networks.layers import PIXELS_AT_ONCE
from multimix.networks.model import MultiMix
from multimix.training.batch import Confident, LossBreakdown, MultiMixBatch, PseudoLabelled
from multimix.training.losses import (
    CONSISTENCIES,
    classification_loss,
    dice_loss,
    location_loss,
    pseudo_label_loss,
    pseudo_mask_loss,
    soft_label_loss,
)

WEIGHTS = {
    "classification": "",
    "pseudo_label": "pseudo_weight",
    "dice": "dice_weight",
    "consistency": "consistency_weight",
    "pseudo_mask": "pseudo_mask_weight",
    "location": "location_weight",
}
"""Term -> field of `ObjectiveConfig` with its weight: lambda, alpha and beta of the paper, then ours; '' is 1."""


class Objective(nn.Module):
    """The model's loss on a batch. A method is the streams that the batch has: `data.sets` leaves out the others.

    Paper: Algorithm 1.
    """

    def __init__(self, model: MultiMix, weights: ObjectiveConfig, *, multi_label: bool = False):
        super().__init__()
        self.model, self.weights, self.multi_label = model, weights, multi_label

    def forward(self, batch: MultiMixBatch, rng: Generator | None = None) -> LossBreakdown:
        """One pass over the streams that the method uses; `rng` switches dropout on.

        Unlabelled images of a task teach beside its labelled ones, never alone.
        """
        classification = pseudo = kept = dice = consistency = pseudo_mask = location = kept_pixels = None
        if batch.labelled_classes is not None:
            # Step 1: labelled class images, and the strong view of unlabelled ones; encoder and head alone
            images, views = batch.labelled_classes.images, batch.unlabelled_classes
            logits = self.model.classify(_joined(images, None if views is None else views.strong), rng)
            classification = classification_loss(logits[: len(images)], batch.labelled_classes.labels)
            # Step 2: the weak view proposes a class, the strong view must agree where that was confident
            if views is not None:
                # After step 1: autocast of older releases keeps weights that it rounded without a gradient for later.
                with no_grad():
                    weak = self.model.classify(views.weak, rng)
                pseudo, kept = pseudo_label_loss(
                    weak, logits[len(images) :], self.weights.threshold, multi_label=self.multi_label
                )
        # Step 3: labelled mask images, the decoder guided by the classifier's saliency
        if batch.labelled_masks is not None:
            # In float32: at 16 bits a sum over pixels, and 1 - p where p is near 1, are several percent off.
            images = batch.labelled_masks.images
            answer = self.model.answer(_joined(images, batch.unlabelled_masks), rng)
            masks, unlabelled_masks = answer.masks.float().tensor_split([len(images)])
            dice = dice_loss(masks, batch.labelled_masks.masks)
            # Ours: masks teach the classifier where to look
            if answer.location is not None:
                location = location_loss(answer.location[: len(images)].float(), batch.labelled_masks.masks)
            # Step 4: predictions on unlabelled images must look like those on labelled ones
            if batch.unlabelled_masks is not None:
                consistency = CONSISTENCIES[self.weights.consistency](masks, unlabelled_masks)
        # In place of steps 2 and 4: on unlabelled images of both tasks, agree with the teacher where it is sure
        if batch.pseudo_labelled is not None:
            given = batch.pseudo_labelled
            if given.masks is None:
                logits = self.model.classify(given.images, rng)
            else:
                answer = self.model.answer(given.images, rng)
                logits = answer.classes
                pseudo_mask = pseudo_mask_loss(answer.masks.float(), given.masks)
                kept_pixels = given.masks.weights.mean()
            if given.classes is not None:
                pseudo = soft_label_loss(logits.float(), given.classes, multi_label=self.multi_label)
                kept = given.classes.weights.mean()
        return LossBreakdown(
            classification, pseudo, dice, consistency, kept, pseudo_mask, location, kept_pixels
        )


def _joined(images: Tensor, others: Tensor | None) -> Tensor:
    """Both in one batch: half as many passes, each of a size that keeps a GPU busy."""
    return images if others is None else cat([images, others])


@no_grad()
def teach(
    teacher: MultiMix,
    batch: MultiMixBatch,
    weights: ObjectiveConfig,
    *,
    classify: bool,
    segment: bool,
    multi_label: bool = False,
) -> MultiMixBatch:
    """The batch with a teacher's answers to the weak views of its unlabelled images, mixed as the strong views are.

    After Tarvainen and Valpola (Mean Teacher), arXiv:1703.01780: the teacher is the student's moving average.
    """
    views = batch.unlabelled
    if views is None:
        return batch
    at_once = max(1, PIXELS_AT_ONCE // (views.weak.shape[-2] * views.weak.shape[-1]))
    class_logits, mask_logits = list[Tensor](), list[Tensor]()
    for part in views.weak.split(at_once):
        if segment:
            answer = teacher.answer(part)
            mask_logits.append(answer.masks)
        class_logits.append(answer.classes if segment else teacher.classify(part))
    classes = masks = None
    if classify:
        sure = _sure(cat(class_logits).float(), weights.threshold, multi_label)
        covered = views.box.float().mean(dim=(1, 2, 3))[:, None]  # share of the image that shows its partner
        classes = Confident(*(x.lerp(x[views.partner], covered) for x in sure))
    if segment:
        sure = _sure(cat(mask_logits).float(), weights.mask_threshold, True)
        masks = Confident(*(where(views.box, x[views.partner], x) for x in sure))
    return replace(batch, unlabelled=None, pseudo_labelled=PseudoLabelled(views.strong, classes, masks))


def _sure(logits: Tensor, threshold: float, several: bool) -> tuple[Tensor, Tensor]:
    """What is answered with at least this probability, 0 or 1 in the shape of the logits, and where that is so."""
    if several:
        p = logits.sigmoid()
        sure = (maximum(p, 1 - p) >= threshold).float()
        return (p >= 0.5) * sure, sure
    p = logits.softmax(dim=1)
    sure = (p.amax(dim=1, keepdim=True) >= threshold).float().expand_as(p)
    return one_hot(p.argmax(dim=1), p.shape[1]) * sure, sure


def term_weight(weights: ObjectiveConfig, name: str) -> float:
    """The weight of a term of WEIGHTS."""
    return float(getattr(weights, WEIGHTS[name])) if WEIGHTS[name] else 1.0


def total(terms: LossBreakdown, weights: ObjectiveConfig) -> Tensor:
    """CE + lambda * pseudo-label + alpha * Dice + beta * KL, and ours, over the terms there are.

    Paper: Eq. (1) plus Eq. (2). The only place where lambda, alpha and beta appear.
    """
    weighted = [(getattr(terms, name), term_weight(weights, name)) for name in WEIGHTS]
    present = [weight * term for term, weight in weighted if term is not None]
    return sum(present[1:], present[0])


def gradient(
    objective: Objective,
    batch: MultiMixBatch,
    rng: Generator | None = None,
    *,
    parts: int = 1,
    autocast: Callable[[], AbstractContextManager[None]] = nullcontext,
    backward: Callable[..., None] = Tensor.backward,
) -> LossBreakdown:
    """Add the gradient of the total loss to `.grad`; returns the terms, detached.

    The batch is computed in `parts` equal parts one after another, in the memory of one of them: as every term is a
    mean over images, the mean over equal parts is the mean over all. `parts` divides the size of every stream.
    """
    computed = []
    # Named, so that none is computed for the images, which ask for one where their saliency is taken.
    wanted = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    for part in batch.split(parts):
        with autocast():
            terms = objective(part, rng)
            loss = total(terms, objective.weights) / parts
        backward(loss, inputs=wanted)
        computed.append(terms)
    return _mean(computed)


def _mean(parts: Sequence[LossBreakdown]) -> LossBreakdown:
    values = {f.name: [getattr(part, f.name) for part in parts] for f in fields(LossBreakdown)}
    return LossBreakdown(**{k: None if v[0] is None else stack(v).detach().mean() for k, v in values.items()})
