"""Shenzhen No. 3 Hospital chest X-rays (second cross-domain lungs) with the masks of Stirenko et al.

On disk   CXR_png/CHNCXR_####_{0,1}.png  8-bit, grey stored as RGB or palette, about 3000 x 3000, sizes differ
          mask/CHNCXR_####_{0,1}_mask.png  0/255, from a second download; ClinicalReadings/*.txt (not read)
Samples   662, one per patient: 326 normal, 336 tuberculosis; 566 have a mask
Label     normal (_0) | tuberculosis (_1)
Masks     lungs; heart and mediastinum left out; an image without a mask is a record without one
Split     none official: 70/10/20 by patient, seeded, stratified by label
Licence   images: U.S. National Library of Medicine, research, with citation; masks: CC BY-NC-SA 4.0
Cite      Jaeger et al., QIMS 4 (2014) 475-477; IEEE TMI 33 (2014) 233-245; Stirenko et al., arXiv:1803.01199
Quirks    consolidated or collapsed lung is often left out, a few masks take in the heart; some are children
"""

from pathlib import Path

from multimix.data.sources._layout import SEED, absolute, find_folder, list_files, unlike
from multimix.data.splits import assign_splits
from multimix.types import Record

EXPECTED = "CXR_png/CHNCXR_0001_0.png and mask/CHNCXR_0001_0_mask.png"


def records(root: Path) -> list[Record]:
    """Records of the Shenzhen set below `root`, ordered by name.

    The masks are a separate download: without a folder `mask` every record is without one. Raises
    ManifestError where there is no image, or a folder of masks of which none belongs to an image.
    """
    root = absolute(root)
    folder = find_folder("shenzhen", root, ("CXR_png", "ChinaSet_AllFiles/CXR_png"), EXPECTED)
    root = folder.parent
    images = list_files(folder, r"CHNCXR_\d+_[01]\.png")
    masks: dict[str, Path] = {}
    for name in (
        "mask",
        "mask/mask",
        "masks",
    ):  # the zip of the masks nests its folder in one of the same name
        masks = masks or list_files(root / name, r"CHNCXR_\d+_[01]_mask\.png")
    if not images:
        raise unlike("shenzhen", root, EXPECTED)
    found = [
        Record(
            image=path,
            masks={"lungs": (masks[f"{stem}_mask"],)} if f"{stem}_mask" in masks else {},
            label="tuberculosis" if stem.endswith("_1") else "normal",
            patient=stem[:-2],
            source="shenzhen",
        )
        for stem, path in images.items()
    ]
    mask_folders = [root / name for name in ("mask", "masks") if (root / name).is_dir()]
    if mask_folders and not any(record.masks for record in found):
        raise unlike(
            "shenzhen", mask_folders[0], "CHNCXR_0001_0_mask.png and its like, named as the images are,"
        )
    return assign_splits(found, SEED)
