"""Kermany paediatric pneumonia X-rays (in-domain classes; the paper's CheX).

On disk   chest_xray/{train,val,test}/{NORMAL,PNEUMONIA}/*.jpeg  8-bit grey (a few RGB), sizes differ
Samples   5,856 of children aged one to five: 5,216 train, 16 val, 624 test; 1,583 NORMAL, 4,273 PNEUMONIA
Label     NORMAL | PNEUMONIA (bacterial or viral, by file name; not kept apart)
Masks     none
Split     official test kept; val = official val and 10 % of the training patients, seeded, stratified
Patient   from the file name: person1_bacteria, person1_virus, IM-0001, NORMAL2-IM-0001 are four patients
Licence   CC BY 4.0
Cite      Kermany, Zhang, Goldbaum, doi:10.17632/rscbjbr9sj; Kermany et al., Cell 172 (2018) 1122-1131
Quirks    official val is too small to select by; NORMAL films are larger and squarer; test is the harder
"""

import re
from dataclasses import replace
from pathlib import Path

from multimix.data.index import FolderIndex
from multimix.data.sources._layout import SEED, absolute, list_files, unlike
from multimix.data.splits import assign_splits
from multimix.errors import ManifestError
from multimix.types import Record

EXPECTED = "chest_xray/train/NORMAL/, train/PNEUMONIA/, test/NORMAL/ and test/PNEUMONIA/ with *.jpeg"
CLASSES = ("NORMAL", "PNEUMONIA")
PATIENT = (
    re.compile(r"(person\d+_(?:bacteria|virus))_"),
    re.compile(r"((?:NORMAL2-)?IM-\d+)-"),
    re.compile(r"(?:NORMAL|BACTERIA|VIRUS)-(\d+)-"),  # later Mendeley versions
)


def records(root: Path) -> list[Record]:
    """The records of `index(root)`.

    Paper: §3, data, CheX.
    """
    return index(root).records


def index(root: Path) -> FolderIndex:
    """The Kermany set in `root` or `root`/chest_xray, in the order of the official splits.

    Where a patient lies in two official splits, test keeps its images and the others are left out, and val
    goes before train; a line for each such image says so. Raises ManifestError where `root` is not laid out so
    or a file name tells no patient.
    """
    root = absolute(root)
    places = [place for place in (root, root / "chest_xray") if (place / "train").is_dir()]
    if not places:
        raise unlike("kermany", root, EXPECTED)
    official = {split: _read(places[0], split) for split in ("train", "val", "test")}
    tested = {record.patient for record in official["test"]}
    validated = {record.patient for record in official["val"]} - tested
    training = [record for record in official["train"] if record.patient not in tested]
    moved = [replace(record, split="val") for record in training if record.patient in validated]
    drawn = assign_splits([r for r in training if r.patient not in validated], SEED, (0.9, 0.1, 0.0))
    val = [record for record in official["val"] if record.patient in validated]
    left_out = [r for r in (*official["train"], *official["val"]) if r.patient in tested]
    return FolderIndex(
        [*drawn, *moved, *val, *official["test"]],
        [f"{r.image}: patient {r.patient!r} is in the official test split too" for r in left_out],
        [f"{r.image}: moved to val, where other images of patient {r.patient!r} are" for r in moved],
    )


def patient_of(path: Path) -> str:
    """The patient that a file name tells; ManifestError where it follows none of the known patterns.

    personN_bacteria and personN_virus are two patients: with that reading none crosses from official train to
    test, with one child per N 137 of them would.
    """
    for pattern in PATIENT:
        if match := pattern.match(path.name):
            return match[1]
    raise ManifestError(
        f"{path}: expected a name that tells the patient, like person1_bacteria_1.jpeg or IM-0001-0001.jpeg. "
        "Restore the official name, or index the folder without --layout."
    )


def _read(place: Path, split: str) -> list[Record]:
    """Records of one official split; only val may be absent, as it is in the Mendeley archives."""
    found = []
    for label in CLASSES:
        images = list_files(place / split / label, r".+\.(jpeg|jpg|png)")
        if not images and split != "val":
            raise unlike("kermany", place / split, f"{label}/*.jpeg")
        found += [
            Record(image=path, label=label, split=split, patient=patient_of(path), source="kermany")
            for path in images.values()
        ]
    return found
