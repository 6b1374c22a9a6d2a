"""Everything a run needs before its first step: sets, caches, validation images, trivial answers."""

import hashlib
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multimix.config import RunConfig
from multimix.data.cache import DECODER, ImageCache, open_cache
from multimix.data.sets import TrainingSets, training_sets
from multimix.data.splits import fingerprint
from multimix.errors import SplitError
from multimix.recipes import method
from multimix.training.machine import LIBRARIES
from multimix.training.streams import Streams, encode_labels
from multimix.training.validation import ValidationSet


@dataclass(frozen=True)
class Prepared:
    """The data of a run, decoded and divided."""

    sets: TrainingSets
    images: ImageCache
    """Of `sets.everything`."""
    masks: ImageCache
    """Of `sets.labelled_masks`, then `sets.val_masks`."""
    validation: ValidationSet
    trivial_masks: Mapping[str, Tensor]
    """Structure -> mean labelled training mask (size size)."""

    def streams(self, config: RunConfig, device: torch.device) -> Streams:
        """The training streams."""
        return Streams(
            self.sets,
            self.images,
            self.masks,
            config.streams,
            seed=config.seed,
            device=device,
            method=method(config.method),
            multi_label=config.data.multi_label,
        )

    def examples(self, most: int = 500) -> np.ndarray:
        """Training images, at most `most` of each source, evenly spread; (N C size size) uint8."""
        rows: dict[str, list[int]] = {}
        for row, record in enumerate(self.sets.everything):
            if record.split == "train":
                rows.setdefault(record.source, []).append(row)
        chosen = [row for known in rows.values() for row in known[:: -(-len(known) // most)]]
        return np.array(self.images.images[chosen]) if chosen else self.images.images[:0]

    def describe(self) -> dict[str, Any]:
        """What RUN/run.json keeps: versions, data fingerprints, sizes."""
        known = [record for records in self.sets.roles().values() for record in records]
        return {
            "versions": {name: version(name) for name in LIBRARIES}
            | {"python": platform.python_version(), "platform": platform.platform()},
            "data": {
                "fingerprint": fingerprint(self.sets.everything + known),
                "decoder": DECODER,
                "pixels": self._pixel_fingerprint(),
                "test": self.sets.test,
                "images": {name: len(records) for name, records in self.sets.roles().items()},
            },
            "classes": list(self.sets.classes),
            "structures": list(self.sets.structures),
        }

    def _pixel_fingerprint(self) -> str:
        """Sha256 (hex) over the decoded pixels of images and masks beside their names, whatever their order."""
        with_masks = self.sets.labelled_masks + self.sets.val_masks
        pairs = [
            *zip(self.sets.everything, self.images.digests, strict=True),
            *zip(with_masks, self.masks.digests, strict=True),
        ]
        rows = sorted(f"{record.source} {record.image.name} {digest}" for record, digest in pairs)
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs in the data of `describe`, by name.

    Another decoder rounds a pixel in a hundred thousand otherwise, so the pixels of a run that it did not decode are
    not compared; rows and their number are.
    """
    same_decoder = before.get("decoder", 1) == now["decoder"]
    names = ("fingerprint", "images", *(("pixels",) if same_decoder else ()))
    names += ("test",) if "test" in before else ()  # which runs of before did not note
    return [name for name in names if before.get(name) != now[name]]


def prepare(config: RunConfig, progress: Callable[[int, int], None] | None = None) -> Prepared:
    """Read the manifest, draw the labelled images, open the caches, refuse leaks."""
    data = config.data
    sets = training_sets(data, method(config.method), config.seed)
    images = open_cache(
        sets.everything, size=data.size, channels=sets.channels, structures=(), progress=progress
    )
    _refuse_shared_pixels(sets, images)
    with_masks = sets.labelled_masks + sets.val_masks
    masks = open_cache(with_masks, size=data.size, channels=sets.channels, structures=sets.structures)
    labelled = len(sets.labelled_masks)
    return Prepared(
        sets,
        images,
        masks,
        validation_set(sets, images, masks, data.multi_label),
        {
            structure: torch.from_numpy(masks.masks[:labelled, s].mean(axis=0, dtype=np.float32))
            for s, structure in enumerate(sets.structures)
            if labelled
        },
    )


def _refuse_shared_pixels(sets: TrainingSets, images: ImageCache) -> None:
    first: dict[str, int] = {}
    for i, digest in enumerate(images.digests):
        a, b = sets.everything[first.setdefault(digest, i)], sets.everything[i]
        if a.split != b.split:
            raise SplitError(
                f"{a.image} ({a.split}) and {b.image} ({b.split}) are the same picture in two splits. Remove one "
                "of them, or give both the same split; `multimix data check` lists every such pair."
            )


def validation_set(
    sets: TrainingSets, images: ImageCache, masks: ImageCache, multi_label: bool
) -> ValidationSet:
    """What checkpoints are chosen by.

    `images` holds all of `sets`, `masks` the labelled ones and then those of validation.
    """
    row = {record.image: i for i, record in enumerate(sets.everything)}
    chosen = [row[record.image] for record in sets.val_classes]
    labelled = len(sets.labelled_masks)
    return ValidationSet(
        images.images[chosen] if chosen else images.images[:0],
        encode_labels(sets.val_classes, sets.classes, multi_label),
        masks.images[labelled:],
        masks.masks[labelled:],
    )
