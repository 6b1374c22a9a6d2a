"""Records from folders as people keep them, without a file being moved or written.

    CLASS/x.png                     class folders
    train/CLASS/x.png               the same with a split on disk (train; val, valid, validation; test)
    images/x.png masks/x.png        image and mask by stem (x_mask.png too); masks/STRUCTURE/x.png names one
    images/CLASS/x.png masks/x.png  both
    CLASS/x.png CLASS/x_mask.png    a mask beside its image, also x_mask_1.png and more
    SOURCE/...                      any of these once more below a folder per data set

Beside images/, masks may also lie in labels/, segmentations/, annotations/ or gt/. What stands before the first
`train`, `images` or `masks` is the source, what stands after it is the class.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from multimix.data.manifest import LUNGS
from multimix.data.splits import assign_splits
from multimix.errors import ManifestError, UsageError
from multimix.io.readers import find_images, other_kinds
from multimix.types import Record

_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_IMAGES = ("image", "images", "img", "imgs")
_MASKS = ("mask", "masks")
_MASKS_BESIDE = ("label", "labels", "segmentation", "segmentations", "annotation", "annotations", "gt")
"""Names of a folder of masks where images/ lies beside it; elsewhere they are names like any other."""
_MASK_ENDING = re.compile(r"[_-]mask([_-]?\d+)?$", re.IGNORECASE)


@dataclass(frozen=True)
class FolderIndex:
    """What a folder holds."""

    records: list[Record]
    unmatched: list[str]
    """A line for each file that is in no record, and why."""
    notes: list[str] = field(default_factory=list)
    """What else is not as the folders say, a line each."""


@dataclass(frozen=True)
class _Place:
    """What a file's folders say about it."""

    file: Path
    source: tuple[str, ...]
    split: str | None
    inner: str
    """The folder after the markers: a class for an image, a structure (or class) for a mask; may be empty."""
    is_mask: bool
    marked: bool
    """A split, images or masks folder is among them."""

    @property
    def stem(self) -> str:
        """File name without suffix, and without '_mask' for a mask."""
        return _MASK_ENDING.sub("", self.file.stem) if self.is_mask else self.file.stem


def index_folder(
    folder: Path | str,
    seed: int = 0,
    splits: tuple[float, float, float] = (0.7, 0.1, 0.2),
    patient_pattern: str | None = None,
) -> FolderIndex:
    """Find the images below `folder`, with their classes, masks, splits and patients.

    The patient is what the one group of the regular expression `patient_pattern` finds in the file name, or
    else the whole stem (each image its own patient). A source without a split on disk is split by patient,
    stratified by class, with `seed` and the shares `splits` of train, val and test.

    Raises ManifestError or ImageError where there is no image, UsageError for a pattern or shares that cannot
    be used.
    """
    root = Path(os.path.abspath(folder))
    if not root.is_dir():
        raise ManifestError(f"{folder}: is not a folder; name the folder that holds the images")
    pattern = _compiled(patient_pattern)
    files = find_images([root])
    beside = _beside_images(root, files)
    places = _with_masks_by_name(_with_loose_files([_place(root, file, beside) for file in files]))
    images = [place for place in places if not place.is_mask]
    if not images:
        raise ManifestError(f"{folder}: holds masks but no images; name the folder above images/ and masks/")
    images, unmatched = _with_one_kind_of_split(images)
    masks, without_image = _paired(images, [place for place in places if place.is_mask])
    names = _source_names(root, images)
    stems = Counter(
        name for name, *_ in {((place.source, place.stem), place.split, place.inner) for place in images}
    )
    records: list[Record] = []
    loose: list[Record] = []
    for place in images:
        if "|" in place.inner:
            raise ManifestError(f"{place.file.parent}: '|' joins classes in a manifest; rename the folder")
        record = Record(
            image=place.file,
            masks={name: tuple(files) for name, files in sorted(masks[place.file].items())},
            label=place.inner or None,
            split=place.split or "train",
            patient=_patient(place, pattern, stems[place.source, place.stem] > 1),
            source=names[place.source],
        )
        (records if place.split else loose).append(record)
    records += assign_splits(loose, seed, splits)
    others = other_kinds(root, set(files))
    notes = [f"{others} passed over; images are PNG, JPEG, TIFF, GIF, BMP and DICOM"] if others else []
    notes += _maybe_classes(images, names)
    return FolderIndex(sorted(records, key=lambda record: record.image), unmatched + without_image, notes)


def _compiled(patient_pattern: str | None) -> re.Pattern[str] | None:
    if patient_pattern is None:
        return None
    try:
        pattern = re.compile(patient_pattern)
    except re.error as error:
        raise UsageError(
            f"--patient-pattern {patient_pattern!r} is not a regular expression ({error}); correct it"
        ) from error
    if pattern.groups != 1:
        raise UsageError(
            f"--patient-pattern {patient_pattern!r} has {pattern.groups} groups, expected one "
            "around the patient, as in '(person\\d+)_'"
        )
    return pattern


def _beside_images(root: Path, files: Sequence[Path]) -> set[tuple[str, ...]]:
    """Folders below `root` that hold an images/."""
    folders = {file.relative_to(root).parts[:-1] for file in files}
    return {parts[:i] for parts in folders for i, part in enumerate(parts) if part.lower() in _IMAGES}


