"""What would corrupt a result, found before training: every file of a manifest is decoded once.

error    missing or unreadable file, mask of another size than its image, patient or pixels in two splits
warning  mask that is empty, full or of the background, image of one grey level, source of dark images, identical
         pixels twice in one split, a split or class that lacks, class of one image, classes of nearly one name,
         masks of some structures only
note     images, patients, classes and masks of each source and split; images that two sources share; images in
         colour; columns that nothing is read from
"""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool

from multimix.data.manifest import FINDING, SPLITS, read_manifest, unread_columns
from multimix.errors import ImageError
from multimix.io.readers import read_image, read_mask
from multimix.types import Record

_EXAMPLES = 3
COLOURED = 0.1
"""Difference of the channels, of [0, 1], in some pixel: less is what JPEG makes of grey."""


@dataclass(frozen=True)
class Finding:
    """One thing that a check found."""

    level: Literal["error", "warning", "note"]
    where: str
    """A file, or a source and split."""
    message: str
    """What is wrong and what to do."""
    image: Path | None = None
    """Whose row has files that cannot be used; None where no single row is at fault."""


@dataclass(frozen=True)
class _Look:
    """One record's files, decoded."""

    record: Record
    digest: str | None
    """Of the pixels at 8 bits, so that the same image in two formats is one; None where unreadable."""
    findings: tuple[Finding, ...]
    brightest: int = 0
    """The largest of those grey pixels where the image has levels between them, as at 16 bits; else 0."""
    coloured: bool = False


def check_manifest(
    path: Path | str, progress: Callable[[int, int], None] | None = None, threads: int | None = None
) -> list[Finding]:
    """Check a manifest and all its files: errors first, then warnings, then notes.

    `progress` is called with (images done, images in all). Raises ManifestError where the table itself cannot
    be read; everything else is a finding.
    """
    records = read_manifest(path)
    looks = []
    with ThreadPoolExecutor(threads or min(os.cpu_count() or 1, 8)) as pool:
        for done, look in enumerate(pool.map(_look, records), start=1):
            looks.append(look)
            if progress is not None:
                progress(done, len(records))
    findings = [finding for look in looks for finding in look.findings]
    findings += _shared_patients(records)
    findings += _shared_pixels(looks)
    findings += _missing_splits(records)
    findings += _balance(records)
    findings += _single(records)
    findings += _alike(records)
    findings += _dark(looks)
    findings += _some_structures(records)
    findings += _in_colour(looks)
    if unread := unread_columns(path):
        message = f"columns that nothing is read from: {', '.join(unread)}; rename those that are meant to be"
        findings.append(Finding("note", str(path), message))
    return sorted(findings, key=lambda finding: ("error", "warning", "note").index(finding.level))


def _look(record: Record) -> _Look:
    findings = []
    size, digest, brightest, coloured = None, None, 0, False
    try:
        image = read_image(record.image, channels=3, force=True)
        size = image.size
        coloured = bool(np.ptp(image.pixels, axis=0).max() > COLOURED)
        levels = (image.pixels if coloured else image.pixels[:1]) * 255
        grey = levels.round().astype(np.uint8)
        digest = hashlib.sha256(repr(size).encode() + grey.tobytes()).hexdigest()
        if np.abs(levels - grey).max() > 1e-3:
            brightest = int(grey.max())
        if grey.min() == grey.max():
            message = "every pixel has the same value; replace the image or remove its row"
            findings.append(Finding("warning", str(record.image), message))
    except ImageError as error:
        findings.append(Finding("error", str(record.image), _without(record.image, error), record.image))
    for structure, files in record.masks.items():
        findings += _look_at_mask(record.image, size, structure, files)
    return _Look(record, digest, tuple(findings), brightest, coloured)


def _look_at_mask(
    image: Path, size: tuple[int, int] | None, structure: str, files: Sequence[Path]
) -> Iterator[Finding]:
    where = "|".join(map(str, files))
    try:
        mask = read_mask(files, size)
    except ImageError as error:
        yield Finding("error", where, _without(files[0], error), image)
        return
    if not mask.any():
        yield Finding("warning", where, f"mask of {structure!r} is empty; draw it or clear the cell")
    elif mask.mean() > 0.95:
        yield Finding(
            "warning", where, f"mask of {structure!r} covers the whole image; draw it or clear the cell"
        )
    elif _holds_the_border(mask):
        message = f"mask of {structure!r} seems to be of the background: it holds the border; invert it if so"
        yield Finding("warning", where, message)


