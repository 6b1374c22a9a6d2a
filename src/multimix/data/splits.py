"""Which image plays which role: by patient, seeded, the same on every machine and for every method.

Every order here comes from a hash of (seed, source, patient), never from the order of rows, a path or a
random stream that something else also draws from. Hence a budget of 10 lies within the budget of 50 of the
same seed.

A record carries only what its role may see: chosen for its class it has no masks, chosen for its mask it has
no label, unlabelled it has neither.
"""

import csv
import hashlib
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from multimix.data.columns import SPLITS
from multimix.errors import ManifestError, SplitError, UsageError
from multimix.io.writers import atomic_write
from multimix.types import Record, patients_known


def select(records: Sequence[Record], sources: Sequence[str], split: str) -> list[Record]:
    """Records of the named sources in one split, in their order; may be empty.

    Raises ManifestError for a source that no record has, UsageError for a split that cannot be.
    """
    if split not in SPLITS:
        raise UsageError(f"split {split!r} does not exist; use train, val or test")
    known = {record.source for record in records}
    unknown = [name for name in sources if name not in known]
    if unknown:
        raise ManifestError(
            f"no image of source {', '.join(map(repr, unknown))} in the manifest; "
            f"it has {', '.join(map(repr, sorted(known)))}: use one of these"
        )
    wanted = set(sources)
    return [record for record in records if record.source in wanted and record.split == split]


def choose_classes(
    records: Sequence[Record], budget: int | None, seed: int
) -> tuple[list[Record], list[Record]]:
    """Choose `budget` images (None: all) whose class label may be seen: (labelled, unlabelled).

    Within each class patients are drawn in seeded order and give all their images until the class's quota is
    met; the last patient gives as many as fit. Its other images stay in the unlabelled pool, where no label
    can be seen. Quotas are in proportion to the classes, at least one each (Webster's method, so they never
    shrink as the budget grows). Joint labels 'A|B' count as a class of their own while drawing. Both lists
    come in drawn order.

    Raises UsageError for a budget that is less than 1 or more than there is, SplitError where a class stays
    without an image.

    Paper: supplement, Tables 3 and 4, class labels.
    """
    by_class: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.label is not None:
            by_class[record.label].append(record)
    available = sum(map(len, by_class.values()))
    budget = _checked(budget, available, "--class-labels", "class label")
    quotas = _quotas({name: len(members) for name, members in by_class.items()}, budget)
    chosen = [record for name, members in by_class.items() for record in _draw(members, seed)[: quotas[name]]]
    seen = {part for record in chosen for part in (record.label or "").split("|")}
    missing = sorted({part for name in by_class for part in name.split("|")} - seen)
    if missing:
        raise SplitError(
            f"class {missing[0]!r} gets no image from a budget of {budget}; raise --class-labels to at least "
            f"{len(by_class)}, or leave the class out of the manifest"
        )
    labelled = [replace(record, masks={}) for record in _draw(chosen, seed)]
    return labelled, _unlabelled(records, chosen, seed)


def choose_masks(
    records: Sequence[Record], budget: int | None, seed: int
) -> tuple[list[Record], list[Record]]:
    """Choose `budget` images (None: all) whose masks may be seen: (labelled, unlabelled).

    Patients are drawn in seeded order and give all their images with a mask until the budget is met. Both
    lists come in drawn order. Raises UsageError for a budget that is less than 1 or more than there is,
    SplitError where there is no mask at all.

    Paper: supplement, Tables 3 and 4, mask labels.
    """
    candidates = [record for record in records if record.masks]
    budget = _checked(budget, len(candidates), "--mask-labels", "mask of every structure")
    chosen = _draw(candidates, seed)[:budget]
    return [replace(record, label=None) for record in chosen], _unlabelled(records, chosen, seed)


def assign_splits(
    records: Sequence[Record], seed: int, fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
) -> list[Record]:
    """The same records with a seeded train/val/test split by patient, stratified by class within each source.

    `fractions` are of the patients and sum to 1. A patient with images of several classes forms a stratum
    with its like. Raises UsageError for other fractions.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise UsageError(f"splits are {fractions}, expected three shares that sum to 1; use e.g. 0.7 0.1 0.2")
    labels: dict[tuple[str, str], set[str]] = defaultdict(set)
    written: dict[tuple[str, str], tuple[str, str]] = {}
    for record in records:
        who = written.setdefault(
            (record.source, patient_key(record.patient)), (record.source, record.patient)
        )
        labels[who].add(record.label or "")
    patients = sorted(labels, key=lambda who: (who[0], sorted(labels[who]), _rank(seed, *who)))
    split: dict[tuple[str, str], str] = {}
    # Class after class, each patient goes where the share so far is furthest behind: every class is divided
    # to within a patient, and so is the whole, however small the classes are.
    for _, group in groupby(patients, key=lambda who: who[0]):
        have = [0, 0, 0]
        for place, who in enumerate(group, start=1):
            behind = [place * share - count for share, count in zip(fractions, have, strict=True)]
            chosen = behind.index(max(behind))
            have[chosen] += 1
            split[who] = SPLITS[chosen]
    return [
        replace(record, split=split[written[record.source, patient_key(record.patient)]])
        for record in records
    ]


def draw_splits(
    records: Sequence[Record], seed: int, fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
) -> list[Record]:
    """`assign_splits` where some patients have neither label nor mask: these go to train, where they can be learned
    from, if others of their source have one. Errors as `assign_splits`.
    """
    told = {(r.source, patient_key(r.patient)) for r in records if r.label is not None or r.masks}
    sources = {source for source, _ in told}
    useless = [r.source in sources and (r.source, patient_key(r.patient)) not in told for r in records]
    drawn = iter(assign_splits([r for r, u in zip(records, useless, strict=True) if not u], seed, fractions))
    return [replace(r, split="train") if u else next(drawn) for r, u in zip(records, useless, strict=True)]


def fold_splits(records: Sequence[Record], folds: int, seed: int, val: float = 0.1) -> list[list[Record]]:
    """The records `folds` times: each patient is in the test split of exactly one, by source and class as evenly as can
    be; of the others a share `val` of all patients is validation.

    Raises UsageError for a share that leaves nothing to learn from, SplitError for fewer patients than folds.
    """
    if not 0 <= val < 1 - 1 / folds:
        raise UsageError(
            f"a share of {val:g} for val leaves nothing to learn from in {folds} folds; give a smaller one"
        )
    first: dict[tuple[str, str], tuple[str, str]] = {}
    labels: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in records:
        who = first.setdefault((record.source, patient_key(record.patient)), (record.source, record.patient))
        labels[who].add(record.label or "")
    if len(labels) < folds:
        raise SplitError(f"{len(labels)} patients cannot be divided into {folds} folds; ask for fewer folds")
    patients = sorted(labels, key=lambda who: (who[0], sorted(labels[who]), _rank(seed, *who)))
    place = {who: number % folds for number, who in enumerate(patients)}
    found = []
    for fold in range(folds):
        rest = [r for r in records if place[first[r.source, patient_key(r.patient)]] != fold]
        kept = val / (1 - 1 / folds)
        drawn = iter(assign_splits(rest, seed + fold + 1, (1 - kept, kept, 0.0)))
        found.append(
            [
                replace(r, split="test")
                if place[first[r.source, patient_key(r.patient)]] == fold
                else next(drawn)
                for r in records
            ]
        )
    return found


def patient_key(patient: str) -> str:
    """The form in which two patients are compared: '7', '7.0' and '007' are one, and so are two Unicode forms.

    A table that went through a spreadsheet or a merge has numbers in such forms.
    """
    text = unicodedata.normalize("NFKC", patient).strip()
    number = re.fullmatch(r"0*(\d+)(\.0+)?", text)
    return number[1] if number else text


def set_aside(records: Sequence[Record], share: float) -> list[Record]:
    """The training and validation images, with a share of the training patients as the test split.

    A patient is set aside where the 64-bit blake2b digest of `patient_key`, divided by 2^64, is below `share`: the
    rule sees neither seed, labels, images, source nor other patients, so nobody can choose by it, a patient of two
    sources is set aside in both, and new patients change nothing for those before. Images that were the test split are
    left out. Raises UsageError for a share outside (0, 1), SplitError where a training patient is not known, or nobody
    is set aside or left to learn from.
    """
    if not 0 < share < 1:
        raise UsageError(f"a share of {share:g} cannot be set aside; give one between 0 and 1, such as 0.2")
    if unknown := [r for r in records if r.split == "train" and not patients_known([r.patient])]:
        raise SplitError(
            f"{unknown[0].image}: its patient is not known, nor are those of {len(unknown) - 1} more training images, "
            "so they cannot be set aside by patient; fill in the manifest's column patient"
        )
    kept = []
    for record in records:
        if record.split != "test":
            aside = record.split == "train" and _place(record.patient) < share
            kept.append(replace(record, split="test") if aside else record)
    for split, where in (("test", "is set aside"), ("train", "is left to learn from")):
        if not any(record.split == split for record in kept):
            raise SplitError(
                f"no training patient {where} at a share of {share:g}; give another share, or add patients"
            )
    return kept


def _place(patient: str) -> float:
    """Where in [0, 1) a patient's name falls."""
    return (
        int.from_bytes(hashlib.blake2b(patient_key(patient).encode(), digest_size=8).digest(), "big") / 2**64
    )


