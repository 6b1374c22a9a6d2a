"""Each term by hand, against float64 NumPy, and against the released functions' numbers."""

from math import exp, log
from pathlib import Path

import numpy as np
import pytest
import torch

from multimix.config import ObjectiveConfig
from multimix.training.algorithm import total
from multimix.training.batch import Confident, LossBreakdown
from multimix.training.losses import (
    classification_loss,
    dice_loss,
    location_loss,
    pseudo_label_loss,
    pseudo_mask_loss,
    released_consistency,
    segmentation_consistency,
    soft_label_loss,
)

pytestmark = pytest.mark.numeric


def test_equals_the_released_losses(shared: Path):
    stored = {k: torch.from_numpy(v) for k, v in np.load(shared / "parity" / "expected.npz").items()}
    given = {k.removeprefix("loss_in_"): v for k, v in stored.items() if k.startswith("loss_in_")}
    pseudo, kept = pseudo_label_loss(given["weak_logits"], given["strong_logits"], 0.7)
    terms = LossBreakdown(
        classification=classification_loss(given["class_logits"], given["labels"]),
        pseudo_label=pseudo,
        dice=dice_loss(given["seg_logits_labeled"], given["mask"]),
        consistency=released_consistency(given["seg_logits_labeled"], given["seg_logits_unlabeled"]),
        kept=kept,
    )
    weights = ObjectiveConfig(
        threshold=0.7,
        pseudo_weight=0.25,
        dice_weight=5.0,
        consistency_weight=0.01,
        consistency="released",
    )
    assert float(terms.classification) == pytest.approx(float(stored["loss_ce"]), abs=1e-5)
    assert float(terms.pseudo_label) == pytest.approx(float(stored["loss_pseudo"]), abs=1e-5)
    assert float(terms.dice) == pytest.approx(float(stored["loss_dice"]), abs=1e-5)
    assert float(terms.consistency) == pytest.approx(float(stored["loss_kl_released_code"]), abs=1e-5)
    assert float(total(terms, weights)) == pytest.approx(float(stored["loss_total"]), abs=1e-5)


# Float64 NumPy, written from the equations.


