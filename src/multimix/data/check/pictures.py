"""What the pixels of a table's images say of each other: one picture twice, negatives, colour, dark files, outlines."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from multimix.data.check.files import Ink, Look
from multimix.data.check.findings import Finding, some
from multimix.data.columns import SPLITS
from multimix.data.thumbnails import COARSE, copies, negatives, thumbnail

_NEAR = 0.2
"""Colours, in [0, 1], that differ by less in each channel are one, which JPEG has blurred."""


def of_pictures(looks: Sequence[Look]) -> Iterator[Finding]:
    """All findings that compare files."""
    yield from _header_patients(looks)
    yield from _shared_pixels(looks)
    yield from _copies(looks)
    yield from _negatives(looks)
    yield from _outlines(looks)
    yield from _inks(looks)
    yield from _dark(looks)
    yield from _in_colour(looks)


def _header_patients(looks: Sequence[Look]) -> Iterator[Finding]:
    """Patients of the DICOM headers that lie in several splits of a source."""
    splits: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for look in looks:
        if look.patient:
            splits[look.record.source, look.patient].setdefault(look.record.split, look.record.image.name)
    patients = Counter(source for source, _ in splits)
    files = Counter(look.record.source for look in looks if look.patient)
    for (source, patient), where in splits.items():
        if len(where) > 1 and (patients[source] > 1 or files[source] < 10):
            examples = ", ".join(f"{split} ({name})" for split, name in where.items())
            message = (
                f"PatientID {patient!r} of the DICOM headers is in {examples}; put all images of a patient into one "
                "split"
            )
            yield Finding("error", source, message)


def _shared_pixels(looks: Sequence[Look]) -> Iterator[Finding]:
    """One finding per pair of (source, split) places that hold identical pixels, with a few examples."""
    by_digest: dict[str, dict[tuple[str, str], list[str]]] = defaultdict(lambda: defaultdict(list))
    for look in looks:
        if look.digest is not None:
            place = (look.record.source, look.record.split)
            by_digest[look.digest][place].append(look.record.image.name)
    pairs: dict[tuple[tuple[str, str], tuple[str, str]], list[str]] = defaultdict(list)
    for places in by_digest.values():
        for place, (first, *more) in places.items():
            pairs[place, place] += [f"{first} = {copy}" for copy in more]
        for one, other in combinations(sorted(places), 2):
            pairs[one, other].append(f"{places[one][0]} = {places[other][0]}")
    for (one, other), examples in sorted(pair for pair in pairs.items() if pair[1]):
        count = f"{len(examples)} image{'s' * (len(examples) > 1)} with identical pixels"
        if one[1] != other[1]:
            where = f"{' '.join(one)} and {' '.join(other)}"
            message = f"{count} in two splits ({some(examples)}); keep each in one split only"
            yield Finding("error", where, message)
        elif one == other:
            message = f"{count} as another there ({some(examples)}); remove the copies"
            yield Finding("warning", " ".join(one), message)
        else:
            where = f"{one[0]} and {other[0]}, {one[1]}"
            yield Finding("note", where, f"{count} in both ({some(examples)}); do not count them twice")


def _copies(looks: Sequence[Look]) -> Iterator[Finding]:
    """Pictures that lie in two splits, saved again, brighter, darker, at another size, mirrored or inverted."""
    known = [look for look in looks if look.small is not None]
    small = np.stack(
        [look.small for look in known if look.small is not None] or [np.empty((1, 1), np.float16)]
    )
    rows = {split: [i for i, look in enumerate(known) if look.record.split == split] for split in SPLITS}
    for one, other in combinations(SPLITS, 2):
        found = copies(small, rows[one], rows[other])
        pairs = {p: how for p, how in found.items() if known[p[0]].digest != known[p[1]].digest}
        if not pairs:
            continue
        examples = [
            f"{known[i].record.image.name} = {known[j].record.image.name}{_how(*how)}"
            for (i, j), how in sorted(pairs.items())
        ]
        sources = sorted({known[row].record.source for pair in pairs for row in pair})
        message = (
            f"{len(examples)} pairs of nearly one picture ({some(examples, 12)}); look at them, and keep each picture "
            "in one split"
        )
        yield Finding("warning", f"{', '.join(sources)}, {one} and {other}", message)


def _how(correlation: float, mirrored: bool) -> str:
    words = ["mirrored"] * mirrored + ["inverted"] * (correlation < 0)
    return f" ({' and '.join(words)})" if words else ""


def _negatives(looks: Sequence[Look]) -> Iterator[Finding]:
    by_source: dict[str, list[Look]] = defaultdict(list)
    for look in looks:
        if look.small is not None:
            by_source[look.record.source].append(look)
    for source, members in sorted(by_source.items()):
        small = np.stack(
            [
                thumbnail(look.small[None].astype(np.float32), COARSE)
                for look in members
                if look.small is not None
            ]
        )
        names = [
            look.record.image.name for look, found in zip(members, negatives(small), strict=True) if found
        ]
        if names:
            message = (
                f"{len(names)} of {len(members)} images look like negatives of the others ({some(names)}); invert "
                "them, or leave them out"
            )
            yield Finding("warning", source, message)


def _outlines(looks: Sequence[Look]) -> Iterator[Finding]:
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    masks: Counter[tuple[str, str]] = Counter()
    for look in looks:
        masks.update((look.record.source, structure) for structure in look.record.masks)
        for structure in look.outlines:
            found[look.record.source, structure].append(look.record.masks[structure][0].name)
    for (source, structure), names in sorted(found.items()):
        message = (
            f"{len(names)} of {masks[source, structure]} masks of {structure!r} are an outline with nothing inside "
            f"({some(names)}); fill them, if the structure is what they enclose"
        )
        yield Finding("warning", source, message)


def _inks(looks: Sequence[Look]) -> Iterator[Finding]:
    """Structures that are drawn in one colour here and in another there: they may be several."""
    found: dict[tuple[str, str], dict[tuple[Ink, ...], list[str]]] = defaultdict(lambda: defaultdict(list))
    known: dict[tuple[str, str], list[Ink]] = defaultdict(list)
    for look in looks:
        for structure, inks in look.inks.items():
            of = look.record.source, structure
            if inks:
                drawn = tuple(sorted({_one_of(ink, known[of]) for ink in inks}))
                found[of][drawn].append(look.record.masks[structure][0].name)
    for (source, structure), by_ink in sorted(found.items()):
        if len(by_ink) < 2:
            continue
        how = ", ".join(
            f"{' and '.join(map(_named, drawn))} in {len(names)} images ({names[0]})"
            for drawn, names in by_ink.items()
        )
        options = ",".join(f"NAME={_named(ink)}" for ink in known[source, structure])
        message = (
            f"masks of {structure!r} are drawn in several colours: {how}. Index again with --structures {options}, "
            "with another name for each structure, or the same where all are one"
        )
        yield Finding("error", source, message)


def _one_of(ink: Ink, known: list[Ink]) -> Ink:
    """The colour among those `known` that is nearly this one, which joins them where there is none."""
    near = next(
        (one for one in known if max(abs(a - b) for a, b in zip(one, ink, strict=True)) < _NEAR), None
    )
    if near is None:
        known.append(ink)
    return near or ink


def _named(ink: Ink) -> str:
    """As --structures takes it: a level of 255, or #rrggbb."""
    red, green, blue = (round(255 * channel) for channel in ink)
    return str(red) if red == green == blue else f"#{red:02x}{green:02x}{blue:02x}"


def _in_colour(looks: Sequence[Look]) -> Iterator[Finding]:
    coloured = Counter(look.record.source for look in looks if look.coloured)
    images = Counter(look.record.source for look in looks)
    for source, count in sorted(coloured.items()):
        message = (
            f"{count} of {images[source]} images are in colour; `train` learns from grey unless most are"
        )
        yield Finding("note", source, message)


def _dark(looks: Sequence[Look]) -> Iterator[Finding]:
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
