"""NIH ChestX-ray14 (cross-domain classes; the paper's NIHX is a subset of its pneumonia and normal films).

On disk   images/*.png, or images_001/images/*.png to images_012/images/*.png: 1024 x 1024, 8-bit grey
          Data_Entry_2017.csv or Data_Entry_2017_v2020.csv; train_val_list.txt, test_list.txt
Samples   112,120 frontal views of 30,805 patients: 86,524 train and val, 25,596 test
Label     layout nih: all findings joined by '|' (14 of them, or 'No Finding'; not exclusive)
          layout nih-pneumonia: NORMAL = exactly 'No Finding', PNEUMONIA = 'Pneumonia' among them; no others
Masks     none
Split     official lists; 10 % of the patients of train_val_list are val (seeded, stratified)
Licence   no restriction on use; NIH asks to be named as the source and the paper to be cited
Cite      Wang et al., CVPR 2017, doi:10.1109/CVPR.2017.369
Quirks    labels text-mined from reports; the view (AP, PA) tells part of the label
"""

from dataclasses import replace
from pathlib import Path

from multimix.data.sources._layout import SEED, absolute, list_files, read_rows, unlike
from multimix.data.splits import assign_splits
from multimix.errors import ManifestError
from multimix.types import Record

TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
COLUMNS = ("image index", "finding labels", "patient id")
IMAGE_FOLDERS = ("images", *(f"images_{part:03d}/images" for part in range(1, 13)))
TRAIN_LIST, TEST_LIST = "train_val_list.txt", "test_list.txt"
EXPECTED = "images/*.png (or images_001/images/*.png and so on) and Data_Entry_2017.csv"


def records(root: Path) -> list[Record]:
    """Records of the images of ChestX-ray14 below `root`, ordered by name, labelled with all findings.

    Rows of the table without an image are left out, so some of the twelve archives are enough. Where neither
    list is there, patients are split 70/10/20. Raises ManifestError where `root` is not laid out so, an image
    has no row, or an image is in none or both of the lists.
    """
    root = absolute(root)
    table = next((root / name for name in TABLES if (root / name).is_file()), None)
    images: dict[str, Path] = {}
    for name in IMAGE_FOLDERS:
        images |= list_files(root / name, r"\d+_\d+\.png")
    if table is None or not images:
        raise unlike("nih", root, EXPECTED)
    rows = {row["image index"]: row for row in read_rows(table, COLUMNS)}
    found = []
    for _, path in sorted(images.items()):
        if path.name not in rows:
            raise ManifestError(
                f"{path}: expected a row for it in {table}, found none. Move the file elsewhere."
            )
        row = rows[path.name]
        label, patient = row["finding labels"] or None, row["patient id"].zfill(8)
        found.append(Record(image=path, label=label, patient=patient, source="nih"))
    return _split(found, root)


def pneumonia_records(root: Path) -> list[Record]:
    """The part of `records(root)` that is NORMAL or PNEUMONIA, labelled so, in the same splits.

    NORMAL is exactly 'No Finding'; PNEUMONIA has 'Pneumonia' among its findings, others may accompany it.

    Paper: §3, data, NIHX.
    """
    labelled = [(record, _class(record.label)) for record in records(root)]
    return [replace(record, label=label) for record, label in labelled if label is not None]


def _class(findings: str | None) -> str | None:
    if findings == "No Finding":
        return "NORMAL"
    return "PNEUMONIA" if "Pneumonia" in (findings or "").split("|") else None


def _split(found: list[Record], root: Path) -> list[Record]:
    """The official split, with a tenth of the training patients as val; a seeded one without the lists."""
    present = [name for name in (TRAIN_LIST, TEST_LIST) if (root / name).is_file()]
    if not present:
        return assign_splits(found, SEED)
    if len(present) == 1:
        raise ManifestError(
            f"nih: expected {TRAIN_LIST} and {TEST_LIST} in {str(root)!r}, found {present[0]} alone. "
            "Add the other, or move this one elsewhere for a split of our own."
        )
    train, test = (
        {*(root / name).read_text(encoding="utf-8-sig", errors="replace").split()}
        for name in (TRAIN_LIST, TEST_LIST)
    )
    for record in found:
        if (record.image.name in train) == (record.image.name in test):
            where = "both" if record.image.name in train else "neither"
            raise ManifestError(
                f"nih: expected {record.image} in one of {TRAIN_LIST} and {TEST_LIST}, found it in {where}. "
                "Download the lists again."
            )
    training = [record for record in found if record.image.name in train]
    drawn = {record.image: record.split for record in assign_splits(training, SEED, (0.9, 0.1, 0.0))}
    return [replace(record, split=drawn.get(record.image, "test")) for record in found]
