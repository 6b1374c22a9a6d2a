"""From the bytes of one image to the files of its results."""

import io
import logging
import traceback
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from pydicom.dataset import Dataset

from multimix.errors import ImageError
from multimix.inference.load import load
from multimix.inference.predictor import Predictor
from multimix.io.dicom.header import decimals, objections
from multimix.io.dicom.objects import RESULTS, Algorithm, Result, algorithm_of, answer_objects, is_ours
from multimix.io.dicom.read import read_header
from multimix.io.readers import read_image_bytes
from multimix.io.writers import atomic_write
from multimix.pacs.outcomes import Skipped
from multimix.pacs.queue import Queue
from multimix.pacs.rows import Row
from multimix.types import Prediction, Radiograph

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answerer:
    """A model, the name under which it signs, and what is answered."""

    predictor: Predictor
    algorithm: Algorithm
    force: Collection[str] = ()
    """Of `config.REASONS`, those for which no image is skipped."""
    chest: Collection[str] = ()
    """Further names of the chest, upper case."""

    @classmethod
    def load(
        cls, run: Path, device: str, force: Collection[str] = (), chest: Collection[str] = ()
    ) -> "Answerer":
        """Read the run folder or weights file. Raises CheckpointError, or UsageError for the device."""
        predictor = load(run, device)
        return cls(predictor, algorithm_of(predictor.backend.digest), force, chest)

    def answer(self, queue: Queue, rows: Sequence[Row], results: Collection[str] = RESULTS) -> None:
        """Move received rows on to answered, skipped, failed or ignored; `results` are made.

        One pass of the network for all. Where that goes wrong each is tried alone, so that one image cannot
        take others with it. Raises MultimixError where results cannot be written.
        """
        images = [image for row in rows if (image := self._read(queue, row)) is not None]
        try:
            radiographs = [image.radiograph for image in images]
            predictions = list(self.predictor.predict_radiographs(radiographs, force=True))
        except Exception as error:
            if len(rows) > 1:
                for row in rows:
                    if (now := queue.row(row.uid)) is not None and now.state == "received":
                        self.answer(queue, [now], results)
                return
            _fail(queue, rows[0], error)
            return
        for image, prediction in zip(images, predictions, strict=True):
            self._write(queue, image, prediction, results)

    def _read(self, queue: Queue, row: Row) -> "_Image | None":
        """The decoded image, or None where the row has been settled."""
        try:
            data = queue.incoming(row.uid).read_bytes()
            dataset = read_header(io.BytesIO(data), row.uid)
            if is_ours(dataset):
                queue.ignore(row.uid, "is an answer of multimix")
                return None
            against = self._against(dataset)
            radiograph = read_image_bytes(data, row.uid, self.predictor.spec.channels, force=True)
            # What the model has against it comes separately: it may be skipped for that, though not for this.
            return _Image(row, dataset, replace(radiograph, against=""), against)
        except Skipped as skipped:
            _skip(queue, row, str(skipped))
        except Exception as error:  # of pydicom and the decoders, on a damaged object
            _fail(queue, row, error)
        return None

    def _against(self, dataset: Dataset) -> str:
        """What speaks against an image that is answered all the same. Raises Skipped where it is not."""
        found = objections(dataset, self.chest)
        for objection in found:
            if objection.kind not in self.force:
                raise Skipped(_rejected(objection.words, objection.kind))
        frames = next(iter(decimals(dataset, "NumberOfFrames")), 1.0)
        if frames > 1:
            raise Skipped(f"rejected: holds {frames:g} frames; send the one to answer as an image of its own")
        return found[0].words if found else ""

    def _write(self, queue: Queue, image: "_Image", prediction: Prediction, results: Collection[str]) -> None:
        if prediction.rejected and "unlike" not in self.force:
            _skip(queue, image.row, _rejected(prediction.rejection, "unlike"))
            return
        try:
            objects = answer_objects(
                image.dataset,
                replace(prediction, rejection=image.against or prediction.rejection),
                image.radiograph.pixels,
                self.algorithm,
                cast(Collection[Result], results),
            )
        except Exception as error:  # a source that lacks what every answer must repeat
            _fail(queue, image.row, error)
            return
        for one in objects:
            with atomic_write(queue.result(image.row.uid, one.SOPInstanceUID)) as temporary:
                one.save_as(temporary, enforce_file_format=True)
        queue.answered(image.row.uid, [str(one.SOPInstanceUID) for one in objects])
        log.info("image %s answered", image.row.uid)


@dataclass(frozen=True)
class _Image:
    row: Row
    dataset: Dataset
    radiograph: Radiograph
    against: str


def _rejected(reason: str, kind: str) -> str:
    return f"rejected: {reason}; check the image, or use --force={kind}"


def _skip(queue: Queue, row: Row, reason: str) -> None:
    log.info("image %s skipped; see `multimix pacs status`", row.uid)
    queue.skip(row.uid, reason)


def _fail(queue: Queue, row: Row, error: Exception) -> None:
    """Fail with the error's reason where it is meant for users, else with its kind: its words may quote a patient."""
    if isinstance(error, ImageError):
        queue.fail(row.uid, str(error).removeprefix(f"{row.uid}: "))
        log.warning("image %s failed; see `multimix pacs status`", row.uid)
        return
    frames = "".join(traceback.format_tb(error.__traceback__)[-6:])
    log.error("image %s: unexpected %s\n%s", row.uid, type(error).__name__, frames)
    queue.fail(row.uid, f"cannot be answered ({type(error).__name__}); the log of the worker says where")
