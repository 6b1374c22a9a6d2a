"""Whether an image looks like those that a model learned from, whole and the right way round.

Training images, small and standardised, are described by a Gaussian: probabilistic principal components [Tipping and
Bishop, J. R. Stat. Soc. B 61 (1999) 611-622]. Three questions follow, whatever the organ:

far     Is the image much further from the mean than validation images are? Pages, noise and most photographs are.
turned  Is it nearer to the mean once it is turned, turned over or inverted? What is most at home in another position
        lies in the wrong one; a picture of something else has no position, and one of fourteen mostly beats its own.
part    Is it nearer to cut-outs of training images, a second Gaussian, than validation images are? Or nearly so, and
        nearly in the wrong position too?

The limits come from validation images, with room for the films of other hospitals. Where images come in every
position, as under a microscope, validation images do too, and the second limit grows until it refuses nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from multimix.io.resize import resized

SIDE = 16
"""Side of a thumbnail in pixels; smaller, positions are told apart less surely, larger, hospitals are."""
COMPONENTS = 40
SHRINKAGE = 0.1
"""Share of the covariance that is replaced by its mean variance, so that no direction counts for too much."""
QUANTILE = 0.99
ROOM_FAR, ROOM_TURNED, ROOM_PART = 1.65, 1.1, 1.55
"""The limits are the validation images' 99 % quantiles times these: other hospitals' images lie further out."""
NEAR_BOTH = 0.65
"""Nearer to both of the last two limits than this product of its shares of them, an image is something else: films
come near one of them, photographs of anything near both."""
LEAST_TURNED = 1.05
"""No image is in the wrong position that is hardly nearer in another one; at 1 it is as near."""
BORDER = 0.15
"""Outer rows and columns that vary by less than this share of what the whole image does are borders."""
CUT_OUTS = 2
"""Cut-outs of each training image, each side 25 to 65 % of the image's."""
FEWEST_TRAINING, FEWEST_VALIDATION = 40, 20
"""Images below which nothing is refused."""

Vectors = Float[np.ndarray, "_ D"]

_POSITIONS = [(turns, mirrored, sign) for sign in (1, -1) for turns in range(4) for mirrored in (False, True)]
OTHER_POSITIONS = [position for position in _POSITIONS if (position[0], position[2]) != (0, 1)]
"""Quarter turns, mirrored, sign of the grey values; mirrored alone is left out: front and back views are alike."""


