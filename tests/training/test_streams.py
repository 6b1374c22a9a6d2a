"""Batches: which image comes when, and that label, mask and image belong together."""

from collections import Counter
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from multimix.config import StreamConfig
from multimix.data.cache import ImageCache
from multimix.data.sets import TrainingSets
from multimix.recipes import METHODS, OURS, TEACHER, Method
from multimix.training.batch import MultiMixBatch
from multimix.training.streams import Pixels, Sampler, Streams, Walk, encode_labels
from multimix.types import Record

SIDE = 16
CPU = torch.device("cpu")
SIZES = StreamConfig(classes=4, unlabelled_classes=3, masks=2)


def record(name: str, label: str | None = None) -> Record:
    return Record(Path("/data") / name, {}, label, "train", name, "s")


def cached(pixels: np.ndarray, masks: np.ndarray) -> ImageCache:
    return ImageCache(pixels, masks, ("",) * len(pixels), Path("/cache"))


def patch(number: int) -> np.ndarray:
    """(1 SIDE SIDE): 1 in a rectangle around the middle, whose height tells the number."""
    inside = np.zeros((1, SIDE, SIDE), np.uint8)
    inside[:, 4 - number : 12, 4:12] = 1
    return inside


def sets_and_caches(labels: str = "ABABBB") -> tuple[TrainingSets, ImageCache, ImageCache]:
    """Grey values tell the role: A 40, B 120, unlabelled 200, labelled masks a rectangle in 20, unlabelled masks 240.

    The cache of all images is in another order than the roles.
    """
    lc = [record(f"lc{i}", label) for i, label in enumerate(labels)]
    uc = [record(f"uc{i}") for i in range(5)]
    lm = [record(f"lm{i}") for i in range(3)]
    um = [record(f"um{i}") for i in range(4)]
    grey = np.ones((1, SIDE, SIDE), np.uint8)
    level = {r.image: grey * {"A": 40, "B": 120}.get(r.label or "", 0) for r in lc}
    level |= {r.image: grey * 200 for r in uc}
    level |= {r.image: 20 + 200 * patch(i) for i, r in enumerate(lm)}
    level |= {r.image: grey * 240 for r in um}
    everything = [*um, *lc[::-1], *lm[::-1], *uc]
    images = cached(
        np.stack([level[r.image] for r in everything]), np.zeros((len(everything), 0, SIDE, SIDE), np.uint8)
    )
    masks = cached(np.stack([level[r.image] for r in lm]), np.stack([patch(i) for i in range(3)]))
    return TrainingSets(lc, uc, lm, um, [], [], everything, ("A", "B"), ("lungs",)), images, masks


def streams(
    config: StreamConfig = SIZES, seed: int = 0, labels: str = "ABABBB", row: Method = METHODS["multimix"]
) -> Streams:
    return Streams(*sets_and_caches(labels), config, seed=seed, device=CPU, method=row)


def tensors(value: object) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if value is None:
        return []
    assert is_dataclass(value)
    return [t for f in fields(value) for t in tensors(getattr(value, f.name))]


def equal(one: MultiMixBatch, other: MultiMixBatch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))


@pytest.mark.parametrize("length", [1, 5, 8])
def test_a_walk_visits_every_index_once_per_epoch(length: int) -> None:
    positions = Walk(length, seed=3).take(0, 4 * length)
    for epoch in range(4):
        assert sorted(positions[epoch * length : (epoch + 1) * length]) == list(range(length))


def test_a_walk_may_be_entered_anywhere() -> None:
    walk = Walk(7, seed=1)
    whole = walk.take(0, 40)
    for start in (0, 3, 7, 20):
        np.testing.assert_array_equal(walk.take(start, 11), whole[start : start + 11])


def test_a_walk_has_a_new_order_every_epoch_and_seed() -> None:
    orders = {tuple(Walk(20, seed).take(20 * epoch, 20)) for seed in (1, 2) for epoch in (0, 1)}
    assert len(orders) == 4


