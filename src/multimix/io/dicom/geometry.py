"""How the pixels of a DICOM image lie, as its header says: which way is up, and what the shutter hides."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageDraw

from multimix.types import Turn

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_MOST_HIDDEN = 0.95
"""A shutter that hides more than this share of the image is taken for a mistake."""


def turn(dataset: "Dataset") -> Turn:
    """What makes the image upright, from Patient Orientation (PS3.3 C.7.6.1.1.1).

    Upright is how a frontal chest is looked at: rows run to the patient's left, columns to the feet. An orientation
    that is missing, oblique or contradicts itself turns nothing.
    """
    try:
        rows, columns = (
            str(direction).strip().upper()[:1] for direction in dataset.get("PatientOrientation")
        )
    except (TypeError, ValueError):
        return Turn()
    transposed = rows in ("H", "F") and columns in ("L", "R")
    if transposed:
        rows, columns = columns, rows
    if rows not in ("L", "R") or columns not in ("H", "F"):
        return Turn()
    return Turn(transposed, mirrored=rows == "R", flipped=columns == "H")


def hidden(dataset: "Dataset", size: tuple[int, int]) -> Bool[np.ndarray, "H W"] | None:
    """Pixels outside the Display Shutter (PS3.3 C.7.6.11), None where there is none or its numbers make no sense.

    Several shapes leave open what lies within all of them. Edges are counted from 1, and are shown themselves.
    """
    try:
        shapes = [str(shape).strip().upper() for shape in _many(dataset.get("ShutterShape"))]
        shown = [_SHAPES[shape](dataset, size) for shape in shapes if shape in _SHAPES]
    except (AttributeError, TypeError, ValueError, IndexError):
        return None
    if not shown:
        return None
    outside = ~np.logical_and.reduce(shown)
    return None if outside.mean() > _MOST_HIDDEN else outside


def _rectangle(dataset: "Dataset", size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    left, right = int(dataset.ShutterLeftVerticalEdge), int(dataset.ShutterRightVerticalEdge)
    upper, lower = int(dataset.ShutterUpperHorizontalEdge), int(dataset.ShutterLowerHorizontalEdge)
    shown = np.zeros(size, dtype=bool)
    shown[max(upper - 1, 0) : max(lower, 0), max(left - 1, 0) : max(right, 0)] = True
    return shown


def _circle(dataset: "Dataset", size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    row, column = (int(number) for number in dataset.CenterOfCircularShutter)
    radius = int(dataset.RadiusOfCircularShutter)
    rows, columns = np.ogrid[1 : size[0] + 1, 1 : size[1] + 1]
    return np.asarray((rows - row) ** 2 + (columns - column) ** 2 <= radius**2)


def _polygon(dataset: "Dataset", size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    numbers = [int(number) for number in dataset.VerticesOfThePolygonalShutter]
    corners = [(column - 1, row - 1) for row, column in zip(numbers[::2], numbers[1::2], strict=True)]
    picture = Image.new("1", (size[1], size[0]))
    ImageDraw.Draw(picture).polygon(corners, fill=1)
    return np.asarray(picture)


_SHAPES = {"RECTANGULAR": _rectangle, "CIRCULAR": _circle, "POLYGONAL": _polygon}


def _many(value: object) -> list[object]:
    if value is None or isinstance(value, str):
        return [value] if value else []
    return list(value)  # type: ignore[call-overload]
