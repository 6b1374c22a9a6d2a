"""What the rows of a table say of each other: splits, classes, masks and patients of its sources."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from multimix.data.check.findings import Finding, some
from multimix.data.columns import FINDING, SPLITS
from multimix.data.index.doubts import patients_as_classes
from multimix.data.splits import patient_key
from multimix.types import Record, patients_known

_NOTHING = re.compile(
    r"none|null|nil|na|#n/a|nat|missing|unknown|undefined|unlabell?ed|no ?label|not available|empty|\?+|-+|\.+",
    re.IGNORECASE,
)
"""How programs and people write that there is no label."""
_UNCERTAIN = re.compile(r"-\d+(\.0+)?")
_LIST = re.compile(r"[\[({].*[\])}]|['\"].*['\"]")


def of_rows(records: Sequence[Record], confirm_classes: bool) -> Iterator[Finding]:
    """All findings that need no file."""
    yield from _nothing_to_learn(records)
    yield from shared_patients(records)
    yield from _written_alike(records)
    yield from _unknown_patients(records)
    yield from _missing_splits(records)
    yield from _balance(records)
    yield from _single(records)
    yield from _alike(records)
    yield from _odd_labels(records)
    yield from _some_structures(records)
    if not confirm_classes:
        for source, problem in patients_as_classes(records):
            message = (
                f"{problem}; correct the label column if these are patients, or confirm by --confirm-classes"
            )
            yield Finding("error", source, message)


def _nothing_to_learn(records: Sequence[Record]) -> Iterator[Finding]:
    if not any(record.label or record.masks for record in records):
        message = (
            f"none of the {len(records)} images has a label or a mask, so nothing can be learned; fill in the label or "
            "mask column"
        )
        yield Finding("error", "the table", message)


def shared_patients(records: Sequence[Record]) -> Iterator[Finding]:
    """Patients of a source that lie in several splits, however they are written."""
    by_patient: dict[tuple[str, str], dict[str, Record]] = defaultdict(dict)
    for record in records:
        by_patient[record.source, patient_key(record.patient)].setdefault(record.split, record)
    for (source, _), in_split in by_patient.items():
        if len(in_split) > 1:
            names = " = ".join(dict.fromkeys(repr(record.patient) for record in in_split.values()))
            examples = ", ".join(f"{split} ({record.image.name})" for split, record in in_split.items())
            message = f"patient {names} is in {examples}; put all images of a patient into one split"
            yield Finding("error", source, message)


def _written_alike(records: Sequence[Record]) -> Iterator[Finding]:
    """Patients of a source that differ in case, or in how a number is written."""
    spellings: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in records:
        spellings[record.source, patient_key(record.patient).casefold()].add(record.patient)
    found: dict[str, list[str]] = defaultdict(list)
    for (source, _), names in spellings.items():
        if len(names) > 1:
            found[source].append(" and ".join(map(repr, sorted(names))))
    for source, pairs in sorted(found.items()):
        message = f"{len(pairs)} patients are written in several ways ({some(pairs)}); write each in one"
        yield Finding("warning", source, message)


def _unknown_patients(records: Sequence[Record]) -> Iterator[Finding]:
    by_source: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_source[record.source].append(record)
    for source, members in sorted(by_source.items()):
        if lacking := sum(not patients_known([record.patient]) for record in members):
            message = (
                f"the patients of {lacking} of {len(members)} images are not known, so leaks are not found and scores "
                "get no interval; add a column `patient`, or index again with --patient-pattern or --patient-per-image"
            )
            yield Finding("warning", source, message)


def _missing_splits(records: Sequence[Record]) -> Iterator[Finding]:
    present = {record.split for record in records}
    use = {"train": "to learn from", "val": "to choose the checkpoint by", "test": "to judge by"}
    for split in SPLITS:
        if split not in present:
            message = f"no image is in {split}, so there is nothing {use[split]}; set some rows' split to it"
            yield Finding("warning", split, message)


def _balance(records: Sequence[Record]) -> Iterator[Finding]:
    by_place: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        by_place[record.source, record.split].append(record)
    for source in sorted({source for source, _ in by_place}):
        trained: set[str] | None = None
        for split in SPLITS:
            members = by_place.get((source, split))
            if not members:
                continue
            classes = Counter(c for record in members if record.label for c in record.label.split("|"))
            yield Finding("note", f"{source} {split}", _counted(members, classes))
            if split == "train":
                trained = set(classes)
            elif trained and (lacking := sorted(set(classes) - trained)):
                message = (
                    f"class {lacking[0]!r} is not in train, so it cannot be learnt; move some patients there"
                )
                yield Finding("warning", f"{source} {split}", message)
            elif trained and classes and (lacking := sorted(trained - set(classes))):
                message = (
                    f"class {lacking[0]!r} of train is not in {split}, so scores there say nothing of it"
                )
                yield Finding("warning", f"{source} {split}", message)


def _counted(members: Sequence[Record], classes: Counter[str]) -> str:
    known = patients_known(record.patient for record in members)
    patients = f"{len({record.patient for record in members})} patients" if known else "patients not known"
    masks = Counter(structure for record in members for structure in record.masks)
    parts = [f"{len(members)} images of {patients}" if known else f"{len(members)} images, {patients}"]
    parts += [f"{name} {count}" for name, count in sorted(classes.items())]
    unlabelled = sum(record.label is None for record in members)
    parts += [f"without label {unlabelled}"] if unlabelled else []
    parts += [f"masks of {name} {count}" for name, count in sorted(masks.items())]
    return ", ".join(parts)


def _single(records: Sequence[Record]) -> Iterator[Finding]:
    """Classes that one image of all sources shows."""
    images: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        for name in record.label.split("|") if record.label else ():
            images[name].append(record)
    for name, (first, *more) in sorted(images.items()):
        if not more:
            message = (
                f"no other image is of class {name!r}, which is too few to learn and to judge; label more"
            )
            yield Finding("warning", str(first.image), message)


def _alike(records: Sequence[Record]) -> Iterator[Finding]:
    """Classes of a source that differ in case, in Unicode form, or in how a number is written."""
    spellings: dict[tuple[str, object], set[str]] = defaultdict(set)
    for source, name in {(r.source, c) for r in records if r.label for c in r.label.split("|")}:
        try:
            spellings[source, float(name)].add(name)
        except ValueError:
            spellings[source, " ".join(unicodedata.normalize("NFKC", name).casefold().split())].add(name)
    for (source, _), names in spellings.items():
        if len(names) > 1:
            which = ", ".join(map(repr, sorted(names)))
            message = (
                f"classes {which} have nearly one name; write them alike, or they are learned as different"
            )
            yield Finding("warning", source, message)


def _odd_labels(records: Sequence[Record]) -> Iterator[Finding]:
    """Words that are classes here, and are none as a rule."""
    by_source: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        by_source[record.source].update(record.label.split("|") if record.label else ())
    for source, classes in sorted(by_source.items()):
        for name, count in sorted(classes.items()):
            if why := _odd(name, set(classes)):
                yield Finding("warning", source, f"class {name!r} of {count} images: {why}")


def _odd(name: str, classes: set[str]) -> str:
    if name != "none" and _NOTHING.fullmatch(name):
        return (
            "is it how a program writes an empty cell? Leave the cell empty if the label is not known, and write none "
            "if the image shows no class"
        )
    if _UNCERTAIN.fullmatch(name) and {float(c) for c in classes if re.fullmatch(r"[01](\.0+)?", c)}:
        return "is it uncertain, beside 0 and 1? Leave the cell empty, or decide"
    if _LIST.fullmatch(name) and re.search(r"[,'\"\s]", name):
        return "it is a list as a program prints it; classes of one image are joined by |"
    if ";" in name or ("," in name and all(part.strip() in classes for part in name.split(","))):
        return "classes of one image are joined by |; replace the sign between them"
    return ""


def _some_structures(records: Sequence[Record]) -> Iterator[Finding]:
    """Training images with masks of some structures of their source only."""
    by_source: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.split == "train" and record.masks:
            by_source[record.source].append(record)
    for source, members in sorted(by_source.items()):
        every = {structure for record in members for structure in record.masks} - {FINDING}
        lacking = Counter(structure for record in members for structure in every - set(record.masks))
        if partly := sum(not every <= set(record.masks) for record in members):
            names = ", ".join(f"{structure} {count}" for structure, count in sorted(lacking.items()))
            message = (
                f"{partly} of {len(members)} images with masks lack some ({names}), and are not learned from where "
                "all are asked for; draw them, or narrow --structures"
            )
            yield Finding("warning", f"{source} train", message)