def test_a_sampler_of_one_group_is_its_walk() -> None:
    sampler = Sampler.build([np.array([10, 11, 12])], seed=0)
    rows = np.concatenate([sampler.rows(step, 2) for step in range(6)])
    assert [sorted(rows[i : i + 3]) for i in (0, 3, 6, 9)] == [[10, 11, 12]] * 4


def test_a_balanced_sampler_by_hand() -> None:
    # Slots alternate between the groups whatever the batch size: 0 1 0 | 1 0 1 | 0 1 0 | ...
    sampler = Sampler.build([np.array([100]), np.array([200, 201])], seed=0)
    rows = [sampler.rows(step, 3) for step in range(4)]
    assert [[int(row >= 200) for row in batch] for batch in rows] == [
        [0, 1, 0],
        [1, 0, 1],
        [0, 1, 0],
        [1, 0, 1],
    ]
    second = [int(row) for batch in rows for row in batch if row >= 200]
    assert [sorted(second[i : i + 2]) for i in (0, 2, 4)] == [[200, 201]] * 3


def test_a_batch_of_one_still_sees_every_group() -> None:
    sampler = Sampler.build([np.array([1]), np.array([2]), np.array([3])], seed=0)
    assert [int(sampler.rows(step, 1)[0]) for step in range(6)] == [1, 2, 3, 1, 2, 3]


def test_labels_by_hand() -> None:
    records = [record("a", "B"), record("b", "A"), record("c", "B")]
    assert encode_labels(records, ("A", "B"), multi_label=False).tolist() == [1, 0, 1]
    several = [record("a", "A|C"), record("b"), record("c", "B")]
    assert encode_labels(several, ("A", "B", "C"), multi_label=True).tolist() == [
        [1, 0, 1],
        [0, 0, 0],
        [0, 1, 0],
    ]
    assert encode_labels([record("a", "none")], ("A", "B"), multi_label=True).tolist() == [[0, 0]]
    assert encode_labels([], ("A", "B"), multi_label=True).shape == (0, 2)
    assert encode_labels([], ("A", "B"), multi_label=False).shape == (0,)


def test_sizes_and_range() -> None:
    batch = streams().batch(0)
    assert batch.labelled_classes is not None
    assert batch.unlabelled_classes is not None
    assert batch.labelled_masks is not None
    assert batch.unlabelled_masks is not None
    assert batch.labelled_classes.images.shape == (4, 1, SIDE, SIDE)
    assert batch.labelled_classes.labels.shape == (4,)
    assert batch.unlabelled_classes.weak.shape == batch.unlabelled_classes.strong.shape == (3, 1, SIDE, SIDE)
    assert batch.labelled_masks.images.shape == batch.labelled_masks.masks.shape == (2, 1, SIDE, SIDE)
    assert batch.unlabelled_masks.shape == (2, 1, SIDE, SIDE)


@pytest.mark.parametrize("augmentation", ["radiograph", "paper"])
def test_images_stay_between_black_and_white(augmentation: str) -> None:
    made = streams(StreamConfig(4, 3, 2, augmentation=augmentation))
    for step in range(20):
        for tensor in tensors(made.batch(step)):
            assert tensor.isfinite().all()
            assert tensor.min() >= 0
            assert tensor.max() <= 1


def exact() -> StreamConfig:
    """The paper's weak view leaves grey values alone: the middle pixel is inside the image however it is shifted."""
    return StreamConfig(classes=4, unlabelled_classes=3, masks=2, augmentation="paper")


