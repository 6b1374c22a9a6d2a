"""An answer as files: pictures, DICOM objects, its row of the table; and the folder that holds them."""

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from multimix.errors import ImageError, UsageError
from multimix.inference.predictor import Predictor
from multimix.io.inputs import Source
from multimix.io.limits import explained
from multimix.io.overlay import overlay
from multimix.io.writers import atomic_write, write_png
from multimix.types import Prediction, Radiograph

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from multimix.io.dicom.identity import Algorithm

FORMATS = ("png", "dicom")
"""What answers can be written as."""

FOLDERS = {"png": ("masks", "overlays"), "dicom": ("dicom",)}
OBJECTS = {"SEG": "seg", "SR": "sr", "OT": "overlay"}
"""Modality of an object of the answer -> how its file's name ends."""


@dataclass(frozen=True)
class Job:
    """One input and where its answer goes, relative to the output folder."""

    source: Source
    masks: Mapping[str, str]
    overlay: str
    objects: Mapping[str, str]
    """Modality -> file."""
    error: str = ""
    carried: Mapping[str, str] = field(default_factory=dict)
    """Cells of the table of answers that its manifest gives."""


@dataclass(frozen=True)
class Answer:
    """A job on its way through reading, computing and writing."""

    job: Job
    radiograph: Radiograph | None = None
    header: "Dataset | None" = None
    """The DICOM header that objects refer to."""
    prediction: Prediction | None = None
    status: str = "ok"
    error: str = ""
    """Why the answer is not there, or why a part of it is not."""


@dataclass(frozen=True)
class Writer:
    """Where and how answers are written."""

    out: Path
    formats: Collection[str]
    algorithm: "Algorithm | None" = None
    """Named in DICOM objects; None where none are written."""


def algorithm_for(predictor: Predictor, formats: Collection[str]) -> "Algorithm | None":
    """Whom DICOM objects name as their maker, None where none are asked for.

    UsageError for a format that there is none of, or that needs an extra which is not installed.
    """
    if not formats or not set(formats) <= set(FORMATS):
        raise UsageError(f"--format: expected {' or '.join(FORMATS)}, got {', '.join(formats) or 'none'}.")
    if "dicom" not in formats:
        return None
    try:
        from multimix.io.dicom.identity import algorithm_of
    except ImportError as error:
        raise UsageError(
            f"--format dicom: needs {error.name}, which is not installed; run `pip install 'multimix[dicom]'`."
        ) from error
    return algorithm_of(predictor.backend.digest)


def check_folder(out: Path, formats: Collection[str]) -> None:
    """UsageError where answers in `out` would take the place of files that are not ours."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: expected a folder to write to, found a file; choose another --out.")
    for name in (folder for kind in formats for folder in FOLDERS[kind]):
        if (out / name).exists() and not (out / "predictions.csv").exists():
            raise UsageError(
                f"{out / name}: exists but was not written by predict (no predictions.csv beside it) "
                "and might be overwritten; choose another --out."
            )


def clear_folder(out: Path, keep: Collection[Path]) -> int:
    """Remove the files that the table of an earlier call names, but those to `keep`; how many there were.

    Beside a table that does not name them, a mask or a DICOM object would be taken for an answer of this call.
    """
    try:
        with (out / "predictions.csv").open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, ValueError, csv.Error):
        return 0
    names = {
        n for row in rows for kind in ("mask", "overlay", "dicom") for n in (row.get(kind) or "").split("|")
    }
    folders = [(out / folder).resolve() for folders in FOLDERS.values() for folder in folders]
    removed = 0
    for file in ((out / name).resolve() for name in names if name):
        # A table may have been edited: nothing outside our own folders is touched.
        if file not in keep and any(folder in file.parents for folder in folders) and file.is_file():
            file.unlink()
            removed += 1
    return removed


def write_answer(writer: Writer, answer: Answer) -> dict[str, Any]:
    """Write the pictures and objects of one answer and return its row."""
    job, prediction, radiograph = answer.job, answer.prediction, answer.radiograph
    row: dict[str, Any] = {"path": job.source.name, "status": answer.status, "error": answer.error}
    row |= job.carried
    row["rejection"] = "" if prediction is None else prediction.rejection
    if prediction is None or radiograph is None or answer.status == "rejected":
        return row
    if answer.header is not None and writer.algorithm is not None:
        try:
            row["dicom"] = "|".join(_write_objects(writer.out, answer, writer.algorithm))
        except ImageError as error:
            row["error"] = str(error)
            if "png" not in writer.formats:
                return row | {"status": "failed"}
    if "png" in writer.formats:
        for structure, mask in prediction.masks.items():
            write_png(writer.out / job.masks[structure], mask.astype(np.uint8) * 255)
        picture = overlay(radiograph.pixels, prediction.masks, prediction.pictured_saliency)
        write_png(writer.out / job.overlay, picture)
        row |= {"mask": "|".join(job.masks.values()), "overlay": job.overlay}
    return row | _values(prediction)


def _write_objects(out: Path, answer: Answer, algorithm: "Algorithm") -> list[str]:
    """Write the DICOM objects and return their names."""
    from multimix.io.dicom.objects import answer_objects

    if answer.header is None or answer.prediction is None or answer.radiograph is None:
        return []
    with explained(answer.job.source.name):  # a header can be odd in more ways than were thought of
        objects = answer_objects(answer.header, answer.prediction, answer.radiograph.pixels, algorithm)
    names = [answer.job.objects[made.Modality] for made in objects]
    for name, made in zip(names, objects, strict=True):
        with atomic_write(out / name) as temporary:
            made.save_as(temporary, enforce_file_format=True)
    return names


def _values(prediction: Prediction) -> dict[str, Any]:
    """The cells that say what was found."""
    row: dict[str, Any] = {"predicted": prediction.predicted}
    if prediction.prediction_set:
        row["prediction_set"] = "|".join(prediction.prediction_set)
    row |= {f"p_{name}": round(p, 6) for name, p in prediction.probabilities.items()}
    row |= {f"threshold_{name}": round(t, 6) for name, t in prediction.thresholds.items()}
    for structure in prediction.masks:
        row[f"area_px_{structure}"] = prediction.area_px(structure)
        if (area := prediction.area_mm2(structure)) is not None:
            row[f"area_mm2_{structure}"] = round(area, 2)
            row["spacing_note"] = prediction.spacing_note
    if prediction.note:
        row["note"] = prediction.note
    return row


def columns_for(predictor: Predictor, formats: Collection[str], has_spacing: bool) -> list[str]:
    """The header of the table."""
    point = predictor.reliability.operating_point(len(predictor.spec.classes), predictor.spec.multi_label)
    kinds = ("p", "threshold") if point else ("p",)
    probabilities = [f"{kind}_{name}" for name in predictor.spec.classes for kind in kinds]
    units = ("px", "mm2") if has_spacing else ("px",)
    areas = [f"area_{unit}_{name}" for unit in units for name in predictor.spec.structures]
    note = ["spacing_note"] if has_spacing else []
    sets = ["prediction_set"] if predictor.reliability.quantiles else []
    objects = ["dicom"] if "dicom" in formats else []
    return [
        "path",
        "status",
        "predicted",
        *sets,
        *probabilities,
        *areas,
        *note,
        "mask",
        "overlay",
        *objects,
        "rejection",
        "error",
    ]
