"""Masks of annotations and label maps, written as files of their own so that a manifest can name them.

They lie in FOLDER/multimix_masks/STRUCTURE/, each called after its image.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from multimix.data.annotations import matched, read_annotations
from multimix.data.annotations.annotation import Annotations, Shape
from multimix.data.annotations.structures import Structures, from_labels
from multimix.data.columns import LUNGS
from multimix.data.index import WRITTEN, FolderIndex
from multimix.errors import ImageError, ManifestError
from multimix.io.label_map import read_label_map
from multimix.io.masks import foreground
from multimix.io.readers import read_image, read_mask_levels
from multimix.io.writers import write_png
from multimix.types import Record


def annotated(
    root: Path,
    records: Sequence[Record],
    source: Path,
    structures: Structures | None,
    progress: Callable[[int, int], None] | None = None,
) -> FolderIndex:
    """The records with the masks and classes of the annotations in `source`; the masks are written below `root`.

    With `structures` only these are taken, under these names. An annotated image has a mask of every structure, empty
    where it is not drawn; an image without annotation keeps what it has. Raises UsageError, ManifestError or
    ImageError.
    """
    numbered = {int(value): name for name, value in structures.told if value.isdigit()} if structures else {}
    said = _chosen(read_annotations(source, numbered), structures, set(numbered.values()))
    found, lost = matched(said, [record.image for record in records])
    done = FolderIndex([], lost, list(said.notes))
    empty: Counter[str] = Counter()
    for number, record in enumerate(records, start=1):
        if progress is not None:
            progress(number, len(records))
        if (one := found.get(record.image)) is None:
            done.records.append(record)
            continue
        masks = {}
        drawn = said.structures if one.shapes or not one.labels else ()
        # Decoded, since a camera's picture may be turned by what its header says.
        size = read_image(record.image, channels=3, force=True).size if drawn else (0, 0)
        for name in drawn:
            mask = one.mask(name, size)
            empty[name] += not mask.any()
            masks[name] = (_write(root, record.image, name, mask),)
        label = "|".join(sorted(set(one.labels))) or record.label
        done.records.append(replace(record, masks={**record.masks, **masks}, label=label))
    without = len(records) - len(found)
    done.notes.extend([f"{without} images have no annotation, so nothing is known of them"] * bool(without))
    done.notes.extend(_told_empty(empty))
    return done


def _chosen(said: Annotations, structures: Structures | None, numbered: set[str]) -> Annotations:
    """The annotations under the names that are asked for; ManifestError for a structure that none has."""
    if structures is None:
        structures = from_labels(said.structures)
    known = set(said.structures)
    for name, label in structures.told:
        if (label or name) not in known and name not in numbered:
            raise ManifestError(
                f"{structures.where}: {label or name!r} is not among the structures that are annotated "
                f"({', '.join(map(repr, said.structures)) or 'none'}); correct it"
            )
    images = [
        replace(
            one,
            shapes=tuple(
                Shape(n, s.paint) for s in one.shapes for n in structures.of(s.name) or _kept(s, numbered)
            ),
        )
        for one in said.images
    ]
    return replace(said, images=images, structures=structures.names)


def _kept(shape: Shape, numbered: set[str]) -> tuple[str, ...]:
    return (shape.name,) if shape.name in numbered else ()


def divided(
    root: Path,
    records: Sequence[Record],
    structures: Structures,
    progress: Callable[[int, int], None] | None = None,
) -> FolderIndex:
    """The records with their label maps divided into a mask for each structure, written below `root`.

    Raises ImageError for a label map that cannot be read, or that holds a value that `structures` does not name.
    """
    done = FolderIndex([], [])
    empty: Counter[str] = Counter()
    for number, record in enumerate(records, start=1):
        files = [file for several in record.masks.values() for file in several]
        if files:
            masks = {}
            for name, mask in _masks(files, structures).items():
                empty[name] += not mask.any()
                masks[name] = (_write(root, record.image, name, mask),)
            done.records.append(replace(record, masks=masks))
        else:
            done.records.append(record)
        if progress is not None:
            progress(number, len(records))
    done.notes.extend(_told_empty(empty))
    return done


def _masks(files: Iterable[Path], structures: Structures) -> dict[str, Bool[np.ndarray, "H W"]]:
    found: dict[str, Bool[np.ndarray, "H W"]] = {}
    for file in files:
        labels = read_label_map(file)
        known = np.zeros(labels.values.shape, bool)
        for name, value in structures.told:
            part = labels.where(value)
            known |= part
            if name in structures.names:
                found[name] = found[name] | part if name in found else part
        unnamed = [value for value in labels.present() if (labels.where(value) & ~known).any()]
        if unnamed:
            raise ImageError(
                f"{file}: holds {', '.join(unnamed[:8])}, which {structures.where} does not name; add "
                f"NAME={unnamed[0]}, or ignore={unnamed[0]} where it is no structure"
            )
    return found


def refuse_label_maps(records: Sequence[Record], most: int = 12) -> None:
    """Raise ManifestError where the masks of some records are label maps: what their values mean is not known.

    Of each structure `most` files are looked at, evenly spread.
    """
    files: dict[str, list[Path]] = {}
    for record in records:
        for name, several in record.masks.items():
            files.setdefault(f"{record.source}/{name}", []).extend(several)
    for known in files.values():
        seen: dict[str, None] = {}
        for file in known[:: -(-len(known) // most)]:
            try:
                levels, top = read_mask_levels(file)
            except ImageError:
                continue  # `data check` says why
            try:
                foreground(levels, top, str(file))
            except ImageError:
                try:
                    seen |= dict.fromkeys(read_label_map(file).present())
                except ImageError:
                    continue
        if seen:
            options = ",".join(f"NAME={value}" for value in sorted(seen, key=lambda text: (len(text), text)))
            raise ManifestError(
                f"{known[0].parent}: the masks hold {', '.join(seen)}, so they are label maps; say what the values "
                f"are by --structures {options}, or by --structures FILE"
            )


def renamed(records: Sequence[Record], name: str) -> list[Record]:
    """The records with the masks that have no name of their own (which count as the lungs') called `name`."""
    return [
        replace(
            r,
            masks={name if structure == LUNGS else structure: files for structure, files in r.masks.items()},
        )
        for r in records
    ]


def _told_empty(empty: Counter[str]) -> list[str]:
    return [
        f"{count} masks of {name!r} are empty, as nothing is drawn there"
        for name, count in sorted(empty.items())
        if count
    ]


def _write(root: Path, image: Path, name: str, mask: Bool[np.ndarray, "H W"]) -> Path:
    inside = image.relative_to(root) if image.is_relative_to(root) else Path(image.name)
    # With its suffix: a.jpg and a.png may lie side by side.
    file = root / WRITTEN / name / inside.with_name(f"{inside.name}.png")
    write_png(file, mask.astype(np.uint8) * 255)
    return file
