"""What the folders of each file say about it: data set, split, class or structure, patient."""

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from multimix.data.index import names
from multimix.data.index.looks import Looks
from multimix.data.index.tree import Parts, Tree
from multimix.errors import UsageError
from multimix.io import endings


@dataclass(frozen=True)
class Place:
    """What a file's folders say about it."""

    file: Path
    source: Parts
    """Folders that name its data set; empty where it is of the folder that is indexed."""
    split: str | None
    inner: str
    """A class for an image, a structure (or class) for a mask; may be empty."""
    is_mask: bool
    marked: bool
    """A split, images or masks folder is among its folders."""
    patient: str = ""
    """Its patient's folder; empty where there is none."""
    group: Parts = ()
    """Folders that say nothing of class or data set, patients among them; a mask's are its image's."""
    deeper: Parts = ()
    """Folders below the class whose meaning is not known."""
    suffix: str = ""
    """What stands after the stem of its image in the name of a mask that lies beside it."""
    structure: str = ""
    """What that names, as x_heart.png does."""

    @property
    def stem(self) -> str:
        """File name without suffix, and for a mask without what makes it one."""
        stem = endings.stem(self.file)
        if self.is_mask:
            at = stem.rfind(self.suffix) if self.suffix else -1
            stem = stem[:at] if at > 0 else names.mask_stem(stem)
        return names.same(stem)


def places(tree: Tree) -> list[Place]:
    """One place per file of the tree."""
    found = [_place(tree, where, file) for where, files in tree.files.items() for file in files]
    return _with_loose_files(found)


def _place(tree: Tree, where: Parts, file: Path) -> Place:
    source: list[str] = []
    inner: list[str] = []
    group: list[str] = []
    split, patient = None, ""
    marked = is_mask = unlabelled = last_is_plain = False
    for depth, name in enumerate(where, start=1):
        role = tree.roles[where[:depth]]
        split = split or role.split
        if role.kind in ("patient", "skipped"):
            group.append(name)
            patient = name if role.kind == "patient" else patient
        elif role.kind == "source":
            source.append(name)
        elif role.kind == "class":
            inner.append(name)
        elif role.kind == "plain":
            last_is_plain = not (marked or unlabelled)
            (source if last_is_plain else inner).append(role.name or name)
        else:
            marked = marked or role.kind != "unlabelled"
            is_mask = is_mask or role.kind == "masks"
            unlabelled = unlabelled or role.kind == "unlabelled"
            last_is_plain = False
            inner += [role.name] if role.name else []
    if last_is_plain and not inner:  # nothing but the order tells CLASS from SOURCE
        inner = [source.pop()]
    if unlabelled and not is_mask:
        inner = []
    first = inner[0] if inner else ""
    return Place(file, tuple(source), split, first, is_mask, marked, patient, tuple(group), tuple(inner[1:]))


def _with_loose_files(found: Sequence[Place]) -> list[Place]:
    """SOURCE/x.png beside SOURCE/train, SOURCE/images or SOURCE/CLASS is of that source, not of a class SOURCE."""
    sources = {place.source for place in found}
    return [
        replace(place, source=full, inner="")
        if not place.marked and place.inner and (full := (*place.source, place.inner)) in sources
        else place
        for place in found
    ]


def masks_beside(found: Sequence[Place], suffix: str | None) -> list[Place]:
    """The places, with those as masks that lie beside their image and are called after it.

    x_mask.png beside x.png is a mask by name, x_lesion.png if it has few levels; with `suffix`, 'x' + suffix is one
    wherever it lies; UsageError where there is none.
    """
    stems = {
        (place.file.parent, names.same(endings.stem(place.file))) for place in found if not place.is_mask
    }
    masks: dict[Path, Place] = {}
    tails: dict[str, list[Place]] = defaultdict(list)
    for place in found:
        stem = names.same(endings.stem(place.file))
        if suffix:
            if stem.endswith(suffix):
                masks[place.file] = replace(place, is_mask=True, suffix=suffix)
        elif place.is_mask:
            continue
        elif (shorter := names.mask_stem(stem)) != stem and (place.file.parent, shorter) in stems:
            masks[place.file] = replace(place, is_mask=True)
        elif tail := _tail(place.file, stems):
            tails[tail].append(place)
    if suffix and not masks:
        raise UsageError(
            f"--mask-suffix {suffix!r}: no file is called so, as in {next(iter(found)).stem}{suffix}.png, so masks "
            "would be taken for images; correct the option or leave it out"
        )
    looks = Looks()
    for tail, members in tails.items():
        if looks.kind_of([place.file for place in members]) == "mask":
            for place in members:
                masks[place.file] = replace(place, is_mask=True, suffix=tail, structure=tail.strip("_- ."))
    return [masks.get(place.file, place) for place in found]


def _tail(file: Path, stems: Collection[tuple[Path, str]]) -> str:
    """What stands after the stem of another file of the folder in the name of this one, '' where nothing does."""
    stem = names.same(endings.stem(file))
    cuts = [found.start() for found in re.finditer(r"[ _.-]", stem)][::-1]
    cut = next((at for at in cuts if at and (file.parent, stem[:at]) in stems), None)
    tail = stem[cut:] if cut is not None else ""
    return re.sub(r"[_ -]?\d+$", "", tail) if any(map(str.isalpha, tail)) else ""
