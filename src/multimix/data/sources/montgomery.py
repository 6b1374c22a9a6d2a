"""Montgomery County chest X-rays (cross-domain lungs; the paper's MCU).

On disk   CXR_png/MCUCXR_####_{0,1}.png  8-bit grey, 4020 x 4892 or 4892 x 4020
          ManualMask/{leftMask,rightMask}/*.png named as the images; ClinicalReadings/*.txt (not read)
Samples   138, one per patient: 80 normal, 58 with signs of tuberculosis; 0.0875 mm per pixel
Label     normal (_0) | tuberculosis (_1)
Masks     lungs = left OR right; heart and mediastinum left out
Split     none official: 93/10/35 shares of the paper, seeded, stratified by label
Licence   U.S. National Library of Medicine: research, with citation; see docs/data/montgomery.md on sharing
Cite      Jaeger et al., QIMS 4 (2014) 475-477; IEEE TMI 33 (2014) 233-245; Candemir et al., ibid. 577-590
Quirks    wide black borders, burnt-in PA ERECT, one apical view
"""

from pathlib import Path

from multimix.data.sources._layout import SEED, absolute, find_folder, list_files, unlike
from multimix.data.splits import assign_splits
from multimix.errors import ManifestError
from multimix.types import Record

IMAGE = r"MCUCXR_\d+_[01]\.png"
EXPECTED = "CXR_png/MCUCXR_0001_0.png, ManualMask/leftMask/ and ManualMask/rightMask/"
FRACTIONS = (93 / 138, 10 / 138, 35 / 138)


def records(root: Path) -> list[Record]:
    """Records of the Montgomery set below `root`, ordered by name.

    Raises ManifestError where `root` is not laid out so, or an image lacks the mask of one or both lungs.

    Paper: §3, data, MCU.
    """
    root = absolute(root)
    images_folder = find_folder("montgomery", root, ("CXR_png", "MontgomerySet/CXR_png"), EXPECTED)
    root = images_folder.parent
    images = list_files(images_folder, IMAGE)
    sides = [list_files(root / "ManualMask" / side, IMAGE) for side in ("leftMask", "rightMask")]
    if not images or not all(sides):
        raise unlike("montgomery", root, EXPECTED)
    for stem, path in images.items():
        present = [side[stem].parent.name for side in sides if stem in side]
        if len(present) < len(sides):
            raise ManifestError(
                f"{path}: expected a mask of the same name in {root / 'ManualMask'}/leftMask and /rightMask, "
                f"found {present[0] + ' alone' if present else 'neither'}. Unpack the archive again."
            )
    found = [
        Record(
            image=path,
            masks={"lungs": tuple(side[stem] for side in sides)},
            label="tuberculosis" if stem.endswith("_1") else "normal",
            patient=stem[:-2],
            source="montgomery",
        )
        for stem, path in images.items()
    ]
    return assign_splits(found, SEED, FRACTIONS)
