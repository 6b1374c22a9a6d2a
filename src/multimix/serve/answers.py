"""From the model's answer to what is sent: JSON, PNG, DICOM, or a zip of several."""

import base64
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
from jaxtyping import UInt8
from PIL import Image

from multimix.errors import ImageError
from multimix.inference.stability import STABILITY, Result
from multimix.io.dicom.objects import Algorithm, answer_objects
from multimix.io.dicom.read import read_header
from multimix.io.limits import explained
from multimix.io.overlay import overlay
from multimix.io.readers import is_dicom
from multimix.serve.decode import NAME, sentence
from multimix.serve.patient import header_of
from multimix.serve.wanted import Format, Wanted
from multimix.types import Prediction, Radiograph

NOTICE = "Not for clinical use."


@dataclass(frozen=True)
class Answer:
    """What one image gets."""

    line: Mapping[str, Any]
    """Its object in the JSON."""
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    """File name -> content, for formats other than JSON."""

    @property
    def ok(self) -> bool:
        """Whether the image was answered."""
        return self.line["status"] == "ok"


def failed(name: str, reason: str) -> Answer:
    """The answer for a file that cannot be used."""
    return Answer({"name": name, "status": "failed", "error": reason})


def rejected(
    name: str, data: bytes, radiograph: Radiograph, prediction: Prediction, wanted: Wanted
) -> Answer:
    """The answer for an image that the model is not for: why, and what the client wants to see of the image."""
    reason = sentence(prediction.rejection)
    error = f"{reason}; check the image, or use force=true"
    line = {"name": name, "status": "rejected", "rejection": reason, "error": error}
    return Answer(line | _about_image(data, radiograph, wanted))


def build(
    name: str, data: bytes, radiograph: Radiograph, result: Result, wanted: Wanted, algorithm: Algorithm
) -> Answer:
    """The answer for one image. Raises ImageError where it cannot have the format that is wanted."""
    prediction = result.prediction
    line: dict[str, Any] = {"name": name, "status": "ok"}
    if prediction.rejected:
        line["rejection"] = sentence(prediction.rejection)
    line |= _about_image(data, radiograph, wanted)
    if prediction.probabilities:
        line["predicted"] = prediction.predicted
        line["decision"] = prediction.decision
        if prediction.prediction_set:
            line["prediction_set"] = list(prediction.prediction_set)
        line["probabilities"] = {k: round(p, 6) for k, p in prediction.probabilities.items()}
        if prediction.thresholds:
            line["thresholds"] = {k: round(t, 6) for k, t in prediction.thresholds.items()}
    if result.p_range is not None:
        line["p_range"] = {k: [round(low, 6), round(high, 6)] for k, (low, high) in result.p_range.items()}
        line["p_range_of"] = STABILITY
    line |= _areas(prediction)
    if prediction.note:
        line["note"] = sentence(prediction.note)
    if wanted.format == "json":
        return Answer(line | _pictured(radiograph, prediction, wanted))
    return Answer(line, _pictures(data, radiograph, prediction, wanted.format, algorithm))


def _about_image(data: bytes, radiograph: Radiograph, wanted: Wanted) -> dict[str, Any]:
    """Size, and header and values where they are wanted."""
    about: dict[str, Any] = dict(zip(("height", "width"), radiograph.size, strict=True))
    if wanted.header and (header := header_of(data)):
        about["header"] = header
    if wanted.format == "json" and wanted.image:
        about["image"] = _base64(grey(radiograph))
    if wanted.format == "json" and wanted.pixels:
        about["pixels"] = _values(radiograph)
    return about


def _values(radiograph: Radiograph) -> dict[str, Any]:
    """The values as a PNG: RGB, grey, or grey of 16 bits, for which the high bytes stand left of the low ones.

    Browsers show 16-bit PNGs in 8 bits, so the two halves of a value travel side by side.
    """
    if len(radiograph.pixels) == 3:
        return {"bits": 8, "png": _base64(_levels(radiograph.pixels).transpose(1, 2, 0))}
    values = radiograph.pixels[0] * np.float32(255)
    if (abs(values - np.rint(values)) < 1e-3).all():
        return {"bits": 8, "png": _base64(np.rint(values).astype(np.uint8))}
    fine = np.rint(radiograph.pixels[0].astype(np.float64) * 65535).astype(np.uint16)
    halves = [(fine >> 8).astype(np.uint8), (fine & 255).astype(np.uint8)]
    return {"bits": 16, "png": _base64(np.concatenate(halves, axis=1))}


