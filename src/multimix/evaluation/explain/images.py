"""The images that a map is tested on, at the network's size, with the regions in which it may lie."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from multimix.data.cache import decode_record
from multimix.data.manifest import FINDING
from multimix.errors import ManifestError
from multimix.types import Record

STRUCTURES, BORDER = "structures", "border"
REGIONS = (STRUCTURES, FINDING, BORDER)
"""The union of the structures that the model segments; the disease, where the manifest says; a strip along the edge."""
STRIP = 0.05
"""Width of the border strip, in sides of the image."""


@dataclass(frozen=True)
class Sample:
    """Images of one source and split, decoded."""

    records: tuple[Record, ...]
    pixels: Float[np.ndarray, "N C H W"]
    """float32 in [0, 1]."""
    masks: Bool[np.ndarray, "N S H W"]
    """Reference masks of the structures."""
    has_masks: Bool[np.ndarray, " N"]
    """Where there is a reference mask of every structure."""
    findings: Bool[np.ndarray, "N H W"]
    """The disease; nothing where the manifest does not say where it is."""

    @property
    def patients(self) -> list[str]:
        """The patient of each image, also where one name occurs in several sources."""
        return [f"{record.source}/{record.patient or record.image.stem}" for record in self.records]

    def region(self, name: str) -> tuple[Bool[np.ndarray, "N H W"], Bool[np.ndarray, " N"]]:
        """The region of each image, and in which images it is known and neither empty nor everything."""
        if name == BORDER:
            inside = np.broadcast_to(border(*self.pixels.shape[2:]), self.findings.shape)
        else:
            inside = np.asarray(self.masks.any(axis=1)) if name == STRUCTURES else self.findings
        known = self.has_masks if name == STRUCTURES else np.full(len(inside), True)
        share = inside.mean(axis=(1, 2))
        return inside, known & (share > 0) & (share < 1)


def border(height: int, width: int) -> Bool[np.ndarray, "H W"]:
    """A strip along the edge, at least one pixel wide."""
    strip = max(1, round(STRIP * min(height, width)))
    inside = np.ones((height, width), bool)
    inside[strip:-strip, strip:-strip] = False
    return inside


def choose(
    records: Sequence[Record], structures: Sequence[str], most: int, seed: int = 0
) -> tuple[Record, ...]:
    """At most `most` of the records that have a mask of every structure or of the finding, drawn at random, in order.

    ManifestError where there is none.
    """
    fit = [r for r in records if (structures and set(structures) <= set(r.masks)) or FINDING in r.masks]
    if not fit:
        names = ", ".join(sorted({f"source {r.source!r} split {r.split!r}" for r in records})) or "no records"
        raise ManifestError(
            f"{names}: expected images with masks of {', '.join(structures) or 'a structure'} or with mask:{FINDING}, "
            f"found none among {len(records)}; a map is tested by where it lies. Choose another source or split."
        )
    if len(fit) <= most:
        return tuple(fit)
    drawn = np.random.default_rng(seed).choice(len(fit), most, replace=False)
    return tuple(fit[row] for row in sorted(drawn))


def decode(
    records: Sequence[Record],
    structures: Sequence[str],
    *,
    size: int,
    channels: int,
    progress: Callable[[int, int], None] | None = None,
) -> Sample:
    """Read the images and masks as training and the predictor do; ImageError where one cannot be read."""
    pixels, masks = [], []
    for done, record in enumerate(records, start=1):
        image, regions = decode_record(record, size, channels, (*structures, FINDING))
        pixels.append(image)
        masks.append(regions > 0)
        if progress is not None:
            progress(done, len(records))
    every = np.stack(masks)
    has_masks = [bool(structures) and set(structures) <= set(record.masks) for record in records]
    return Sample(
        records=tuple(records),
        pixels=(np.stack(pixels) / np.float32(255)).astype(np.float32),
        masks=every[:, :-1],
        has_masks=np.array(has_masks),
        findings=every[:, -1],
    )
