"""Judging: a trained model and the records of one source and split -> a table per image -> scores.

`evaluate_source` asks the model once and writes down everything that a score needs; `summarise` computes
every score from that table alone, so each number can be had again from the stored file without the model.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Bool
from PIL import Image

from multimix import statistics
from multimix.data.seal import COPY, Look
from multimix.errors import CheckpointError, ManifestError
from multimix.io.readers import read_image, read_mask
from multimix.io.run_folder import PER_IMAGE, SCORES
from multimix.io.tables import write_table
from multimix.io.writers import atomic_write, write_json
from multimix.metrics import per_image, segmentation
from multimix.metrics.per_image import Scored
from multimix.reliability.calibration import Reliability
from multimix.types import UNKNOWN, Estimate, Prediction, Radiograph, Record, Scores, patients_known
from multimix.weights.file import ModelSpec


@runtime_checkable
class Evaluated(Protocol):
    """What can be evaluated: `inference.predictor.Predictor` is one."""

    @property
    def spec(self) -> ModelSpec:
        """What it answers."""
        ...

    @property
    def trivial_masks(self) -> Mapping[str, np.ndarray]:
        """Structure -> mean of the labelled training masks (h w), float in [0, 1]; may be empty."""
        ...

    @property
    def reliability(self) -> Reliability:
        """How far it may be believed."""
        ...

    def predict_radiographs(
        self, radiographs: Iterable[Radiograph], *, force: bool = False
    ) -> Iterator[Prediction]:
        """One prediction per radiograph, in order; those of rejected images are empty unless `force`."""
        ...


def evaluate_source(
    predictor: Evaluated,
    records: Sequence[Record],
    *,
    classes: bool = True,
    masks: bool = True,
    base: Path | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Scores, pd.DataFrame]:
    """Judge the model on the records of one source and split.

    `classes`: the records' labels are the classes to be told apart (a source of masks may have labels of
    another kind). `masks`: the records' masks are judged. Records that have neither are left out. `base`:
    the folder that image paths in the table are relative to; by default the one that all images share.
    `progress` is called with images done and images in all.

    Raises ManifestError where a label is not one of the model's classes or no record can be judged, and
    ImageError where an image or mask cannot be read: a score over fewer images is another score.
    """
    classes, masks = classes and predictor.spec.classify, masks and predictor.spec.segment
    structures = predictor.spec.structures if masks else ()
    judged = [r for r in records if (classes and r.label) or set(structures) & set(r.masks)]
    if not judged:
        raise ManifestError(_nothing_to_judge(predictor, records, classes, masks))
    if classes:  # before the model is asked, which may take a while
        labels, files = [r.label or "" for r in judged], [str(r.image) for r in judged]
        per_image.members(labels, files, predictor.spec.classes, predictor.spec.multi_label)
    base = base or Path(os.path.commonpath([record.image.parent for record in judged]))
    trivial = _TrivialMasks(predictor.trivial_masks)
    radiographs = (read_image(record.image, predictor.spec.channels, force=True) for record in judged)
    rows = []
    # Strict: a predictor that drops or adds an image would shift every answer after it.
    for record, prediction in zip(
        judged, predictor.predict_radiographs(radiographs, force=True), strict=True
    ):
        row = _description(record, base)
        if classes:
            row |= _class_columns(prediction, predictor.spec.classes, record.image)
            row |= (
                {"prediction_set": "|".join(prediction.prediction_set)}
                if predictor.reliability.quantiles
                else {}
            )
        if (
            predictor.reliability.detector is not None
        ):  # and is judged all the same: a score over fewer images is another score
            row["rejected"] = int(prediction.rejected)
        for structure in structures:
            if structure in record.masks:
                row |= _mask_columns(prediction, record, structure, trivial)
        rows.append(row)
        if progress is not None:
            progress(len(rows), len(judged))
    table = pd.DataFrame(rows)
    known = predictor.spec.classes if classes else ()
    return summarise(table, known, structures, multi_label=predictor.spec.multi_label, seed=seed), table


def _nothing_to_judge(predictor: Evaluated, records: Sequence[Record], classes: bool, masks: bool) -> str:
    wanted = [*(["a class label"] if classes else []), *(["a mask"] if masks else [])]
    names = ", ".join(sorted({f"source {r.source!r} split {r.split!r}" for r in records})) or "no records"
    return (
        f"{names}: expected images with {' or '.join(wanted) or 'something that this model predicts'} "
        f"(structures: {', '.join(predictor.spec.structures) or 'none'}), found none among {len(records)}. "
        "Choose another source or split, or fill in the manifest."
    )


def _description(record: Record, base: Path) -> dict[str, object]:
    return {
        "image": Path(os.path.relpath(record.image, base)).as_posix(),
        "source": record.source,
        "split": record.split,
        "patient": record.patient or UNKNOWN + record.image.stem,
        "label": record.label or "",
    }


def _class_columns(prediction: Prediction, classes: tuple[str, ...], image: Path) -> dict[str, object]:
    columns = {f"p_{name}": float(prediction.probabilities[name]) for name in classes}
    if not np.isfinite(list(columns.values())).all():
        raise CheckpointError(
            f"{image}: the model's probabilities are not finite. Its weights are damaged or diverged in "
            "training; use another checkpoint."
        )
    return {"predicted": prediction.predicted, **columns}


class _TrivialMasks:
    """The mean training mask, cut at one half, at any image size."""

    def __init__(self, means: Mapping[str, np.ndarray]) -> None:
        self._means = means
        self._last: dict[str, Bool[np.ndarray, "H W"]] = {}

    def at(self, structure: str, size: tuple[int, int]) -> Bool[np.ndarray, "H W"] | None:
        """The mask at `size` (height, width), None where the model carries none."""
        if structure not in self._means:
            return None
        last = self._last.get(structure)
        if last is None or last.shape != size:  # images of one source mostly have one size
            mean = Image.fromarray(np.asarray(self._means[structure], dtype=np.float32))
            last = np.asarray(mean.resize(size[::-1], Image.Resampling.BILINEAR)) >= 0.5
            self._last[structure] = last
        return last


def _mask_columns(
    prediction: Prediction, record: Record, structure: str, trivial: _TrivialMasks
) -> dict[str, object]:
    predicted = prediction.masks[structure]
    height, width = predicted.shape
    reference = read_mask(record.masks[structure], (height, width))
    distances = segmentation.surface_distances(predicted, reference)
    scores: dict[str, float] = {
        "dice": segmentation.dice(predicted, reference),
        "jaccard": segmentation.jaccard(predicted, reference),
        "precision": segmentation.precision(predicted, reference),
        "recall": segmentation.recall(predicted, reference),
        "ssim": segmentation.structural_similarity(predicted, reference),
        "asd_px": segmentation.average_surface_distance(distances),
        "hd95_px": segmentation.hausdorff_95(distances),
    }
    if prediction.spacing is not None:
        distances = segmentation.surface_distances(predicted, reference, prediction.spacing)
        scores["asd_mm"] = segmentation.average_surface_distance(distances)
        scores["hd95_mm"] = segmentation.hausdorff_95(distances)
    scores["area_px"] = int(predicted.sum())
    scores["reference_area_px"] = int(reference.sum())
    if (mean := trivial.at(structure, reference.shape)) is not None:
        scores["mean_mask_dice"] = segmentation.dice(mean, reference)
    return {f"{name}_{structure}": value for name, value in scores.items()}


def summarise(
    table: pd.DataFrame,
    classes: Sequence[str],
    structures: Sequence[str],
    *,
    multi_label: bool = False,
    seed: int = 0,
    samples: int = 2000,
) -> Scores:
    """All scores of one source and split from its per-image table, with intervals and trivial answers.

    Which images a score is over says `per_image.scored`, as does what it raises.
    """
    if len(table[["source", "split"]].drop_duplicates()) != 1:
        raise ValueError("summarise takes the images of one source and one split at a time")
    found = per_image.scored(table, classes, structures, multi_label=multi_label)
    scores = {name: _with_interval(score, samples, seed) for name, score in found.items()}
    first = table.iloc[0]
    patients = table["patient"].nunique() if patients_known(table["patient"]) else 0
    return Scores(first["source"], first["split"], len(table), patients, scores)


def _with_interval(score: Scored, samples: int, seed: int) -> Estimate:
    if not score.metric.interval:
        return Estimate(score.value, float("nan"), float("nan"), score.baseline)
    patients = score.rows["patient"].tolist()
    return statistics.estimate(patients, score.statistic, trivial=score.baseline, samples=samples, seed=seed)


def write_scores(
    folder: Path,
    scores: Sequence[Scores],
    tables: Sequence[pd.DataFrame],
    *,
    manifest: Path | None = None,
    look: Look | None = None,
    suffix: str = ".csv",
) -> tuple[Path, Path]:
    """Write `scores.json` and `per_image.csv` (or .parquet) into `folder`; returns the two paths.

    In the JSON a score that is undefined is null, and so is the `manifest` of the images where it is not given. Each
    image has one line in the table; columns that do not apply to its source are empty. Of a `look` at a sealed part
    the JSON has the hash and the numbers, and the log as it is now lies beside it.
    """
    table = pd.concat(tables, ignore_index=True)
    areas = [name for name in map(str, table) if name.startswith(("area_px_", "reference_area_px_"))]
    table = table.astype(dict.fromkeys(areas, "Int64"))  # whole numbers, also where some images have none
    summary, images = folder / SCORES, folder / f"{PER_IMAGE}{suffix}"
    write_table(images, table)
    for other in {".csv", ".parquet"} - {suffix}:  # of an earlier evaluation, which a reader may prefer
        (folder / f"{PER_IMAGE}{other}").unlink(missing_ok=True)
    about: dict[str, object] = {"interval": "95 % bootstrap over patients", "manifest": manifest}
    (folder / COPY).unlink(missing_ok=True)
    if look is not None:
        about["look"] = {"hash": look.hash, "numbers": look.numbers}
        with atomic_write(folder / COPY) as temporary:
            shutil.copyfile(look.log, temporary)
    write_json(summary, about | {"scores": list(scores)})
    return summary, images
