"""Records from folders as people keep them, without a file being moved or written.

    CLASS/x.png                     class folders; unlabelled/x.png beside them
    train/CLASS/x.png               the same with a split on disk, as people write it (Training, valid, test_set, ...)
    images/x.png masks/x.png        image and mask by stem (x_mask.png too); masks/STRUCTURE/x.png names one
    images/CLASS/x.png masks/x.png  both
    CLASS/x.png CLASS/x_mask.png    a mask beside its image, also x_seg.png, x_mask_1.png and more
    .../PATIENT/x.png               any of these with a folder per patient, and per study in it
    SOURCE/...                      any of these once more below a folder per data set

Masks may also lie in train_masks/, labelsTr/, SegmentationClass/, Ground Truth/, 'lung masks'/ and the like, and in any
folder whose files have the stems of the images beside it and few levels. What stands before the first split, `images`
or `masks` is the source, what stands after it is the class. A layout that can be read in two ways is refused until
`folders` says how to read it.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from multimix.data.index.doubts import refuse_patients_as_classes, refuse_unclear
from multimix.data.index.evidence import find_masks
from multimix.data.index.pairs import paired
from multimix.data.index.patients import compiled, who_they_are
from multimix.data.index.places import Place, masks_beside, places
from multimix.data.index.tree import Parts, Tree, explicit
from multimix.data.splits import draw_splits
from multimix.errors import ManifestError
from multimix.io.readers import find_images, other_kinds
from multimix.types import Record

__all__ = ["FolderIndex", "index_folder"]

WRITTEN = "multimix_masks"
"""Folder below the one that is indexed for masks that are written; what lies there is no image."""
_EXAMPLES = 4


@dataclass(frozen=True)
class FolderIndex:
    """What a folder holds."""

    records: list[Record]
    unmatched: list[str]
    """A line for each file that is in no record, and why."""
    notes: list[str] = field(default_factory=list)
    """What else is not as the folders say, a line each."""


def index_folder(
    folder: Path | str,
    seed: int = 0,
    splits: tuple[float, float, float] = (0.7, 0.1, 0.2),
    patient_pattern: str | None = None,
    *,
    folders: str | None = None,
    mask_suffix: str | None = None,
    patient_per_image: bool = False,
    completed: Callable[[Path, list[Record]], FolderIndex] | None = None,
) -> FolderIndex:
    """Find the images below `folder`, with their classes, masks, splits and patients.

    The patient is what the one group of the regular expression `patient_pattern` finds in the file name, or else in
    the path below `folder`; without it, what the DICOM header, a folder or a word in the file name says. Where none
    does, the patient begins with UNKNOWN; with `patient_per_image` every image is known to be of another patient.
    `folders` says what the folders are from the top down, as 'split/class/patient' (LEVELS of `tree`); `mask_suffix`
    is what the name of a mask has after its image's stem. `completed` is given the folder and the records before a
    split is drawn, and gives them back with what else is known of them, as masks of annotations. A source without a
    split on disk, or with `train` alone, is split by patient, stratified by class, with `seed` and the shares
    `splits` of train, val and test.

    Raises ManifestError or ImageError where there is no image or its layout is not clear, UsageError for options that
    cannot be used.
    """
    root = Path(os.path.abspath(folder))
    if not root.is_dir():
        raise ManifestError(f"{folder}: is not a folder; name the folder that holds the images")
    pattern = compiled(patient_pattern)
    files = [file for file in find_images([root]) if file.relative_to(root).parts[0] != WRITTEN]
    tree = Tree.of(root, files)
    notes: list[str] = []
    if folders is None:
        notes += find_masks(tree)
    else:
        explicit(tree, folders)
    found = masks_beside(places(tree), mask_suffix)
    images = [place for place in found if not place.is_mask]
    if not images:
        raise ManifestError(f"{folder}: holds masks but no images; name the folder above images/ and masks/")
    images, unmatched = _with_one_kind_of_split(images)
    if folders is None:
        refuse_unclear(tree, images)
    pairs, without_image = paired(images, [place for place in found if place.is_mask])
    names = _source_names(root, images)
    named = [(place, names[place.source]) for place in images]
    who, about = who_they_are(root, named, pattern, patient_per_image)
    records = [
        _record(place, names[place.source], pairs.get(place.file, {}), who[place.file]) for place in images
    ]
    if completed is not None:
        more = completed(root, records)
        records, without_image = more.records, [*without_image, *more.unmatched]
        about = [*more.notes, *about]
    if folders is None:
        refuse_patients_as_classes(root, records)
    drawn = _without_split(images)
    loose = [record for place, record in zip(images, records, strict=True) if place.source in drawn]
    records = [record for place, record in zip(images, records, strict=True) if place.source not in drawn]
    records += draw_splits(loose, seed, splits)
    manifests = {root / "manifest.csv", root / "manifest.parquet"}
    others = other_kinds(root, {*files, *manifests, *(root / WRITTEN).rglob("*.png")})
    notes = [f"{others} passed over; images are PNG, JPEG, TIFF, GIF, BMP and DICOM"] * bool(others) + notes
    notes += _sources(images, names) + about
    return FolderIndex(sorted(records, key=lambda record: record.image), unmatched + without_image, notes)


def _record(place: Place, source: str, masks: Mapping[str, Sequence[Path]], patient: str) -> Record:
    if "|" in place.inner:
        raise ManifestError(f"{place.file.parent}: '|' joins classes in a manifest; rename the folder")
    return Record(
        image=place.file,
        masks={name: tuple(files) for name, files in sorted(masks.items())},
        label=place.inner or None,
        split=place.split or "train",
        patient=patient,
        source=source,
    )


def _with_one_kind_of_split(images: Sequence[Place]) -> tuple[list[Place], list[str]]:
    """Leave out images beside the split folders of their source: which split they belong to is unknown."""
    on_disk = {place.source for place in images if place.split}
    beside = {p.source for p in images if not p.marked and p.source and p.source[:-1] in on_disk} - on_disk
    left = [p for p in images if not p.split and (p.source in on_disk or p.source in beside)]
    kept = [p for p in images if p.split or not (p.source in on_disk or p.source in beside)]
    return kept, [f"{p.file}: lies outside the split folders of its source; move it into one" for p in left]


def _without_split(images: Sequence[Place]) -> set[Parts]:
    """The sources that have no split on disk, or train alone, from which the others are drawn."""
    splits: dict[Parts, set[str]] = defaultdict(set)
    for place in images:
        splits[place.source].add(place.split or "train")
    return {source for source, names in splits.items() if names == {"train"}}


def _source_names(root: Path, images: Sequence[Place]) -> dict[Parts, str]:
    """A source is called after its folder, or by its path below `root` where two folders share a name."""
    sources = {place.source for place in images}
    last = Counter(source[-1] for source in sources if source)
    return {
        source: (source[-1] if last[source[-1]] == 1 else "/".join(source)) if source else root.name
        for source in sources
    }


def _sources(images: Sequence[Place], names: Mapping[Parts, str]) -> list[str]:
    """A note where folders were taken for data sets that might as well be classes."""
    told = {names[place.source]: False for place in images if place.source}
    for place in images:
        if place.source:
            told[names[place.source]] |= bool(place.inner)
    if len(told) < 2:
        return []
    kind = "class/class" if all(told.values()) else "class/images"
    return [
        f"{', '.join(sorted(told)[:_EXAMPLES])} were taken for data sets; where they are classes, say what the folders "
        f"are from the top down, as in --folders {'class/*' if kind == 'class/class' else kind}"
    ]
