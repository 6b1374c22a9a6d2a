"""What a step computes, for every method."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from multimix.config import ObjectiveConfig
from multimix.networks import model as network
from multimix.networks.model import MultiMix
from multimix.networks.outputs import TaskLogits
from multimix.recipes import ABLATIONS, METHODS, PAPER_METHODS, TEACHER, Method
from multimix.training.algorithm import Objective, gradient, teach, total
from multimix.training.batch import (
    LabelledClasses,
    LabelledMasks,
    LossBreakdown,
    MixedViews,
    MultiMixBatch,
    TwoViews,
)
from multimix.training.losses import dice_loss, segmentation_consistency

pytestmark = pytest.mark.numeric

WIDTHS = (4, 4, 6, 6, 8)


def small_model(method: Method, p: float = 0.0) -> MultiMix:
    torch.manual_seed(1)
    return MultiMix(
        widths=WIDTHS,
        p=p,
        bridge=method.bridge,
        locate=method.locate,
        focus=method.focus,
        guide=method.guide,
    )


def objective(name: str, p: float = 0.0, **weights: object) -> Objective:
    return Objective(small_model(METHODS[name], p), ObjectiveConfig(**weights))  # type: ignore[arg-type]


def batch_for(method: Method) -> MultiMixBatch:
    """The streams that the method uses; two images each, 32 x 32."""
    rng = Generator().manual_seed(2)

    def images() -> Tensor:
        return torch.rand(2, 1, 32, 32, generator=rng)

    batch = MultiMixBatch(
        labelled_classes=LabelledClasses(images(), torch.tensor([0, 1])) if method.classify else None,
        unlabelled_classes=TwoViews(images(), images()) if method.pseudo_labels else None,
        labelled_masks=LabelledMasks(images(), (images() > 0.5).float()) if method.segment else None,
        unlabelled_masks=images() if method.consistency else None,
    )
    if not method.teacher:
        return batch
    box = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    views = MixedViews(images(), images(), box, torch.tensor([1, 0]))
    given = replace(batch, unlabelled=views)
    weights = ObjectiveConfig(threshold=0.5, mask_threshold=0.5)
    return teach(small_model(method), given, weights, classify=True, segment=method.mask_teacher)


@contextmanager
def calls_of(*modules: nn.Module) -> Iterator[list[nn.Module]]:
    """Those of `modules` that were called inside, once for each call."""
    called: list[nn.Module] = []
    handles = [m.register_forward_hook(lambda module, inputs, output: called.append(module)) for m in modules]
    try:
        yield called
    finally:
        for handle in handles:
            handle.remove()


def values(terms: LossBreakdown) -> dict[str, float]:
    """The terms there are."""
    return {name: float(term.detach()) for name, term in vars(terms).items() if term is not None}


PARTS = ("encoder", "head", "decoder")
PRESENT = {
    "u-net": {"dice"},
    "enc": {"classification"},
    "enc-ssl": {"classification", "pseudo_label", "kept"},
    "umtl": {"classification", "dice"},
    "umtl-s": {"classification", "dice"},
    "umtl-ssl": {"classification", "pseudo_label", "kept", "dice"},
    "umtl-s-ssl": {"classification", "pseudo_label", "kept", "dice"},
    "multimix": {"classification", "pseudo_label", "kept", "dice", "consistency"},
}
OURS = {"classification", "pseudo_label", "kept", "dice", "location"}
PRESENT |= dict.fromkeys(ABLATIONS, OURS)
PRESENT |= {"u-net-style": {"dice"}, "enc-style": {"classification"}}
PRESENT["umtl-s-style"] = PRESENT["multimix-plus-no-pseudo-labels"] = {"classification", "dice", "location"}
PRESENT["multimix-plus-no-locate"] = OURS - {"location"}
PRESENT["multimix-t-mask-teacher"] = OURS | {"pseudo_mask", "kept_pixels"}


@pytest.mark.parametrize("name", METHODS)
def test_the_terms_of_every_method(name: str):
    method = METHODS[name]
    rule = objective(name)
    terms = rule(batch_for(method))
    assert values(terms).keys() == PRESENT[name]
    loss = total(terms, rule.weights)
    assert torch.isfinite(loss)
    loss.backward()
    reached = {p: getattr(rule.model, p).state_dict(keep_vars=True).values() for p in PARTS}
    trained = {p: any(weight.grad is not None for weight in weights) for p, weights in reached.items()}
    # A part is trained where its task is; the saliency of a mask image trains no head.
    assert trained == {"encoder": True, "head": method.classify, "decoder": method.segment}


def test_every_row_of_the_table_is_tested():
    assert PRESENT.keys() == METHODS.keys()


@pytest.mark.parametrize("name", ["enc", "enc-ssl"])
def test_class_streams_run_no_decoder(name: str):
    rule = objective(name)
    with calls_of(rule.model.decoder, rule.model.encoder) as called:
        rule(batch_for(METHODS[name]))
    assert rule.model.decoder not in called
    # One pass of the encoder for labelled images and strong views together, one for the weak views.
    assert called.count(rule.model.encoder) == (2 if METHODS[name].pseudo_labels else 1)


def test_multimix_decodes_mask_images_alone():
    rule = objective("multimix")
    with calls_of(rule.model.decoder) as called:
        rule(batch_for(METHODS["multimix"]))
    assert len(called) == 1  # labelled and unlabelled ones together


@pytest.mark.parametrize("name", PAPER_METHODS)
def test_saliency_is_computed_for_the_bridge_alone(name: str, monkeypatch: pytest.MonkeyPatch):
    count = 0
    original = network.input_gradient

    def counting(*args: Tensor, **kwargs: bool) -> Tensor:
        nonlocal count
        count += 1
        return original(*args, **kwargs)

    monkeypatch.setattr(network, "input_gradient", counting)
    objective(name)(batch_for(METHODS[name]))
    # Once for the mask images, labelled and unlabelled ones together.
    assert count == {"umtl-s": 1, "umtl-s-ssl": 1, "multimix": 1}.get(name, 0)


def test_the_pseudo_label_is_a_constant():
    rule = objective("enc-ssl", threshold=0.5)
    batch = batch_for(METHODS["enc-ssl"])
    views = batch.unlabelled_classes
    assert views is not None
    weak, strong = views.weak.requires_grad_(), views.strong.requires_grad_()
    terms = rule(MultiMixBatch(batch.labelled_classes, TwoViews(weak, strong)))
    assert terms.pseudo_label is not None
    terms.pseudo_label.backward()
    assert weak.grad is None
    assert strong.grad is not None
    assert strong.grad.abs().max() > 0
    got = [p.grad.clone() for p in rule.model.head.parameters() if p.grad is not None]
    # The same with the labels written down beforehand; two classes, so t = 1/2 keeps every image.
    rule.model.zero_grad()
    labels = rule.model.classify(weak).argmax(dim=1)
    F.cross_entropy(rule.model.classify(strong.detach()), labels).backward()
    expected = [p.grad for p in rule.model.head.parameters()]
    assert float(terms.kept) == 1
    torch.testing.assert_close(got, expected)


def test_the_weak_view_keeps_no_graph():
    rule, graphs = objective("enc-ssl"), []
    handle = rule.model.head.register_forward_hook(
        lambda module, inputs, output: graphs.append(output.requires_grad)
    )
    rule(batch_for(METHODS["enc-ssl"]))
    handle.remove()
    assert graphs == [True, False]  # labelled and strong; weak


def test_the_mask_terms_are_those_of_the_two_predictions():
    rule = objective("multimix")
    batch = batch_for(METHODS["multimix"])
    assert batch.labelled_masks is not None
    assert batch.unlabelled_masks is not None
    # Predictions sure enough that the two directions of the KL differ.
    torch.nn.init.normal_(rule.model.decoder.last.weight, std=5.0)
    terms = rule(batch)
    labelled = rule.model(batch.labelled_masks.images).mask_logits
    unlabelled = rule.model(batch.unlabelled_masks).mask_logits
    torch.testing.assert_close(terms.dice, dice_loss(labelled, batch.labelled_masks.masks))
    forward, backward = (
        segmentation_consistency(a, b) for a, b in ((labelled, unlabelled), (unlabelled, labelled))
    )
    torch.testing.assert_close(terms.consistency, forward, rtol=1e-4, atol=0)
    assert not torch.isclose(forward, backward, rtol=2e-3, atol=0)


def test_the_released_kl_is_chosen_by_name():
    rule = objective("multimix", consistency="released")
    batch = batch_for(METHODS["multimix"])
    assert values(rule(batch))["consistency"] == 0


def test_classes_that_are_not_exclusive():
    model = MultiMix(classes=3, widths=WIDTHS)
    rule = Objective(model, ObjectiveConfig(threshold=0.5), multi_label=True)
    images, labels = torch.rand(2, 1, 32, 32), torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    terms = rule(MultiMixBatch(LabelledClasses(images, labels), TwoViews(images, images)))
    logits = model.classify(images)
    torch.testing.assert_close(terms.classification, F.binary_cross_entropy_with_logits(logits, labels))
    # At t = 1/2 every class of every image is kept and must be what it already is.
    torch.testing.assert_close(
        terms.pseudo_label, F.binary_cross_entropy_with_logits(logits, (logits >= 0).float())
    )


def test_at_16_bits_the_losses_are_still_computed_at_32():
    rule, batch = objective("multimix"), batch_for(METHODS["multimix"])
    assert batch.labelled_masks is not None
    with torch.autocast("cpu", torch.bfloat16):
        terms = rule(batch)
        logits = rule.model.segment(batch.labelled_masks.images)
    assert logits.dtype == torch.bfloat16
    assert {term.dtype for term in vars(terms).values() if term is not None} == {torch.float32}
    torch.testing.assert_close(terms.dice, dice_loss(logits.float(), batch.labelled_masks.masks))


def test_a_generator_switches_dropout_on():
    rule, batch = objective("multimix", p=0.5), batch_for(METHODS["multimix"])

    def loss(seed: int | None) -> float:
        rng = None if seed is None else Generator().manual_seed(seed)
        return float(total(rule(batch, rng), rule.weights).detach())

    assert loss(None) == loss(None)
    assert loss(3) == loss(3)
    assert len({loss(None), loss(3), loss(4)}) == 3


def test_dropout_reaches_all_five_streams(monkeypatch: pytest.MonkeyPatch):
    rule, rng, seen = objective("multimix", p=0.5), Generator(), []

    def recording(answer: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(images: Tensor, rng: Generator | None = None) -> Tensor:
            seen.append(rng)
            return answer(images, rng)

        return call

    monkeypatch.setattr(rule.model, "classify", recording(rule.model.classify))
    monkeypatch.setattr(rule.model, "answer", recording(rule.model.answer))
    rule(batch_for(METHODS["multimix"]), rng)
    assert seen == [rng] * 3  # labelled images and strong views; weak ones; mask images


def test_no_gradient_is_computed_for_the_images(monkeypatch: pytest.MonkeyPatch):
    """They ask for one where their saliency is taken; the losses reach them through the same features."""
    leaves: list[Tensor] = []
    original = network.input_gradient

    def recording(logits: Tensor, images: Tensor, **kwargs: bool) -> Tensor:
        leaves.append(images)
        return original(logits, images, **kwargs)

    monkeypatch.setattr(network, "input_gradient", recording)
    rule = objective("umtl-s")
    gradient(rule, batch_for(METHODS["umtl-s"]))
    (leaf,) = leaves
    assert leaf.requires_grad
    assert leaf.grad is None
    # All but the biases that normalisation takes out again.
    unmoved = [name for name, weight in rule.model.named_parameters() if weight.grad is None]
    assert all(".conv" in name and name.endswith(".bias") for name in unmoved)


def test_total_by_hand():
    terms = LossBreakdown(*(torch.tensor(v) for v in (2.0, 3.0, 0.5, 7.0, 0.9)))
    # 2 + 3/4 + 5/2 + 7/100; the share kept is no loss
    assert float(total(terms, ObjectiveConfig())) == pytest.approx(5.32)
    weights = ObjectiveConfig(pseudo_weight=1.0, dice_weight=2.0, consistency_weight=0.0)
    assert float(total(terms, weights)) == pytest.approx(6.0)


def test_total_over_the_terms_there_are():
    assert float(total(LossBreakdown(dice=torch.tensor(0.5)), ObjectiveConfig())) == 2.5
    both = LossBreakdown(pseudo_label=torch.tensor(4.0), consistency=torch.tensor(2.0))
    assert float(total(both, ObjectiveConfig())) == pytest.approx(1.02)


def test_one_batch_can_be_learned_by_heart():
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    disc = ((rows - 16) ** 2 + (columns - 12) ** 2 < 64).float()
    bar = ((columns > 20) & (rows > 4)).float()
    masks = torch.stack([disc, bar])[:, None]
    images = torch.stack([0.8 * disc, 0.3 * bar])[:, None]
    batch = MultiMixBatch(
        LabelledClasses(images, torch.tensor([0, 1])),
        TwoViews(images, 0.9 * images),
        LabelledMasks(images, masks),
        0.9 * images,
    )
    torch.manual_seed(0)
    rule = Objective(MultiMix(widths=(8, 8, 8, 8, 8), p=0.0), ObjectiveConfig())
    optimizer = torch.optim.Adam(rule.parameters(), 5e-2)
    first = now = values(rule(batch))
    assert first["classification"] > 0.5
    assert first["dice"] > 0.5
    limits = {"classification": 0.1, "pseudo_label": 0.1, "dice": 0.25}
    steps = 0
    # Some 25 steps; how many, and in which order, depends on how the processor rounds.
    while now["kept"] < 1 or any(now[name] > limit for name, limit in limits.items()):
        assert (steps := steps + 1) < 400, now
        terms = rule(batch)
        optimizer.zero_grad()
        total(terms, rule.weights).backward()
        optimizer.step()
        now = values(terms)


def logit(p: float) -> float:
    return float(torch.tensor(p).logit())


class Told(MultiMix):
    """A network that answers what it was told."""

    def __init__(self, told: TaskLogits):
        super().__init__(widths=WIDTHS)
        self.told = told

    def answer(self, images: Tensor, rng: Generator | None = None) -> TaskLogits:
        return self.told


def taught(classes: Tensor, *, multi_label: bool = False) -> MultiMixBatch:
    """Two 2 x 2 images; the first shows the second's left column; masks are sure at three of four pixels."""
    masks = torch.tensor([[[[0.99, 0.6], [0.01, 0.99]]], [[[0.02, 0.98], [0.97, 0.4]]]]).logit()
    box = torch.zeros(2, 1, 2, 2, dtype=torch.bool)
    box[0, :, :, 0] = True
    images = torch.rand(2, 1, 2, 2)
    batch = MultiMixBatch(unlabelled=MixedViews(images, 1 - images, box, torch.tensor([1, 0])))
    weights = ObjectiveConfig(threshold=0.95, mask_threshold=0.95)
    teacher = Told(TaskLogits(classes, masks, None))
    return teach(teacher, batch, weights, classify=True, segment=True, multi_label=multi_label)


