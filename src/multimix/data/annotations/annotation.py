"""What an annotation program says of one image, whatever its format."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from multimix.errors import ManifestError

Points = Sequence[tuple[float, float]]
"""x and y in pixels from the upper left corner of the image, whose first pixel reaches from 0 to 1."""


@dataclass(frozen=True)
class Shape:
    """One thing that was drawn."""

    name: str
    """The structure."""
    paint: Callable[[Bool[np.ndarray, "H W"]], None]
    """Sets the pixels of the shape in a mask of the image's size."""


@dataclass(frozen=True)
class Annotation:
    """What is known of one image."""

    image: str
    """Its file as the annotation calls it, '/'-separated: a path or a bare name."""
    size: tuple[int, int] | None
    """Height and width in pixels; None where the annotation does not say."""
    shapes: tuple[Shape, ...] = ()
    labels: tuple[str, ...] = ()
    """Classes of the whole image."""
    where: str = ""
    """File of the annotation, for errors."""

    def mask(self, name: str, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
        """The union of the shapes of structure `name`, for an image of `size`; ManifestError where it is another."""
        if self.size is not None and self.size != size:
            raise ManifestError(
                f"{self.where}: image {self.image!r} is {self.size[1]} x {self.size[0]} there, the file is "
                f"{size[1]} x {size[0]}; use the images that were annotated"
            )
        found = np.zeros(size, bool)
        for shape in self.shapes:
            if shape.name == name:
                shape.paint(found)
        return found


@dataclass
class Annotations:
    """What a file or folder of annotations says."""

    images: list[Annotation] = field(default_factory=list)
    """Those that were looked at by the annotator; others may be missing."""
    structures: tuple[str, ...] = ()
    """All structures that the format declares, in order, drawn or not."""
    notes: list[str] = field(default_factory=list)
    """What was not read, a line each."""
    files: list[Path] = field(default_factory=list)
    """The files that were read."""

    def add(self, other: "Annotations") -> None:
        """Join what another file says."""
        self.images += other.images
        self.structures = tuple(dict.fromkeys((*self.structures, *other.structures)))
        self.notes += other.notes
        self.files += other.files


def polygon(points: Points) -> Callable[[Bool[np.ndarray, "H W"]], None]:
    """Paints the pixels whose centre lies in a polygon; ManifestError for fewer than three points is the reader's."""
    xs, ys = zip(*points, strict=True)

    def paint(mask: Bool[np.ndarray, "H W"]) -> None:
        from skimage.draw import polygon as inside

        # Centres of pixels are whole numbers there.
        rows, columns = inside(np.array(ys) - 0.5, np.array(xs) - 0.5, mask.shape)
        mask[rows, columns] = True

    return paint


def ellipse(x: float, y: float, rx: float, ry: float, turned: float = 0) -> Callable[[np.ndarray], None]:
    """Paints the pixels whose centre lies in an ellipse around (x, y), turned clockwise by so many degrees."""

    def paint(mask: Bool[np.ndarray, "H W"]) -> None:
        rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]] + 0.5
        angle = np.radians(turned)
        along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
        across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
        mask |= (along / rx) ** 2 + (across / ry) ** 2 <= 1

    return paint


def patch(part: Bool[np.ndarray, "h w"], left: int, top: int) -> Callable[[np.ndarray], None]:
    """Paints a piece of a mask whose upper left pixel lies at column `left` and row `top`."""

    def paint(mask: Bool[np.ndarray, "H W"]) -> None:
        height, width = mask.shape
        first, above = max(0, -left), max(0, -top)
        seen = part[above : max(above, height - top), first : max(first, width - left)]
        row, column = top + above, left + first
        mask[row : row + seen.shape[0], column : column + seen.shape[1]] |= seen

    return paint


def from_runs(runs: Sequence[int]) -> Bool[np.ndarray, " N"]:
    """Pixels from run lengths of background and of the structure in turn, background first."""
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs)


def counted(what: Iterable[str], where: str) -> list[str]:
    """A note of shapes that hold no area, by kind: 'x.json: 3 boxes and 2 points are no masks and were left out'."""
    from collections import Counter

    kinds = Counter(what)
    if not kinds:
        return []
    named = ", ".join(f"{number} of kind {kind}" for kind, number in sorted(kinds.items()))
    return [f"{where}: shapes that are no masks were left out: {named}"]
