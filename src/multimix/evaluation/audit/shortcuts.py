"""Checks for what tells the class without being anatomy: the size of the file, a 24 x 24 thumbnail.

Sizes are looked for in the files, in the manifest's columns original_width and original_height, and in pairs such as
mask_width=..;mask_height=.. of its column extra, also of other rows that name the same original_sha256: the files of
a collection are often cut to one size after their own size has leaked into the pixels.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from multimix.data.manifest import all_cells
from multimix.errors import MultimixError
from multimix.evaluation.audit.findings import Finding, Severity, Unchecked
from multimix.evaluation.audit.run_folder import RunFolder
from multimix.evaluation.audit.thumbnails import thumbnails
from multimix.io.sizes import image_size
from multimix.metrics.classification import auc_of_class
from multimix.types import Record

SIZE_AUC, THUMBNAIL_AUC = 0.65, 0.75
"""AUC from which size, and a thumbnail, tell a class apart."""
FILE_SIZE_WRONG, WRONG = 0.9, 0.98
"""AUC from which no score of the source means anything: of the files' size, and of whatever else."""
NEAR_MODEL = 0.8
"""Share of the model's own gain over chance (AUC - 0.5) that a thumbnail may not reach."""
STANDARD_ERRORS = 2.5
"""An AUC counts where it is this many standard errors of chance above 0.5 (Mann and Whitney, 1947)."""
FEWEST = 5
"""Images of a class, and of the rest, below which nothing is said."""
FOLDS = 5
FILES = "the files"
SIDE = 24
RIDGE = 10.0
"""Penalty of the regression on thumbnails with pixels in [0, 1] less their mean."""

Sizes = Sequence[tuple[int, int] | None]
"""Height and width of each image; None where not known."""
Known = Bool[np.ndarray, " N"]


def size_shortcut(material: RunFolder) -> Iterator[Finding | Unchecked]:
    """Sources in which a logistic regression on width and height tells a class apart."""
    written = _written_sizes(material.table_file)
    for source in material.class_sources:
        records = [r for r in material.used if r.source == source and r.label is not None]
        try:
            kinds: dict[str, Sizes] = {FILES: [image_size(record.image) for record in records]}
        except MultimixError as error:
            yield Unchecked("size-shortcut", str(error))
            kinds = {}
        for kind in sorted({kind for sizes in written.values() for kind in sizes}):
            kinds[kind] = [written.get(str(record.image), {}).get(kind) for record in records]
        found = [_size_auc(records, sizes, kind) for kind, sizes in kinds.items()]
        best = max(found, key=lambda each: each["auc"], default=None)
        if best is not None and _stands_out(best, SIZE_AUC):
            yield _size_finding(source, best)


def _size_finding(source: str, found: Mapping[str, Any]) -> Finding:
    # Files are what the network gets; the size of an original may have left no trace in them.
    limit = FILE_SIZE_WRONG if found["kind"] == FILES else WRONG
    severity: Severity = "wrong" if found["auc"] >= limit else "doubtful"
    return Finding(
        "size-shortcut",
        severity,
        f"{source}, {found['name']}",
        f"Width and height of {found['kind']} alone tell {found['name']} from the rest. A resize to a square, borders "
        "or sharpness hand this on to the network, which can then score without looking at anatomy.",
        "Cut all images to one shape before they are resized, or judge on a source whose sizes do not go with the "
        "class; say so beside the score.",
        {"auc of size": found["auc"], "images": found["images"], "of the class": found["positive"]},
    )


def _size_auc(records: Sequence[Record], sizes: Sizes, kind: str) -> dict[str, Any]:
    """The class that sizes tell apart best: AUC, its standard error under chance, counts."""
    rows = [i for i, size in enumerate(sizes) if size is not None and min(size) > 0]
    found: dict[str, Any] = {"auc": 0.0, "kind": kind}
    distinct = {sizes[i] for i in rows}
    if len(distinct) < 2:
        return found
    logs = np.log(np.array([sizes[i] for i in rows], np.float64))
    shape, area = logs[:, 0] - logs[:, 1], logs.sum(axis=1)
    features = np.stack([shape, area, shape**2, area**2, shape * area], axis=1)
    chosen = [records[i] for i in rows]
    for name, positive in _classes(chosen):
        auc = _cross_validated(features, positive, [r.patient for r in chosen])
        if auc > found["auc"]:
            found |= _described(name, auc, positive)
    return found


def _classes(records: Sequence[Record]) -> Iterator[tuple[str, Known]]:
    """Each class with enough images on both sides, and who has it; of two exclusive classes the last."""
    labels = [set((record.label or "").split("|")) for record in records]
    names = sorted(set().union(*labels)) if labels else []
    for name in names[1:] if len(names) == 2 and all(len(label) == 1 for label in labels) else names:
        positive = np.array([name in label for label in labels])
        if min(positive.sum(), (~positive).sum()) >= FEWEST:
            yield name, positive


def _described(name: str, auc: float, positive: Known) -> dict[str, Any]:
    n, m = int(positive.sum()), int((~positive).sum())
    error = float(np.sqrt((n + m + 1) / (12 * n * m)))
    return {"name": name, "auc": auc, "error": error, "positive": n, "images": n + m}


def _stands_out(found: Mapping[str, Any], least: float) -> bool:
    auc = float(found["auc"])
    return auc >= least and auc - 0.5 >= STANDARD_ERRORS * float(found["error"])


