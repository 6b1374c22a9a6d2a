"""JSRT digital image database (in-domain lungs) with the SCR outlines of lungs, heart and clavicles.

On disk   All247images/JPC{LN,NN}###.IMG  2048 x 2048, 12 bits in big-endian uint16, no header; or PNG copies
          scratch/fold{1,2}/masks/{left lung,right lung,heart,left clavicle,right clavicle}/*.gif  1024 x 1024
Samples   247, one per patient: 154 JPCLN (one nodule each), 93 JPCNN (none); 0.175 mm per pixel
Label     nodule | non-nodule
Masks     lungs = left OR right, heart, clavicles = left OR right; lungs leave out heart and mediastinum
Split     SCR folds: the 123 even numbers are test, of the 124 odd ones 13 are val (seeded, stratified)
Licence   JSRT: free for research and education, copyright JSRT; SCR: the same, no redistribution
Cite      Shiraishi et al., AJR 174 (2000) 71-74; van Ginneken, Stegmann, Loog, Med Image Anal 10 (2006) 19-40
Quirks    masks are half the image's size; raw values are film density: lungs are bright until inverted
"""

from dataclasses import replace
from pathlib import Path

from multimix.data.sources._layout import SEED, absolute, find_folder, list_files, unlike
from multimix.data.splits import assign_splits
from multimix.errors import ManifestError
from multimix.types import Record

IMAGE_FOLDERS = ("All247images", "All247images/All247images", "images", ".")
MASK_FOLDERS = tuple(
    f"{base}/{fold}/masks"
    for base in ("scratch", "scr/scratch", "SCR/scratch", "scr", "SCR", ".")
    for fold in ("fold1", "fold2")
)
STRUCTURES = {
    "lungs": ("left lung", "right lung"),
    "heart": ("heart",),
    "clavicles": ("left clavicle", "right clavicle"),
}
EXPECTED = "All247images/JPCLN001.IMG (or .png) and scratch/fold1/masks/left lung/JPCLN001.gif"


def records(root: Path) -> list[Record]:
    """Records of the JSRT set below `root`, ordered by name; an image without outlines has no masks.

    Raises ManifestError where `root` holds no JSRT image, or an image has only one of two sides.

    Paper: §3, data, JSRT.
    """
    root = absolute(root)
    # ".IMG" sorts before ".png", so the raw film is taken where both are there.
    images: dict[str, Path] = {}
    for name in IMAGE_FOLDERS:
        images = images or list_files(root / name, r"JPC(LN|NN)\d{3}\.(img|png)")
    if not images:
        raise unlike("jsrt", root, EXPECTED)
    found = [
        Record(
            image=path,
            masks=_masks(root, stem),
            label="nodule" if stem.upper().startswith("JPCLN") else "non-nodule",
            patient=stem,
            source="jsrt",
        )
        for stem, path in images.items()
    ]
    if not any(record.masks for record in found) and any((root / name).is_dir() for name in MASK_FOLDERS):
        masks = find_folder("jsrt", root, MASK_FOLDERS, EXPECTED)
        raise unlike("jsrt", masks, "'left lung/JPCLN001.gif' and its like, named as the images are,")
    return _split(found)


def _masks(root: Path, stem: str) -> dict[str, tuple[Path, ...]]:
    """Structure -> files for one image, from whichever fold has it."""
    masks = {}
    for structure, parts in STRUCTURES.items():
        # The first folder that has it: on a file system that ignores case, "scr" and "SCR" are one.
        first = [
            next(filter(Path.is_file, (root / f / part / f"{stem}.gif" for f in MASK_FOLDERS)), None)
            for part in parts
        ]
        files = [path for path in first if path is not None]
        if files and len(files) != len(parts):
            raise ManifestError(
                f"jsrt: expected one outline of each of {', '.join(parts)} for {stem}, found "
                f"{', '.join(str(path) for path in files)}. Unpack the SCR archive again."
            )
        if files:
            masks[structure] = tuple(files)
    return masks


def _split(found: list[Record]) -> list[Record]:
    """Even numbers are test; the paper's 111 and 13 are shares of the odd ones."""
    odd = [record for record in found if int(record.patient[-1]) % 2]
    drawn = {r.patient: r.split for r in assign_splits(odd, SEED, (111 / 124, 13 / 124, 0.0))}
    return [replace(record, split=drawn.get(record.patient, "test")) for record in found]
