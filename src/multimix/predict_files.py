"""Files, folders, DICOMDIR and zip in; a table of answers, pictures and DICOM objects out."""

import csv
import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from multimix.errors import ImageError, MultimixError, UsageError
from multimix.io.dicom_kind import ON_REQUEST, OwnResult, reason_against
from multimix.io.limits import explained
from multimix.io.overlay import overlay
from multimix.io.studies import Source, find_sources
from multimix.io.writers import atomic_write, write_csv, write_png
from multimix.predict import Predictor
from multimix.types import Prediction, Radiograph

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from multimix.io.dicom_identity import Algorithm

_In = TypeVar("_In")
_Out = TypeVar("_Out")

FORMATS = ("png", "dicom")
"""What answers can be written as."""

FILES_AT_ONCE = 4
"""Radiographs of full size in each stage of `predict_files` (reading, computing, writing)."""

_FOLDERS = {"png": ("masks", "overlays"), "dicom": ("dicom",)}
_OBJECTS = {"SEG": "seg", "SR": "sr", "OT": "overlay"}
"""Modality of an object of the answer -> how its file's name ends."""


@dataclass(frozen=True)
class Summary:
    """What `predict_files` did."""

    done: int
    """Inputs that were answered."""
    failed: int
    """Inputs whose row in the table says why they were not."""
    skipped: int = 0
    """Inputs that are multimix's own results."""
    refused: int = 0
    """Inputs unlike what the model learned from; their row says in what way."""
    partly: int = 0
    """Answered inputs without DICOM objects that were asked for; their row says why."""
    replaced: int = 0
    """Files of an earlier call that were removed from the output folder."""


@dataclass(frozen=True)
class _Job:
    """One input and where its answer goes, relative to the output folder."""

    source: Source
    masks: Mapping[str, str]
    overlay: str
    objects: Mapping[str, str]
    """Modality -> file."""
    error: str = ""


@dataclass(frozen=True)
class _Answer:
    """A job on its way through reading, computing and writing."""

    job: _Job
    radiograph: Radiograph | None = None
    header: "Dataset | None" = None
    """The DICOM header that objects refer to."""
    prediction: Prediction | None = None
    status: str = "ok"
    error: str = ""
    """Why the answer is not there, or why a part of it is not."""


@dataclass(frozen=True)
class _Writer:
    """Where and how answers are written."""

    out: Path
    formats: Collection[str]
    algorithm: "Algorithm | None" = field(default=None)
    """Named in DICOM objects; None where none are written."""