def _auc(positive: Known, scores: Float[np.ndarray, " N"]) -> float:
    return float(
        auc_of_class(positive.astype(int), np.stack([-scores, scores], axis=1).astype(np.float64), index=1)
    )


def _cross_validated(
    features: Float[np.ndarray, "N F"], positive: Known, patients: Sequence[str], penalty: float | None = None
) -> float:
    """AUC of all folds' answers, for patients whom the regression had not seen: logistic, or ridge with `penalty`."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    answers = np.zeros(len(positive))
    if len(set(patients)) < FOLDS:
        return 0.0
    for train, test in folds.split(features, positive, patients):
        if len(set(positive[train])) < 2:
            return 0.0
        model = (
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            if penalty is None
            else Ridge(alpha=penalty)
        )
        model.fit(features[train], positive[train].astype(int))
        answers[test] = (
            model.decision_function(features[test]) if penalty is None else model.predict(features[test])
        )
    return _auc(positive, answers)


def _written_sizes(manifest: Path) -> Mapping[str, Mapping[str, tuple[int, int]]]:
    """Image file -> where a size is written in the manifest -> that size."""
    by_image: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    same: dict[str, list[str]] = defaultdict(list)
    for file, cells in all_cells(manifest):
        by_image[str(file)] |= _sizes(cells)
        if digest := cells.get("original_sha256"):
            same[digest].append(str(file))
    for images in same.values():
        merged: dict[str, tuple[int, int]] = {}
        for image in images:
            merged |= by_image[image]
        for image in images:
            by_image[image] = merged
    return by_image


def _sizes(cells: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Every pair of X_width and X_height among the columns and in `extra`; X may be empty."""
    extra = dict(part.partition("=")[::2] for part in str(cells.get("extra", "")).split(";") if "=" in part)
    found = {}
    for place, values in (("", cells), ("extra ", extra)):
        for key, value in values.items():
            stem = re.fullmatch(r"(\w+_)?width", str(key).strip().lower())
            height = str(values.get(str(key).replace("width", "height"), ""))
            if stem and str(value).isdecimal() and height.isdecimal():
                found[f"the originals ({place}{key})"] = (int(height), int(value))
    return found


def thumbnail_shortcut(material: RunFolder) -> Iterator[Finding | Unchecked]:
    """Sources in which a ridge regression on thumbnails comes near the network's own AUC."""
    for source in material.class_sources:
        rows = [i for i, r in enumerate(material.used) if r.source == source and r.label is not None]
        records = [material.used[i] for i in rows]
        small = thumbnails(material.images.images[rows], SIDE).reshape(len(rows), -1).astype(np.float64)
        found: dict[str, Any] = {"auc": 0.0}
        for name, positive in _classes(records):
            auc, how, judged = _thumbnail_auc(small, positive, records)
            if auc > found["auc"]:
                found = _described(name, auc, positive[judged]) | {"how": how}
        if "name" not in found:
            reason = f"{source} has too few images of two classes for a regression on thumbnails."
            yield Unchecked("thumbnail-shortcut", reason)
        elif _stands_out(found, THUMBNAIL_AUC):
            yield from _thumbnail_finding(source, found, _own_auc(material, source))


def _thumbnail_auc(
    small: Float[np.ndarray, "N F"], positive: Known, records: Sequence[Record]
) -> tuple[float, str, Known]:
    """Learned from train and judged on test where both have enough of both sides, else cross-validated."""
    splits = np.array([record.split for record in records])
    train, test = splits == "train", splits == "test"

    def enough(where: Known, least: int) -> bool:
        return bool(min((positive & where).sum(), (~positive & where).sum()) >= least)

    if enough(train, FEWEST) and enough(test, 2 * FEWEST):
        from sklearn.linear_model import Ridge

        model = Ridge(alpha=RIDGE).fit(small[train], positive[train].astype(int))
        return _auc(positive[test], model.predict(small[test])), "train to test", test
    patients = [record.patient for record in records]
    return _cross_validated(small, positive, patients, RIDGE), "cross-validated", np.full(len(records), True)


def _own_auc(material: RunFolder, source: str) -> float | None:
    """The network's AUC on that source's test images, from its evaluation."""
    for one in material.evaluations if material.folders else ():
        for entry in one.scores:
            if entry.get("source") == source and entry.get("split") == "test" and "auc" in one.metrics(entry):
                return one.metrics(entry)["auc"]
    return None


def _thumbnail_finding(source: str, found: Mapping[str, Any], own: float | None) -> Iterator[Finding]:
    if own is not None and found["auc"] - 0.5 < NEAR_MODEL * (own - 0.5):
        return
    evidence = {"auc of thumbnails": found["auc"], "images": found["images"]} | (
        {} if own is None else {"auc of the run": own}
    )
    above = own is not None and found["auc"] >= own
    yield Finding(
        "thumbnail-shortcut",
        "wrong" if found["auc"] >= WRONG else "doubtful",
        f"{source}, {found['name']}",
        f"A linear regression on {SIDE} x {SIDE} thumbnails, in which hardly any disease can be read, "
        + ("does as well as this network." if above else "comes near this network's score.")
        + " Much of what is scored may be exposure, framing and positioning.",
        "Report this number beside the score, and judge on a source that another hospital made; a run that is worth "
        "its name is well above it.",
        {**evidence, "how": found["how"]},
    )
