"""Records to endless batches: the batch of step i depends on the seed and i alone.

Each stream walks through its images in a new random order every epoch. With `balanced`, every class has its
own walk and the stream takes from each in turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from multimix.config import StreamConfig
from multimix.data.cache import ImageCache
from multimix.data.sets import TrainingSets
from multimix.recipes import Method
from multimix.training.augment import (
    Exposure,
    Style,
    WeakView,
    amplitude_mix,
    boxes,
    sent,
    strong_view,
    weak_view,
)
from multimix.training.batch import (
    LabelledClasses,
    LabelledMasks,
    MixedViews,
    MultiMixBatch,
    TwoViews,
    tensors,
)
from multimix.training.seeds import derive, generator
from multimix.types import Record

MOST_AMPLITUDE = 0.5
"""Largest share of another image's Fourier amplitude."""


def encode_labels(records: Sequence[Record], classes: Sequence[str], multi_label: bool) -> Tensor:
    """Class indices (N,), or 0/1 per class (N K) where labels are not exclusive, all 0 for the label `none`.

    Every label is one of `classes`; `data.sets` refuses others.
    """
    if not multi_label:
        return torch.tensor([list(classes).index(r.label or "") for r in records], dtype=torch.int64)
    rows = [[float(c in (r.label or "").split("|")) for c in classes] for r in records]
    return torch.tensor(rows, dtype=torch.float32).reshape(len(records), len(classes))


@dataclass(frozen=True)
class Walk:
    """An endless sequence of indices 0..n-1, a new permutation every epoch."""

    length: int
    seed: int

    def take(self, start: int, count: int) -> np.ndarray:
        """Positions `start` to `start + count - 1` of the sequence, (count,) int."""
        positions = np.arange(start, start + count)
        epochs, offsets = positions // self.length, positions % self.length
        out = np.empty(count, np.int64)
        for epoch in np.unique(epochs):
            order = np.random.default_rng([self.seed, int(epoch)]).permutation(self.length)
            chosen = epochs == epoch
            out[chosen] = order[offsets[chosen]]
        return out


@dataclass(frozen=True)
class Sampler:
    """Which rows of a stream a step sees: groups in turn, a walk within each."""

    groups: tuple[np.ndarray, ...]
    """Row numbers; one group, or one per class."""
    walks: tuple[Walk, ...]

    @classmethod
    def build(cls, groups: Sequence[np.ndarray], seed: int) -> "Sampler":
        """A walk for every group."""
        walks = tuple(Walk(len(group), derive(seed, i)) for i, group in enumerate(groups))
        return cls(tuple(groups), walks)

    def rows(self, step: int, batch: int) -> np.ndarray:
        """Rows (batch,) of `step`."""
        slots = np.arange(step * batch, (step + 1) * batch)
        turn, position = slots % len(self.groups), slots // len(self.groups)
        out = np.empty(batch, np.int64)
        for i, (group, walk) in enumerate(zip(self.groups, self.walks, strict=True)):
            mine = turn == i
            if mine.any():
                out[mine] = group[walk.take(int(position[mine][0]), int(mine.sum()))]
        return out


@dataclass(frozen=True)
class Pixels:
    """Decoded rows, kept in a CUDA device's memory where there is room for them."""

    rows: np.ndarray
    """(N C H W) uint8, memory-mapped."""
    device: torch.device
    resident: Tensor | None
    """`rows` on the device."""

    @classmethod
    def keep(cls, rows: np.ndarray, device: torch.device) -> "Pixels":
        """In the device's memory if it takes no more than a quarter of what is free."""
        there = device.type == "cuda" and rows.nbytes <= torch.cuda.mem_get_info(device)[0] // 4
        return cls(rows, device, torch.from_numpy(np.array(rows)).to(device) if there else None)

    def take(self, chosen: np.ndarray) -> Tensor:
        """The chosen rows, float, as they are stored (0 to 255, or 0 and 1), on the device."""
        if self.resident is not None:
            return self.resident[sent(torch.from_numpy(chosen), self.device)].float()
        return sent(torch.from_numpy(self.rows[chosen]), self.device).float()