def predict_files(
    predictor: Predictor,
    inputs: Sequence[Path],
    out: Path,
    *,
    formats: Collection[str] = ("png",),
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Answer files, folders (searched recursively), DICOMDIR and zip files into the folder `out`.

    out/predictions.csv has a row per input, in order: path, status ('ok', 'failed', 'refused' for images unlike
    those that the model learned from, or 'skipped' for our own results), predicted, prediction_set (where the model
    states a coverage), p_<class>, area_px_<structure> and, where the spacing is known, area_mm2_<structure> and
    spacing_note (both at the input's own size), mask, overlay, dicom, error. A cell with several names joins them
    by '|'. `formats` are of FORMATS:
      png    masks are 0 and 255 in `masks/<name>.png` (`<name>_<structure>.png` with several structures),
             pictures of the answer in `overlays/`
      dicom  `dicom/<name>_seg.dcm`, `_sr.dcm` and `_overlay.dcm`, see `io.dicom_objects`; for DICOM inputs only
    An input that cannot be answered is a row with its reason; the others go on. `force` answers DICOM images
    that do not call themselves frontal chest radiographs, and what would be refused; their row says so. The table
    is there from the start and, if the work is interrupted, holds the rows that are done; it takes the place of
    that of an earlier call, of which all files are removed. `progress` is told (done, total).

    Raises UsageError where there is nothing to answer, a format cannot be written, or the output would
    overwrite files that are not ours.
    """
    with ExitStack() as stack:
        writer = _Writer(out, formats, _algorithm(predictor, formats))
        _check_out(out, formats)
        jobs = _jobs(predictor, inputs, out, stack)
        rows: list[dict[str, Any]] = []
        table, columns = out / "predictions.csv", _columns(predictor, formats, has_spacing=False)
        replaced = _clear(out, keep={job.source.path.resolve() for job in jobs})
        write_csv(table, [], columns)
        readers, writers = (stack.enter_context(ThreadPoolExecutor(2)) for _ in range(2))
        try:
            read = _ahead(readers, partial(_read, predictor.channels, formats, force), jobs)
            answers = _answers(predictor, _of_one_image(read, formats), force)
            for row in _ahead(writers, partial(_write, writer), answers):
                rows.append(row)
                if progress is not None:
                    progress(len(rows), len(jobs))
        finally:
            has_spacing = any(key.startswith("area_mm2_") for row in rows for key in row)
            write_csv(table, rows, _columns(predictor, formats, has_spacing))
    count = Counter(row["status"] for row in rows)
    partly = sum(row["status"] == "ok" and "dicom" in formats and not row.get("dicom") for row in rows)
    return Summary(count["ok"], count["failed"], count["skipped"], count["refused"], partly, replaced)


def _algorithm(predictor: Predictor, formats: Collection[str]) -> "Algorithm | None":
    if not formats or not set(formats) <= set(FORMATS):
        raise UsageError(f"--format: expected {' or '.join(FORMATS)}, got {', '.join(formats) or 'none'}.")
    if "dicom" not in formats:
        return None
    try:
        from multimix.io.dicom_identity import algorithm_of
    except ImportError as error:
        raise UsageError(
            f"--format dicom: needs {error.name}, which is not installed; run `pip install 'multimix[dicom]'`."
        ) from error
    return algorithm_of(predictor.model.state_dict())


def _check_out(out: Path, formats: Collection[str]) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: expected a folder to write to, found a file; choose another --out.")
    for name in (folder for kind in formats for folder in _FOLDERS[kind]):
        if (out / name).exists() and not (out / "predictions.csv").exists():
            raise UsageError(
                f"{out / name}: exists but was not written by predict (no predictions.csv beside it) "
                "and might be overwritten; choose another --out."
            )


def _clear(out: Path, keep: Collection[Path]) -> int:
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
    folders = [(out / folder).resolve() for folders in _FOLDERS.values() for folder in folders]
    removed = 0
    for file in ((out / name).resolve() for name in names if name):
        # A table may have been edited: nothing outside our own folders is touched.
        if file not in keep and any(folder in file.parents for folder in folders) and file.is_file():
            file.unlink()
            removed += 1
    return removed


def _jobs(predictor: Predictor, inputs: Sequence[Path], out: Path, stack: ExitStack) -> list[_Job]:
    """The inputs in order, each once, with output names that no other input has."""
    ours = [(out / name).resolve() for names in _FOLDERS.values() for name in names]
    found: dict[Source, str] = {}
    empty = 0
    for path in map(Path, inputs):
        try:
            sources = find_sources(path, stack)
            if path.is_dir():  # what an earlier call wrote is no input
                sources = [s for s in sources if not any(o in s.path.resolve().parents for o in ours)]
            error = "" if sources else f"{path}: no image in this folder but those that predict wrote"
        except ImageError as reason:
            sources, error = [], str(reason)
        if error:
            empty += 1
            found.setdefault(Source(path, PurePosixPath(path.name)), error)
        for source in sources:
            found.setdefault(source, "")
    if len(found) == empty:
        names = ", ".join(str(path) for path in inputs) or "no input"
        raise UsageError(f"No image to answer: found none in {names}. Name image files or a folder of them.")
    taken: set[str] = set()
    return [_job(predictor, source, error, taken) for source, error in found.items()]


def _job(predictor: Predictor, source: Source, error: str, taken: set[str]) -> _Job:
    """Name the outputs after the source without its suffix, numbered from 2 where a name is taken already."""
    place = source.place
    # File systems take 255 bytes; a structure, a number and a suffix are still to come.
    stem = os.fsencode(place.stem)[:120].decode("utf-8", "ignore") or "image"
    structures = predictor.structures
    number = 1
    while True:
        name = str(place.parent / (stem if number == 1 else f"{stem}_{number}"))
        masks = {s: f"masks/{name}{'' if len(structures) == 1 else f'_{s}'}.png" for s in structures}
        objects = {modality: f"dicom/{name}_{kind}.dcm" for modality, kind in _OBJECTS.items()}
        # Compared without case, as some file systems do.
        names = {n.casefold() for n in (*masks.values(), f"overlays/{name}.png", *objects.values())}
        if not names & taken:
            taken |= names
            return _Job(source, masks, f"overlays/{name}.png", objects, error)
        number += 1


def _read(channels: int, formats: Collection[str], force: bool, job: _Job) -> _Answer:
    """The radiograph, or why there is none."""
    if job.error:
        return _Answer(job, status="failed", error=job.error)
    try:
        radiograph = job.source.read(channels, force)
        header = job.source.header() if "dicom" in formats or force else None
    except OwnResult as error:
        return _Answer(job, status="skipped", error=str(error))
    except MultimixError as error:
        return _Answer(job, status="failed", error=str(error))
    if "dicom" not in formats or header is not None:
        against = reason_against(header) if header is not None else ""
        return _Answer(job, radiograph, header, error=_on_request(job, against) if against else "")
    reason = (
        f"{job.source.name}: is not a DICOM file, so no DICOM objects can refer to it; "
        "use --format png, or give the DICOM original"
    )
    if len(formats) == 1:
        return _Answer(job, status="failed", error=reason)
    return _Answer(job, radiograph, error=reason)


def _on_request(job: _Job, reason: str) -> str:
    return f"{job.source.name}: {ON_REQUEST}: {reason}"


def _of_one_image(read: Iterable[_Answer], formats: Collection[str]) -> Iterator[_Answer]:
    """Without a header where another image had its SOP Instance UID: its objects would have those of the other."""
    seen: dict[str, tuple[str, bytes]] = {}
    for answer in read:
        uid = str(answer.header.get("SOPInstanceUID") or "") if answer.header is not None else ""
        if not uid or answer.radiograph is None or "dicom" not in formats:
            yield answer
            continue
        digest = hashlib.sha256(answer.radiograph.pixels.tobytes()).digest()
        name, first = seen.setdefault(uid, (answer.job.source.name, digest))
        if digest == first:
            yield answer
            continue
        reason = (
            f"{answer.job.source.name}: has the SOP Instance UID of {name}, another image, so its DICOM objects would "
            "take the place of those; give each image a UID of its own, or use --format png"
        )
        alone = len(formats) == 1
        yield replace(
            answer,
            radiograph=None if alone else answer.radiograph,
            header=None,
            status="failed" if alone else "ok",
            error=reason,
        )


def _answers(predictor: Predictor, read: Iterable[_Answer], force: bool) -> Iterator[_Answer]:
    """Add the predictions, in order, or why there is none."""
    iterator = iter(read)
    while batch := list(islice(iterator, FILES_AT_ONCE)):
        radiographs = [a.radiograph for a in batch if a.radiograph is not None]
        predictions = predictor.predict_radiographs(radiographs, FILES_AT_ONCE)
        for answer in batch:
            prediction = None if answer.radiograph is None else next(predictions)
            if prediction is None or not prediction.refusal:
                yield replace(answer, prediction=prediction)
            elif force:
                reason = answer.error or _on_request(answer.job, prediction.refusal)
                yield replace(answer, prediction=prediction, error=reason)
            else:
                reason = f"{answer.job.source.name}: {prediction.refusal}; check the image, or use --force"
                yield replace(answer, status="refused", error=reason)


def _write(writer: _Writer, answer: _Answer) -> dict[str, Any]:
    """Write the pictures and objects of one answer and return its row."""
    job, prediction, radiograph = answer.job, answer.prediction, answer.radiograph
    row: dict[str, Any] = {"path": job.source.name, "status": answer.status, "error": answer.error}
    if prediction is None or radiograph is None:
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
        picture = overlay(radiograph.pixels, prediction.masks, prediction.saliency)
        write_png(writer.out / job.overlay, picture)
        row |= {"mask": "|".join(job.masks.values()), "overlay": job.overlay}
    return row | _values(prediction)


def _write_objects(out: Path, answer: _Answer, algorithm: "Algorithm") -> list[str]:
    """Write the DICOM objects and return their names."""
    from multimix.io.dicom_objects import answer_objects

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
    for structure in prediction.masks:
        area = prediction.area_px(structure)
        row[f"area_px_{structure}"] = area
        if prediction.spacing is not None:
            row[f"area_mm2_{structure}"] = round(area * prediction.spacing[0] * prediction.spacing[1], 2)
            row["spacing_note"] = prediction.spacing_note
    return row


def _columns(predictor: Predictor, formats: Collection[str], has_spacing: bool) -> list[str]:
    probabilities = [f"p_{name}" for name in predictor.classes]
    units = ("px", "mm2") if has_spacing else ("px",)
    areas = [f"area_{unit}_{name}" for unit in units for name in predictor.structures]
    note = ["spacing_note"] if has_spacing else []
    sets = ["prediction_set"] if predictor.has_sets else []
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
        "error",
    ]


def _ahead(pool: ThreadPoolExecutor, function: Callable[[_In], _Out], items: Iterable[_In]) -> Iterator[_Out]:
    """`map` in threads, in order, at most FILES_AT_ONCE items ahead of the consumer."""
    waiting: deque[Future[_Out]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > FILES_AT_ONCE:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