def log_softmax(x: np.ndarray, axis: int = 1) -> np.ndarray:
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def bernoulli_cross_entropy(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    p = sigmoid(logits)
    return -(targets * np.log(p) + (1 - targets) * np.log(1 - p))


@pytest.fixture
def draws() -> np.random.Generator:
    return np.random.default_rng(7)


def tensor(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x).float() if x.dtype == np.float64 else torch.from_numpy(x)


def test_cross_entropies_equal_numpy(draws: np.random.Generator):
    logits, labels = draws.normal(size=(9, 4)) * 2, draws.integers(0, 4, 9)
    expected = -log_softmax(logits)[np.arange(9), labels].mean()
    assert float(classification_loss(tensor(logits), tensor(labels))) == pytest.approx(expected, abs=1e-6)
    several = draws.integers(0, 2, (9, 4)).astype(np.float64)
    expected = bernoulli_cross_entropy(logits, several).mean()
    assert float(classification_loss(tensor(logits), tensor(several))) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("multi_label", [False, True])
def test_pseudo_labels_equal_numpy(draws: np.random.Generator, multi_label: bool):
    weak, strong = draws.normal(size=(40, 3)) * 2, draws.normal(size=(40, 3)) * 2
    if multi_label:
        p = sigmoid(weak)
        kept = np.maximum(p, 1 - p) >= 0.7
        each = bernoulli_cross_entropy(strong, (p >= 0.5).astype(np.float64))
    else:
        p = np.exp(log_softmax(weak))
        kept = p.max(axis=1) >= 0.7
        each = -log_softmax(strong)[np.arange(40), p.argmax(axis=1)]
    assert 0.2 < kept.mean() < 0.8
    loss, share = pseudo_label_loss(tensor(weak), tensor(strong), 0.7, multi_label=multi_label)
    assert float(loss) == pytest.approx((each * kept).mean(), abs=1e-6)
    assert float(share) == pytest.approx(kept.mean(), abs=1e-6)


def test_dice_and_kl_equal_numpy(draws: np.random.Generator):
    first, second = draws.normal(size=(3, 2, 8, 6)) * 3, draws.normal(size=(3, 2, 8, 6)) * 3
    masks = draws.integers(0, 2, (3, 2, 8, 6)).astype(np.float64)
    p, q = sigmoid(first), sigmoid(second)
    dice = (2 * (p * masks).sum((2, 3)) + 1) / (p.sum((2, 3)) + masks.sum((2, 3)) + 1)
    assert float(dice_loss(tensor(first), tensor(masks))) == pytest.approx((1 - dice).mean(), abs=1e-6)
    kl = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean()
    got = segmentation_consistency(tensor(first), tensor(second))
    assert float(got) == pytest.approx(kl, rel=1e-5)
    a, b = log_softmax(first), log_softmax(second)
    got = released_consistency(tensor(first), tensor(second))
    assert float(got) == pytest.approx((np.exp(a) * (a - b)).mean(), rel=1e-5)


# By hand.


def test_cross_entropy_by_hand():
    # Probabilities 3/4 and 1/4, then 1/2 and 1/2.
    logits = torch.tensor([[log(3), 0.0], [0.0, 0.0]])
    got = classification_loss(logits, torch.tensor([1, 0]))
    assert float(got) == pytest.approx((log(4) + log(2)) / 2)


def test_multi_label_cross_entropy_by_hand():
    # Probabilities 3/4 and 1/2; the image has the first class and not the second.
    got = classification_loss(torch.tensor([[log(3), 0.0]]), torch.tensor([[1.0, 0.0]]))
    assert float(got) == pytest.approx((log(4 / 3) + log(2)) / 2)


def test_a_confident_image_is_kept_and_another_is_not():
    # Weak: (4/5, 1/5) passes t = 0.7 and proposes class 0; (3/5, 2/5) does not.
    weak = torch.tensor([[log(4), 0.0], [log(1.5), 0.0]])
    # Strong: class 0 has 1/4, and for the rejected image anything.
    strong = torch.tensor([[0.0, log(3)], [-9.0, 9.0]])
    loss, kept = pseudo_label_loss(weak, strong, 0.7)
    assert float(loss) == pytest.approx(log(4) / 2)  # the mean is over both images
    assert float(kept) == 0.5


def test_confidence_equal_to_the_threshold_is_kept():
    _, kept = pseudo_label_loss(torch.zeros(1, 2), torch.zeros(1, 2), 0.5)
    assert float(kept) == 1


def test_nothing_kept_is_a_loss_of_zero():
    loss, kept = pseudo_label_loss(torch.zeros(3, 2), torch.randn(3, 2), 0.7)
    assert (float(loss), float(kept)) == (0, 0)


def test_multi_label_pseudo_labels_are_kept_class_by_class():
    # Weak: 4/5 proposes "there", 1/10 "not there", 3/5 nothing at t = 0.7.
    weak = torch.tensor([[log(4), log(1 / 9), log(1.5)]])
    strong = torch.tensor([[0.0, log(3), 50.0]])  # 1/2, 3/4, about 1
    loss, kept = pseudo_label_loss(weak, strong, 0.7, multi_label=True)
    assert float(loss) == pytest.approx((log(2) + log(4)) / 3)
    assert float(kept) == pytest.approx(2 / 3)


@pytest.mark.parametrize("multi_label", [False, True])
def test_an_infinite_loss_of_a_rejected_image_is_no_nan(multi_label: bool):
    # 3e38 against -3e38: finite logits whose difference, and so the loss, is not.
    weak = torch.tensor([[9.0, -9.0], [0.01, 0.0]])
    strong = torch.tensor([[0.0, 0.0], [-3e38, 3e38]], requires_grad=True)
    loss, _ = pseudo_label_loss(weak, strong, 0.9, multi_label=multi_label)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(log(2) / 2)
    assert strong.grad is not None
    assert torch.isfinite(strong.grad).all()
    assert (strong.grad[1] == 0).all()
    assert (strong.grad[0] != 0).all()


def test_the_weak_view_gets_no_gradient():
    weak, strong = torch.tensor([[3.0, 0.0]], requires_grad=True), torch.zeros(1, 2, requires_grad=True)
    pseudo_label_loss(weak, strong, 0.7)[0].backward()
    assert weak.grad is None
    # d CE / d logits = softmax - one-hot
    assert strong.grad is not None
    torch.testing.assert_close(strong.grad, torch.tensor([[-0.5, 0.5]]))


def test_dice_by_hand():
    # Probabilities 3/4 everywhere, mask on two of four pixels: 1 - (2 * 3/2 + 1) / (3 + 2 + 1).
    logits = torch.full((1, 1, 2, 2), log(3))
    mask = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    assert float(dice_loss(logits, mask)) == pytest.approx(1 - 4 / 6)


def test_dice_is_the_mean_over_images_and_structures():
    # Second structure empty and predicted at 3/4 of two pixels' mass: 1 - 1 / (3 + 1).
    logits = torch.full((1, 2, 2, 2), log(3))
    masks = torch.zeros(1, 2, 2, 2)
    masks[0, 0, 0] = 1
    assert float(dice_loss(logits, masks)) == pytest.approx(((1 - 4 / 6) + (1 - 1 / 4)) / 2)


def test_dice_of_an_empty_mask_that_is_predicted_empty_is_no_loss():
    assert float(dice_loss(torch.full((1, 1, 4, 4), -100.0), torch.zeros(1, 1, 4, 4))) == 0


def test_dice_without_smoothing_by_hand():
    logits, mask = torch.full((1, 1, 2, 2), log(3)), torch.ones(1, 1, 2, 2)
    assert float(dice_loss(logits, mask, smooth=0.0)) == pytest.approx(1 - 6 / 7)


def test_kl_by_hand():
    # p = 1/2, q = 3/4: 1/2 ln(2/3) + 1/2 ln 2
    half, sure = torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), log(3))
    got = float(segmentation_consistency(half, sure))
    assert got == pytest.approx(0.5 * log(2 / 3) + 0.5 * log(2))
    # Not symmetric: 3/4 ln(3/2) + 1/4 ln(1/2)
    got = float(segmentation_consistency(sure, half))
    assert got == pytest.approx(0.75 * log(1.5) + 0.25 * log(0.5))