def _holds_the_border(mask: Bool[np.ndarray, "H W"]) -> bool:
    """Whether a mask covers most of the border, and more of it than of the middle half of the image."""
    height, width = mask.shape
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).mean()
    middle = mask[height // 4 : height - height // 4, width // 4 : width - width // 4].mean()
    return bool(border > max(middle, 0.5))


def _shared_patients(records: Sequence[Record]) -> Iterator[Finding]:
    by_patient: dict[tuple[str, str], dict[str, Record]] = defaultdict(dict)
    for record in records:
        by_patient[record.source, record.patient].setdefault(record.split, record)
    for (source, patient), in_split in by_patient.items():
        if len(in_split) > 1:
            examples = ", ".join(f"{split} ({record.image.name})" for split, record in in_split.items())
            message = f"patient {patient!r} is in {examples}; put all images of a patient into one split"
            yield Finding("error", source, message)


def _shared_pixels(looks: Sequence[_Look]) -> Iterator[Finding]:
    """One finding per pair of (source, split) places that hold identical pixels, with a few examples."""
    by_digest: dict[str, dict[tuple[str, str], list[str]]] = defaultdict(lambda: defaultdict(list))
    for look in looks:
        if look.digest is not None:
            place = (look.record.source, look.record.split)
            by_digest[look.digest][place].append(look.record.image.name)
    pairs: dict[tuple[tuple[str, str], tuple[str, str]], list[str]] = defaultdict(list)
    for places in by_digest.values():
        for place, (first, *copies) in places.items():
            pairs[place, place] += [f"{first} = {copy}" for copy in copies]
        for one, other in combinations(sorted(places), 2):
            pairs[one, other].append(f"{places[one][0]} = {places[other][0]}")
    for (one, other), examples in sorted(pair for pair in pairs.items() if pair[1]):
        some = ", ".join(examples[:_EXAMPLES]) + (", ..." if len(examples) > _EXAMPLES else "")
        count = f"{len(examples)} image{'s' * (len(examples) > 1)} with identical pixels"
        if one[1] != other[1]:
            where = f"{' '.join(one)} and {' '.join(other)}"
            yield Finding("error", where, f"{count} in two splits ({some}); keep each in one split only")
        elif one == other:
            yield Finding("warning", " ".join(one), f"{count} as another there ({some}); remove the copies")
        else:
            where = f"{one[0]} and {other[0]}, {one[1]}"
            yield Finding("note", where, f"{count} in both ({some}); do not count them twice")


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
    """Classes of a source that differ in case, or in how a number is written."""
    spellings: dict[tuple[str, object], set[str]] = defaultdict(set)
    for source, name in {(r.source, c) for r in records if r.label for c in r.label.split("|")}:
        try:
            spellings[source, float(name)].add(name)
        except ValueError:
            spellings[source, name.casefold()].add(name)
    for (source, _), names in spellings.items():
        if len(names) > 1:
            which = ", ".join(map(repr, sorted(names)))
            message = (
                f"classes {which} have nearly one name; write them alike, or they are learned as different"
            )
            yield Finding("warning", source, message)


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


def _in_colour(looks: Sequence[_Look]) -> Iterator[Finding]:
    coloured = Counter(look.record.source for look in looks if look.coloured)
    images = Counter(look.record.source for look in looks)
    for source, count in sorted(coloured.items()):
        message = f"{count} of {images[source]} images are in colour, which only `train --channels 3` sees"
        yield Finding("note", source, message)


def _dark(looks: Sequence[_Look]) -> Iterator[Finding]:
    """Sources in 16-bit files that use the lower fourth of them: training keeps 8 bits, and of these two fewer."""
    brightest: dict[str, int] = defaultdict(int)
    for look in looks:
        source = look.record.source
        brightest[source] = max(brightest[source], look.brightest)
    for source, level in sorted(brightest.items()):
        if 0 < level < 64:
            message = (
                f"no 16-bit image is brighter than {level / 255:.0%} of white, so training sees {level + 1} grey "
                "levels of 256; stretch the images, as 12-bit values in 16-bit files by 16"
            )
            yield Finding("warning", source, message)


def _counted(members: Sequence[Record], classes: Counter[str]) -> str:
    patients = len({record.patient for record in members})
    masks = Counter(structure for record in members for structure in record.masks)
    parts = [f"{len(members)} images of {patients} patients"]
    parts += [f"{name} {count}" for name, count in sorted(classes.items())]
    unlabelled = sum(record.label is None for record in members)
    parts += [f"without label {unlabelled}"] if unlabelled else []
    parts += [f"masks of {name} {count}" for name, count in sorted(masks.items())]
    return ", ".join(parts)


def _without(path: Path, error: ImageError) -> str:
    return str(error).removeprefix(f"{path}: ")
