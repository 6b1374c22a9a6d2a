"""The certificate of parity: how far every output of an exported model is from torch, in every runtime asked for.

Answers of torch come from the network with its autograd and from the NumPy around it, none of which is in the graph;
so a mistake in the graph, in its export or in a runtime is seen here. Saliency maps have jumps where a rectifier or a
pool is next to a tie, and single pixels of them are off in any other rounding: their relative L2 difference is judged.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from multimix.data.phantom import CHILD, generate
from multimix.deployment.graph import PIXELS
from multimix.deployment.runtimes import Run
from multimix.errors import CheckpointError
from multimix.inference.predictor import Predictor, map_at
from multimix.io.resize import resized, to_model_size
from multimix.reliability.ood import thumbnails

Answers = Mapping[str, np.ndarray]
"""Output -> its values for one image."""

DECIDED = ("decision", "prediction_set", "outlier", "masks")
"""Outputs that say yes or no, masks from 0.5 on."""

STORED = ((256, 256), (128, 128), (181, 250), (640, 500))
"""Height and width of the images that every export is tried on, two of each."""
STORED_IMAGES = 2 * len(STORED)


@dataclass(frozen=True)
class Tolerance:
    """How far an output may be from torch's over all images together."""

    relative_l2: float = math.inf
    differing: float = math.inf
    """Share of decisions, or 1 - Dice of masks."""


TOLERANCES: Mapping[str, Mapping[str, Tolerance]] = {
    "fp32": {
        "class_logits": Tolerance(1e-4),
        "probabilities": Tolerance(1e-4),
        "decision": Tolerance(differing=0.0),
        "prediction_set": Tolerance(differing=0.0),
        "saliency": Tolerance(5e-3),
        "mask_logits": Tolerance(1e-3),
        "masks": Tolerance(1e-3, differing=1e-4),
        "ood_distance": Tolerance(1e-3),
        "outlier": Tolerance(differing=0.0),
    },
    # Rounding every weight to 11 bits moves more pixels of the map past a tie.
    "fp16": {
        "class_logits": Tolerance(1e-2),
        "probabilities": Tolerance(1e-2),
        "decision": Tolerance(differing=0.0),
        "prediction_set": Tolerance(differing=0.0),
        "saliency": Tolerance(0.1),
        "mask_logits": Tolerance(1e-2),
        "masks": Tolerance(1e-2, differing=1e-3),
        "ood_distance": Tolerance(1e-3),
        "outlier": Tolerance(differing=0.0),
    },
}
"""Precision -> output -> what a certificate is given for.

Saliency of torch itself is 1e-3 from its double precision, and 9e-3 in the worst of 200 X-rays.
"""


@dataclass(frozen=True)
class Difference:
    """How far an output of a runtime is from torch's, over all images."""

    largest: float
    """Of a single value; 1 where a decision differs."""
    relative_l2: float
    """||got - expected|| / ||expected|| of all images together."""
    worst_relative_l2: float
    """The same of the image where it is largest."""
    differing: int | None = None
    """Decisions that differ, or mask pixels on the other side of 0.5; None of other outputs."""
    of: int | None = None
    """Of so many."""
    dice: float | None = None
    """Of the masks, all images together; None of other outputs."""

    @property
    def apart(self) -> float:
        """Share of decisions that differ, or 1 - Dice; 0 of other outputs."""
        if self.dice is not None:
            return 1 - self.dice
        return self.differing / self.of if self.differing and self.of else 0.0