class Streams:
    """The five streams of Algorithm 1 over decoded caches.

    On a CUDA device batches are made on a stream of their own, while the step before is still being computed.
    """

    def __init__(
        self,
        sets: TrainingSets,
        images: ImageCache,
        masks: ImageCache,
        config: StreamConfig,
        *,
        seed: int,
        device: torch.device,
        method: Method,
        multi_label: bool = False,
    ):
        """`images` holds `sets.everything`; `masks` starts with `sets.labelled_masks`, in order."""
        self.config, self.seed, self.device, self.method = config, seed, device, method
        self.images = Pixels.keep(images.images, device)
        self.masks = Pixels.keep(masks.masks[: len(sets.labelled_masks)], device)
        self.side = torch.cuda.Stream(device) if device.type == "cuda" else None
        row = {record.image: i for i, record in enumerate(sets.everything)}
        self.rows = {
            name: np.array([row[r.image] for r in records]) for name, records in sets.roles().items()
        }
        self.labels = encode_labels(sets.labelled_classes, sets.classes, multi_label)
        self.samplers = {
            name: Sampler.build([np.arange(len(rows))], derive(seed, "order", name))
            for name, rows in self.rows.items()
            if len(rows)
        }
        if config.balanced and not multi_label and sets.labelled_classes:
            groups = [(self.labels == k).nonzero().flatten().numpy() for k in range(len(sets.classes))]
            self.samplers["labelled_classes"] = Sampler.build(
                groups, derive(seed, "order", "labelled_classes")
            )

    def batch(self, step: int) -> MultiMixBatch:
        """Everything that step `step` sees, augmented, on the device."""
        if self.side is None:
            return self._batch(step)
        with torch.cuda.stream(self.side):
            batch = self._batch(step)
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self.side)
        for tensor in tensors(batch):
            tensor.record_stream(current)
        return batch

    def _batch(self, step: int) -> MultiMixBatch:
        config, how = self.config, self.config.augmentation
        labelled_classes = unlabelled_classes = labelled_masks = unlabelled_masks = None
        if "labelled_classes" in self.samplers:
            chosen, images = self._images("labelled_classes", step, config.classes)
            view = weak_view(images, how, generator(self.seed, "classes", step))
            labels = sent(self.labels[chosen], self.device)
            if self.method.class_style:
                view = self._styled(view, "classes", step)
            labelled_classes = LabelledClasses(view, labels)
        if "labelled_masks" in self.samplers:
            chosen, images = self._images("labelled_masks", step, config.masks)
            masks = self.masks.take(chosen)
            draw = WeakView.draw(config.masks, how, generator(self.seed, "masks", step))
            if self.method.style:
                draw = draw.reframed(generator(self.seed, "frames", step))
            view = self._styled(draw.apply(images), "masks", step)
            labelled_masks = LabelledMasks(view, draw.apply_to_masks(masks))
        if self.method.teacher:
            return MultiMixBatch(labelled_classes, None, labelled_masks, unlabelled=self._mixed(step))
        if "unlabelled_classes" in self.samplers:
            _, images = self._images("unlabelled_classes", step, config.unlabelled_classes)
            unlabelled_classes = TwoViews(
                weak_view(images, how, generator(self.seed, "weak", step)),
                strong_view(images, how, generator(self.seed, "strong", step)),
            )
        if "unlabelled_masks" in self.samplers:
            _, images = self._images("unlabelled_masks", step, config.masks)
            unlabelled_masks = weak_view(images, how, generator(self.seed, "unlabelled masks", step))
        return MultiMixBatch(labelled_classes, unlabelled_classes, labelled_masks, unlabelled_masks)

    def _mixed(self, step: int) -> MixedViews | None:
        """The unlabelled images of both tasks together, so that each may teach both."""
        sizes = {"unlabelled_classes": self.config.unlabelled_classes, "unlabelled_masks": self.config.masks}
        parts = [self._images(name, step, n)[1] for name, n in sizes.items() if name in self.samplers]
        if not parts:
            return None
        images = torch.cat(parts)
        count, rng = len(images), generator(self.seed, "unlabelled", step)
        weak = weak_view(images, self.config.augmentation, rng)
        strong = self._styled(Exposure.draw(count, rng).apply(weak), "unlabelled", step)
        partner = sent(torch.randperm(count, generator=rng), self.device)
        box = sent(boxes(count, (images.shape[-2], images.shape[-1]), rng), self.device)
        box = box if self.method.cutmix else torch.zeros_like(box)
        return MixedViews(weak, torch.where(box, strong[partner], strong), box, partner)

    def _styled(self, views: Tensor, name: str, step: int) -> Tensor:
        """The same patients as another detector and another hospital's software would show them.

        Labelled images half the time: the finer signs of disease do not survive every rendering.
        """
        if not self.method.style:
            return views
        count, rng = len(views), generator(self.seed, "style", name, step)
        others = np.concatenate([self.rows[name] for name in self.samplers])
        chosen = others[torch.randint(len(others), (count,), generator=rng).numpy()]
        mixed = amplitude_mix(
            views, self.images.take(chosen) / 255, torch.rand(count, generator=rng) * MOST_AMPLITUDE
        )
        styled = Style.draw(count, rng).apply(mixed)
        often = 1.0 if name == "unlabelled" else 0.5
        restyled = torch.rand(count, generator=rng) < often
        return torch.where(sent(restyled, self.device).view(-1, 1, 1, 1), styled, views)

    def _images(self, name: str, step: int, count: int) -> tuple[np.ndarray, Tensor]:
        """The chosen positions within the stream and their images (count C H W) in [0, 1], on the device."""
        chosen = self.samplers[name].rows(step, count)
        return chosen, self.images.take(self.rows[name][chosen]) / 255
