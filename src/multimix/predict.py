"""From radiographs to answers: the predictor, for Python and for whole folders.

Predictor       paths, arrays or tensors -> Prediction, each at its own size
predict_files   files and folders -> predictions.csv, masks/*.png, overlays/*.png
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from multimix.checkpoint import load_model
from multimix.errors import ImageError, MultimixError, UsageError
from multimix.io.arrays import as_radiograph
from multimix.io.overlay import overlay
from multimix.io.readers import find_images, read_image
from multimix.io.resize import to_model_size
from multimix.io.writers import write_csv, write_png
from multimix.model import MultiMix
from multimix.types import Prediction, Radiograph

_In = TypeVar("_In")
_Out = TypeVar("_Out")

FILES_AT_ONCE = 4
"""Radiographs of full size in each stage of `predict_files` (reading, computing, writing)."""


@dataclass(frozen=True)
class Predictor:
    """A trained model that answers for radiographs of any size."""

    model: MultiMix
    """On `device`."""
    classes: tuple[str, ...]
    """Class names, in the order of the logits; empty where the model does not classify."""
    structures: tuple[str, ...]
    """Structure names, in the order of the mask channels; empty where the model does not segment."""
    size: int
    """Height and width the model sees, in pixels."""
    channels: int = 1
    """1 (grey) or 3 (RGB)."""
    multi_label: bool = False
    """Classes are not exclusive: each has a probability of its own."""
    trivial_masks: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Structure -> mean training mask: the answer that needs no model."""
    device: torch.device = torch.device("cpu")  # noqa: RUF009  a value, not a mutable

    @property
    def has_classes(self) -> bool:
        """Whether the model classifies."""
        return bool(self.classes)

    @property
    def has_masks(self) -> bool:
        """Whether the model segments."""
        return bool(self.structures)

    def __call__(self, inputs: Any) -> Prediction | list[Prediction]:
        """Answer one input with a Prediction, several (list, tuple, or a batch with four axes) with a list.

        An input is a path, a Radiograph, or a NumPy array or tensor (H W), (C H W) or (H W 3) of uint8,
        uint16 or float in [0, 1]. Raises ImageError where one of them cannot be read.
        """
        several = isinstance(inputs, (list, tuple)) or getattr(inputs, "ndim", 0) == 4
        sources = inputs if several else [inputs]
        radiographs = [as_radiograph(one, self.channels, f"input {i}") for i, one in enumerate(sources)]
        answers = list(self.predict_radiographs(radiographs))
        return answers if several else answers[0]

    def predict_radiographs(
        self, radiographs: Iterable[Radiograph], batch_size: int = 16
    ) -> Iterator[Prediction]:
        """Answer in order, holding `batch_size` radiographs at a time; their sizes may differ."""
        for batch in _batches(radiographs, batch_size):
            yield from self._answer(batch)

    @torch.inference_mode()
    def _answer(self, batch: list[Radiograph]) -> list[Prediction]:
        pixels = (torch.tensor(r.pixels, dtype=torch.float32) for r in batch)
        images = torch.stack([to_model_size(p, self.size) for p in pixels]).to(self.device)
        if not self.has_classes:  # then nobody looks at the saliency, and the model may do without
            mask_logits = self.model.segment(images)
            return [self._prediction(r, None, m, None) for r, m in zip(batch, mask_logits, strict=True)]
        output = self.model(images)
        logits = output.class_logits.float()
        probabilities = (logits.sigmoid() if self.multi_label else logits.softmax(dim=1)).cpu().numpy()
        return [
            self._prediction(*parts)
            for parts in zip(batch, probabilities, output.mask_logits, output.saliency, strict=True)
        ]

    def _prediction(
        self,
        radiograph: Radiograph,
        probabilities: Float[np.ndarray, " K"] | None,
        mask_logits: Float[Tensor, "S h w"],
        saliency: Float[Tensor, "C h w"] | None,
    ) -> Prediction:
        by_class, masks = {}, {}
        if probabilities is not None:
            by_class = dict(zip(self.classes, map(float, probabilities), strict=True))
        if self.has_masks:
            # The sign of the resized logits, so that the edge is as smooth as the model's answer.
            inside = _resize(mask_logits, radiograph.size) > 0
            masks = dict(zip(self.structures, inside.cpu().numpy(), strict=True))
        return Prediction(
            path=radiograph.path,
            probabilities=by_class,
            predicted=self._predicted(by_class),
            masks=masks,
            saliency=None if saliency is None else _saliency(saliency, radiograph.size),
            spacing=radiograph.spacing,
        )

    def _predicted(self, probabilities: Mapping[str, float]) -> str:
        if self.multi_label:
            return "|".join(name for name, p in probabilities.items() if p >= 0.5)
        return max(probabilities, key=probabilities.__getitem__, default="")


