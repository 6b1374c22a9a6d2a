"""Records to endless batches: the batch of step i depends on the seed and i alone.

Each stream walks through its images in a new random order every epoch. With `balanced`, every class has its
own walk and the stream takes from each in turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from multimix.augment import WeakView, strong_view, weak_view
from multimix.config import StreamConfig
from multimix.data.cache import ImageCache
from multimix.data.sets import TrainingSets
from multimix.seeds import derive, generator
from multimix.types import LabelledClasses, LabelledMasks, MultiMixBatch, Record, TwoViews


def encode_labels(records: Sequence[Record], classes: Sequence[str], multi_label: bool) -> Tensor:
    """Class indices (N,), or 0/1 per class (N K) where labels are not exclusive.

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


class Streams:
    """The five streams of Algorithm 1 over decoded caches."""

    def __init__(
        self,
        sets: TrainingSets,
        images: ImageCache,
        masks: ImageCache,
        config: StreamConfig,
        *,
        seed: int,
        device: torch.device,
        multi_label: bool = False,
    ):
        """`images` holds `sets.everything`; `masks` starts with `sets.labelled_masks`, in order."""
        self.config, self.seed, self.device = config, seed, device
        self.images, self.masks = images.images, masks
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
        config, how = self.config, self.config.augmentation
        labelled_classes = unlabelled_classes = labelled_masks = unlabelled_masks = None
        if "labelled_classes" in self.samplers:
            chosen, images = self._images("labelled_classes", step, config.classes)
            view = weak_view(images, how, generator(self.seed, "classes", step))
            labelled_classes = LabelledClasses(view, self.labels[chosen].to(self.device))
        if "unlabelled_classes" in self.samplers:
            _, images = self._images("unlabelled_classes", step, config.unlabelled_classes)
            unlabelled_classes = TwoViews(
                weak_view(images, how, generator(self.seed, "weak", step)),
                strong_view(images, how, generator(self.seed, "strong", step)),
            )
        if "labelled_masks" in self.samplers:
            chosen, images = self._images("labelled_masks", step, config.masks)
            masks = torch.from_numpy(self.masks.masks[chosen]).to(self.device).float()
            draw = WeakView.draw(config.masks, how, generator(self.seed, "masks", step))
            labelled_masks = LabelledMasks(draw.apply(images), draw.apply_to_masks(masks))
        if "unlabelled_masks" in self.samplers:
            _, images = self._images("unlabelled_masks", step, config.masks)
            unlabelled_masks = weak_view(images, how, generator(self.seed, "unlabelled masks", step))
        return MultiMixBatch(labelled_classes, unlabelled_classes, labelled_masks, unlabelled_masks)

    def _images(self, name: str, step: int, count: int) -> tuple[np.ndarray, Tensor]:
        """The chosen positions within the stream and their images (count C H W) in [0, 1], on the device."""
        chosen = self.samplers[name].rows(step, count)
        images = torch.from_numpy(self.images[self.rows[name][chosen]]).to(self.device)
        return chosen, images.float() / 255
