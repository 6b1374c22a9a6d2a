"""Check of the values that the network sees: in training, in prediction, and in each split.

Four ways in which they can differ. The training's decoded images are not what a predictor makes of the same files;
the batches of one stream leave [0, 1], in which every image is read; the files of one split were exported with other
levels than those of another; some files of a source are negatives of its others.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float
from torch import Tensor

from multimix.data.columns import SPLITS
from multimix.data.thumbnails import COARSE, negatives
from multimix.evaluation.audit.findings import Finding, Unchecked
from multimix.evaluation.audit.run_folder import RunFolder
from multimix.evaluation.audit.thumbnails import thumbnails
from multimix.io.readers import read_image
from multimix.io.resize import to_model_size
from multimix.training.batch import MultiMixBatch
from multimix.types import Record

FILES = 24
"""Files decoded again, and compared with the training's cache."""
SAME_LEVEL = 0.01
"""Mean absolute difference of two decodings of a file, of [0, 1], up to which they are one; 8 bits round to 0.002."""
SAMPLE = 300
"""Images of a source and split whose levels are looked at."""
APART = 0.95
"""Share of (image, image) pairs of two splits that a level orders the same way, from which they are kept apart."""
LEVELS_APART = 0.1
"""Least difference of the medians of a level, of [0, 1], that counts."""
INVERTED = -0.3
"""Correlation of two splits' mean images below which one is a negative of the other."""
_SIDE = 24


def normalisation(material: RunFolder) -> Iterator[Finding | Unchecked]:
    """Values that differ between training and prediction, between streams, or between splits."""
    yield from _decoded_otherwise(material)
    yield from streams_out_of_range(material.streams(8).batch(0))
    yield from _splits_apart(material)
    yield from _negatives(material)


def _spread(rows: Sequence[int], most: int) -> list[int]:
    """At most `most` of the rows, evenly spaced."""
    if len(rows) <= most:
        return list(rows)
    return [rows[i] for i in np.linspace(0, len(rows) - 1, most).round().astype(int)]


def _decoded_otherwise(material: RunFolder) -> Iterator[Finding]:
    """The cache that training read against reading and resizing as the predictor does."""
    size, channels = material.config.data.size, material.config.data.channels
    differences, worst = [], ("", 0.0)
    for row in _spread(range(len(material.used)), FILES):
        path = material.used[row].image
        answered = to_model_size(read_image(path, channels, force=True).pixels, size)
        trained = np.asarray(material.images.images[row], np.float32) / 255
        differences.append(float(np.abs(answered - trained).mean()))
        if differences[-1] > worst[1]:
            worst = (path.name, differences[-1])
    if max(differences) > SAME_LEVEL:
        yield Finding(
            "normalisation",
            "wrong",
            "training and prediction",
            "The decoded images of training are not what prediction gives to the network for the same files, so scores "
            "are of inputs that the network was not trained on.",
            f"Delete the cache {material.images.folder} and run the audit again; where the difference stays, decoding "
            "or resizing has changed since training: train again.",
            {
                "files": sum(d > SAME_LEVEL for d in differences),
                "of": len(differences),
                "mean difference": worst[1],
                "largest in": worst[0],
            },
        )


def streams_out_of_range(batch: MultiMixBatch) -> Iterator[Finding]:
    """Streams of a batch, as training draws it, that are not all in [0, 1]."""
    streams: dict[str, Tensor] = {}
    if batch.labelled_classes is not None:
        streams["labelled_classes"] = batch.labelled_classes.images
    if batch.unlabelled_classes is not None:
        streams |= {
            "weak view": batch.unlabelled_classes.weak,
            "strong view": batch.unlabelled_classes.strong,
        }
    if batch.unlabelled is not None:
        streams |= {"teacher's view": batch.unlabelled.weak, "student's view": batch.unlabelled.strong}
    if batch.labelled_masks is not None:
        streams["labelled_masks"] = batch.labelled_masks.images
    if batch.unlabelled_masks is not None:
        streams["unlabelled_masks"] = batch.unlabelled_masks
    for name, images in streams.items():
        low, high = float(images.min()), float(images.max())
        if low < -1e-3 or high > 1 + 1e-3:
            yield Finding(
                "normalisation",
                "wrong",
                name,
                "This stream gives the network values outside [0, 1], in which prediction gives every image.",
                "Correct the view or the normalisation of this stream, and train again.",
                {"lowest": low, "highest": high},
            )