@dataclass(frozen=True)
class Gaussian:
    """Thumbnails of one kind."""

    mean: Float[np.ndarray, " D"]
    components: Float[np.ndarray, "k D"]
    """Orthonormal."""
    variances: Float[np.ndarray, " k"]
    residual: float
    """Variance of every direction outside the components."""

    @classmethod
    def fit(cls, vectors: Vectors) -> "Gaussian":
        """Describe at least four thumbnails that are not all alike."""
        mean, covariance = vectors.mean(axis=0), np.cov(vectors, rowvar=False)
        values, directions = np.linalg.eigh(covariance)
        values = (1 - SHRINKAGE) * np.maximum(values, 0) + SHRINKAGE * np.trace(covariance) / len(mean)
        kept = min(COMPONENTS, len(vectors) // 4)
        return cls(
            mean,
            directions[:, ::-1][:, :kept].T.copy(),
            values[::-1][:kept].copy(),
            float(values[:-kept].mean()),
        )

    def distances(self, vectors: Vectors) -> Float[np.ndarray, " N"]:
        """Mahalanobis distance from the mean; nan for an image without content."""
        offset = vectors - self.mean
        scores = offset @ self.components.T
        rest = np.maximum((offset**2).sum(axis=1) - (scores**2).sum(axis=1), 0)
        return np.sqrt((scores**2 / self.variances).sum(axis=1) + rest / self.residual)

    def pack(self, prefix: str) -> dict[str, np.ndarray]:
        """Arrays by name."""
        arrays = {"mean": self.mean, "components": self.components, "variances": self.variances}
        arrays["residual"] = np.array([self.residual])
        return {f"{prefix}.{name}": a.astype(np.float32) for name, a in arrays.items()}

    @classmethod
    def unpack(cls, prefix: str, tensors: Mapping[str, np.ndarray]) -> "Gaussian":
        """The inverse of `pack`; ValueError or LookupError where something is missing or misshapen."""
        mean, components, variances, residual = (
            tensors[f"{prefix}.{name}"].astype(np.float64)
            for name in ("mean", "components", "variances", "residual")
        )
        width, known = SIDE * SIDE, len(variances)
        if (mean.shape, components.shape, residual.shape) != ((width,), (known, width), (1,)):
            raise ValueError(f"{prefix}: shapes {mean.shape}, {components.shape}, {residual.shape}")
        if not (np.isfinite(mean).all() and (variances > 0).all() and residual[0] > 0):
            raise ValueError(f"{prefix}: variances that are not positive")
        return cls(mean, components, variances, float(residual[0]))


@dataclass(frozen=True)
class Detector:
    """What training images look like, and the limits for new ones."""

    whole: Gaussian
    cut_outs: Gaussian
    far: float
    """The largest distance from `whole`, in standard deviations, that is accepted."""
    turned: float
    """The largest ratio that is accepted of that distance to the one in the best other position."""
    part: float
    """The largest ratio that is accepted of that distance to the one from `cut_outs`."""

    def rejections(self, images: Float[np.ndarray, "B C H W"]) -> list[str]:
        """Per image (values in [0, 1]) why it is refused, in plain words; empty where it is accepted."""
        vectors = thumbnails(images)
        measured = zip(
            self.whole.distances(vectors),
            self._others(vectors),
            self.cut_outs.distances(vectors),
            strict=True,
        )
        return [self._reason(*one) for one in measured]

    def _reason(self, whole: float, others: Float[np.ndarray, " P"], cut_outs: float) -> str:
        if np.isnan(whole):
            return "is of one grey level throughout, so there is nothing to answer"
        best = int(others.argmin())
        turned = whole > self.turned * others[best]
        if turned and others[best] <= self.far:
            position = _in_words(*OTHER_POSITIONS[best])
            return f"looks most like the images that the model learned from when it is {position}"
        if turned or whole > self.far:
            return "does not look like the images that the model learned from"
        part = whole / (self.part * cut_outs)
        if part > 1 or part * whole > NEAR_BOTH * self.turned * others[best]:
            return "looks like a part of the images that the model learned from, or like something else"
        return ""

    def _others(self, vectors: Vectors) -> Float[np.ndarray, "N P"]:
        """Distances in every other position."""
        maps = vectors.reshape(len(vectors), SIDE, SIDE)
        moved = [
            sign * np.rot90(maps[:, :, ::-1] if mirrored else maps, turns, axes=(1, 2))
            for turns, mirrored, sign in OTHER_POSITIONS
        ]
        every = np.concatenate(moved).reshape(len(moved) * len(vectors), SIDE * SIDE)
        return self.whole.distances(every).reshape(len(moved), len(vectors)).T

    def pack(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Limits for a JSON header, and arrays by name."""
        limits = {"far": self.far, "turned": self.turned, "part": self.part}
        return limits, self.whole.pack("whole") | self.cut_outs.pack("cut_outs")

    @classmethod
    def unpack(cls, limits: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> "Detector":
        """The inverse of `pack`; ValueError, TypeError or LookupError where something is missing or misshapen."""
        far, turned, part = (float(limits[name]) for name in ("far", "turned", "part"))
        if not (far > 0 and turned > 0 and part > 0):
            raise ValueError(f"limits {far}, {turned}, {part}")
        return cls(Gaussian.unpack("whole", tensors), Gaussian.unpack("cut_outs", tensors), far, turned, part)


def _in_words(turns: int, mirrored: bool, sign: int) -> str:
    # What mends the image, as a person would say it; the grid is mirrored first, then turned to the left.
    place = {
        (0, False): "",
        (0, True): "",
        (1, False): "turned a quarter to the left",
        (1, True): "turned a quarter and mirrored",
        (2, False): "turned upside down",
        (2, True): "flipped top to bottom",
        (3, False): "turned a quarter to the right",
        (3, True): "turned a quarter and mirrored",
    }[turns, mirrored]
    tone = "" if sign > 0 else "inverted (black for white)"
    return " and ".join(word for word in (place, tone) if word)


def thumbnails(images: Float[np.ndarray, "B C H W"]) -> Float[np.ndarray, "B D"]:
    """Standardised SIDE x SIDE grey copies (B SIDE*SIDE), without black or white borders; nan where all is flat.

    Standardised, exposure and contrast do not matter; without borders, neither does how a film was framed.
    """
    rows = [_standardised(image.mean(axis=0)) for image in images]
    return np.stack(rows) if rows else np.zeros((0, SIDE * SIDE))


def _standardised(grey: Float[np.ndarray, "h w"]) -> Float[np.ndarray, " D"]:
    values = resized(_without_borders(grey)[None], (SIDE, SIDE)).flatten().astype(np.float64)
    deviation = values.std()
    return (values - values.mean()) / deviation if deviation > 1e-4 else np.full(values.shape, np.nan)


def _without_borders(grey: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "a b"]:
    least = BORDER * (grey.max() - grey.min())
    sides = []
    for axis in (1, 0):
        spread = grey.max(axis=axis) - grey.min(axis=axis)
        kept = np.flatnonzero(spread > least)
        if len(kept) < len(spread) // 4:  # hardly anything is left: then it is no border
            return grey
        sides.append(slice(int(kept[0]), int(kept[-1]) + 1))
    return grey[sides[0], sides[1]]


def cut_outs(
    images: Float[np.ndarray, "B C H W"], places: Float[np.ndarray, "N 2 2"]
) -> list[Float[np.ndarray, "1 C h w"]]:
    """CUT_OUTS boxes of every image, with sides of 25 to 65 % of the image's, anywhere in it.

    `places` (B * CUT_OUTS) draws in [0, 1): per box, height and width, the length of the side and where it starts.
    """
    boxes = []
    for image, place in zip(np.repeat(images, CUT_OUTS, axis=0), places, strict=True):
        corners = []
        for side, (length_drawn, start_drawn) in zip(image.shape[-2:], place.tolist(), strict=True):
            length = max(1, round(side * (0.25 + 0.4 * length_drawn)))
            start = int(start_drawn * (side - length + 1))
            corners.append(slice(start, start + length))
        boxes.append(image[None, :, corners[0], corners[1]])
    return boxes


def fit_detector(training: Vectors, parts: Vectors, validation: Sequence[Vectors]) -> Detector | None:
    """Describe the thumbnails of training images and of their cut-outs; validation thumbnails set the limits.

    `validation` is given by kind of image, and each limit is that of the kind that lies furthest out. None with fewer
    than FEWEST_TRAINING or FEWEST_VALIDATION images, or where they are all alike.
    """
    training, parts, *kinds = (v[~np.isnan(v).any(axis=1)] for v in (training, parts, *validation))
    kinds = [kind for kind in kinds if len(kind)]
    if min(len(training), len(parts)) < FEWEST_TRAINING or sum(map(len, kinds)) < FEWEST_VALIDATION:
        return None
    if min(training.var(axis=0).sum(), parts.var(axis=0).sum()) < 1e-6:
        return None
    learned = Detector(Gaussian.fit(training), Gaussian.fit(parts), far=1.0, turned=1.0, part=1.0)
    far, turned, part = [], [], []
    for kind in kinds:
        whole = learned.whole.distances(kind)
        far.append(np.quantile(whole, QUANTILE))
        turned.append(np.quantile(whole / learned._others(kind).min(axis=1), QUANTILE))
        part.append(np.quantile(whole / learned.cut_outs.distances(kind), QUANTILE))
    return Detector(
        learned.whole,
        learned.cut_outs,
        far=float(ROOM_FAR * max(far)),
        turned=float(max(LEAST_TURNED, ROOM_TURNED * max(turned))),
        part=float(ROOM_PART * max(part)),
    )
