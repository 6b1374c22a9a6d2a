"""Checks of who is where: patients, pictures, roles and labels across train, validation and test."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from multimix.data.columns import SPLITS
from multimix.data.splits import patient_key
from multimix.data.thumbnails import SIDE, copies
from multimix.errors import CheckpointError
from multimix.evaluation.audit.evaluations import Evaluation
from multimix.evaluation.audit.findings import Finding, Severity, Unchecked
from multimix.evaluation.audit.run_folder import TRAINING_ROLES, VALIDATION_ROLES, RunFolder, locate
from multimix.evaluation.audit.thumbnails import thumbnails
from multimix.io.run_folder import FACTS
from multimix.training.prepare import Prepared, changed
from multimix.training.validation import ValidationSet
from multimix.types import Record

_EXAMPLES = 3


def shared_patient(material: RunFolder) -> Iterator[Finding | Unchecked]:
    """Patients whose images lie in several splits, among the sources learned from and judged on."""
    splits: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for record in material.used + _foreign(material):
        splits[record.source, patient_key(record.patient)].setdefault(record.split, record.image.name)
    leaks: dict[str, list[str]] = defaultdict(list)
    patients = Counter(source for source, _ in splits)
    for (source, patient), where in splits.items():
        if len(where) > 1:
            leaks[source].append(f"{patient}: " + ", ".join(f"{s} ({name})" for s, name in where.items()))
    for source, found in leaks.items():
        yield Finding(
            "shared-patient",
            "wrong",
            source,
            "Images of one patient lie in several splits: the network has seen patients that it is judged or chosen "
            "by, so scores of this source are of memory.",
            "Put all images of a patient into one split of the manifest, and train and evaluate again.",
            {"patients": len(found), "of": patients[source], "examples": "; ".join(found[:_EXAMPLES])},
        )
    yield from _patients_judged(material, leaks)


def _patients_judged(material: RunFolder, known: Mapping[str, object]) -> Iterator[Finding]:
    """Patients of the training roles among the judged images, where the manifest itself shows no leak."""
    trained = {
        (r.source, patient_key(r.patient)) for r in material.roles if r.role in TRAINING_ROLES and r.patient
    }
    for one, entry, rows in _judged(material):
        source = str(entry.get("source"))
        if entry.get("split") == "train" or source in known or "patient" not in rows:
            continue
        shared = sorted({p for p in rows["patient"] if (source, patient_key(p)) in trained})
        if shared:
            yield Finding(
                "shared-patient",
                "wrong",
                f"{source} {entry.get('split')}, {one.folder.name}",
                "The run was trained on images of patients by whom it is judged here, so these scores are of memory.",
                "Give these patients one split in the manifest, train again and evaluate again.",
                {"patients": len(shared), "examples": ", ".join(shared[:_EXAMPLES])},
            )


def _foreign(material: RunFolder) -> list[Record]:
    """Records of sources that were only judged; none where there is no evaluation."""
    return material.foreign if material.folders else []


def _judged(material: RunFolder) -> Iterator[tuple[Evaluation, Mapping[str, object], pd.DataFrame]]:
    """Every entry of every evaluation that has its per-image rows."""
    for one in material.evaluations if material.folders else ():
        for entry in one.scores:
            rows = one.rows(entry)
            if rows is not None:
                yield one, entry, rows


def shared_pixels(material: RunFolder) -> Iterator[Finding | Unchecked]:
    """Pictures that lie in several splits, pixel for pixel at the network's size or nearly so."""
    records, digests, images = material.used, material.images.digests, [material.images.images]
    if foreign := _foreign(material):
        records, digests = records + foreign, digests + material.foreign_images.digests
        images.append(material.foreign_images.images)
    exact = _equal_pictures(records, digests)
    if exact:
        yield _shared("wrong", "The very same picture", records, exact, {})
    if material.config.data.size < SIDE:
        reason = f"nearly equal pictures are looked for at {SIDE} x {SIDE}; the run has fewer pixels."
        yield Unchecked("shared-pixels", reason)
        return
    small = np.concatenate([thumbnails(part, SIDE) for part in images])
    near = {pair: how for pair, how in _near(records, small).items() if digests[pair[0]] != digests[pair[1]]}
    if near:
        more = {
            "highest": max(abs(correlation) for correlation, _ in near.values()),
            "mirrored": sum(mirrored for _, mirrored in near.values()),
        }
        yield _shared("doubtful", "Nearly the same picture", records, list(near), more)