def _place(root: Path, file: Path, beside: Collection[tuple[str, ...]]) -> _Place:
    parts = file.relative_to(root).parts[:-1]
    lower = [part.lower() for part in parts]
    of_masks = {
        i for i, part in enumerate(lower) if part in _MASKS or (part in _MASKS_BESIDE and parts[:i] in beside)
    }
    markers = [i for i, part in enumerate(lower) if part in _SPLITS or part in _IMAGES or i in of_masks]
    split = next((_SPLITS[part] for part in lower if part in _SPLITS), None)
    if markers:
        source = parts[: markers[0]]
        inner = next((part for i, part in enumerate(parts) if i > markers[0] and i not in markers), "")
    else:
        source, inner = parts[:-1], parts[-1] if parts else ""
    return _Place(file, source, split, inner, bool(of_masks), bool(markers))


def _with_loose_files(places: Sequence[_Place]) -> list[_Place]:
    """SOURCE/x.png beside SOURCE/train or SOURCE/images is of that source, not of a class SOURCE."""
    sources = {place.source for place in places if place.marked}
    whole = [(*place.source, place.inner) for place in places]
    return [
        replace(place, source=full, inner="") if not place.marked and full in sources else place
        for place, full in zip(places, whole, strict=True)
    ]


def _with_masks_by_name(places: Sequence[_Place]) -> list[_Place]:
    """x_mask.png beside x.png is the mask of it, and no image; without an x.png it is an image of that name."""
    stems = {(place.file.parent, place.file.stem) for place in places if not place.is_mask}
    return [
        replace(place, is_mask=True)
        if not place.is_mask
        and (stem := _MASK_ENDING.sub("", place.file.stem)) != place.file.stem
        and (place.file.parent, stem) in stems
        else place
        for place in places
    ]


def _with_one_kind_of_split(images: Sequence[_Place]) -> tuple[list[_Place], list[str]]:
    """Leave out images beside the split folders of their source: which split they belong to is unknown."""
    on_disk = {place.source for place in images if place.split}
    kept = [place for place in images if place.split or place.source not in on_disk]
    left = [place.file for place in images if not place.split and place.source in on_disk]
    return kept, [f"{file}: lies outside the split folders of its source; move it into one" for file in left]


def _paired(
    images: Sequence[_Place], masks: Sequence[_Place]
) -> tuple[dict[Path, dict[str, list[Path]]], list[str]]:
    """Image file -> structure -> mask files, and a line for each mask that belongs to no one image."""
    by_stem: dict[tuple[tuple[str, ...], str], list[_Place]] = defaultdict(list)
    classes: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for image in images:
        by_stem[image.source, image.stem].append(image)
        classes[image.source].add(image.inner)
    pairs: dict[Path, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    unmatched = []
    for mask in masks:
        # masks/CLASS/x.png mirrors images/CLASS/x.png; any other folder below masks names a structure.
        mirrored = mask.inner in classes[mask.source]
        fitting = [
            image
            for image in by_stem[mask.source, mask.stem]
            if mask.split in (None, image.split)
            and (not mirrored or not mask.inner or mask.inner == image.inner)
        ]
        if len(fitting) == 1:
            pairs[fitting[0].file][LUNGS if mirrored or not mask.inner else mask.inner].append(mask.file)
        else:
            count = f"{len(fitting)} images" if fitting else "no image"
            unmatched.append(f"{mask.file}: {count} with the stem {mask.stem!r}; rename it after its image")
    return pairs, unmatched


def _source_names(root: Path, images: Sequence[_Place]) -> dict[tuple[str, ...], str]:
    """A source is called after its folder, or by its path below `root` where two folders share a name."""
    sources = {place.source for place in images}
    last = Counter(source[-1] for source in sources if source)
    return {
        source: (source[-1] if last[source[-1]] == 1 else "/".join(source)) if source else root.name
        for source in sources
    }


def _maybe_classes(images: Sequence[_Place], names: Mapping[tuple[str, ...], str]) -> list[str]:
    """CLASS/PATIENT/x.png is read as SOURCE/CLASS/x.png; data sets have some class in common, classes no patient."""
    inner: dict[str, set[str]] = defaultdict(set)
    for place in images:
        if not place.marked and place.source:
            inner[names[place.source]].add(place.inner)
    if len(inner) < 2 or len(set().union(*inner.values())) < sum(map(len, inner.values())):
        return []
    return [
        f"{', '.join(sorted(inner))} were taken for data sets, and the folders in them for classes; where they are "
        "classes themselves, move their images up into them"
    ]


def _patient(place: _Place, pattern: re.Pattern[str] | None, ambiguous: bool) -> str:
    if pattern is None:
        # train/1.png and test/1.png, ILL/1.png and WELL/1.png are two images: no evidence of one patient.
        where = (place.split, place.inner, place.stem) if ambiguous else (place.stem,)
        return "/".join(filter(None, where))
    found = pattern.search(place.file.name)
    if not found or not found[1]:
        raise UsageError(
            f"{place.file}: --patient-pattern {pattern.pattern!r} finds no patient in its name; "
            "correct the pattern"
        )
    return found[1]