def _levels(images: np.ndarray) -> dict[str, Float[np.ndarray, " N"]]:
    """Per image its black, its mean and its white, in [0, 1]."""
    flat = images.reshape(len(images), -1)
    black, white = np.percentile(flat, (2, 98), axis=1)
    return {"black": black / 255, "mean": flat.mean(axis=1) / 255, "white": white / 255}


def _splits_apart(material: RunFolder) -> Iterator[Finding]:
    """Levels of the splits of one source against each other."""
    for source in material.sources:
        rows: Mapping[str, list[int]] = {
            split: _spread(_rows(material.used, source, split), SAMPLE) for split in SPLITS
        }
        images = {
            split: np.array(material.images.images[mine]) for split, mine in rows.items() if len(mine) > 1
        }
        levels = {split: _levels(pictures) for split, pictures in images.items()}
        means = {split: thumbnails(pictures, _SIDE).mean(axis=0) for split, pictures in images.items()}
        for one, other in combinations(images, 2):
            evidence = _difference(levels[one], levels[other], one, other)
            likeness = _correlation(means[one], means[other])
            if likeness < INVERTED:
                evidence["correlation of mean images"] = likeness
            if evidence:
                yield _apart(f"{source}, {one} and {other}", evidence)


def _negatives(material: RunFolder) -> Iterator[Finding]:
    """Images of a source that look like negatives of its others."""
    for source in material.sources:
        rows = [i for i, record in enumerate(material.used) if record.source == source]
        found = (
            negatives(thumbnails(np.array(material.images.images[rows]), COARSE))
            if rows
            else np.zeros(0, bool)
        )
        names = [material.used[row].image.name for row, negative in zip(rows, found, strict=True) if negative]
        if names:
            yield Finding(
                "normalisation",
                "doubtful",
                source,
                "Some images look like negatives of the others, which a network learns as a kind of its own.",
                "Look at them, invert them, and train again; `multimix data check` names them all.",
                {"images": len(names), "of": len(rows), "examples": ", ".join(names[:3])},
            )


def _rows(records: Sequence[Record], source: str, split: str) -> list[int]:
    return [i for i, record in enumerate(records) if (record.source, record.split) == (source, split)]


def _difference(
    left: Mapping[str, np.ndarray], right: Mapping[str, np.ndarray], one: str, other: str
) -> dict[str, float]:
    """The levels that keep two splits apart: their medians; empty where none does."""
    evidence: dict[str, float] = {}
    for name in left:
        a, b = left[name], right[name]
        ordered = np.mean(a[:, None] < b[None]) + np.mean(a[:, None] == b[None]) / 2
        medians = float(np.median(a)), float(np.median(b))
        if max(ordered, 1 - ordered) >= APART and abs(medians[0] - medians[1]) >= LEVELS_APART:
            evidence |= {f"{name} {one}": medians[0], f"{name} {other}": medians[1]}
    return evidence


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation; 0 where one of the two is flat."""
    x, y = a.ravel() - a.mean(), b.ravel() - b.mean()
    norm = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / norm if norm > 1e-6 else 0.0


def _apart(where: str, evidence: Mapping[str, float]) -> Finding:
    return Finding(
        "normalisation",
        "wrong",
        where,
        "Nearly every image of one split is darker, brighter or more contrasted than those of the other: they were "
        "exported or normalised differently, and scores are of inputs unlike those of training.",
        "Export all splits from the originals in one way (same bits, same window), and train and evaluate again.",
        evidence,
    )
