from collections import Counter
from pathlib import Path

import pytest

from multimix.data.index import index_folder
from multimix.data.manifest import read_manifest, write_manifest
from multimix.data.splits import refuse_leaks
from multimix.errors import ImageError, ManifestError, UsageError
from multimix.types import Record


def touch(root: Path, *names: str) -> None:
    """Empty files: the index never opens one."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def by_name(root: Path, **options: object) -> dict[str, Record]:
    index = index_folder(root, **options)
    assert index.unmatched == []
    return {record.image.relative_to(root).as_posix(): record for record in index.records}


def test_class_folders_with_a_split_on_disk(tmp_path: Path) -> None:
    touch(tmp_path, "train/NORMAL/1.png", "valid/NORMAL/2.jpeg", "TEST/ILL/3.png", "test/ILL/notes.txt")
    records = by_name(tmp_path)
    assert {name: (r.split, r.label) for name, r in records.items()} == {
        "train/NORMAL/1.png": ("train", "NORMAL"),
        "valid/NORMAL/2.jpeg": ("val", "NORMAL"),
        "TEST/ILL/3.png": ("test", "ILL"),
    }
    assert {r.source for r in records.values()} == {tmp_path.name}
    assert records["TEST/ILL/3.png"].patient == "?TEST/ILL/3"  # unknown, and no other image's


def test_class_folders_without_a_split_get_one_by_patient(tmp_path: Path) -> None:
    touch(tmp_path, *[f"{c}/{c}{p}_{i}.png" for c in ("A", "B") for p in range(20) for i in range(2)])
    records = index_folder(tmp_path, seed=0, patient_pattern=r"^([AB]\d+)_").records
    refuse_leaks(records)
    assert Counter((r.split, r.label) for r in records) == {
        ("train", "A"): 28,
        ("val", "A"): 4,
        ("test", "A"): 8,
        ("train", "B"): 28,
        ("val", "B"): 4,
        ("test", "B"): 8,
    }
    assert records == index_folder(tmp_path, seed=0, patient_pattern=r"^([AB]\d+)_").records
    assert records != index_folder(tmp_path, seed=1, patient_pattern=r"^([AB]\d+)_").records


def test_images_and_masks_by_stem(tmp_path: Path) -> None:
    touch(tmp_path, "images/1.png", "images/2.jpg", "images/3.png", "masks/1.png", "masks/2_mask.gif")
    records = by_name(tmp_path)
    assert records["images/1.png"].masks == {"lungs": (tmp_path / "masks/1.png",)}
    assert records["images/2.jpg"].masks == {"lungs": (tmp_path / "masks/2_mask.gif",)}
    assert records["images/3.png"].masks == {}
    assert {r.label for r in records.values()} == {None}


def test_folders_below_masks_name_structures(tmp_path: Path) -> None:
    touch(tmp_path, "images/1.png", "masks/lungs/1.png", "masks/heart/1.png")
    assert by_name(tmp_path)["images/1.png"].masks == {
        "heart": (tmp_path / "masks/heart/1.png",),
        "lungs": (tmp_path / "masks/lungs/1.png",),
    }


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/ILL/1.png", "masks/1.png"),
        ("images/ILL/1.png", "masks/ILL/1.png"),
        ("train/images/ILL/1.png", "train/masks/ILL/1.png"),
        ("train/ILL/images/1.png", "train/ILL/masks/1.png"),
        ("images/train/ILL/1.png", "masks/train/1.png"),
    ],
)
def test_classes_and_masks_at_once(tmp_path: Path, image: str, mask: str) -> None:
    touch(tmp_path, image, mask)
    (record,) = by_name(tmp_path).values()
    assert record.label == "ILL"
    assert record.masks == {"lungs": (tmp_path / mask,)}
    assert record.source == tmp_path.name


def test_masks_beside_their_images(tmp_path: Path) -> None:
    names = ("benign/b (1)", "benign/b (2)", "normal/n (1)")
    touch(tmp_path, *(f"{name}.png" for name in names), *(f"{name}_mask.png" for name in names))
    touch(tmp_path, "benign/b (2)_mask_1.png", "normal/face_mask.png")
    records = by_name(tmp_path)
    assert {name: record.label for name, record in records.items()} == {
        "benign/b (1).png": "benign",
        "benign/b (2).png": "benign",
        "normal/n (1).png": "normal",
        "normal/face_mask.png": "normal",  # there is no face.png
    }
    two = [file.name for file in records["benign/b (2).png"].masks["lungs"]]
    assert sorted(two) == ["b (2)_mask.png", "b (2)_mask_1.png"]
    assert records["normal/face_mask.png"].masks == {}


@pytest.mark.parametrize("folder", ["labels", "Segmentations", "gt"])
def test_other_names_of_a_folder_of_masks_beside_images(tmp_path: Path, folder: str) -> None:
    touch(tmp_path, "a/images/1.png", f"a/{folder}/1.png", f"b/{folder}/2.png")
    records = by_name(tmp_path)
    assert {name: (r.source, r.label, len(r.masks)) for name, r in records.items()} == {
        "a/images/1.png": ("a", None, 1),
        f"b/{folder}/2.png": ("b", folder, 0),  # no images/ beside it: a class
    }


def test_the_same_stem_in_two_splits_is_paired_within_each(tmp_path: Path) -> None:
    touch(tmp_path, *[f"{s}/{kind}/1.png" for s in ("train", "test") for kind in ("images", "masks")])
    records = by_name(tmp_path)
    assert records["train/images/1.png"].masks == {"lungs": (tmp_path / "train/masks/1.png",)}
    assert records["test/images/1.png"].masks == {"lungs": (tmp_path / "test/masks/1.png",)}
    refuse_leaks(list(records.values()))  # the name alone is no evidence of one patient


def test_sources_are_folders_above(tmp_path: Path) -> None:
    touch(
        tmp_path, "seg/jsrt/images/1.png", "seg/jsrt/masks/1.png", "cls/kermany/test/A/1.png", "nih/A/x.png"
    )
    records = by_name(tmp_path)
    assert {name: r.source for name, r in records.items()} == {
        "seg/jsrt/images/1.png": "jsrt",
        "cls/kermany/test/A/1.png": "kermany",
        "nih/A/x.png": "nih",
    }
    assert records["nih/A/x.png"].label == "A"


def test_sources_of_one_name_are_told_apart(tmp_path: Path) -> None:
    touch(tmp_path, "seg/here/images/1.png", "cls/here/test/A/1.png")
    assert {r.source for r in by_name(tmp_path).values()} == {"seg/here", "cls/here"}


def test_what_does_not_match_is_reported(tmp_path: Path) -> None:
    touch(tmp_path, "images/1.png", "masks/2.png", "b/train/A/1.png", "b/train/B/1.png", "b/masks/1.png")
    touch(tmp_path, "b/train/A/3.png")
    touch(tmp_path, "b/loose.png", "b/images/x.png")
    unmatched = index_folder(tmp_path).unmatched
    assert [line.removeprefix(f"{tmp_path}/").split(":")[0] for line in unmatched] == [
        "b/images/x.png",
        "b/loose.png",
        "b/masks/1.png",
        "masks/2.png",
    ]
    assert "outside the split folders of its source; move it" in unmatched[0]
    assert "2 images with the stem '1'; rename" in unmatched[2]
    assert "no image with the stem '2'; rename" in unmatched[3]


def test_patient_pattern(tmp_path: Path) -> None:
    touch(
        tmp_path, "train/A/person1_virus_2.png", "train/A/person1_virus_3.png", "test/A/person2_virus_1.png"
    )
    assert {r.patient for r in by_name(tmp_path, patient_pattern=r"^(person\d+_\w+?)_").values()} == {
        "person1_virus",
        "person2_virus",
    }


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [("(", "is not a regular expression"), ("a", "has 0 groups, expected one"), ("(x)1", "finds no patient")],
)
def test_patterns_that_cannot_be_used(tmp_path: Path, pattern: str, problem: str) -> None:
    touch(tmp_path, "A/1.png")
    with pytest.raises(UsageError, match=problem) as caught:
        index_folder(tmp_path, patient_pattern=pattern)
    assert "--patient-pattern" in str(caught.value)


def test_folders_without_images(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="is not a folder; name the folder"):
        index_folder(tmp_path / "gone")
    with pytest.raises(ImageError, match="no image in this folder"):
        index_folder(tmp_path)
    touch(tmp_path, "masks/1.png")
    with pytest.raises(ManifestError, match="holds masks but no images; name the folder above"):
        index_folder(tmp_path)


def test_index_becomes_a_manifest(tmp_path: Path) -> None:
    touch(tmp_path, "images/1.png", "images/2.png", "masks/1.png")
    records = index_folder(tmp_path).records
    before = sorted(tmp_path.rglob("*"))
    write_manifest(tmp_path / "manifest.csv", records)
    assert read_manifest(tmp_path) == records
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "manifest.csv"])


def test_a_link_to_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    archive, mine = tmp_path / "archive", tmp_path / "mine"
    touch(archive, "images/1.png", "masks/1.png")
    mine.mkdir()
    with pytest.raises(
        ManifestError, match=r"lies outside .*mine; .* make a symbolic link .* index the link"
    ):
        write_manifest(mine / "m.csv", index_folder(archive).records)
    (mine / "xrays").symlink_to(archive)
    records = index_folder(mine / "xrays").records
    write_manifest(mine / "m.csv", records)
    assert read_manifest(mine / "m.csv") == records
    assert records[0].masks == {"lungs": (mine / "xrays" / "masks" / "1.png",)}


@pytest.mark.real
def test_shared_folders(shared: Path) -> None:
    index = index_folder(shared / "data")
    assert index.unmatched == []
    known = {record.image: record for record in read_manifest(shared / "data")}
    assert {record.image for record in index.records} == set(known)
    for record in index.records:
        truth = known[record.image]
        assert (record.source, record.masks) == (truth.source, truth.masks)
        if record.label is not None:
            assert (record.label, record.split) == (truth.label, truth.split)


def test_the_same_name_in_two_class_folders_is_two_patients(tmp_path: Path) -> None:
    touch(tmp_path, "ILL/1.png", "WELL/1.png", "WELL/2.png")
    assert {name: r.patient for name, r in by_name(tmp_path, patient_per_image=True).items()} == {
        "ILL/1.png": "ILL/1",
        "WELL/1.png": "WELL/1",
        "WELL/2.png": "WELL/2",
    }


def test_files_of_other_kinds_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "ILL/1.png", "WELL/2.png", "WELL/3.png", "manifest.csv")
    assert index_folder(tmp_path, patient_per_image=True).notes == []
    touch(tmp_path, "ILL/3.webp", "notes", ".hidden")
    assert index_folder(tmp_path, patient_per_image=True).notes == [
        "2 files of other kinds (1 .webp, 1 without suffix) passed over; images are PNG, JPEG, TIFF, GIF, BMP and DICOM"
    ]


def test_a_class_folder_that_would_be_two_classes_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "x|y/1.png", "z/2.png")
    with pytest.raises(ManifestError, match=r"x\|y: '\|' joins classes in a manifest; rename the folder"):
        index_folder(tmp_path)


def test_a_second_level_of_folders_is_asked_for(tmp_path: Path) -> None:
    touch(tmp_path, "benign/ann/1.png", "benign/bob/2.png", "malign/cid/3.png", "malign/cid/4.png")
    with pytest.raises(
        ManifestError, match=r"are 'benign', 'malign' classes or data sets\? .*--folders class/patient"
    ):
        index_folder(tmp_path)
    records = by_name(tmp_path, folders="class/patient")
    assert {(r.label, r.patient) for r in records.values()} == {
        ("benign", "ann"),
        ("benign", "bob"),
        ("malign", "cid"),
    }
    assert {r.source for r in by_name(tmp_path, folders="source/class").values()} == {"benign", "malign"}


def test_data_sets_with_classes_in_common_are_told(tmp_path: Path) -> None:
    touch(
        tmp_path, *[f"{s}/{c}/{s}{c}{i}.png" for s in ("a", "b") for c in ("ILL", "WELL") for i in range(2)]
    )
    (note,) = index_folder(tmp_path, patient_per_image=True).notes
    assert note.startswith("a, b were taken for data sets; where they are classes,")
    assert "--folders class/*" in note
    assert {r.label for r in by_name(tmp_path, folders="class/*").values()} == {"a", "b"}