def stored_images(channels: int) -> Iterator[Float[np.ndarray, "C H W"]]:
    """The generated radiographs that every export is tried on, in [0, 1]: of several sizes, one with a black border."""
    for number, (height, width) in enumerate(STORED):
        phantoms = generate(2, max(height, width), seed=number, domain=CHILD)
        for image, bordered in zip(phantoms.images, (False, True), strict=True):
            pixels = image[:height, :width].astype(np.float32) / 255
            if bordered:
                pixels[: height // 8] = 0
            yield np.repeat(pixels[None], channels, axis=0)


def expected(predictor: Predictor, image: Float[np.ndarray, "C H W"], names: Sequence[str]) -> Answers:
    """What a predictor's backend and the NumPy around it answer for one image, named as the graph's outputs."""
    spec, known, size = predictor.spec, predictor.reliability, (image.shape[-2], image.shape[-1])
    small = to_model_size(image, spec.size)[None]
    outputs = predictor.backend.run(small, spec.classify)
    answers = {"mask_logits": outputs.mask_logits}
    answers["masks"] = 1 / (1 + np.exp(-resized(outputs.mask_logits[0], size)[None].astype(np.float64)))
    if outputs.class_logits is not None and outputs.saliency is not None:
        probabilities = known.probabilities(outputs.class_logits, spec.multi_label)
        answers |= {
            "class_logits": outputs.class_logits,
            "probabilities": probabilities,
            "decision": known.decide(probabilities, spec.multi_label),
            "prediction_set": known.sets(probabilities, spec.multi_label),
            "saliency": map_at(outputs.saliency[0], size)[None, None],
        }
    if known.detector is not None:
        vectors = thumbnails(small)
        answers["ood_distance"] = np.nan_to_num(known.detector.whole.distances(vectors), nan=np.inf)
        answers["outlier"] = np.array([bool(why) for why in known.detector.rejections(small)])
    return {name: answers[name] for name in names}


def differences(
    running: Mapping[str, Run],
    predictor: Predictor,
    images: Iterable[Float[np.ndarray, "C H W"]],
    names: Sequence[str],
    pixels: str,
) -> dict[str, dict[str, Difference]]:
    """Runtime -> output -> how far it is from the predictor's answers to images in [0, 1].

    `pixels` are those that the model takes, see `PIXELS`; the predictor is asked about the same rounded ones.
    """
    white = PIXELS[pixels]
    sums = {runtime: {name: _Sum(name) for name in names} for runtime in running}
    for image in images:
        rounded = image if pixels == "float32" else np.rint(image * white)
        right = expected(predictor, (rounded / white).astype(np.float32), names)
        for runtime, run in running.items():
            got = run(rounded[None].astype(pixels))
            for name in names:
                sums[runtime][name].add(got[name], right[name])
    return {
        runtime: {name: one.difference() for name, one in by_name.items()}
        for runtime, by_name in sums.items()
    }


def failures(found: Mapping[str, Difference], precision: str) -> list[str]:
    """What is over its tolerance, in words; empty where nothing is."""
    said = []
    for name, difference in found.items():
        limit = TOLERANCES[precision][name]
        if not difference.relative_l2 <= limit.relative_l2:
            said.append(f"{name}: relative L2 {difference.relative_l2:.2g}, at most {limit.relative_l2:g}")
        if not difference.apart <= limit.differing:
            said.append(f"{name}: {difference.differing} of {difference.of} differ")
    return said


class _Sum:
    """Differences of one output, added up."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.apart = self.whole = self.largest = self.worst = 0.0
        self.differing = self.of = self.both = self.inside = 0

    def add(self, got: np.ndarray, right: np.ndarray) -> None:
        if got.shape != right.shape:
            raise CheckpointError(
                f"{self.name}: expected the shape {right.shape}, got {got.shape}; "
                "the export went wrong: use the versions of constraints.txt."
            )
        first, second = (values if values.dtype == bool else values >= 0.5 for values in (got, right))
        self.differing += int((first != second).sum())
        self.of += right.size
        self.both += int((first & second).sum())
        self.inside += int(first.sum() + second.sum())
        g, r = got.astype(np.float64), right.astype(np.float64)
        known = np.isfinite(r)
        apart = np.zeros(r.shape)
        np.subtract(g, r, out=apart, where=known)
        apart[~known & (g != r)] = math.inf
        square, whole = float((apart**2).sum()), float((r[known] ** 2).sum())
        self.apart, self.whole = self.apart + square, self.whole + whole
        self.largest = max(self.largest, float(np.abs(apart).max(initial=0.0)))
        self.worst = max(self.worst, _ratio(square, whole))

    def difference(self) -> Difference:
        made = Difference(self.largest, _ratio(self.apart, self.whole), self.worst)
        if self.name not in DECIDED:
            return made
        dice = 2 * self.both / self.inside if self.inside else 1.0
        return replace(
            made, differing=self.differing, of=self.of, dice=dice if self.name == "masks" else None
        )


def _ratio(square: float, whole: float) -> float:
    """The relative L2 of two sums of squares."""
    if square == 0:
        return 0.0
    return math.sqrt(square / whole) if whole and not math.isnan(square) else math.inf
