"""The floor of an AUC: what a linear regression makes of thumbnails in which hardly any disease can be read.

Chance, .5, is no yardstick where exposure, framing and positioning go with the class. What a network is worth is what
it has above this.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from PIL import Image

from multimix.io.readers import read_image
from multimix.metrics import classification
from multimix.types import Record, Scores
from multimix.weights.file import ModelSpec

SIDE = 24
RIDGE = 10.0
"""Penalty of the regression on pixels in [0, 1], as of the audit's check for shortcuts."""
MOST = 5000
"""Labelled images that are learned from, evenly spread where there are more."""


def thumbnails(records: Sequence[Record]) -> Float[np.ndarray, "N pixels"]:
    """Grey pixels in [0, 1] of each image, every one the mean of what it covers; ImageError as `read_image`."""
    small = []
    for record in records:
        pixels = read_image(record.image, 1, force=True).pixels[0].astype(np.float32)
        small.append(np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX)).ravel())
    return np.array(small, np.float64).reshape(len(records), SIDE * SIDE)


def thumbnail_auc(
    labelled: Sequence[Record], judged: Sequence[Record], classes: Sequence[str], multi_label: bool
) -> float | None:
    """AUC of a ridge regression on the thumbnails of `labelled`, on those of `judged` that have a label.

    None where one of the two has no labelled images, or not every class has an image on both sides.
    """
    learned = [record for record in labelled if record.label][:: max(1, -(-len(labelled) // MOST))]
    asked = [record for record in judged if record.label]
    if not learned or not asked or not classes:
        return None
    from sklearn.linear_model import Ridge

    known, member = (
        classification.membership([record.label or "" for record in records], classes, multi_label)
        for records in (learned, asked)
    )
    told = Ridge(alpha=RIDGE).fit(thumbnails(learned), known).predict(thumbnails(asked))
    labels = member if multi_label else member.argmax(axis=1)
    auc = float(classification.auc(labels, told.reshape(member.shape)))
    return None if np.isnan(auc) else auc


def with_floor(
    scores: Scores, labelled: Sequence[Record], judged: Sequence[Record], spec: ModelSpec
) -> Scores:
    """The scores with the thumbnails' AUC beside the network's, where it is known and above chance."""
    if "auc" not in scores.metrics:
        return scores
    auc = thumbnail_auc(labelled, judged, spec.classes, spec.multi_label)
    if auc is None or auc <= 0.5:
        return scores
    return replace(scores, metrics={**scores.metrics, "auc": replace(scores.metrics["auc"], trivial=auc)})