def test_the_teachers_masks_are_mixed_as_the_images_are():
    given = taught(torch.zeros(2, 2)).pseudo_labelled
    assert given is not None
    assert given.masks is not None
    # First image: the second's left column (.02, .97), its own right one (.6 is not sure, .99).
    assert given.masks.answers.tolist() == [[[[0, 0], [1, 1]]], [[[0, 1], [1, 0]]]]
    assert given.masks.weights.tolist() == [[[[1, 0], [1, 1]]], [[[1, 1], [1, 0]]]]


def test_the_teachers_classes_weigh_the_share_of_the_image_that_shows_them():
    sure_of_b, unsure = [0.0, logit(0.99)], [0.0, 0.1]
    given = taught(torch.tensor([unsure, sure_of_b])).pseudo_labelled
    assert given is not None
    assert given.classes is not None
    # Half of the first image shows the second; of its other half nothing is known.
    assert given.classes.answers.tolist() == [[0, 0.5], [0, 1]]
    given = taught(torch.tensor([[5.0, 0.0], sure_of_b])).pseudo_labelled
    assert given is not None
    assert given.classes is not None
    assert given.classes.answers.tolist() == [[0.5, 0.5], [0, 1]]


def test_a_teacher_of_classes_that_are_not_exclusive_may_be_sure_of_some():
    given = taught(torch.tensor([[5.0, -5.0], [0.0, 5.0]]), multi_label=True).pseudo_labelled
    assert given is not None
    assert given.classes is not None
    assert given.classes.answers.tolist() == [[0.5, 0.5], [0, 1]]
    assert given.classes.weights.tolist() == [[0.5, 1], [0, 1]]


