"""COCO instances: polygons and run lengths, compressed or not, by pycocotools.

On disk   {"images": [{id, file_name, height, width}], "categories": [{id, name}],
           "annotations": [{image_id, category_id, segmentation}]}
Reads as  one structure per category; an image without annotations is not annotated
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from multimix.data.annotations.annotation import Annotation, Annotations, Shape, counted, from_runs
from multimix.data.annotations.parsed import broken, number
from multimix.errors import needs_extra


def is_coco(content: Any) -> bool:
    """Whether parsed JSON is COCO."""
    return isinstance(content, dict) and {"images", "annotations", "categories"} <= set(content)


def read(file: Path, content: Mapping[str, Any]) -> Annotations:
    """What a COCO file says; ManifestError where it is damaged, UsageError without the extra."""
    with broken(file):
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
        by_image: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
        for one in content["annotations"]:
            by_image[one["image_id"]].append(one)
        images, left = [], []
        used = {one["category_id"] for one in content["annotations"] if one.get("segmentation")}
        for image in content["images"]:
            size = number(image["height"]), number(image["width"])
            shapes = []
            for one in by_image[image["id"]]:
                if one.get("segmentation"):
                    shapes.append(Shape(names[one["category_id"]], _painter(one["segmentation"], size)))
                else:
                    left.append("box")
            if shapes:
                name = str(image["file_name"]).replace("\\", "/")
                images.append(Annotation(name, size, tuple(shapes), where=str(file)))
        structures = tuple(name for key, name in names.items() if key in used)
    return Annotations(images, structures, counted(left, str(file)), [file])


def _painter(segmentation: Any, size: tuple[int, int]) -> Callable[[np.ndarray], None]:
    with needs_extra("COCO annotations", "formats"):
        from pycocotools import mask as coco

    def paint(mask: Bool[np.ndarray, "H W"]) -> None:
        runs = segmentation
        if isinstance(runs, list):
            runs = coco.merge(coco.frPyObjects(runs, *size))
        counts = runs["counts"] if isinstance(runs["counts"], list) else _unpacked(runs["counts"])
        mask |= from_runs(counts).reshape(size, order="F")  # column by column

    return paint


def _unpacked(packed: str | bytes) -> list[int]:
    """COCO's packed run lengths: six bits a character, the lowest first, each run less the one two before it.

    pycocotools' own `decode` rests on a protocol of arrays that NumPy has given up.
    """
    counts: list[int] = []
    value = shift = 0
    for code in packed.encode() if isinstance(packed, str) else packed:
        bits = code - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:  # negative
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts
