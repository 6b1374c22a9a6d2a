"""COVID-19 image data collection of Cohen et al. with the lung masks of V7 (far domain, other convention).

On disk   images/ (JPEG and PNG, any size, some RGB), metadata.csv
          semantic_masks_v7labs_lungs/  from torchxrayvision's zip, each file named as its image
Samples   about 950 rows of X-ray and CT from publications and teaching files; several images per patient
Label     the finding as recorded ('Pneumonia/Viral/COVID-19', in older tables 'COVID-19'); 'todo' and
          'Unknown' are no label
Masks     lungs as V7 draws them: with the lung behind the heart, straight beside the spine; 127 is 'ignore'
Split     none official: 70/10/20 by patient, seeded, stratified by finding
Licence   per image, column license; many CC BY-NC-SA, some unknown; masks CC BY 4.0
Cite      Cohen et al., arXiv:2003.11597 and arXiv:2006.11988; V7 Labs, COVID-19 X-ray dataset, 2020
Dropped   views other than PA, AP, AP Supine, AP Erect (so lateral and CT); rows whose file is not in images/;
          a mask of another size than its image (the image stays)
Quirks    tubes, arrows, letters and boxes burnt in; the mask convention differs from JSRT's
"""

from pathlib import Path

from PIL import Image

from multimix.data.sources._layout import SEED, absolute, read_rows, unlike
from multimix.data.splits import assign_splits
from multimix.types import Record

VIEWS = frozenset({"pa", "ap", "ap supine", "ap erect"})
NO_LABEL = frozenset({"", "todo", "unknown"})
COLUMNS = ("patientid", "finding", "view", "filename")
MASK_FOLDER = "semantic_masks_v7labs_lungs"
EXPECTED = f"images/, metadata.csv and (for masks) {MASK_FOLDER}/"


def records(root: Path) -> list[Record]:
    """Records of the frontal X-rays of the collection below `root`, in the order of its table.

    A file listed twice counts once, as its first row says. Raises ManifestError where `root` is not laid out
    so or no frontal X-ray of the table is there.
    """
    root = absolute(root)
    if not (root / "images").is_dir() or not (root / "metadata.csv").is_file():
        raise unlike("covid", root, EXPECTED)
    found: dict[Path, Record] = {}
    for row in read_rows(root / "metadata.csv", COLUMNS):
        path = root / "images" / Path(row["filename"]).name
        if row["view"].lower() not in VIEWS or path in found or not path.is_file():
            continue
        found[path] = Record(
            image=path,
            masks=_masks(root, path),
            label=None if row["finding"].lower() in NO_LABEL else row["finding"],
            patient=row["patientid"] or path.stem,
            source="covid",
        )
    if not found:
        raise unlike("covid", root / "images", "the PA and AP images that metadata.csv lists")
    if (root / MASK_FOLDER).is_dir() and not any(record.masks for record in found.values()):
        raise unlike("covid", root / MASK_FOLDER, "masks with the names and sizes of the images")
    return assign_splits(list(found.values()), SEED)


def _masks(root: Path, image: Path) -> dict[str, tuple[Path, ...]]:
    """The mask of `image`, under its name or its stem with .png; none where the sizes differ."""
    folder = root / MASK_FOLDER
    for mask in (folder / image.name, folder / f"{image.stem}.png"):
        if mask.is_file():
            return {"lungs": (mask,)} if _fits(mask, image) else {}
    return {}


def _fits(mask: Path, image: Path) -> bool:
    """Whether both have one size, told from the headers; nothing is decoded."""
    try:
        with Image.open(mask) as one, Image.open(image) as other:
            return one.size == other.size
    except (OSError, ValueError):
        return True  # a damaged file is for `multimix data check` to report, with its reason
