"""Checks of what was scored: against the answer without a model, and against the network that is stored."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from multimix.evaluation.audit.evaluations import Evaluation
from multimix.evaluation.audit.findings import Finding, Severity, Unchecked
from multimix.evaluation.audit.run_folder import RunFolder, locate
from multimix.io.readers import read_image
from multimix.io.run_folder import CONFIG
from multimix.types import Record
from multimix.weights.file import BEST

COMPARED = ("accuracy", "auc", "dice", "jaccard")
"""Scores of which the answer without a model says whether the network is of use."""
SAMPLE = 6
"""Images per source and split for which the network is asked again."""
SAME_PROBABILITY, SAME_AREA = 0.05, 0.05
"""Differences of a probability, and of an area as a share, that another device or precision may cause."""
SAME_ANSWER = 1e-3
"""Standard deviation of probabilities over images, below which they are one answer."""


def _kind(metric: str) -> str:
    return metric.partition("_")[0]


def below_trivial(material: RunFolder) -> Iterator[Finding | Unchecked]:
    """Scores that the answer without a model beats: majority class, chance, mean training mask."""
    learned = _learned_sources(material)
    for one, entry, where in material.scored():
        values, highs, trivial = one.metrics(entry), one.metrics(entry, "high"), _trivial(one, entry)
        below = {n: v for n, v in values.items() if n in trivial and _kind(n) in COMPARED and v < trivial[n]}
        if not below:
            continue
        clearly = any(highs.get(name, 1.0) < trivial[name] for name in below)
        severity: Severity = "wrong" if clearly or entry.get("source") in learned else "doubtful"
        evidence: dict[str, float] = {}
        for name, value in below.items():
            evidence |= {name: value, f"trivial {name}": trivial[name]}
        yield Finding(
            "below-trivial",
            severity,
            where,
            "Always giving the same answer (the majority class, the mean mask) scores higher here than the network, so "
            "on these images it is of no use"
            + ("." if severity == "wrong" else "; the difference is within chance."),
            "Look for swapped classes, other mask conventions or other normalisation; else say that the network does "
            "not carry over to this source.",
            evidence,
        )


def _learned_sources(material: RunFolder) -> tuple[str, ...]:
    """The run's own sources; none where its configuration is not stored."""
    return material.sources if (material.run / CONFIG).is_file() else ()


def _trivial(one: Evaluation, entry: Mapping[str, Any]) -> dict[str, float]:
    """The trivial answers as stored; where there is none, from the per-image table."""
    trivial = one.metrics(entry, "trivial")
    # Of an AUC what is stored may be that of thumbnails, which is no constant answer.
    trivial |= {name: 0.5 for name in one.metrics(entry) if _kind(name) == "auc"}
    rows = one.rows(entry)
    if "accuracy" not in trivial and rows is not None and "label" in rows:
        labels = rows["label"][rows["label"] != ""]
        if len(labels) and not labels.str.contains("|", regex=False).any():
            trivial["accuracy"] = float(labels.value_counts(normalize=True).max())
    return trivial


def collapse(material: RunFolder) -> Iterator[Finding | Unchecked]:
    """Networks that answer the same whatever the image."""
    for one, entry, where in material.scored():
        rows = one.rows(entry)
        if rows is None:
            yield Unchecked("collapse", f"{where}: has no per-image rows.")
            continue
        yield from _one_class(rows, where)
        for name in [str(column) for column in rows if str(column).startswith("area_px_")]:
            areas = rows[name].dropna().to_numpy(np.float64)
            if len(areas) > 1 and (areas == 0).all():
                yield _same_answer(
                    where, f"an empty mask of {name.removeprefix('area_px_')}", {"images": len(areas)}
                )


def _one_class(rows: pd.DataFrame, where: str) -> Iterator[Finding]:
    names = [name for name in rows if str(name).startswith("p_")]
    if not names or not {"label", "predicted"} <= set(rows):
        return
    judged = rows[rows[names[0]].notna() & (rows["label"] != "")]
    if judged["label"].nunique() < 2:
        return
    answers = judged["predicted"].unique()
    spread = float(judged[names].to_numpy(np.float64).std(axis=0).max())
    if len(answers) == 1 or spread < SAME_ANSWER:
        evidence = {"images": len(judged), "classes present": judged["label"].nunique()}
        yield _same_answer(where, f"the class {answers[0]!r}", evidence | {"spread of probabilities": spread})


def _same_answer(where: str, answer: str, evidence: Mapping[str, float | int]) -> Finding:
    return Finding(
        "collapse",
        "wrong",
        where,
        f"The network answers {answer} for every image, so its scores are those of a constant.",
        "Look at the losses in log.jsonl; train longer, with more labels or with balanced classes.",
        evidence,
    )


def stale_evaluation(material: RunFolder) -> Iterator[Finding | Unchecked]:
    """Per-image answers that the stored weights do not give: asked again for a few images of each table."""
    for one, entry, where in material.scored():
        rows = one.rows(entry)
        if rows is None or "image" not in rows:
            yield Unchecked("stale-evaluation", f"{where}: has no per-image rows.")
            continue
        chosen = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, SAMPLE).round().astype(int))]
        source = str(entry.get("source"))
        known = [r for r in material.records if r.source == source and r.split == entry.get("split")]
        records = locate([(source, name) for name in rows["image"]], known)
        by_name = dict(zip(rows["image"], records, strict=True))
        pairs = [(row, by_name[row["image"]]) for _, row in chosen.iterrows()]
        found = [(row, record) for row, record in pairs if record is not None]
        if not found:
            yield Unchecked("stale-evaluation", f"{where}: none of its images is in the manifest.")
            continue
        yield from _stale(material, found, where)


def _stale(
    material: RunFolder, pairs: Sequence[tuple[pd.Series, Record]], where: str
) -> Iterator[Finding | Unchecked]:
    worst, names = 0.0, []
    for row, record in pairs:
        difference = _difference(material, row, record)
        worst = max(worst, difference)
        if difference > 1:
            names.append(record.image.name)
    if names:
        yield Finding(
            "stale-evaluation",
            "wrong",
            where,
            f"The per-image answers are not those of {BEST}: they are of other weights, another preprocessing or other "
            "images, so the scores are not this run's.",
            "Run `multimix evaluate` again, and nothing else between training and evaluation.",
            {
                "images": len(names),
                "of": len(pairs),
                "difference in tolerances": worst,
                "examples": ", ".join(names[:3]),
            },
        )


def _difference(material: RunFolder, row: pd.Series, record: Record) -> float:
    """How far the network's answer now is from the stored one, in tolerances: more than 1 is another answer."""
    spec = material.predictor.spec
    radiograph = read_image(record.image, spec.channels, force=True)
    differences = [0.0]
    with np.errstate(invalid="ignore"):  # of weights that are not finite, which another check names
        (now,) = material.predictor.predict_radiographs([radiograph], force=True)
    stored = [float(row.get(f"p_{name}", np.nan)) for name in spec.classes]
    if stored and np.isfinite(stored).all():
        moved = np.abs(np.array([now.probabilities[name] for name in spec.classes]) - stored)
        differences.append(float(moved.max()) / SAME_PROBABILITY)
    for name, mask in now.masks.items():
        area, now_area = float(row.get(f"area_px_{name}", np.nan)), float(mask.sum())
        if np.isfinite(area):
            # Small structures change by a few pixels of the outline, so half a hundredth of the image is allowed.
            allowed = max(SAME_AREA * max(area, now_area), 0.005 * mask.size)
            differences.append(abs(now_area - area) / allowed)
    return max(differences)
