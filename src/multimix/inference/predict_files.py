"""Files, folders, DICOMDIR and zip in; a table of answers, pictures and DICOM objects out."""

import os
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np

from multimix.data.manifest import all_cells, read_manifest
from multimix.errors import ImageError, ManifestError, MultimixError, UsageError
from multimix.inference.answer_files import (
    FOLDERS,
    OBJECTS,
    Answer,
    Job,
    Writer,
    algorithm_for,
    check_folder,
    clear_folder,
    columns_for,
    write_answer,
)
from multimix.inference.predictor import Predictor
from multimix.io.dicom.header import ON_REQUEST, OwnResult
from multimix.io.endings import ending
from multimix.io.endings import stem as stem_of
from multimix.io.inputs import Source, find_sources
from multimix.io.readers import other_kinds
from multimix.io.writers import write_csv
from multimix.types import Radiograph

_In = TypeVar("_In")
_Out = TypeVar("_Out")

TABLES = (".csv", ".tsv", ".parquet", ".xlsx")
"""Inputs that are manifests."""
FILES_AT_ONCE = 4
"""Radiographs of full size in each stage of `predict_files` (reading, computing, writing)."""


@dataclass(frozen=True)
class Summary:
    """What `predict_files` did."""

    done: int
    """Inputs that were answered."""
    failed: int
    """Inputs whose row in the table says why they were not."""
    skipped: int = 0
    """Inputs that are multimix's own results."""
    rejected: int = 0
    """Inputs that the model is not for; their row says why."""
    partly: int = 0
    """Answered inputs without DICOM objects that were asked for; their row says why."""
    replaced: int = 0
    """Files of an earlier call that were removed from the output folder."""
    passed_over: tuple[str, ...] = ()
    """Per input folder with files of other kinds, how many of which."""
    reasons: tuple[str, ...] = field(default=(), compare=False)
    """Why inputs failed, then why others were rejected or lack DICOM objects that were asked for."""


