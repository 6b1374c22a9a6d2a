"""A folder of images as a tree: what each folder in it is, by its name and by what lies beside it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from multimix.data.index import names
from multimix.data.index.patient_folders import bucket, patient_folders
from multimix.errors import UsageError

Parts = tuple[str, ...]
"""Path of a folder below the one that is indexed."""

Kind = Literal["plain", "source", "class", "split", "images", "masks", "unlabelled", "patient", "skipped"]


LEVELS: Mapping[str, Kind] = {
    "source": "source",
    "split": "split",
    "class": "class",
    "patient": "patient",
    "images": "images",
    "*": "skipped",
}
"""What a user may say that the folders of one depth are; `images` stands for masks beside them too."""


@dataclass(frozen=True)
class Role:
    """What a folder is."""

    kind: Kind = "plain"
    """plain: a data set, a class or a structure, by its place; skipped: nothing that matters, as a study or a fold."""
    split: str | None = None
    name: str = ""
    """Class or structure that is part of the folder's name, as in 'lung masks'."""


@dataclass
class Tree:
    """Folders that hold images at any depth below."""

    root: Path
    files: dict[Parts, list[Path]]
    """Folder -> the images that lie right in it."""
    children: dict[Parts, dict[str, None]] = field(init=False)
    """Folder -> the names of those in it, in order."""
    below: dict[Parts, int] = field(init=False)
    """Folder -> images at any depth."""
    roles: dict[Parts, Role] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.children, self.below = defaultdict(dict), defaultdict(int)
        for parts, files in self.files.items():
            for depth in range(len(parts) + 1):
                here = parts[:depth]
                self.below[here] += len(files)
                if depth:
                    self.children[here[:-1]][here[-1]] = None

    @classmethod
    def of(cls, root: Path, files: Iterable[Path]) -> "Tree":
        """The tree of `files`, which lie below `root`, with the roles that names give."""
        inside: dict[Parts, list[Path]] = defaultdict(list)
        for file in files:
            inside[file.relative_to(root).parts[:-1]].append(file)
        tree = cls(root, dict(inside))
        tree._name_roles()
        return tree

    def within(self, parts: Parts) -> list[Path]:
        """All images below a folder."""
        return [file for where, files in self.files.items() if where[: len(parts)] == parts for file in files]

    def siblings(self, parent: Parts, *kinds: Kind) -> list[Parts]:
        """The folders in `parent` that are of some kind."""
        every = [(*parent, name) for name in self.children[parent]]
        return [node for node in every if self.roles[node].kind in kinds]

    def _name_roles(self) -> None:
        """Roles from the top down, level by level, since cousins tell patients from classes."""
        level: list[Parts] = [()]
        while level:
            below = []
            for parent in level:
                self.roles |= _by_name(parent, [*self.children[parent]], self.roles.get(parent))
                below += [(*parent, name) for name in self.children[parent]]
            self._patients(level)
            level = below

    def _patients(self, parents: Sequence[Parts]) -> None:
        """Find the patients among the plain folders of one depth, and the folders that only sort them."""
        plain = {parent: self.siblings(parent, "plain") for parent in parents}
        cousins = {node[-1]: self.below[node] for nodes in plain.values() for node in nodes}
        for parent, nodes in plain.items():
            own = {node[-1]: self.below[node] for node in nodes}
            found = patient_folders(own, cousins)
            for name in found:
                self.roles[*parent, name] = Role("patient")
            above = self.roles.get(parent)
            if found and above is not None and bucket(parent[-1], [*own]):
                self.roles[parent] = replace(above, kind="skipped")


def _by_name(parent: Parts, children: Sequence[str], above: Role | None) -> dict[Parts, Role]:
    """Roles of the folders in one parent by their names."""
    said = {name: names.meaning(name) for name in children}
    in_masks = above is not None and above.kind == "masks"
    masks = [m for m in said.values() if m.mask or m.mask_beside]
    images = [m for m in said.values() if m.image and not (m.mask or m.mask_beside)]
    images += [m for m in said.values() if m.image_beside and masks and not m.image]
    splits = {m.split for m in said.values()}
    divided = None not in splits and len(splits) > 1
    some_without = any(map(names.is_unlabelled, children))
    decorations = {m.rest for m in images}
    several = len(decorations) > 1
    found = {}
    for name, m in said.items():
        role = Role()
        if names.is_unlabelled(name) or (m.rest and names.is_unlabelled(m.rest)):
            role = Role("unlabelled", m.split)
        elif _says_nothing(name, above) or (some_without and set(names.words(name)) <= names.LABELLED):
            role = Role("skipped")
        elif in_masks and (m.mask or m.mask_beside):
            role = Role("plain", m.split, m.rest)
        elif (m.mask and not m.rest) or ((m.mask or m.mask_beside) and images):
            structure = "" if m.rest in decorations else m.rest
            role = Role("masks", m.split, m.rest if several and m.rest in decorations else structure)
            role = Role("skipped") if m.instances else role
        elif m in images and (not m.rest or any(mask.rest == m.rest for mask in masks)):
            role = Role("images", m.split, m.rest if several else "")
        elif m.split and not m.rest:
            role = Role("split", m.split)
        elif m.split and divided:
            role = Role("split", m.split, _without_split(name))
        found[*parent, name] = role
    return found


def _says_nothing(name: str, above: Role | None) -> bool:
    study = above is not None and above.kind in ("patient", "skipped") and names.is_study(name)
    return study or names.is_fold(name) or set(names.words(name)) <= names.CONTAINERS


def _without_split(name: str) -> str:
    """'train_NORMAL' -> 'NORMAL'."""
    kept = [part for part in _pieces(name) if part.lower() not in names.SPLIT_WORDS]
    return " ".join(kept)


def _pieces(name: str) -> list[str]:
    return [part for part in name.replace("_", " ").replace("-", " ").split() if part]


def explicit(tree: Tree, folders: str) -> None:
    """Give every folder the role that `folders`, as 'split/class/patient', says by its depth; deeper ones have none.

    Raises UsageError for a level that is none, and for a folder at a level of splits that is none.
    """
    levels = [level.strip() for level in folders.strip("/").split("/")]
    if bad := [level for level in levels if level not in LEVELS]:
        raise UsageError(f"--folders {folders!r}: {bad[0]!r} is not one of {', '.join(LEVELS)}; correct it")
    for node in tree.roles:
        level = levels[len(node) - 1] if len(node) <= len(levels) else "*"
        meant = names.meaning(node[-1])
        if level == "split" and meant.split is None:
            raise UsageError(
                f"--folders {folders!r}: {'/'.join(node)} is at the level of splits, expected a name as train, val or "
                "test; rename the folder or correct the option"
            )
        if level == "images":
            tree.roles[node] = Role("masks" if meant.mask or meant.mask_beside else "images", meant.split)
        else:
            tree.roles[node] = Role(LEVELS[level], meant.split if level == "split" else None)
