"""RSNA Pneumonia Detection Challenge 2018 (chest films of NIH ChestX-ray14, read again by radiologists).

On disk   stage_2_train_images/*.dcm  1024 x 1024, 8-bit, JPEG inside DICOM: needs the extra [dicom]
          stage_2_train_labels.csv (one row per box), stage_2_detailed_class_info.csv
          pneumonia-challenge-dataset-mappings_2018.json  optional, from RSNA: which NIH image each one is
Samples   26,684: 8,851 Normal, 11,821 No Lung Opacity / Not Normal, 6,012 Lung Opacity
Label     layout rsna: the three official classes
          layout rsna-pneumonia: NORMAL = Normal, PNEUMONIA = Lung Opacity (Target 1); no others
Masks     none: the boxes mark opacities, not anatomy
Split     none official with labels: 70/10/20 by patient, seeded, stratified; stage_2_test_images is not read
Patient   each patientId is one image; the true patient is known through the mapping only
Licence   free use with attribution under RSNA's terms; the images are NIH's, see docs/data/nih.md
Cite      Shih et al., Radiology: AI 1 (2019) e180041, doi:10.1148/ryai.2019180041; Wang et al., CVPR 2017
Quirks    shares its images with NIH: do not train on one and test on the other
"""

import json
from dataclasses import replace
from pathlib import Path

from multimix.data.sources._layout import SEED, absolute, list_files, read_rows, unlike
from multimix.data.splits import assign_splits
from multimix.errors import ManifestError
from multimix.types import Record

LABELS, CLASSES = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
OPACITY = "Lung Opacity"
TWO_CLASSES = {"Normal": "NORMAL", OPACITY: "PNEUMONIA"}
EXPECTED = f"stage_2_train_images/*.dcm, {LABELS} and {CLASSES}"


def records(root: Path) -> list[Record]:
    """Records of the training images of the challenge below `root`, ordered by name, in three classes.

    Raises ManifestError where `root` is not laid out so, an image is missing from a table, or the two tables
    disagree about an image.
    """
    root = absolute(root)
    images = list_files(root / "stage_2_train_images", r".+\.dcm")
    if not images or not (root / LABELS).is_file() or not (root / CLASSES).is_file():
        raise unlike("rsna", root, EXPECTED)
    targets = {row["patientid"]: row["target"] for row in read_rows(root / LABELS, ("patientid", "target"))}
    classes = {row["patientid"]: row["class"] for row in read_rows(root / CLASSES, ("patientid", "class"))}
    patients = _patients(root / MAPPING)
    found = []
    for name, path in images.items():
        label, target = classes.get(name), targets.get(name)
        if label is None or target is None or (label == OPACITY) != (target == "1"):
            raise ManifestError(
                f"{path}: expected a class in {CLASSES} and a Target in {LABELS} that is 1 exactly for "
                f"{OPACITY!r}, got {label!r} and {target!r}. Download the two tables again."
            )
        found.append(Record(image=path, label=label, patient=patients.get(name, name), source="rsna"))
    return assign_splits(found, SEED)


def pneumonia_records(root: Path) -> list[Record]:
    """The part of `records(root)` that is NORMAL or PNEUMONIA, labelled so, in the same splits."""
    return [replace(r, label=TWO_CLASSES[r.label]) for r in records(root) if r.label in TWO_CLASSES]


def _patients(mapping: Path) -> dict[str, str]:
    """Image id -> patient number at the NIH (8 digits); empty without RSNA's mapping file."""
    if not mapping.is_file():
        return {}
    try:
        entries = json.loads(mapping.read_text(encoding="utf-8"))
        return {entry["subset_img_id"]: entry["img_id"].split("_")[0] for entry in entries}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ManifestError(
            f"{mapping}: expected a list of objects with 'subset_img_id' and 'img_id' ({error!r}). "
            "Download it again, or take it away to count each image as a patient."
        ) from error
