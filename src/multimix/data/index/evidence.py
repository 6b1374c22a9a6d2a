"""Roles that names do not give: by files of the same stems in two folders, and by pixels.

Two folders that hold files of the same stems are images and their masks, classes with numbered images, or two
versions of the same images. The last is no class problem, and is refused.
"""

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

from multimix.data.index import names
from multimix.data.index.looks import Looks
from multimix.data.index.tree import Parts, Role, Tree
from multimix.errors import ManifestError
from multimix.io import endings

_SHARED = 0.5
"""Share of the smaller folder's stems that the other has too."""
_MOST_SIBLINGS = 200
"""Folders in one parent from which no masks are looked for by stem: masks come with a few structures."""

Key = tuple[str, ...]
Stems = Mapping[Key, Path]


def find_masks(tree: Tree) -> list[str]:
    """Give the role of masks to the plain folders that hold them, and of images to those beside; returns notes.

    Raises ManifestError where two folders hold the same images twice.
    """
    notes, looks = [], Looks()
    for parent in list(tree.children):
        _only_images(tree, parent)
        nodes = tree.siblings(parent, "plain", "images", "unlabelled")
        if any(tree.roles[node].kind == "plain" for node in nodes) and not _in_masks(tree, parent):
            notes += _by_stem(tree, parent, nodes, looks)
    for node, role in list(tree.roles.items()):
        files = tree.files.get(node, [])
        if (
            role.kind == "plain"
            and files
            and not _in_masks(tree, node[:-1])
            and looks.kind_of(files) == "mask"
        ):
            tree.roles[node] = Role("masks", None, _structure(node[-1]))
            notes.append(
                f"{tree.root.joinpath(*node)}: its files have few levels, so they were taken for masks; where they are "
                "images, say what the folders are, as in --folders class"
            )
    return notes


def _in_masks(tree: Tree, parent: Parts) -> bool:
    return any(tree.roles[parent[:i]].kind == "masks" for i in range(1, len(parent) + 1))


def _only_images(tree: Tree, parent: Parts) -> None:
    """The one folder beside masks holds their images, whatever it is called."""
    plain, masks = tree.siblings(parent, "plain"), tree.siblings(parent, "masks")
    alone = len(plain) == 1 and masks and not tree.siblings(parent, "images")
    if alone and _overlap(_keys(tree, plain[0]), _keys(tree, masks[0])):
        tree.roles[plain[0]] = Role("images")


def _by_stem(tree: Tree, parent: Parts, nodes: list[Parts], looks: Looks) -> list[str]:
    notes: list[str] = []
    if len(nodes) > _MOST_SIBLINGS:
        return notes
    keys = {node: _keys(tree, node) for node in nodes}
    for one, other in combinations(nodes, 2):
        shared = _overlap(keys[one], keys[other])
        if not shared or "masks" in (tree.roles[one].kind, tree.roles[other].kind):
            continue
        kinds = {node: looks.kind_of([keys[node][key] for key in shared]) for node in (one, other)}
        masks = [node for node in (one, other) if kinds[node] == "mask" and tree.roles[node].kind == "plain"]
        if len(masks) == 1:
            mask, image = masks[0], other if masks[0] == one else one
            tree.roles[mask] = Role("masks", None, _structure(mask[-1]))
            if len(tree.siblings(parent, "plain")) == 1 and tree.roles[image].kind == "plain":
                tree.roles[image] = Role("images")
            notes.append(
                f"{tree.root.joinpath(*mask)}: taken for masks of {image[-1]!r}: the files have the same names and few "
                "levels"
            )
        elif not masks and _two_versions(keys[one], keys[other], shared, looks):
            raise ManifestError(
                f"{tree.root.joinpath(*parent)}: {one[-1]!r} and {other[-1]!r} hold files of the same names "
                f"({keys[one][shared[0]].name}, ...), expected images and masks of two levels, or classes of different "
                "images; move one of the two away, or say what the folders are, as in --folders class"
            )
    return notes


def _two_versions(one: Stems, other: Stems, shared: list[Key], looks: Looks) -> bool:
    # Numbers are in every folder: there only pixels tell.
    if not names.counters({key[-1] for key in shared}):
        return True
    return looks.versions([(one[key], other[key]) for key in shared])


def _keys(tree: Tree, node: Parts) -> dict[Key, Path]:
    """What is compared of the files below a folder: the folders between, and the stem without what says its role."""
    base = tree.root.joinpath(*node)
    return {(*file.relative_to(base).parts[:-1], _stem(file)): file for file in tree.within(node)}


def _stem(file: Path) -> str:
    return names.same(names.mask_stem(names.image_stem(endings.stem(file))))


def _overlap(one: Stems, other: Stems) -> list[Key]:
    """The keys that two folders share, where they are many; else none."""
    shared = [key for key in one if key in other]
    return shared if len(shared) >= max(1, _SHARED * min(len(one), len(other))) else []


def _structure(name: str) -> str:
    return names.structure(names.meaning(name).rest or name)
