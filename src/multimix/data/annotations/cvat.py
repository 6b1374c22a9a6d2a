"""CVAT for images 1.1: polygons, ellipses and painted masks; tags are classes.

On disk   <annotations><image name width height> <polygon label points="x,y;x,y"/> <mask label rle left top width
          height/> <tag label/> </image></annotations>
Reads as  one structure per label that is drawn; an image without a shape is not annotated
"""

from pathlib import Path
from xml.etree import ElementTree

from multimix.data.annotations.annotation import (
    Annotation,
    Annotations,
    Shape,
    counted,
    ellipse,
    from_runs,
    patch,
    polygon,
)
from multimix.data.annotations.parsed import broken, number


def is_cvat(root: ElementTree.Element) -> bool:
    """Whether parsed XML is CVAT's."""
    return root.tag == "annotations" and root.find("image") is not None


def read(file: Path, root: ElementTree.Element) -> Annotations:
    """What a CVAT file says; ManifestError where it is damaged."""
    found = Annotations(files=[file])
    left: list[str] = []
    drawn: dict[str, None] = {}
    with broken(file):
        for image in root.iter("image"):
            shapes, labels = [], []
            for element in image:
                if element.tag == "tag":
                    labels.append(element.attrib["label"])
                elif (shape := _shape(element)) is not None:
                    shapes.append(shape)
                    drawn[shape.name] = None
                else:
                    left.append(element.tag)
            if shapes or labels:
                size = number(image.attrib["height"]), number(image.attrib["width"])
                name = image.attrib["name"].replace("\\", "/")
                found.images.append(Annotation(name, size, tuple(shapes), tuple(labels), str(file)))
    found.structures, found.notes = tuple(drawn), counted(left, str(file))
    return found


def _shape(element: ElementTree.Element) -> Shape | None:
    of = element.attrib
    if element.tag == "polygon":
        points = [(float(x), float(y)) for x, y in (one.split(",") for one in of["points"].split(";"))]
        return Shape(of["label"], polygon(points))
    if element.tag == "ellipse":
        x, y, rx, ry = (float(of[key]) for key in ("cx", "cy", "rx", "ry"))
        return Shape(of["label"], ellipse(x, y, rx, ry, float(of.get("rotation", 0))))
    if element.tag == "mask":
        left, top, width, height = (number(of[key]) for key in ("left", "top", "width", "height"))
        runs = [int(run) for run in of["rle"].split(",")]
        return Shape(of["label"], patch(from_runs(runs).reshape(height, width), left, top))
    return None
