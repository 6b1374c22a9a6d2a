"""YOLO segmentation: one text file per image with polygons in shares of its size.

On disk   labels/x.txt beside images/x.jpg, a line each 'class x1 y1 x2 y2 ...'; names in data.yaml or classes.txt
Reads as  one structure per class; an empty file says that the image shows none
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Bool

from multimix.data.annotations.annotation import Annotation, Annotations, Shape, counted, polygon
from multimix.data.annotations.parsed import broken, pairs
from multimix.errors import ManifestError


def find(folder: Path) -> list[Path]:
    """The label files below a folder: texts in folders called labels, or beside a list of classes."""
    listed = any(
        (folder / name).is_file() for name in ("classes.txt", "data.yaml", "dataset.yaml", "obj.names")
    )
    texts = sorted(file for file in folder.rglob("*.txt") if file.name != "classes.txt")
    inside = [file for file in texts if "labels" in file.relative_to(folder.parent).parts[:-1]]
    return inside or ([file for file in texts if _is_label(file)] if listed else [])


def _is_label(file: Path) -> bool:
    with file.open(encoding="utf-8", errors="replace") as stream:
        words = stream.readline().split()
    return not words or (words[0].isdigit() and len(words) > 4)


def names_of(folder: Path) -> Mapping[int, str]:
    """Class number -> name, from the file of names in a folder or above it; empty where there is none."""
    for place in (folder, folder.parent):
        for name in ("data.yaml", "dataset.yaml"):
            if (file := place / name).is_file():
                with broken(file):
                    return _numbered((yaml.safe_load(file.read_text("utf-8")) or {})["names"])
        for name in ("classes.txt", "obj.names", "labels/classes.txt"):
            if (file := place / name).is_file():
                return _numbered(
                    [line.strip() for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
                )
    return {}


def _numbered(names: Any) -> dict[int, str]:
    items = names.items() if isinstance(names, dict) else enumerate(names)
    return {int(number): str(name) for number, name in items}


def read(folder: Path, files: Sequence[Path], names: Mapping[int, str]) -> Annotations:
    """What the label files of a folder say; ManifestError for a line that is none, or a class without a name."""
    found = Annotations(structures=tuple(names.values()), files=list(files))
    left: list[str] = []
    for file in files:
        shapes = []
        for line, text in enumerate(file.read_text("utf-8-sig").splitlines(), start=1):
            with broken(file):
                words = text.split()
                if len(words) == 5:
                    left.append("box")
                elif words:
                    shapes.append(_shape(f"{file}, line {line}", words, names))
        parts = list(file.relative_to(folder).with_suffix("").parts)
        # images/train/x.jpg has its text in labels/train/x.txt.
        image = "/".join(part for part in parts if part != "labels")
        found.images.append(Annotation(image, None, tuple(shapes), where=str(file)))
    found.notes += counted(left, str(folder))
    return found


def _shape(where: str, words: list[str], names: Mapping[int, str]) -> Shape:
    if len(words) < 7 or len(words) % 2 == 0:
        raise ManifestError(
            f"{where}: {len(words)} numbers, expected a class and three or more points; export it as segmentation"
        )
    if int(words[0]) not in names:
        raise ManifestError(
            f"{where}: class {words[0]} has no name; name the classes in data.yaml or classes.txt beside it, or by "
            f"--structures NAME={words[0]}"
        )
    points = pairs([float(word) for word in words[1:]])

    def paint(mask: Bool[np.ndarray, "H W"]) -> None:
        height, width = mask.shape
        polygon([(x * width, y * height) for x, y in points])(mask)

    return Shape(names[int(words[0])], paint)
