"""Masks and classes that annotation programs keep in files of their own: found, read, matched with images.

COCO, labelme and Label Studio (JSON), CVAT (XML), YOLO segmentation (text). Each reader gives an `Annotation` per
image.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from multimix.data.annotations import coco, cvat, label_studio, labelme, yolo
from multimix.data.annotations.annotation import Annotation, Annotations
from multimix.data.annotations.parsed import json_of, xml_of
from multimix.data.index.lookup import Lookup
from multimix.errors import ManifestError, UsageError

__all__ = ["Annotation", "Annotations", "matched", "read_annotations"]

_KNOWN = "COCO, labelme or Label Studio (.json), CVAT (.xml), YOLO (labels/*.txt)"
_JSON: Mapping[str, tuple[Callable[[Any], bool], Callable[[Path, Any], Annotations]]] = {
    "COCO": (coco.is_coco, coco.read),
    "labelme": (labelme.is_labelme, labelme.read),
    "Label Studio": (label_studio.is_label_studio, label_studio.read),
}


def read_annotations(path: Path, named: Mapping[int, str] | None = None) -> Annotations:
    """The annotations in a file, or in all files of one format below a folder.

    `named` are names of YOLO's classes where no file beside the labels names them. Raises UsageError where there are
    none, or of several formats, and ManifestError for a file that is not as its format says.
    """
    if not path.exists():
        raise UsageError(f"--annotations {path}: no such file or folder; check the path")
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if _may_be(file))
    found: dict[str, Annotations] = {}
    for file in files:
        name, one = _read(file)
        if one is not None:
            found.setdefault(name, Annotations()).add(one)
    if path.is_dir() and (texts := yolo.find(path)):
        names = yolo.names_of(path) or named or {}
        found["YOLO"] = yolo.read(path, texts, names)
    if len(found) > 1:
        raise UsageError(
            f"--annotations {path}: holds {' and '.join(found)}; name the file or folder of one of them"
        )
    if not found:
        raise UsageError(f"--annotations {path}: no annotations found, expected {_KNOWN}; check the path")
    (only,) = found.values()
    return only


def _may_be(file: Path) -> bool:
    return file.suffix.lower() in (".json", ".xml") and not any(
        part.startswith(".") for part in file.parts[-2:]
    )


def _read(file: Path) -> tuple[str, Annotations | None]:
    if file.suffix.lower() == ".json":
        content = json_of(file)
        for name, (is_it, read) in _JSON.items():
            if is_it(content):
                return name, read(file, content)
    elif file.suffix.lower() == ".xml":
        root = xml_of(file)
        if cvat.is_cvat(root):
            return "CVAT", cvat.read(file, root)
    return "", None


def matched(annotations: Annotations, images: Sequence[Path]) -> tuple[dict[Path, Annotation], list[str]]:
    """Image -> its annotation, and a line for each annotation that belongs to no one image.

    A name is compared from its end: the file's, then those of its folders, as far as needed. Several annotations of
    one image are joined. Raises ManifestError where none belongs to an image.
    """
    # images/x.png has its text in labels/x.txt.
    lookup = Lookup(images, ignored=("images", "labels"))
    found: dict[Path, Annotation] = {}
    lost = []
    for one in annotations.images:
        fitting = lookup.find(one.image) or lookup.find(str(PurePosixPath(one.image).with_suffix("")))
        if len(fitting) != 1:
            count = f"{len(fitting)} images" if fitting else "no image"
            lost.append(f"{one.where}: {one.image!r} is the name of {count} of the folder; rename it")
        elif (before := found.get(fitting[0])) is not None:
            labels = tuple(dict.fromkeys((*before.labels, *one.labels)))
            found[fitting[0]] = replace(before, shapes=(*before.shapes, *one.shapes), labels=labels)
        else:
            found[fitting[0]] = one
    if annotations.images and not found:
        raise ManifestError(
            f"{annotations.images[0].where}: none of its {len(annotations.images)} images lies in the folder, such as "
            f"{annotations.images[0].image!r}; index the folder that holds them"
        )
    return found, lost