def _areas(prediction: Prediction) -> dict[str, Any]:
    if not prediction.masks:
        return {}
    areas: dict[str, Any] = {"area_px": {name: prediction.area_px(name) for name in prediction.masks}}
    if prediction.spacing is not None:
        known = ((name, prediction.area_mm2(name)) for name in prediction.masks)
        areas["area_mm2"] = {name: round(area, 2) for name, area in known if area is not None}
        areas["spacing_mm"] = list(prediction.spacing)
        areas["spacing_note"] = prediction.spacing_note
    return areas


def _pictured(radiograph: Radiograph, prediction: Prediction, wanted: Wanted) -> dict[str, Any]:
    pictures: dict[str, Any] = {}
    if wanted.mask and prediction.masks:
        pictures["mask"] = {name: _base64(_levels(mask)) for name, mask in prediction.masks.items()}
    if wanted.saliency and prediction.saliency is not None:
        pictures["saliency"] = _base64(_levels(prediction.saliency))
    if wanted.overlay:
        pictures["overlay"] = _base64(overlay(radiograph.pixels, prediction.masks, prediction.saliency))
    return pictures


def _pictures(
    data: bytes, radiograph: Radiograph, prediction: Prediction, kind: Format, algorithm: Algorithm
) -> dict[str, bytes]:
    if kind == "mask":
        masks = prediction.masks.items()
        return {f"mask_{_plain(structure)}.png": png(_levels(mask)) for structure, mask in masks}
    if kind == "saliency" and prediction.saliency is not None:
        return {"saliency.png": png(_levels(prediction.saliency))}
    if kind == "dicom":
        return _dicom(data, radiograph, prediction, algorithm)
    return {"overlay.png": png(overlay(radiograph.pixels, prediction.masks, prediction.saliency))}


def _dicom(
    data: bytes, radiograph: Radiograph, prediction: Prediction, algorithm: Algorithm
) -> dict[str, bytes]:
    if not is_dicom(data[:132]):
        raise ImageError(
            "image: a DICOM answer needs a DICOM image to refer to; send one, or ask for PNG or JSON"
        )
    files = {}
    with explained(NAME):
        source = read_header(BytesIO(data), NAME)
        objects = answer_objects(source, prediction, radiograph.pixels, algorithm)
        for number, dataset in enumerate(objects, start=1):
            buffer = BytesIO()
            pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
            files[f"{number}_{dataset.Modality.lower()}.dcm"] = buffer.getvalue()
    return files


def zipped(answers: Sequence[Answer], document: Mapping[str, Any]) -> bytes:
    """A zip with answers.json and one folder per image, named 1, 2, ... and never after the client's files."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("answers.json", json.dumps(document, indent=2))
        for number, answer in enumerate(answers, start=1):
            for name, content in answer.pictures.items():
                archive.writestr(f"{number}/{name}", content)
    return buffer.getvalue()


def grey(radiograph: Radiograph) -> UInt8[np.ndarray, "H W"]:
    """The radiograph as the pictures show it: grey, stretched so that dark exposures are legible."""
    return overlay(radiograph.pixels, {}, None)[..., 0]


def png(pixels: UInt8[np.ndarray, "..."]) -> bytes:
    """(H W) or (H W 3) as a PNG file."""
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()


def _levels(values: np.ndarray) -> UInt8[np.ndarray, "..."]:
    """[0, 1] or False and True to 0 to 255."""
    return np.rint(values * np.float32(255)).astype(np.uint8)


def _base64(pixels: UInt8[np.ndarray, "..."]) -> str:
    return base64.b64encode(png(pixels)).decode("ascii")


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)
