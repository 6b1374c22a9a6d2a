"""Which mask belongs to which image: by stem, within a data set, and by class and patient where they are told."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from multimix.data.index import names
from multimix.data.index.places import Place
from multimix.data.index.tree import Parts
from multimix.io import endings

Pairs = Mapping[Path, Mapping[str, Sequence[Path]]]
"""Image -> structure -> mask files."""


def paired(images: Sequence[Place], masks: Sequence[Place]) -> tuple[Pairs, list[str]]:
    """The masks of each image, and a line for each mask that belongs to no one image."""
    by_stem: dict[tuple[Parts, str], list[Place]] = defaultdict(list)
    classes: dict[Parts, set[str]] = defaultdict(set)
    for image in images:
        for stem in dict.fromkeys((image.stem, names.image_stem(image.stem))):
            by_stem[image.source, stem].append(image)
        classes[image.source].add(image.inner)
    pairs: dict[Path, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    unmatched = []
    for mask in masks:
        # masks/CLASS/x.png mirrors images/CLASS/x.png; any other folder below masks names a structure.
        told = [name for name in (mask.inner, *mask.deeper) if name]
        mirrored = next((name for name in told if name in classes[mask.source]), "")
        structure = mask.structure or next((name for name in told if name != mirrored), "")
        fitting: list[Place] = []
        for stem in _stems(mask):
            fitting = [i for i in by_stem[mask.source, stem] if _fits(i, mask, mirrored)]
            if len(fitting) == 1:
                break
        if len(fitting) == 1:
            pairs[fitting[0].file][names.structure(structure)].append(mask.file)
        else:
            count = f"{len(fitting)} images" if fitting else "no image"
            unmatched.append(f"{mask.file}: {count} with the stem {mask.stem!r}; rename it after its image")
    return pairs, unmatched


def _stems(mask: Place) -> Iterator[str]:
    yield mask.stem
    yield names.same(endings.stem(mask.file))  # face_mask.png may be the mask of another face_mask.png
    yield names.image_stem(mask.stem)


def _fits(image: Place, mask: Place, mirrored: str) -> bool:
    return (
        mask.split in (None, image.split)
        and mirrored in ("", image.inner)
        and set(mask.group) <= set(image.group)
    )