def _equal_pictures(records: Sequence[Record], digests: Sequence[str]) -> list[tuple[int, int]]:
    first: dict[tuple[str, str], int] = {}
    by_digest: dict[str, list[int]] = defaultdict(list)
    for i, (record, digest) in enumerate(zip(records, digests, strict=True)):
        if first.setdefault((digest, record.split), i) == i:
            by_digest[digest].append(i)
    return [(rows[0], other) for rows in by_digest.values() for other in rows[1:]]


def _near(
    records: Sequence[Record], small: Float[np.ndarray, "N side side"]
) -> dict[tuple[int, int], tuple[float, bool]]:
    """Pairs of rows in two splits that are one picture -> correlation, whether one is mirrored."""
    rows = {split: [i for i, r in enumerate(records) if r.split == split] for split in SPLITS}
    found: dict[tuple[int, int], tuple[float, bool]] = {}
    for one, other in combinations(SPLITS, 2):
        found |= copies(small, rows[one], rows[other])
    return found


def _shared(
    severity: Severity,
    what: str,
    records: Sequence[Record],
    pairs: Sequence[tuple[int, int]],
    more: Mapping[str, float],
) -> Finding:
    def named(row: int) -> str:
        record = records[row]
        return f"{record.source} {record.split} {record.image.name}"

    examples = "; ".join(f"{named(i)} = {named(j)}" for i, j in pairs[:_EXAMPLES])
    return Finding(
        "shared-pixels",
        severity,
        ", ".join(sorted({records[row].source for pair in pairs for row in pair})),
        f"{what} lies in two splits: the network has seen what it is judged or chosen by.",
        "Look at the pairs, keep each picture (and its patient) in one split, and train and evaluate again; `multimix "
        "data check` lists equal files.",
        {"pairs": len(pairs), **more, "examples": examples},
    )


def wrong_role(material: RunFolder) -> Iterator[Finding | Unchecked]:
    """Validation or test images trained on, test images that chose the checkpoint, training images judged as test."""
    wrong: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in material.roles:
        expected = "train" if row.role in TRAINING_ROLES else "val" if row.role in VALIDATION_ROLES else None
        if row.record is not None and expected is not None and row.record.split != expected:
            wrong[row.role, row.record.split].append(row.image)
    counts = Counter(row.role for row in material.roles)
    for (role, split), names in wrong.items():
        choosing = role in VALIDATION_ROLES
        yield Finding(
            "wrong-role",
            "doubtful" if choosing and split == "train" else "wrong",
            f"{role}, {split} images",
            f"Images of the split {split} "
            + ("chose the best checkpoint" if choosing else "were trained on")
            + ", so scores on them say nothing about new patients.",
            "Train again with the splits as they are in the manifest; report no score of this run on that split.",
            {"images": len(names), "of": counts[role], "examples": ", ".join(names[:_EXAMPLES])},
        )
    yield from _judged_in_roles(material, {image for names in wrong.values() for image in names})


def _judged_in_roles(material: RunFolder, known: set[str]) -> Iterator[Finding]:
    """Images in an evaluation that the run was trained on or chosen by, where split.csv itself is in order."""
    used = {
        row.record.image: row for row in material.roles if row.record is not None and row.image not in known
    }
    for one, entry, rows in _judged(material):
        split, source = entry.get("split"), str(entry.get("source"))
        if split != "test" or source not in material.sources or "image" not in rows:
            continue
        mine = [record for record in material.used if record.source == source]
        found = locate([(source, name) for name in rows["image"]], mine)
        names = [record.image.name for record in found if record is not None and record.image in used]
        if names:
            yield Finding(
                "wrong-role",
                "wrong",
                f"{source} {split}, {one.folder.name}",
                "Images that are judged as test were trained on, or chose the checkpoint.",
                "Evaluate again on the manifest's test split.",
                {"images": len(names), "of": len(rows), "examples": ", ".join(names[:_EXAMPLES])},
            )


