"""From a manifest and a configuration to the records that each part of a run may see."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from multimix.config import DataConfig
from multimix.data.manifest import FINDING, read_manifest
from multimix.data.splits import choose_classes, choose_masks, fingerprint, refuse_leaks, select
from multimix.errors import ImageError, ManifestError, SplitError, UsageError
from multimix.io.colour import is_in_colour
from multimix.io.readers import read_image
from multimix.recipes import Method
from multimix.types import NONE, Record

LOOKED_AT = 12
"""Images of a source that tell whether it is in colour."""


@dataclass(frozen=True)
class TrainingSets:
    """D^c_l, D^c_u, D^s_l, D^s_u and what validation sees; a set the method does not use is empty."""

    labelled_classes: list[Record]
    unlabelled_classes: list[Record]
    labelled_masks: list[Record]
    unlabelled_masks: list[Record]
    val_classes: list[Record]
    val_masks: list[Record]
    everything: list[Record]
    """All images of the sources used, of every split, stripped of labels and masks; for the cache and for the
    search for leaks."""
    classes: tuple[str, ...]
    structures: tuple[str, ...]
    channels: int = 1
    """Of the images: 1 (grey) or 3 (colour)."""
    test: str = ""
    """Fingerprint of the test images of these sources with their labels and masks, of which training sees no more."""

    def roles(self) -> Mapping[str, Sequence[Record]]:
        """Role name -> records, as written beside the run."""
        names = ("labelled_classes", "unlabelled_classes", "labelled_masks", "unlabelled_masks")
        return {name: getattr(self, name) for name in (*names, "val_classes", "val_masks")}


def training_sets(config: DataConfig, method: Method, seed: int) -> TrainingSets:
    """Read the manifest, check it for leaks, and draw the labelled images.

    The draw depends on seed and budget, not on the method, so every method sees the very same labels.
    """
    records = read_manifest(Path(config.manifest))
    _require_sources(config, method, records)
    class_source = config.class_source if method.classify else ()
    mask_source = config.mask_source if method.segment else ()
    used = [r for r in records if r.source in {*class_source, *mask_source}]
    refuse_leaks(used)
    classes, structures = _classes(config, used), _structures(config, used)
    lc, uc = _draw_classes(config, records, class_source, classes, seed)
    lm, um = _draw_masks(config, records, mask_source, structures, seed)
    val_classes = [r for r in select(records, class_source, "val") if r.label is not None]
    val_masks = [r for r in select(records, mask_source, "val") if _complete(r, structures)]
    return TrainingSets(
        labelled_classes=lc,
        unlabelled_classes=uc if method.pseudo_labels or method.teacher else [],
        labelled_masks=lm,
        unlabelled_masks=um if method.consistency or method.teacher else [],
        val_classes=val_classes,
        val_masks=val_masks,
        everything=[hidden(r) for r in used],
        classes=classes,
        structures=structures,
        channels=channels_of(config, used),
        test=fingerprint_of_test(used),
    )


def fingerprint_of_test(records: Sequence[Record]) -> str:
    """`fingerprint` of the test images among the records, with what they are judged by."""
    return fingerprint([record for record in records if record.split == "test"])


def channels_of(config: DataConfig, records: Sequence[Record]) -> int:
    """The image channels of a run: those of `config`, or else 3 where most images of a source are in colour, else 1.

    A few images of each source are looked at; those that cannot be read are left to the cache to name.
    """
    if config.channels:
        return config.channels
    by_source: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_source[record.source].append(record)
    return 3 if any(_mostly_in_colour(members) for members in by_source.values()) else 1


def _mostly_in_colour(records: Sequence[Record]) -> bool:
    step = max(1, len(records) // LOOKED_AT)
    seen = []
    for record in records[::step][:LOOKED_AT]:
        with suppress(ImageError):
            seen.append(is_in_colour(read_image(record.image, channels=3, force=True).pixels))
    return 2 * sum(seen) > len(seen)


def hidden(record: Record) -> Record:
    """The record as a stream without labels sees it."""
    return Record(record.image, {}, None, record.split, record.patient, record.source)


def _complete(record: Record, structures: Sequence[str]) -> bool:
    return all(structure in record.masks for structure in structures)


def _require_sources(config: DataConfig, method: Method, records: Sequence[Record]) -> None:
    known = ", ".join(sorted({r.source for r in records}))
    for wanted, sources, flag, alone in (
        (method.classify, config.class_source, "--class-source", "masks alone: --method u-net"),
        (method.segment, config.mask_source, "--mask-source", "classes alone: --method enc-ssl"),
    ):
        if wanted and not sources:
            raise UsageError(
                f"{method.name} needs {flag}. Sources in {config.manifest}: {known}. Name one or more of them, or "
                f"learn {alone}."
            )


def _classes(config: DataConfig, records: Sequence[Record]) -> tuple[str, ...]:
    if config.multi_label and NONE in config.classes:
        raise UsageError(
            f"--classes: {NONE!r} is the label of images that show no class, and cannot be one. Leave it out, or "
            "rename the class in the manifest."
        )
    if config.classes:
        return config.classes
    labels = {r.label for r in records if r.label is not None and r.source in config.class_source}
    names = {n for label in labels for n in label.split("|")} - {NONE} if config.multi_label else labels
    return tuple(sorted(names))


def _structures(config: DataConfig, records: Sequence[Record]) -> tuple[str, ...]:
    if config.structures:
        return config.structures
    # Where the disease is tests an explanation; it is no anatomy, and few images have it.
    return tuple(sorted({s for r in records if r.source in config.mask_source for s in r.masks} - {FINDING}))


def _draw_classes(
    config: DataConfig, records: Sequence[Record], sources: Sequence[str], classes: tuple[str, ...], seed: int
) -> tuple[list[Record], list[Record]]:
    if not sources:
        return [], []
    pool = select(records, sources, "train")
    if len(classes) < (1 if config.multi_label else 2):
        raise ManifestError(
            f"{config.manifest}: found the classes {list(classes)} in {', '.join(sources)}, expected at least two. "
            "Check the label column and --class-source."
        )
    for record in [*pool, *select(records, sources, "val")]:
        if record.label and "|" in record.label and not config.multi_label:
            raise ManifestError(
                f"{record.image}: label {record.label!r} names several classes, expected one. Add --multi-label, or "
                "correct the manifest."
            )
        names = record.label.split("|") if config.multi_label and record.label else [record.label]
        known = (*classes, None, NONE) if config.multi_label else (*classes, None)
        if any(name not in known for name in names):
            raise ManifestError(
                f"{record.image}: label {record.label!r} is not among the classes "
                f"{', '.join(map(repr, classes))}. Correct the manifest or list the class with --classes."
            )
    labelled, unlabelled = choose_classes(pool, config.class_labels, seed)
    seen = {name for record in labelled for name in (record.label or "").split("|")}
    if unseen := [name for name in classes if name not in seen]:
        raise SplitError(
            f"{config.manifest}: no labelled training image of class {unseen[0]!r} in {', '.join(sources)}. Label "
            "some, or leave the class out of the manifest and of --classes."
        )
    return labelled, unlabelled


def _draw_masks(
    config: DataConfig,
    records: Sequence[Record],
    sources: Sequence[str],
    structures: tuple[str, ...],
    seed: int,
) -> tuple[list[Record], list[Record]]:
    if not sources:
        return [], []
    pool = select(records, sources, "train")
    if not structures:
        raise ManifestError(
            f"{config.manifest}: no masks in {', '.join(sources)}. Fill the mask column or change --mask-source."
        )
    complete = [r for r in pool if _complete(r, structures)]
    rest = [hidden(r) for r in pool if not _complete(r, structures)]
    if not complete:
        raise ManifestError(
            f"{config.manifest}: no training image of {', '.join(sources)} has a mask of every structure "
            f"({', '.join(structures)}). Narrow --structures."
        )
    labelled, unlabelled = choose_masks(complete, config.mask_labels, seed)
    return labelled, unlabelled + rest
