import csv
from collections import Counter
from pathlib import Path

import pytest

from multimix.data.sources import index_layout
from multimix.data.sources.kermany import patient_of
from multimix.errors import ManifestError
from multimix.types import Record

TEST = ("chest_xray/test/NORMAL/IM-0001-0001.jpeg", "chest_xray/test/PNEUMONIA/person1_virus_6.jpeg")
TRAIN = ("chest_xray/train/NORMAL/IM-0115-0001.jpeg", "chest_xray/train/PNEUMONIA/person2_bacteria_3.jpeg")
VAL = (
    "chest_xray/val/NORMAL/NORMAL2-IM-1427-0001.jpeg",
    "chest_xray/val/PNEUMONIA/person1946_bacteria_4874.jpeg",
)


@pytest.mark.parametrize("folder", [".", "chest_xray"])
def test_records(tmp_path, touch, read, folder):
    touch(*TRAIN, *VAL, *TEST)
    touch("chest_xray/train/NORMAL/.DS_Store", "__MACOSX/chest_xray/train/NORMAL/._IM-0115-0001.jpeg")

    def record(name: str, label: str, split: str, patient: str) -> Record:
        return Record(tmp_path / name, label=label, split=split, patient=patient, source="kermany")

    assert read("kermany", folder) == [
        record(TRAIN[0], "NORMAL", "train", "IM-0115"),
        record(TRAIN[1], "PNEUMONIA", "train", "person2_bacteria"),
        record(VAL[0], "NORMAL", "val", "NORMAL2-IM-1427"),
        record(VAL[1], "PNEUMONIA", "val", "person1946_bacteria"),
        record(TEST[0], "NORMAL", "test", "IM-0001"),
        record(TEST[1], "PNEUMONIA", "test", "person1_virus"),
    ]


def test_a_tenth_of_the_training_patients_is_val(touch, read):
    touch(*TEST, *(f"chest_xray/train/NORMAL/IM-{n:04d}-0001.jpeg" for n in range(100, 130)))
    names = [f"person{n}_bacteria_{n}{k}.jpeg" for n in range(100, 150) for k in "12"]
    touch(*(f"chest_xray/train/PNEUMONIA/{name}" for name in names))
    found = read("kermany")
    patients = {(r.patient, r.label, r.split) for r in found}
    assert len(patients) == 1 + 1 + 30 + 50  # a patient in two splits would count twice
    counts = Counter(split for _, _, split in patients)
    assert counts == {"train": 72, "val": 8, "test": 2}
    # A tenth of 30 and of 50.
    assert abs(sum(label == "NORMAL" and split == "val" for _, label, split in patients) - 3) < 2
    assert read("kermany") == found


def test_patient_in_two_official_splits_is_told(tmp_path, touch, read):
    touch(*TRAIN, *VAL, *TEST)
    touch("chest_xray/train/PNEUMONIA/person1_virus_7.jpeg")  # also in test: left out
    touch("chest_xray/val/NORMAL/IM-0001-0002.jpeg")  # also in test: left out
    touch("chest_xray/train/PNEUMONIA/person1946_bacteria_4875.jpeg")  # also in val: moved there
    found = read("kermany")
    told = index_layout("kermany", tmp_path)
    assert told.records == found
    folder = tmp_path / "chest_xray"
    assert told.unmatched == [
        f"{folder}/train/PNEUMONIA/person1_virus_7.jpeg: patient 'person1_virus' is in the official test split too",
        f"{folder}/val/NORMAL/IM-0001-0002.jpeg: patient 'IM-0001' is in the official test split too",
    ]
    assert told.notes == [
        f"{folder}/train/PNEUMONIA/person1946_bacteria_4875.jpeg: moved to val, where other images of patient "
        "'person1946_bacteria' are"
    ]
    assert {r.patient: r.split for r in found} == {
        "IM-0115": "train",
        "person2_bacteria": "train",
        "NORMAL2-IM-1427": "val",
        "person1946_bacteria": "val",
        "IM-0001": "test",
        "person1_virus": "test",
    }
    assert len(found) == 7


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("person1_bacteria_1.jpeg", "person1_bacteria"),
        ("person447_virus_921_1.jpeg", "person447_virus"),
        ("IM-0001-0001.jpeg", "IM-0001"),
        ("IM-0033-0001-0001.jpeg", "IM-0033"),
        ("NORMAL2-IM-0001-0001.jpeg", "NORMAL2-IM-0001"),
        ("BACTERIA-1008087-0001.jpeg", "1008087"),
        ("NORMAL-1003233-0001.jpeg", "1003233"),
    ],
)
def test_patient_of(name: str, patient: str):
    assert patient_of(Path(name)) == patient


def test_name_without_a_patient_is_refused(touch, read):
    touch(*TRAIN, *TEST, "chest_xray/train/NORMAL/scan 12.jpeg")
    with pytest.raises(ManifestError, match=r"scan 12.jpeg: expected a name that tells the patient"):
        read("kermany")


@pytest.mark.parametrize("split", ["train", "test"])
def test_split_without_one_class_is_refused(tmp_path, touch, read, split):
    touch(*TRAIN, *TEST)
    for path in (tmp_path / "chest_xray" / split / "NORMAL").iterdir():
        path.unlink()
    with pytest.raises(
        ManifestError, match=rf"expected NORMAL/\*.jpeg in '.*{split}', found NORMAL/, PNEUMONIA/"
    ):
        read("kermany")


@pytest.mark.real
def test_patients_of_the_real_names(shared: Path):
    with (shared / "data" / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "kermany"]
    assert len(rows) == 4523
    for row in rows:
        assert patient_of(Path(row["original_name"])) == row["patient_id"]