def refuse_leaks(records: Iterable[Record]) -> None:
    """Raise SplitError where one patient of a source is in two splits."""
    first: dict[tuple[str, str], Record] = {}
    for record in records:
        other = first.setdefault((record.source, patient_key(record.patient)), record)
        if other.split != record.split:
            also = f" as {record.patient!r}" if other.patient != record.patient else ""
            raise SplitError(
                f"patient {other.patient!r} of {record.source!r} is in {other.split} ({other.image.name}) and{also} "
                f"in {record.split} ({record.image.name}); put all images of a patient into one split"
            )


def fingerprint(records: Sequence[Record]) -> str:
    """Sha256 (hex) over image, label, split, masks, patient and source of all records, whatever their order or machine.

    Files are named relative to the folder they have in common. The pixels are not part of it.
    """
    base = _common_folder(records)
    rows = sorted(
        repr(
            (
                _name(record.image, base),
                record.label,
                record.split,
                sorted((s, [_name(m, base) for m in files]) for s, files in record.masks.items()),
                record.patient,
                record.source,
            )
        )
        for record in records
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def write_split(path: Path | str, roles: Mapping[str, Sequence[Record]]) -> None:
    """Write who played which role as CSV: role, image, label, source, patient.

    Images are relative to the folder that all have in common; unlabelled rows have an empty label.
    """
    base = _common_folder([record for members in roles.values() for record in members])
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["role", "image", "label", "source", "patient"])
        for role, members in roles.items():
            for record in members:
                name = _name(record.image, base)
                writer.writerow([role, name, record.label or "", record.source, record.patient])


def _checked(budget: int | None, available: int, flag: str, what: str) -> int:
    if not available:
        raise SplitError(f"no training image has a {what}; name another source, or add some to the manifest")
    if budget is None:
        return available
    if not 1 <= budget <= available:
        raise UsageError(
            f"{flag} {budget}: {available} training images have a {what}; "
            f"give 1 to {available}, or leave it out"
        )
    return budget


def _quotas(sizes: Mapping[str, int], budget: int) -> dict[str, int]:
    """Seats of each class: one each, larger classes first, then by Webster's method."""
    if budget == sum(sizes.values()):
        return dict(sizes)
    quotas = dict.fromkeys(sizes, 0)
    for _ in range(budget):
        open_ = [name for name in sizes if quotas[name] < sizes[name]]
        without = [name for name in open_ if not quotas[name]]
        best = min(without or open_, key=lambda name: (-sizes[name] / (2 * quotas[name] + 1), name))
        quotas[best] += 1
    return quotas


def _rank(seed: int, source: str, patient: str) -> str:
    return hashlib.sha256(repr((seed, source, patient)).encode()).hexdigest()


def _draw(records: Sequence[Record], seed: int) -> list[Record]:
    return sorted(records, key=lambda r: (_rank(seed, r.source, r.patient), r.image.name, r.image.as_posix()))


def _unlabelled(records: Sequence[Record], chosen: Sequence[Record], seed: int) -> list[Record]:
    taken = {(record.source, record.image) for record in chosen}
    rest = [record for record in records if (record.source, record.image) not in taken]
    return [replace(record, label=None, masks={}) for record in _draw(rest, seed)]


def _common_folder(records: Sequence[Record]) -> str:
    folders = {
        str(path.parent) for r in records for path in (r.image, *(m for f in r.masks.values() for m in f))
    }
    return os.path.commonpath(folders) if folders else ""


def _name(path: Path, base: str) -> str:
    return Path(os.path.relpath(path, base)).as_posix()