def load(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> Predictor:
    """Read the predictor from a run folder (its best weights) or a weights file.

    Raises CheckpointError where it cannot be used and UsageError where there is no such `device`.
    """
    loaded = load_model(Path(path))
    try:
        model = loaded.model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {device}: cannot be used here ({error}); use 'cpu'.") from error
    spec = loaded.spec
    return Predictor(
        model=model,
        classes=spec.classes,
        structures=spec.structures,
        size=spec.size,
        channels=spec.channels,
        multi_label=spec.multi_label,
        trivial_masks=loaded.trivial_masks,
        device=torch.device(device),
    )


@dataclass(frozen=True)
class Summary:
    """What `predict_files` did."""

    done: int
    """Inputs that were answered."""
    failed: int
    """Inputs whose row in the table says why they were not."""


@dataclass(frozen=True)
class _Job:
    """One input and where its answer goes, relative to the output folder."""

    path: Path
    masks: Mapping[str, str]
    overlay: str
    error: str = ""


def predict_files(
    predictor: Predictor,
    inputs: Sequence[Path],
    out: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Answer files and folders (searched recursively) into the folder `out`.

    out/predictions.csv has a row per input, in order: path, status ('ok' or 'failed'), predicted, p_<class>,
    area_px_<structure>, area_mm2_<structure> where a spacing is known, mask, overlay (both relative to `out`;
    masks of several structures joined by '|'), error. out/masks and out/overlays have PNGs of the input's own
    size, masks with 0 and 255, named after the input and its place below the folder that was given.

    A file that cannot be read is a row that says why. `progress` is called after each input with the number
    done and the number of all. Memory does not grow with the number of inputs; what is done when an exception
    ends the work is in the table. Raises UsageError where there is nothing to do or `out` is no place for it,
    MultimixError where it cannot be written.
    """
    _check_out(out)
    jobs = _jobs(predictor, inputs, out)
    rows: list[dict[str, Any]] = []
    table, columns = out / "predictions.csv", _columns(predictor, has_spacing=False)
    write_csv(table, [], columns)
    try:
        with ThreadPoolExecutor(2) as readers, ThreadPoolExecutor(2) as writers:
            read = _ahead(readers, partial(_read, predictor.channels), jobs)
            for row in _ahead(writers, partial(_write, out), _answers(predictor, read)):
                rows.append(row)
                if progress is not None:
                    progress(len(rows), len(jobs))
    finally:
        has_spacing = any(key.startswith("area_mm2_") for row in rows for key in row)
        write_csv(table, rows, _columns(predictor, has_spacing))
    done = sum(row["status"] == "ok" for row in rows)
    return Summary(done, len(rows) - done)


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: expected a folder to write to, found a file; choose another --out.")
    for name in ("masks", "overlays"):
        if (out / name).exists() and not (out / "predictions.csv").exists():
            raise UsageError(
                f"{out / name}: exists but was not written by predict (no predictions.csv beside it) "
                "and might be overwritten; choose another --out."
            )


def _jobs(predictor: Predictor, inputs: Sequence[Path], out: Path) -> list[_Job]:
    """The inputs in order, each once, with output names that no other input has."""
    ours = [(out / name).resolve() for name in ("masks", "overlays")]
    found: dict[Path, tuple[PurePosixPath, str]] = {}
    empty = 0
    for path in map(Path, inputs):
        try:
            files = find_images([path])
            if path.is_dir():  # what an earlier call wrote is no input
                files = [f for f in files if not any(o in f.resolve().parents for o in ours)]
            error = "" if files else f"{path}: no image in this folder but those that predict wrote"
        except ImageError as reason:
            files, error = [], str(reason)
        if error:
            empty += 1
            found.setdefault(path, (PurePosixPath(path.name), error))
        for file in files:
            place = file.relative_to(path) if path.is_dir() else Path(file.name)
            found.setdefault(file, (PurePosixPath(place.as_posix()), ""))
    if len(found) == empty:
        names = ", ".join(str(path) for path in inputs) or "no input"
        raise UsageError(f"No image to answer: found none in {names}. Name image files or a folder of them.")
    taken: set[str] = set()
    return [_job(predictor, path, place, error, taken) for path, (place, error) in found.items()]


def _job(predictor: Predictor, path: Path, place: PurePosixPath, error: str, taken: set[str]) -> _Job:
    """Name the outputs after `place` without its suffix, numbered from 2 where a name is taken already."""
    # File systems take 255 bytes; a structure, a number and a suffix are still to come.
    stem = os.fsencode(place.stem)[:120].decode("utf-8", "ignore") or "image"
    structures = predictor.structures
    number = 1
    while True:
        name = str(place.parent / (stem if number == 1 else f"{stem}_{number}"))
        masks = {s: f"masks/{name}{'' if len(structures) == 1 else f'_{s}'}.png" for s in structures}
        # Compared without case, as some file systems do.
        names = {n.casefold() for n in (*masks.values(), f"overlays/{name}.png")}
        if not names & taken:
            taken |= names
            return _Job(path, masks, f"overlays/{name}.png", error)
        number += 1


def _read(channels: int, job: _Job) -> tuple[_Job, Radiograph | str]:
    """The radiograph, or why there is none."""
    if job.error:
        return job, job.error
    try:
        return job, read_image(job.path, channels)
    except MultimixError as error:
        return job, str(error)


def _answers(
    predictor: Predictor, read: Iterable[tuple[_Job, Radiograph | str]]
) -> Iterator[tuple[_Job, Radiograph | str, Prediction | None]]:
    """Add the predictions, in order."""
    for batch in _batches(read, FILES_AT_ONCE):
        radiographs = [r for _, r in batch if isinstance(r, Radiograph)]
        predictions = predictor.predict_radiographs(radiographs, FILES_AT_ONCE)
        for job, radiograph in batch:
            yield job, radiograph, next(predictions) if isinstance(radiograph, Radiograph) else None


def _write(out: Path, answer: tuple[_Job, Radiograph | str, Prediction | None]) -> dict[str, Any]:
    """Write the pictures of one answer and return its row."""
    job, radiograph, prediction = answer
    row: dict[str, Any] = {"path": str(job.path)}
    if not isinstance(radiograph, Radiograph) or prediction is None:
        return row | {"status": "failed", "error": radiograph}
    for structure, mask in prediction.masks.items():
        write_png(out / job.masks[structure], mask.astype(np.uint8) * 255)
    write_png(out / job.overlay, overlay(radiograph.pixels, prediction.masks, prediction.saliency))
    row |= {"status": "ok", "predicted": prediction.predicted}
    row |= {f"p_{name}": round(p, 6) for name, p in prediction.probabilities.items()}
    for structure in prediction.masks:
        area = prediction.area_px(structure)
        row[f"area_px_{structure}"] = area
        if prediction.spacing is not None:
            row[f"area_mm2_{structure}"] = round(area * prediction.spacing[0] * prediction.spacing[1], 2)
    return row | {"mask": "|".join(job.masks.values()), "overlay": job.overlay}


def _columns(predictor: Predictor, has_spacing: bool) -> list[str]:
    probabilities = [f"p_{name}" for name in predictor.classes]
    units = ("px", "mm2") if has_spacing else ("px",)
    areas = [f"area_{unit}_{name}" for unit in units for name in predictor.structures]
    return ["path", "status", "predicted", *probabilities, *areas, "mask", "overlay", "error"]


def _resize(maps: Float[Tensor, "N h w"], size: tuple[int, int]) -> Float[Tensor, "N H W"]:
    return F.interpolate(maps[None].float(), size=size, mode="bilinear", antialias=True)[0]


def _saliency(saliency: Float[Tensor, "C h w"], size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    """The strongest channel, at the radiograph's size, scaled by its 99.5th percentile and cut at 1."""
    full = _resize(saliency.amax(dim=0, keepdim=True), size)[0].cpu().numpy()
    peak = float(np.percentile(full, 99.5)) or float(full.max())
    return full.clip(0, peak) / np.float32(peak) if peak > 0 else np.zeros_like(full)


def _batches(items: Iterable[_In], size: int) -> Iterator[list[_In]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _ahead(pool: ThreadPoolExecutor, function: Callable[[_In], _Out], items: Iterable[_In]) -> Iterator[_Out]:
    """`map` in threads, in order, at most FILES_AT_ONCE items ahead of the consumer."""
    waiting: deque[Future[_Out]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > FILES_AT_ONCE:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