def test_labels_match_their_images() -> None:
    made, seen = streams(exact()), Counter()
    for step in range(12):
        batch = made.batch(step).labelled_classes
        assert batch is not None
        grey = (batch.images[:, 0, SIDE // 2, SIDE // 2] * 255).round()
        assert grey.tolist() == [[40.0, 120.0][label] for label in batch.labels.tolist()]
        seen.update(batch.labels.tolist())
    assert seen == {0: 24, 1: 24}  # balanced, although there are two A and four B


def test_without_balance_each_image_counts_alike() -> None:
    made = streams(StreamConfig(classes=4, unlabelled_classes=3, masks=2, balanced=False))
    labels = [label for step in range(6) for label in made.batch(step).labelled_classes.labels.tolist()]  # type: ignore[union-attr]
    assert Counter(labels) == {0: 8, 1: 16}  # four epochs of six images


def test_each_stream_shows_its_own_images() -> None:
    made, middle = streams(exact()), (slice(None), 0, SIDE // 2, SIDE // 2)
    for step in range(5):
        batch = made.batch(step)
        assert batch.unlabelled_classes is not None
        assert batch.labelled_masks is not None
        assert batch.unlabelled_masks is not None
        assert (batch.unlabelled_classes.weak[middle] * 255).round().tolist() == [200.0] * 3
        assert (batch.labelled_masks.images[middle] * 255).round().tolist() == [220.0] * 2
        assert (batch.unlabelled_masks[middle] * 255).round().tolist() == [240.0] * 2


def test_masks_match_their_images() -> None:
    # The rectangle is the only thing brighter than half, wherever the view has moved it.
    made, heights = streams(exact()), set()
    for step in range(10):
        pair = made.batch(step).labelled_masks
        assert pair is not None
        assert torch.equal(pair.masks, (pair.images > 0.47).float())
        heights.update(pair.masks.amax(dim=3).sum(dim=2).flatten().tolist())
    assert {8, 9, 10} <= heights


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    made, again = streams(), streams()
    forth = [made.batch(step) for step in range(4)]
    torch.manual_seed(99)
    np.random.seed(99)
    back = [again.batch(step) for step in (3, 2, 1, 0)][::-1]
    assert all(equal(a, b) for a, b in zip(forth, back, strict=True))
    assert not equal(forth[0], forth[1])
    assert not equal(forth[0], streams(seed=1).batch(0))


def test_a_batch_leaves_the_global_generators_alone() -> None:
    before = torch.get_rng_state()
    streams().batch(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_stored_images_are_left_alone() -> None:
    sets, images, masks = sets_and_caches()
    copy = images.images.copy()
    Streams(sets, images, masks, SIZES, seed=0, device=CPU, method=METHODS["multimix"]).batch(0)
    np.testing.assert_array_equal(images.images, copy)


def test_a_stream_without_images_is_none() -> None:
    sets, images, masks = sets_and_caches()
    only_masks = TrainingSets([], [], sets.labelled_masks, [], [], [], sets.everything, (), ("lungs",))
    batch = Streams(only_masks, images, masks, SIZES, seed=0, device=CPU, method=METHODS["multimix"]).batch(0)
    assert batch.labelled_classes is None
    assert batch.unlabelled_classes is None
    assert batch.unlabelled_masks is None
    assert batch.labelled_masks is not None


def test_several_labels_at_once_are_not_balanced() -> None:
    sets, images, masks = sets_and_caches()
    both = [record("lc0", "A|B"), *sets.labelled_classes[1:]]
    several = TrainingSets(both, [], [], [], [], [], sets.everything, ("A", "B"), ())
    made = Streams(
        several, images, masks, SIZES, seed=0, device=CPU, method=METHODS["multimix"], multi_label=True
    )
    rows = {tuple(row) for step in range(3) for row in made.batch(step).labelled_classes.labels.tolist()}  # type: ignore[union-attr]
    assert rows == {(1.0, 1.0), (0.0, 1.0), (1.0, 0.0)}


def test_a_teacher_sees_the_unlabelled_images_of_both_tasks() -> None:
    batch = streams(row=TEACHER).batch(0)
    assert batch.unlabelled_classes is None
    assert batch.unlabelled_masks is None
    views = batch.unlabelled
    assert views is not None
    assert views.weak.shape == views.strong.shape == (3 + 2, 1, SIDE, SIDE)
    assert sorted(views.partner.tolist()) == [0, 1, 2, 3, 4]
    plain = replace(TEACHER, style=False, cutmix=False)
    # Grey without noise: the same image but for exposure, so flat inside.
    views = streams(row=plain).batch(0).unlabelled
    assert views is not None
    assert not views.box.any()
    assert views.strong.std(dim=(1, 2, 3)).max() < 0.12


def test_in_its_box_an_image_shows_its_partner() -> None:
    made, plain = streams(row=TEACHER), streams(row=replace(TEACHER, cutmix=False))
    seen = 0
    for step in range(4):
        mixed, whole = made.batch(step).unlabelled, plain.batch(step).unlabelled
        assert mixed is not None
        assert whole is not None
        assert torch.equal(mixed.weak, whole.weak)
        for i, j in enumerate(mixed.partner.tolist()):
            inside = mixed.box[i]
            assert torch.equal(mixed.strong[i][inside], whole.strong[j][inside])
            assert torch.equal(mixed.strong[i][~inside], whole.strong[i][~inside])
            seen += int(inside.any())
    assert seen > 4


def test_styles_vary_labelled_images_half_the_time() -> None:
    plain, styled = streams(row=replace(TEACHER, style=False)), streams(row=TEACHER)
    changed = []
    for step in range(10):
        a, b = plain.batch(step).labelled_classes, styled.batch(step).labelled_classes
        assert a is not None
        assert b is not None
        assert torch.equal(a.labels, b.labels)
        changed += (a.images != b.images).flatten(1).any(dim=1).tolist()
    assert 10 <= sum(changed) <= 30  # of 40
    assert equal(styled.batch(3), streams(row=TEACHER).batch(3))


def test_class_images_keep_their_rendering_unless_the_method_says_otherwise() -> None:
    plain, styled = streams(row=replace(OURS, style=False)).batch(0), streams(row=OURS).batch(0)
    other = streams(row=replace(OURS, class_style=True))
    assert torch.equal(plain.labelled_classes.images, styled.labelled_classes.images)  # type: ignore[union-attr]
    assert not torch.equal(plain.labelled_masks.images, styled.labelled_masks.images)  # type: ignore[union-attr]
    seen = [other.batch(step).labelled_classes for step in range(3)]
    kept = [streams(row=OURS).batch(step).labelled_classes for step in range(3)]
    assert any(not torch.equal(a.images, b.images) for a, b in zip(seen, kept, strict=True))  # type: ignore[union-attr]


def test_with_styles_half_of_the_mask_images_are_framed_with_their_masks() -> None:
    plain, styled = streams(row=replace(TEACHER, style=False)), streams(row=TEACHER)
    moved = []
    for step in range(20):
        a, b = plain.batch(step).labelled_masks, styled.batch(step).labelled_masks
        assert a is not None
        assert b is not None
        moved += (a.masks != b.masks).flatten(1).any(dim=1).tolist()
        # The mask is where the image is bright.
        for image, mask in zip(b.images, b.masks, strict=True):
            if 5 < mask.sum() < mask.numel() - 5:
                assert image[mask > 0].mean() > image[mask == 0].mean()
    assert 10 <= sum(moved) <= 30  # of 40


def test_without_unlabelled_images_a_teacher_is_not_asked() -> None:
    sets, images, masks = sets_and_caches()
    few = replace(sets, unlabelled_classes=[], unlabelled_masks=[])
    batch = Streams(few, images, masks, SIZES, seed=0, device=CPU, method=TEACHER).batch(0)
    assert batch.unlabelled is None
    assert batch.labelled_classes is not None


def test_pixels_are_taken_as_they_are_stored():
    rows = np.arange(12, dtype=np.uint8).reshape(3, 1, 2, 2)
    kept = Pixels.keep(rows, torch.device("cpu"))
    assert kept.resident is None  # a processor's memory is where they lie already
    taken = kept.take(np.array([2, 0]))
    assert taken.dtype == torch.float32
    assert taken.flatten().tolist() == [8, 9, 10, 11, 0, 1, 2, 3]
