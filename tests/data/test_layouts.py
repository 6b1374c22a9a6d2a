"""Folders as people and programs lay them out: no mask, patient or split becomes a class."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.pictures import ellipses, mask, picture, pixels, write_dicom, write_plane

from multimix.data.check.files import look
from multimix.data.index import FolderIndex, index_folder
from multimix.errors import ManifestError, UsageError
from multimix.types import Record, patients_known


def pairs(index: FolderIndex) -> dict[str, dict[str, list[str]]]:
    """Image -> structure -> masks, by name."""
    return {r.image.name: {s: [f.name for f in files] for s, files in r.masks.items()} for r in index.records}


@pytest.mark.parametrize(
    ("image", "its_mask", "label", "split"),
    [
        ("Lung Segmentation Data/Train/COVID-19/images/{}.png", "lung masks/{}.png", "COVID-19", None),
        ("imagesTr/c_{:03}_0000.png", "../labelsTr/c_{:03}.png", None, None),
        ("train_images/{}.png", "../train_masks/{}.png", None, None),
        ("JPEGImages/{}.png", "../SegmentationClass/{}.png", None, None),
        ("wards/{}.png", "{}_seg.png", "wards", None),
        ("images/{}.png", "../lung_masks/{}.png", None, None),
        ("Original/{}.png", "../Ground Truth/{}.png", None, None),
        ("ISIC_Training_Input/I_{}.jpg", "../ISIC_Training_GroundTruth/I_{}_segmentation.png", None, None),
        ("images/img_{}.png", "../masks/mask_{}.png", None, None),
        ("CXR_png/{}_1.png", "../ManualMask/{}_1.png", None, None),
        ("images/test/{}.png", "../../labels/test/{}.png", None, "test"),
        ("films/{}.png", "../lungs/{}.png", None, None),  # told by the pixels alone
        ("ILL/{}.png", "{}_Lungs.png", "ILL", None),
    ],
)
def test_masks_wherever_they_lie(
    tmp_path: Path, image: str, its_mask: str, label: str | None, split: str | None
) -> None:
    for i in range(4):
        file = picture(tmp_path / image.format(i), i)
        mask(file.parents[its_mask.count("../")] / its_mask.replace("../", "").format(i), i)
    index = index_folder(tmp_path)
    assert index.unmatched == []
    assert [(len(r.masks["lungs"]), r.label) for r in index.records] == [(1, label)] * 4
    numbers = [(re.findall(r"\d+", f.stem)[0] for f in (r.image, *r.masks["lungs"])) for r in index.records]
    assert all(one == other for one, other in numbers)
    if split:
        assert {r.split for r in index.records} == {split}


def test_folders_of_any_name_beside_images_are_structures_if_they_have_few_levels(tmp_path: Path) -> None:
    for i in range(4):
        picture(tmp_path / f"images/{i}.png", i)
        mask(tmp_path / f"left lung/{i}.png", i)
        mask(tmp_path / f"heart/{i}.png", i + 10)
    index = index_folder(tmp_path)
    assert pairs(index)["2.png"] == {"heart": ["2.png"], "left lung": ["2.png"]}
    assert sum("taken for masks of 'images'" in note for note in index.notes) == 2


def test_class_and_role_in_one_name(tmp_path: Path) -> None:
    for i, name in enumerate(["COVID", "Normal", "COVID", "Normal"]):
        picture(tmp_path / f"{name}_images/{i}.png", i)
        mask(tmp_path / f"{name}_masks/{i}.png", i)
    index = index_folder(tmp_path)
    assert [(r.image.name, r.label, len(r.masks)) for r in index.records] == [
        *(("0.png", "COVID", 1), ("2.png", "COVID", 1), ("1.png", "Normal", 1), ("3.png", "Normal", 1)),
    ]


def test_classes_with_mask_and_without_are_classes(tmp_path: Path) -> None:
    for i in range(4):
        picture(tmp_path / f"with_mask/{i}.png", i)
        picture(tmp_path / f"without_mask/{i}.png", i + 4)
    assert Counter(r.label for r in index_folder(tmp_path).records) == {"with_mask": 4, "without_mask": 4}


def test_masks_without_images_of_their_names_are_no_class(tmp_path: Path) -> None:
    for i in range(4):
        picture(tmp_path / f"ILL/ill{i}.png", i)
        picture(tmp_path / f"WELL/well{i}.png", i + 4)
        mask(tmp_path / f"drawn/d{i}.png", i)
    index = index_folder(tmp_path)
    assert {r.label for r in index.records} == {"ILL", "WELL"}
    assert len(index.unmatched) == 4
    assert any("drawn: its files have few levels" in note for note in index.notes)
    assert {r.label for r in index_folder(tmp_path, folders="class").records} == {"ILL", "WELL", "drawn"}


@pytest.mark.parametrize("name", ["{}.png", "film_{}_a.png"])
def test_the_same_images_in_two_folders_are_no_classes(tmp_path: Path, name: str) -> None:
    for i in range(8):
        picture(tmp_path / "Original" / name.format(i), i)
        file = tmp_path / "Annotated" / name.format(i)
        file.parent.mkdir(exist_ok=True)
        levels = pixels(i)
        levels[10:20, 10:12] = 255
        Image.fromarray(levels).save(file)
    with pytest.raises(ManifestError, match=r"'Annotated' and 'Original' hold files of the same names"):
        index_folder(tmp_path)
    assert len(index_folder(tmp_path, folders="class").records) == 16


def test_classes_whose_images_are_numbered_alike_stay_classes(tmp_path: Path) -> None:
    for i in range(8):
        picture(tmp_path / f"ILL/{i}.png", i)
        picture(tmp_path / f"WELL/{i}.png", i + 8)
    assert Counter(r.label for r in index_folder(tmp_path).records) == {"ILL": 8, "WELL": 8}


@pytest.mark.parametrize(
    ("name", "patient", "label"),
    [
        ("images/P{p:03}/{k}.png", "P001", None),
        ("files/p1{p}/p1{p}00000{p}/s5{p}{k}0000/{p}{k}.png", "p11000001", None),
        ("{c}/P{p:03}/{k}.png", "P001", "ILL"),
        ("train/{c}/P{p:03}/{k}.png", "P001", "ILL"),
        ("train/patient{p:05}/study{k}/view1_frontal.png", "patient00001", None),
        ("sub-0{p}/ses-{k}/sub-0{p}_pa.png", "sub-01", None),
        ("{c}/{p:04}/{k}.png", "0001", "ILL"),
        ("P{p:03}/images/{k}.png", "P001", None),
        ("{c}/person{p}_virus_{k}.png", "person1_virus", "ILL"),
        ("{c}/{p}{p}f0a3c4e{p}/{k}.png", "11f0a3c4e1", "ILL"),
    ],
)
def test_patients_are_no_classes(tmp_path: Path, name: str, patient: str, label: str | None) -> None:
    for p in range(8):
        for k in range(3):
            picture(tmp_path / name.format(p=p, k=k, c=("WELL", "ILL")[p % 2]), 10 * p + k)
    index = index_folder(tmp_path)
    found: dict[str, set[str]] = {}
    for record in index.records:
        found.setdefault(record.patient, set()).add(record.split)
    assert patient in found
    assert len(found) == 8
    assert all(len(splits) == 1 for splits in found.values())
    assert {r.label for r in index.records} == ({None} if label is None else {"ILL", "WELL"})
    assert any("are those of" in note for note in index.notes)


def test_masks_in_patient_folders_belong_to_the_patient(tmp_path: Path) -> None:
    for p in ("P001", "P002", "P003"):
        for k in range(2):
            picture(tmp_path / f"images/{p}/{k}.png", k)
            mask(tmp_path / f"masks/{p}/{k}.png", k)
    index = index_folder(tmp_path)
    assert index.unmatched == []
    assert all(r.masks["lungs"][0].parts[-2:] == r.image.parts[-2:] for r in index.records)


def test_bare_numbers_begin_anew_in_each_class(tmp_path: Path) -> None:
    for c in ("ILL", "WELL"):
        for p in range(1, 5):
            for k in range(2):
                picture(tmp_path / f"{c}/{p:03}/{k}.png", p)
    assert len({r.patient for r in index_folder(tmp_path).records}) == 8


def test_grades_with_numbers_are_classes(tmp_path: Path) -> None:
    for grade in range(4):
        for k in range(3):
            picture(tmp_path / f"grade {grade}/{grade}_{k}.png", 10 * grade + k)
    assert {r.label for r in index_folder(tmp_path).records} == {f"grade {g}" for g in range(4)}


def test_the_patient_in_the_dicom_header(tmp_path: Path) -> None:
    for i in range(12):
        write_dicom(tmp_path / f"{('ILL', 'WELL')[i % 2]}/1.2.{i}.dcm", i, f"T{i % 4}")
    index = index_folder(tmp_path)
    assert {r.patient for r in index.records} == {"T0", "T1", "T2", "T3"}
    assert "are those of the DICOM headers" in index.notes[-1]


@pytest.mark.parametrize("patient", ["", "ANONYMOUS", "Z9"])
def test_a_patient_that_is_the_same_in_every_header_is_none(tmp_path: Path, patient: str) -> None:
    for i in range(12):
        write_dicom(tmp_path / f"{('ILL', 'WELL')[i % 2]}/{i}.dcm", i, patient)
    assert not patients_known(r.patient for r in index_folder(tmp_path).records)


def test_a_pattern_finds_the_patient_in_the_folders(tmp_path: Path) -> None:
    for ward in ("a", "b"):
        for name in ("ann", "bob"):
            picture(tmp_path / f"images/{ward}/{ward}-{name}/1.png", 1)
    index = index_folder(tmp_path, patient_pattern=r"/(\w-\w+)/", folders="images/*/*")
    assert [r.patient for r in index.records] == ["a-ann", "a-bob", "b-ann", "b-bob"]
    assert index.notes == []


def test_unknown_patients_are_told_and_merge_nothing(tmp_path: Path) -> None:
    for c in ("ILL", "WELL"):
        for i in range(3):
            picture(tmp_path / f"{c}/0000{i % 2}_{i}{c}.png", i)
    index = index_folder(tmp_path)
    assert len({r.patient for r in index.records}) == 6
    assert not patients_known(r.patient for r in index.records)
    (note,) = index.notes
    assert "are not known" in note
    assert r"--patient-pattern '^(\d+)[_-]'" in note
    assert "--patient-per-image" in note
    assert patients_known(r.patient for r in index_folder(tmp_path, patient_per_image=True).records)


@pytest.mark.parametrize(
    "name", ["unlabeled", "Unlabelled", "unsup", "no_label", "train/unlabelled images", "wards/unlabeled"]
)
def test_images_without_label_are_no_class(tmp_path: Path, name: str) -> None:
    above = tmp_path / Path(name).parent
    for i in range(4):
        for c in ("ILL", "WELL"):
            picture(above / f"{c}/{c}{i}.png", i)
        picture(tmp_path / f"{name}/u{i}.png", i + 20)
    index = index_folder(tmp_path)
    assert Counter(r.label for r in index.records) == {"ILL": 4, "WELL": 4, None: 4}
    assert len({r.source for r in index.records}) == 1


def test_labelled_and_unlabelled_side_by_side(tmp_path: Path) -> None:
    for i in range(4):
        for c in ("ILL", "WELL"):
            picture(tmp_path / f"labelled/{c}/{c}{i}.png", i)
        picture(tmp_path / f"unlabelled/u{i}.png", i + 20)
    index = index_folder(tmp_path)
    assert Counter(r.label for r in index.records) == {"ILL": 4, "WELL": 4, None: 4}


def test_loose_images_beside_class_folders_have_no_label(tmp_path: Path) -> None:
    for i in range(4):
        for c in ("ILL", "WELL"):
            picture(tmp_path / f"wards/{c}/{c}{i}.png", i)
        picture(tmp_path / f"wards/u{i}.png", i + 20)
    index = index_folder(tmp_path)
    assert {(r.source, r.label) for r in index.records} == {
        ("wards", "ILL"),
        ("wards", "WELL"),
        ("wards", None),
    }
    assert {r.split for r in index.records if r.label is None} == {"train"}  # nothing can be judged by them


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("training/{c}", "validation/{c}", "testing/{c}"),
        ("Train Set/{c}", "Valid Set/{c}", "Test Set/{c}"),
        ("train_{c}", "val_{c}", "test_{c}"),
        ("TRAIN/{c}", "dev/{c}", "holdout/{c}"),
        ("images_train/{c}", "images_val/{c}", "images_test/{c}"),
    ],
)
def test_splits_as_people_call_them(tmp_path: Path, train: str, val: str, test: str) -> None:
    wanted = {}
    for split, folder in {"train": train, "val": val, "test": test}.items():
        for c in ("neg", "pos"):
            for i in range(3):
                wanted[picture(tmp_path / folder.format(c=c) / f"{split}{c}{i}.png", i)] = (split, c)
    index = index_folder(tmp_path)
    assert {r.image: (r.split, r.label) for r in index.records} == wanted
    assert {r.source for r in index.records} == {tmp_path.name}


def test_a_folder_beside_the_splits_is_left_out(tmp_path: Path) -> None:
    for split in ("train", "test", "eval"):
        for c in ("neg", "pos"):
            for i in range(2):
                picture(tmp_path / f"{split}/{c}/{split}{c}{i}.png", i)
    index = index_folder(tmp_path)
    assert {r.split for r in index.records} == {"train", "test"}
    assert len(index.unmatched) == 4
    assert "eval/neg/evalneg0.png: lies outside the split folders" in index.unmatched[0]


def test_folds_are_neither_classes_nor_data_sets(tmp_path: Path) -> None:
    for fold in range(3):
        for c in ("neg", "pos"):
            for i in range(2):
                picture(tmp_path / f"fold{fold}/{c}/{fold}{c}{i}.png", i)
    index = index_folder(tmp_path)
    assert {(r.source, r.label) for r in index.records} == {(tmp_path.name, "neg"), (tmp_path.name, "pos")}


def test_classes_of_one_image_are_asked_for(tmp_path: Path) -> None:
    for name in ("ann", "bob", "cid", "dee"):
        picture(tmp_path / f"{name}/{name}.png", ord(name[0]))
    with pytest.raises(
        ManifestError, match=r"each of the 4 classes .* is of one image .*--folders patient.*class"
    ):
        index_folder(tmp_path)
    assert {r.patient for r in index_folder(tmp_path, folders="patient").records} == {
        "ann",
        "bob",
        "cid",
        "dee",
    }
    assert {r.label for r in index_folder(tmp_path, folders="class").records} == {"ann", "bob", "cid", "dee"}


def test_many_classes_of_few_images_are_asked_for(tmp_path: Path) -> None:
    for letter in "abcdefghijkl":
        for i in range(3):
            picture(tmp_path / f"{letter * 3}/{letter}{i}.png", i)
    with pytest.raises(ManifestError, match=r"12 classes .* have 3 to 3 images each"):
        index_folder(tmp_path)


def test_a_folder_below_the_class_is_asked_for(tmp_path: Path) -> None:
    for c in ("neg", "pos"):
        for name in ("ann", "bob"):
            for i in range(2):
                picture(tmp_path / f"train/{c}/{c}-{name}/{i}.png", ord(name[0]) + i)
    with pytest.raises(ManifestError, match=r"--folders split/class/patient or --folders split/class/\*"):
        index_folder(tmp_path)


@pytest.mark.parametrize(
    ("folders", "problem"),
    [
        ("class/ward", "'ward' is not one of source, split, class"),
        ("split/class", "is at the level of splits"),
    ],
)
def test_levels_that_cannot_be(tmp_path: Path, folders: str, problem: str) -> None:
    picture(tmp_path / "ILL/a/1.png", 1)
    with pytest.raises(UsageError, match=problem):
        index_folder(tmp_path, folders=folders)


def test_a_suffix_of_masks(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / f"images/{i}.png", i)
        mask(tmp_path / f"images/{i}_roi.png", i)
        picture(tmp_path / f"images/{i}_flip.png", i + 30)
    index = index_folder(tmp_path, mask_suffix="_roi")
    assert pairs(index) == {
        **{f"{i}.png": {"lungs": [f"{i}_roi.png"]} for i in range(3)},
        **{f"{i}_flip.png": {} for i in range(3)},
    }


def test_names_in_two_unicode_forms_are_one(tmp_path: Path) -> None:
    picture(tmp_path / "images/Mu\u0308ller.png", 1)
    mask(tmp_path / "masks/M\u00fcller.png", 1)
    index = index_folder(tmp_path)
    assert index.unmatched == []
    assert len(index.records[0].masks) == 1


def test_an_image_of_two_levels_among_pictures_stays_an_image(tmp_path: Path) -> None:
    for i in range(4):
        picture(tmp_path / f"ILL/i{i}.png", i)
        picture(tmp_path / f"WELL/w{i}.png", i + 4)
    mask(tmp_path / "ILL/scan.png", 1)
    Image.fromarray(np.full((48, 48), 7, np.uint8)).save(tmp_path / "WELL/black.png")
    assert len(index_folder(tmp_path).records) == 10


def test_a_mask_suffix_that_no_file_has_is_refused(tmp_path: Path) -> None:
    for i in range(4):
        picture(tmp_path / f"ill/{i}.png", i)
        mask(tmp_path / f"ill/{i}_roi.png", i)
    with pytest.raises(UsageError, match=r"'_mask': no file is called so.*masks would be taken for images"):
        index_folder(tmp_path, mask_suffix="_mask")
    assert pairs(index_folder(tmp_path, mask_suffix="_roi"))["2.png"] == {"lungs": ["2_roi.png"]}


@pytest.mark.parametrize("copy", ["{}_png.rf.{}.jpg", "{} ({}).jpg", "{}_aug_{}.jpg", "{} - Copy.jpg"])
@pytest.mark.parametrize("per_image", [False, True])
def test_copies_of_one_image_are_drawn_into_one_split(tmp_path: Path, copy: str, per_image: bool) -> None:
    for i in range(20):
        if "rf" not in copy:
            picture(tmp_path / f"ill/film{i}.png", i)
        for again in "12":
            picture(tmp_path / "ill" / copy.format(f"film{i}", again), i + 20)
    index = index_folder(tmp_path, patient_per_image=per_image)
    splits: dict[str, set[str]] = {}
    for record in index.records:
        splits.setdefault(re.findall(r"film\d+", record.image.name)[0], set()).add(record.split)
    assert len(splits) == 20
    assert all(len(where) == 1 for where in splits.values())
    assert any("copies by their names" in note for note in index.notes)


def test_names_with_dots_as_uids_have_are_of_images_of_their_own(tmp_path: Path) -> None:
    for i in range(6):
        picture(tmp_path / f"ill/1.2.840.{i}.png", i)
    assert len({record.patient for record in index_folder(tmp_path).records}) == 6


def test_numbers_in_brackets_are_no_copies_where_the_plain_name_is_missing(tmp_path: Path) -> None:
    for i in range(6):  # as BUSI has them
        picture(tmp_path / f"benign/benign ({i}).png", i)
    assert len({record.patient for record in index_folder(tmp_path).records}) == 6


@pytest.mark.parametrize(
    ("image", "its_mask"),
    [
        ("imagesTr/c_{:03}_0000.nii.gz", "labelsTr/c_{:03}.nii.gz"),
        ("imagesTr/c_{:03}_0000.mha", "labelsTr/c_{:03}.mha"),
        ("imgs/{}.npy", "gts/{}.npy"),  # MedSAM
        ("images/{}.png", "masks/{}.nii.gz"),
        ("films/{}.nrrd", "films/{}.seg.nrrd"),  # 3D Slicer
    ],
)
def test_planes_in_the_formats_of_volumes(tmp_path: Path, image: str, its_mask: str) -> None:
    for i in range(4):
        for name, values in ((image, pixels(i)), (its_mask, ellipses(i).astype(np.uint8))):
            write_plane(tmp_path / name.format(i), values)
    index = index_folder(tmp_path)
    assert index.unmatched == []
    assert pairs(index) == {
        Path(image.format(i)).name: {"lungs": [Path(its_mask.format(i)).name]} for i in range(4)
    }
    assert [f for f in map(look, index.records) if f.findings] == []


def test_a_mask_whose_header_lies_another_way_is_told(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = write_plane(tmp_path / "images/0.nrrd", pixels(0))
    turned = sitk.GetImageFromArray(ellipses(0).astype(np.uint8)[None])
    turned.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    (tmp_path / "masks").mkdir()
    sitk.WriteImage(turned, str(tmp_path / "masks/0.nrrd"))
    found = look(Record(image, {"lungs": (tmp_path / "masks/0.nrrd",)})).findings
    assert [(f.level, f.where) for f in found] == [("error", str(tmp_path / "masks/0.nrrd"))]
    assert "other directions" in found[0].message
