"""Label Studio's JSON export: polygons, brush strokes and ellipses; choices are classes.

On disk   [{"data": {"image": URL or path}, "annotations": [{"result": [{type, value, original_width, ...}]}]}]
Reads as  one structure per label; an annotation without a region says that there is nothing; a task without an
          annotation is not annotated; of several annotations of a task the last counts
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import numpy as np
from jaxtyping import Bool, UInt8

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


def is_label_studio(content: Any) -> bool:
    """Whether parsed JSON is Label Studio's."""
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and "data" in first and "annotations" in first


def read(file: Path, content: list[Any]) -> Annotations:
    """What an export says; ManifestError where it is damaged."""
    found = Annotations(files=[file])
    left: list[str] = []
    drawn: dict[str, None] = {}
    several = 0
    with broken(file):
        for task in content:
            given = [one for one in task["annotations"] if not one.get("was_cancelled")]
            several += len(given) > 1
            if not given:
                continue
            shapes: list[Shape] = []
            labels: list[str] = []
            size: tuple[int, int] | None = None
            for result in given[-1]["result"]:
                value, kind = result.get("value") or {}, result.get("type", "")
                if kind == "choices":
                    labels += map(str, value["choices"])
                    continue
                if "original_height" in result:
                    size = number(result["original_height"]), number(result["original_width"])
                made = _shapes(kind, value, size)
                left += [] if made else [kind]
                shapes += made
            drawn |= dict.fromkeys(shape.name for shape in shapes)
            name = _image(task["data"])
            found.images.append(Annotation(name, size, tuple(shapes), tuple(labels), str(file)))
    if several:
        found.notes.append(f"{file}: {several} images have several annotations, of which the last counts")
    found.notes += counted((kind for kind in left if kind), str(file))
    found.structures = tuple(drawn)
    return found


def _image(data: Mapping[str, Any]) -> str:
    """The path in a URL such as /data/local-files/?d=folder/x.png, or a path."""
    value = str(data.get("image") or next(v for v in data.values() if isinstance(v, str)))
    url = urlparse(value.replace("\\", "/"))
    inside = parse_qs(url.query).get("d")
    path = unquote(inside[0] if inside else url.path)
    head, dash, tail = path.rpartition("/")[2].partition("-")
    # Uploaded files have a number of eight hexadecimal digits before their name.
    if dash and len(head) == 8 and all(c in "0123456789abcdef" for c in head) and "/upload/" in path:
        return tail
    return path


def _shapes(kind: str, value: Mapping[str, Any], size: tuple[int, int] | None) -> list[Shape]:
    names = [str(name) for name in value.get(kind, ())]
    if size is None or not names:
        return []
    height, width = size
    if kind == "polygonlabels":
        paint = polygon([(x * width / 100, y * height / 100) for x, y in value["points"]])
    elif kind == "ellipselabels":
        x, y, rx, ry = (float(value[key]) / 100 for key in ("x", "y", "radiusX", "radiusY"))
        paint = ellipse(x * width, y * height, rx * width, ry * height, float(value.get("rotation", 0)))
    elif kind == "brushlabels" and value.get("format") == "rle":
        paint = patch(brush(value["rle"], size), 0, 0)
    else:
        return []
    return [Shape(name, paint) for name in names]


def brush(packed: list[int], size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """A brush stroke of `size` from Label Studio's run lengths of RGBA bytes; its opacity is the mask.

    A stream of bits: 32 of the number of bytes, 5 of the width of a byte less one, 4 times 4 of widths of run lengths
    less one; then runs: 1 bit whether all bytes of the run are one, 2 bits which width its length has, the length
    less one, and the one byte, or all of them.
    """
    bits = np.unpackbits(np.array(packed, np.uint8))
    place = 0

    def take(count: int) -> int:
        nonlocal place
        place += count
        return int("".join(map(str, bits[place - count : place])), 2)

    total, width = take(32), take(5) + 1
    lengths = [take(4) + 1 for _ in range(4)]
    values: UInt8[np.ndarray, " N"] = np.zeros(total, np.uint8)
    at = 0
    while at < total:
        alike = take(1)
        end = at + 1 + take(lengths[take(2)])
        if alike:
            values[at:end] = take(width)
        else:
            values[at:end] = [take(width) for _ in range(end - at)]
        at = end
    return values.reshape(*size, 4)[..., 3] > 127