def visible_labels(material: RunFolder) -> Iterator[Finding | Unchecked]:
    """Labels of images that should be unlabelled, and more labels than the budget."""
    seen = [row for row in material.roles if row.role.startswith("unlabelled") and row.label]
    if seen:
        yield Finding(
            "visible-labels",
            "wrong",
            ", ".join(sorted({row.role for row in seen})),
            "Images of the unlabelled streams have a label in split.csv, so this was no training from few labels.",
            "Train again from the manifest; the streams must be drawn by data.sets, which hides labels.",
            {"images": len(seen), "examples": ", ".join(row.image for row in seen[:_EXAMPLES])},
        )
    data, counts = material.config.data, Counter(row.role for row in material.roles)
    for role, budget in (("labelled_classes", data.class_labels), ("labelled_masks", data.mask_labels)):
        if budget is not None and counts[role] > budget:
            yield Finding(
                "visible-labels",
                "wrong",
                role,
                "The run saw more labels than its configuration says, so it cannot stand for that budget.",
                "Train again with the budget that is claimed, or claim the one that was used.",
                {"labelled": counts[role], "budget": budget},
            )


def same_stream(material: RunFolder) -> Iterator[Finding | Unchecked]:
    """Unlabelled streams that hold labelled images."""
    by_role: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for row in material.roles:
        by_role[row.role].add((row.source, row.image))
    for kind in ("classes", "masks"):
        labelled, unlabelled = by_role[f"labelled_{kind}"], by_role[f"unlabelled_{kind}"]
        both = labelled & unlabelled
        if both:
            yield Finding(
                "same-stream",
                "wrong" if both == unlabelled else "doubtful",
                f"unlabelled_{kind}",
                "Labelled images are also in the unlabelled stream, whose terms then learn nothing from new images.",
                "Train again from the manifest; the two streams must have no image in common.",
                {"images": len(both), "labelled": len(labelled), "unlabelled": len(unlabelled)},
            )


def unseen_class(material: RunFolder) -> Iterator[Finding | Unchecked]:
    """Classes without a labelled image."""
    if not material.method.classify:
        return
    rows = [row for row in material.roles if row.role == "labelled_classes"]
    counts = Counter(name for row in rows for name in row.label.split("|"))
    for name in [name for name in material.loaded.spec.classes if not counts[name]]:
        yield Finding(
            "unseen-class",
            "wrong",
            name,
            "No labelled training image has this class, so nothing that the network says about it was learned.",
            "Label some images of the class, or leave it out of --classes, and train again.",
            {"labelled": 0, **{f"labelled {other}": count for other, count in counts.items()}},
        )


def data_changed(material: RunFolder) -> Iterator[Finding | Unchecked]:
    """Rows of the manifest, test labels among them, roles or pixels that are not those of run.json."""
    before = material.facts.get("data")
    if not isinstance(before, dict):
        raise CheckpointError(f"{material.run / FACTS}: has no fingerprint of the data.")
    absent = [row.image for row in material.roles if row.record is None]
    if absent:
        yield _changed({"images gone": len(absent), "examples": ", ".join(absent[:_EXAMPLES])})
        return
    masks = material.masks
    nothing = ValidationSet(material.images.images[:0], torch.zeros(0), masks.images[:0], masks.masks[:0])
    now = Prepared(material.sets, material.images, masks, nothing, {}).describe()["data"]
    if other := changed(before, now):
        yield _changed({"changed": ", ".join(other)})


def _changed(evidence: Mapping[str, float | int | str]) -> Finding:
    return Finding(
        "data-changed",
        "doubtful",
        FACTS,
        "The manifest, split.csv or the images are not those that the run was trained on: it cannot be repeated, and "
        "the other checks speak of the data as it is now.",
        "Restore the data (or name it with --data), or train again.",
        evidence,
    )
