"""The objective's terms, one function each, without their weights.

Shapes: B images, K classes, S structures. Every function returns a scalar in nats (cross-entropies, KL) or
in [0, 1] (Dice). Weights (lambda, alpha, beta) are applied in `algorithm.total` alone.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from multimix.training.batch import Confident


def classification_loss(
    logits: Float[Tensor, "B K"], labels: Int[Tensor, " B"] | Float[Tensor, "B K"]
) -> Float[Tensor, ""]:
    """Mean cross-entropy; binary cross-entropy per class where labels (B K) are not exclusive.

    Paper: Eq. (1), first term.
    """
    if labels.dim() == 2:
        return F.binary_cross_entropy_with_logits(logits, labels)
    return F.cross_entropy(logits, labels)


def pseudo_label_loss(
    weak_logits: Float[Tensor, "B K"],
    strong_logits: Float[Tensor, "B K"],
    threshold: float,
    *,
    multi_label: bool = False,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Cross-entropy of the strong view against the weak view's confident answer, and the share kept.

    The mean is over all unlabelled images, kept or not, so few confident images weigh little. The weak
    view receives no gradient. With `multi_label` every class of every image is kept or not on its own.

    Paper: Eq. (1), second term. Also Sohn et al. (FixMatch), arXiv:2001.07685, Eq. (4).
    """
    if multi_label:
        probability = weak_logits.detach().sigmoid()
        confident = torch.maximum(probability, 1 - probability) >= threshold
        loss = F.binary_cross_entropy_with_logits(
            strong_logits, (probability >= 0.5).float(), reduction="none"
        )
    else:
        confidence, labels = weak_logits.detach().softmax(dim=1).max(dim=1)
        confident = confidence >= threshold
        loss = F.cross_entropy(strong_logits, labels, reduction="none")
    # Multiplying by 0 would turn an infinite loss of a rejected image into NaN.
    return loss.where(confident, 0).mean(), confident.float().mean()


def dice_loss(
    logits: Float[Tensor, "B S H W"], masks: Float[Tensor, "B S H W"], smooth: float = 1.0
) -> Float[Tensor, ""]:
    """1 - soft Dice per image and structure, smoothed so that an empty mask is defined, then the mean.

    Paper: Eq. (2), first term. Also Milletari et al. (V-Net), arXiv:1606.04797.
    """
    p = logits.sigmoid()
    overlap = (p * masks).sum(dim=(2, 3))
    total = p.sum(dim=(2, 3)) + masks.sum(dim=(2, 3))
    return (1 - (2 * overlap + smooth) / (total + smooth)).mean()


def soft_label_loss(
    logits: Float[Tensor, "B K"], given: Confident, *, multi_label: bool = False
) -> Float[Tensor, ""]:
    """Cross-entropy against a teacher's classes, each weighing as much as the share of the image that shows it.

    The mean is over all images, so those about which the teacher is not confident weigh nothing. Where images are
    not mixed it is the second term of Eq. (1); the mixing is that of Yun et al. (CutMix), arXiv:1905.04899, Eq. (1).
    """
    if multi_label:
        return (given.weights * F.softplus(logits) - given.answers * logits).mean()
    return -(given.answers * logits.log_softmax(dim=1)).sum(dim=1).mean()


def pseudo_mask_loss(logits: Float[Tensor, "B S H W"], given: Confident) -> Float[Tensor, ""]:
    """Dice loss over the pixels of which a teacher is confident.

    After Yang et al. (UniMatch), arXiv:2208.09910, with the paper's Dice term in place of cross-entropy.
    """
    p = logits.sigmoid() * given.weights
    overlap = (p * given.answers).sum(dim=(2, 3))
    total = (p + given.answers).sum(dim=(2, 3))
    return (1 - (2 * overlap + 1) / (total + 1)).mean()


def location_loss(logits: Float[Tensor, "B S h w"], masks: Float[Tensor, "B S H W"]) -> Float[Tensor, ""]:
    """Cross-entropy of the coarse map against the share of each of its cells that the structure covers."""
    height, width = logits.shape[-2:]
    return F.binary_cross_entropy_with_logits(logits, F.adaptive_avg_pool2d(masks, (height, width)))


def segmentation_consistency(
    labelled_logits: Float[Tensor, "B S H W"], unlabelled_logits: Float[Tensor, "B S H W"]
) -> Float[Tensor, ""]:
    """Mean pixel-wise KL(labelled ‖ unlabelled) between Bernoulli predictions.

    Paper: Eq. (2), second term. Deviation D1: the released code takes a softmax over a single
    channel, see `released_consistency`.
    """
    p = labelled_logits.sigmoid()
    return (
        p * (F.logsigmoid(labelled_logits) - F.logsigmoid(unlabelled_logits))
        + (1 - p) * (F.logsigmoid(-labelled_logits) - F.logsigmoid(-unlabelled_logits))
    ).mean()


def released_consistency(
    labelled_logits: Float[Tensor, "B S H W"], unlabelled_logits: Float[Tensor, "B S H W"]
) -> Float[Tensor, ""]:
    """The KL term as released: between softmaxes over the channels, so zero where there is one structure.

    Kept only to reproduce the released objective. Deviation D1.
    """
    return F.kl_div(
        unlabelled_logits.log_softmax(dim=1),
        labelled_logits.log_softmax(dim=1),
        log_target=True,
        reduction="none",
    ).mean()


CONSISTENCIES = {"bernoulli": segmentation_consistency, "released": released_consistency}
"""Configuration value -> KL term."""