def predict_files(
    predictor: Predictor,
    inputs: Sequence[Path],
    out: Path,
    *,
    formats: Collection[str] = ("png",),
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Answer files, folders (searched recursively), DICOMDIR, zip files and manifests into the folder `out`.

    out/predictions.csv has a row per input, in order: path, status ('ok', 'failed', 'rejected' for images that the
    model is not for, or 'skipped' for our own results), predicted, prediction_set (where the model states a
    coverage), p_<class> and, where there is one, threshold_<class>, from which the class is decided,
    area_px_<structure> and, where the spacing is known, area_mm2_<structure> and spacing_note (both at the input's
    own size), mask, overlay, dicom, rejection (the reason, also of what was answered by `force`), error, and, where
    there is one, note: what a DICOM header says that was not followed. A cell with several names joins them by '|'.
    `formats` are of `answer_files.FORMATS`:
      png    masks are 0 and 255 in `masks/<name>.png` (`<name>_<structure>.png` with several structures),
             pictures of the answer in `overlays/`
      dicom  `dicom/<name>_seg.dcm`, `_sr.dcm` and `_overlay.dcm`, see `io.dicom_objects`; for DICOM inputs only
    A table among the inputs is a manifest: its images are answered, and its cells carried over as `manifest:<column>`.
    An input that cannot be answered is a row with its reason; the others go on. `force` answers DICOM images
    that do not call themselves frontal chest radiographs, and images unlike those learned from. The table
    is there from the start and, if the work is interrupted, holds the rows that are done; it takes the place of
    that of an earlier call, of which all files are removed. `progress` is told (done, total).

    Raises UsageError where there is nothing to answer, a format cannot be written, or the output would
    overwrite files that are not ours.
    """
    with ExitStack() as stack:
        writer = Writer(out, formats, algorithm_for(predictor, formats))
        check_folder(out, formats)
        jobs = _jobs(predictor, inputs, out, stack)
        rows: list[dict[str, Any]] = []
        table, columns = out / "predictions.csv", columns_for(predictor, formats, has_spacing=False)
        replaced = clear_folder(out, keep={job.source.path.resolve() for job in jobs})
        passed_over = _passed_over(inputs, {table} | {job.source.path for job in jobs})
        write_csv(table, [], columns)
        readers, writers = (stack.enter_context(ThreadPoolExecutor(2)) for _ in range(2))
        try:
            read = _ahead(readers, partial(_read, predictor.spec.channels, formats), jobs)
            answers = _answers(
                predictor, _of_one_image(read, predictor.spec.channels, len(formats) == 1), force
            )
            for row in _ahead(writers, partial(write_answer, writer), answers):
                rows.append(row)
                if progress is not None:
                    progress(len(rows), len(jobs))
        finally:
            has_spacing = any(key.startswith("area_mm2_") for row in rows for key in row)
            write_csv(table, rows, columns_for(predictor, formats, has_spacing))
    count = Counter(row["status"] for row in rows)
    partly = sum(row["status"] == "ok" and "dicom" in formats and not row.get("dicom") for row in rows)
    told = [row for row in rows if row["status"] != "skipped" and (row["error"] or row["rejection"])]
    reasons = tuple(map(_told, sorted(told, key=lambda row: row["status"] != "failed")))
    return Summary(
        count["ok"],
        count["failed"],
        count["skipped"],
        count["rejected"],
        partly,
        replaced,
        passed_over,
        reasons,
    )


def _told(row: Mapping[str, Any]) -> str:
    """Why an input has no answer, or not all of one, or one that speaks against itself."""
    return row["error"] or f"{row['path']}: {ON_REQUEST}: {row['rejection']}"


def _passed_over(inputs: Sequence[Path], images: Collection[Path]) -> tuple[str, ...]:
    others = {folder: other_kinds(folder, images) for folder in map(Path, inputs) if folder.is_dir()}
    return tuple(f"{folder}: {what}" for folder, what in others.items() if what)


def _jobs(predictor: Predictor, inputs: Sequence[Path], out: Path, stack: ExitStack) -> list[Job]:
    """The inputs in order, each once, with output names that no other input has."""
    ours = [(out / name).resolve() for names in FOLDERS.values() for name in names]
    found: dict[Source, str] = {}
    carried: dict[Path, Mapping[str, str]] = {}
    empty = 0
    for path in map(Path, inputs):
        try:
            if path.is_file() and ending(path) in TABLES:
                rows = _of_manifest(path)
                carried |= {source.path: cells for source, cells in rows.items()}
                sources = list(rows)
            else:
                sources = find_sources(path, stack)
            if path.is_dir():  # what an earlier call wrote is no input
                sources = [s for s in sources if not any(o in s.path.resolve().parents for o in ours)]
            error = "" if sources else f"{path}: no image in this folder but those that predict wrote"
        except (ImageError, ManifestError) as reason:
            if len(inputs) == 1 and isinstance(reason, ManifestError):
                raise
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
    jobs = [_job(predictor, source, error, taken) for source, error in found.items()]
    return [replace(job, carried=carried.get(job.source.path, {})) for job in jobs]


def _of_manifest(path: Path) -> dict[Source, Mapping[str, str]]:
    """The images of a manifest, and their other cells by the names that they have in the table of answers.

    Raises ManifestError for a row that cannot be read.
    """
    places = {
        record.image: record.image.relative_to(os.path.abspath(path.parent)) for record in read_manifest(path)
    }
    found: dict[Source, Mapping[str, str]] = {}
    for image, cells in all_cells(path):
        file = Path(os.path.normpath(image))
        found[Source(file, PurePosixPath(places.get(file, Path(file.name)).as_posix()))] = {
            f"manifest:{name}": cell for name, cell in cells.items()
        }
    return found


def _job(predictor: Predictor, source: Source, error: str, taken: set[str]) -> Job:
    """Name the outputs after the source without its suffix, numbered from 2 where a name is taken already."""
    place = source.place
    # File systems take 255 bytes; a structure, a number and a suffix are still to come.
    stem = os.fsencode(stem_of(place))[:120].decode("utf-8", "ignore") or "image"
    structures = predictor.spec.structures
    number = 1
    while True:
        name = str(place.parent / (stem if number == 1 else f"{stem}_{number}"))
        masks = {s: f"masks/{name}{'' if len(structures) == 1 else f'_{s}'}.png" for s in structures}
        objects = {modality: f"dicom/{name}_{kind}.dcm" for modality, kind in OBJECTS.items()}
        # Compared without case, as some file systems do.
        names = {n.casefold() for n in (*masks.values(), f"overlays/{name}.png", *objects.values())}
        if not names & taken:
            taken |= names
            return Job(source, masks, f"overlays/{name}.png", objects, error)
        number += 1


def _read(channels: int, formats: Collection[str], job: Job) -> Answer:
    """The radiograph, or why there is none."""
    if job.error:
        return Answer(job, status="failed", error=job.error)
    try:
        radiograph = job.source.read(channels, force=True)  # the predictor rejects
        header = job.source.header() if "dicom" in formats else None
    except OwnResult as error:
        return Answer(job, status="skipped", error=str(error))
    except MultimixError as error:
        return Answer(job, status="failed", error=str(error))
    if "dicom" not in formats or header is not None:
        return Answer(job, radiograph, header)
    reason = (
        f"{job.source.name}: is not a DICOM file, so no DICOM objects can refer to it; "
        "use --format png, or give the DICOM original"
    )
    if len(formats) == 1:
        return Answer(job, status="failed", error=reason)
    return Answer(job, radiograph, error=reason)


def _of_one_image(read: Iterable[Answer], channels: int, alone: bool) -> Iterator[Answer]:
    """Without a header where another image had its SOP Instance UID: its objects would have those of the other.

    `alone`: DICOM is all that was asked for. The same image twice is answered twice, to the same objects.
    """
    seen: dict[str, Source] = {}
    for answer in read:
        uid = str(answer.header.get("SOPInstanceUID") or "") if answer.header is not None else ""
        if not uid or answer.radiograph is None:
            yield answer
            continue
        first = seen.setdefault(uid, answer.job.source)
        if first is answer.job.source or _same_pixels(first, answer.radiograph, channels):
            yield answer
            continue
        reason = (
            f"{answer.job.source.name}: has the SOP Instance UID of {first.name}, another image, so its DICOM objects "
            "would take the place of those; give each image a UID of its own, or use --format png"
        )
        if alone:
            yield Answer(answer.job, status="failed", error=reason)
        else:
            yield replace(answer, header=None, error=reason)


def _same_pixels(source: Source, radiograph: Radiograph, channels: int) -> bool:
    try:
        return np.array_equal(source.read(channels, True).pixels, radiograph.pixels)
    except MultimixError:  # gone since it was read
        return False


def _answers(predictor: Predictor, read: Iterable[Answer], force: bool) -> Iterator[Answer]:
    """Add the predictions, in order, or why there is none."""
    iterator = iter(read)
    while batch := list(islice(iterator, FILES_AT_ONCE)):
        radiographs = [a.radiograph for a in batch if a.radiograph is not None]
        predictions = predictor.predict_radiographs(radiographs, FILES_AT_ONCE, force=force)
        for answer in batch:
            prediction = None if answer.radiograph is None else next(predictions)
            if prediction is None or not prediction.rejected or force:
                yield replace(answer, prediction=prediction)
            else:
                reason = f"{answer.job.source.name}: {prediction.rejection}; check the image, or use --force"
                yield replace(answer, status="rejected", prediction=prediction, error=reason)


def _ahead(pool: ThreadPoolExecutor, function: Callable[[_In], _Out], items: Iterable[_In]) -> Iterator[_Out]:
    """`map` in threads, in order, at most FILES_AT_ONCE items ahead of the consumer."""
    waiting: deque[Future[_Out]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > FILES_AT_ONCE:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
