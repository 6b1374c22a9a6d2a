"""labelme: one JSON file per image.

On disk   {"imagePath", "imageHeight", "imageWidth", "flags": {class: bool},
           "shapes": [{label, points, shape_type, mask}]}
Reads as  one structure per label; flags that are set are classes; a file without shapes says that there is nothing
"""

import base64
import math
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import PngImagePlugin

from multimix.data.annotations.annotation import (
    Annotation,
    Annotations,
    Shape,
    counted,
    ellipse,
    patch,
    polygon,
)
from multimix.data.annotations.parsed import broken, number


def is_labelme(content: Any) -> bool:
    """Whether parsed JSON is labelme's."""
    return isinstance(content, dict) and {"shapes", "imagePath"} <= set(content)


def read(file: Path, content: Mapping[str, Any]) -> Annotations:
    """What one labelme file says; ManifestError where it is damaged."""
    left: list[str] = []
    shapes = []
    with broken(file):
        for one in content["shapes"]:
            if (shape := _shape(one)) is not None:
                shapes.append(shape)
            else:
                left.append(str(one.get("shape_type")))
        labels = tuple(name for name, is_set in (content.get("flags") or {}).items() if is_set)
        size = number(content["imageHeight"]), number(content["imageWidth"])
        name = str(content["imagePath"]).replace("\\", "/")
    image = Annotation(name, size, tuple(shapes), labels, str(file))
    return Annotations([image], tuple(shape.name for shape in shapes), counted(left, str(file)), [file])


def _shape(one: Mapping[str, Any]) -> Shape | None:
    name, kind = str(one["label"]), one.get("shape_type") or "polygon"
    points = [(float(x), float(y)) for x, y in one["points"]]
    if kind == "polygon" and len(points) > 2:
        return Shape(name, polygon(points))
    if kind == "rectangle":
        (x1, y1), (x2, y2) = points
        return Shape(name, polygon([(x1, y1), (x2, y1), (x2, y2), (x1, y2)]))
    if kind == "circle":
        (x, y), (x2, y2) = points
        radius = math.hypot(x2 - x, y2 - y)
        return Shape(name, ellipse(x, y, radius, radius))
    if kind == "mask":
        with PngImagePlugin.PngImageFile(BytesIO(base64.b64decode(one["mask"]))) as picture:
            part = np.asarray(picture.convert("L")) > 0
        return Shape(name, patch(part, round(points[0][0]), round(points[0][1])))
    return None