def test_kl_of_equal_predictions_is_zero_and_of_any_others_is_not():
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert float(segmentation_consistency(x, x)) == 0
    assert float(segmentation_consistency(x, x.roll(1, 3))) > 0.01


def test_kl_of_certain_predictions_is_finite_with_its_gradient():
    left = torch.tensor([200.0, -200.0]).view(1, 1, 1, 2).requires_grad_()
    right = torch.tensor([-200.0, -200.0]).view(1, 1, 1, 2).requires_grad_()
    loss = segmentation_consistency(left, right)
    loss.backward()
    # One pixel wrong for certain: about 200 nats, over two pixels; the other agrees.
    assert float(loss.detach()) == pytest.approx(100, abs=1e-3)
    assert left.grad is not None
    assert right.grad is not None
    assert torch.isfinite(left.grad).all()
    torch.testing.assert_close(right.grad.flatten(), torch.tensor([-0.5, 0.0]))


def test_the_released_kl_is_exactly_zero_for_one_structure_and_so_is_its_gradient():
    left, right = torch.randn(2, 1, 4, 4, requires_grad=True), torch.randn(2, 1, 4, 4, requires_grad=True)
    loss = released_consistency(left, right)
    loss.backward()
    assert float(loss.detach()) == 0
    assert left.grad is not None
    assert right.grad is not None
    assert not left.grad.any()
    assert not right.grad.any()


def test_the_released_kl_of_two_structures_by_hand():
    # Softmaxes (1/2, 1/2) and (3/4, 1/4), averaged over both channels.
    left, right = torch.zeros(1, 2, 1, 1), torch.tensor([log(3), 0.0]).view(1, 2, 1, 1)
    expected = (0.5 * log(0.5 / 0.75) + 0.5 * log(0.5 / 0.25)) / 2
    assert float(released_consistency(left, right)) == pytest.approx(expected)


def test_soft_labels_by_hand():
    logits = torch.tensor([[0.0, log(3)], [0.0, 0.0], [5.0, -5.0]])
    labels = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.0, 0.0]])
    # p = (1/4, 3/4), (1/2, 1/2); of the third image nothing is known.
    expected = (-(0.5 * log(1 / 4) + 0.5 * log(3 / 4)) - log(1 / 2)) / 3
    assert float(soft_label_loss(logits, Confident(labels, labels))) == pytest.approx(expected)


def test_soft_labels_of_classes_that_are_not_exclusive_by_hand():
    logits = torch.tensor([[0.0, log(3)]])
    labels, weights = torch.tensor([[0.0, 0.5]]), torch.tensor([[1.0, 0.75]])
    # 1 no at p = 1/2; half yes and a quarter no at p = 3/4; mean over two classes.
    expected = (-log(1 / 2) - 0.5 * log(3 / 4) - 0.25 * log(1 / 4)) / 2
    assert float(soft_label_loss(logits, Confident(labels, weights), multi_label=True)) == pytest.approx(
        expected
    )


def test_with_sure_one_hot_labels_it_is_the_papers_pseudo_label_term():
    weak, strong = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0)).mul(3)
    sure = (weak.softmax(1).amax(1, keepdim=True) >= 0.7).float().expand(6, 3)
    labels = torch.nn.functional.one_hot(weak.argmax(1), 3) * sure
    expected, kept = pseudo_label_loss(weak, strong, 0.7)
    assert 0 < float(kept) < 1
    torch.testing.assert_close(soft_label_loss(strong, Confident(labels, sure)), expected)


def test_pseudo_masks_count_where_they_are_sure():
    logits = torch.tensor([[[[0.0, 50.0], [50.0, -50.0]]]])
    masks = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    weights = torch.tensor([[[[1.0, 0.0], [1.0, 1.0]]]])
    # Sure pixels: p = .5, 1, 0 and m = 1, 1, 0; Dice (2 * 1.5 + 1) / (1.5 + 2 + 1).
    assert float(pseudo_mask_loss(logits, Confident(masks * weights, weights))) == pytest.approx(1 - 4 / 4.5)
    nowhere, everywhere = torch.zeros_like(masks), torch.ones_like(masks)
    assert float(pseudo_mask_loss(logits, Confident(nowhere, nowhere))) == 0
    torch.testing.assert_close(
        pseudo_mask_loss(logits, Confident(masks, everywhere)), dice_loss(logits, masks)
    )


def test_the_coarse_map_learns_the_share_of_its_cell():
    masks = torch.zeros(1, 1, 4, 4)
    masks[0, 0, :2, :3] = 1  # cells: 1, 1/2, 0, 0
    logits = torch.tensor([[[[2.0, 0.0], [-1.0, -1.0]]]])
    cells = [log(1 + exp(-2)), log(2), log(1 + exp(-1)), log(1 + exp(-1))]
    assert float(location_loss(logits, masks)) == pytest.approx(sum(cells) / 4)