def test_the_teacher_learns_nothing_and_the_student_sees_the_strong_view():
    views = MixedViews(
        torch.zeros(2, 1, 32, 32),
        torch.ones(2, 1, 32, 32),
        torch.zeros(2, 1, 32, 32).bool(),
        torch.tensor([1, 0]),
    )
    teacher = small_model(TEACHER)
    batch = MultiMixBatch(unlabelled=views)
    given = teach(teacher, batch, ObjectiveConfig(), classify=True, segment=True).pseudo_labelled
    assert given is not None
    assert torch.equal(given.images, views.strong)
    rule = objective("multimix-t")
    terms = rule(MultiMixBatch(pseudo_labelled=given))
    (terms.pseudo_label + terms.pseudo_mask).backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert any(p.grad is not None for p in rule.model.parameters())


def test_classes_are_pooled_where_masks_say_and_do_not_say_where():
    model = small_model(TEACHER)
    model.classify(torch.rand(2, 1, 32, 32)).sum().backward()
    assert model.locate is not None
    assert model.locate.weight.grad is None


def test_a_teacher_of_classes_alone_runs_no_decoder():
    views = MixedViews(
        *torch.rand(2, 2, 1, 32, 32), torch.zeros(2, 1, 32, 32, dtype=torch.bool), torch.tensor([1, 0])
    )
    teacher, rule = small_model(TEACHER), objective("multimix-t")
    with calls_of(teacher.decoder, rule.model.decoder) as called:
        batch = teach(
            teacher,
            MultiMixBatch(unlabelled=views),
            ObjectiveConfig(threshold=0.5),
            classify=True,
            segment=False,
        )
        terms = rule(batch)
    assert called == []
    assert values(terms).keys() == {"pseudo_label", "kept"}
