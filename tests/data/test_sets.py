"""Who may see what: the labels that were drawn, and none of the others."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multimix.config import DataConfig
from multimix.data.manifest import write_manifest
from multimix.data.sets import TrainingSets, training_sets
from multimix.errors import ManifestError, SplitError, UsageError
from multimix.recipes import METHODS
from multimix.types import Record

SPLITS = {"train": 12, "val": 4, "test": 4}


def cohort(root: Path) -> list[Record]:
    """Source `wards` with two classes (and masks that nobody asked for), source `lungs` with masks and labels."""
    records = []
    for split, count in SPLITS.items():
        for i in range(count):
            for source, label in (("wards", "AB"[i % 2]), ("lungs", "C")):
                name = f"{source}_{split}_{i}"
                masks = {"lungs": (root / f"{name}_mask.png",)}
                records.append(Record(root / f"{name}.png", masks, label, split, name, source))
    return records


def config(root: Path, records: Sequence[Record], **changes: object) -> DataConfig:
    write_manifest(root / "manifest.csv", records)
    given: dict[str, object] = {
        "manifest": str(root),
        "class_source": ("wards",),
        "mask_source": ("lungs",),
        "class_labels": 4,
        "mask_labels": 3,
    }
    return DataConfig(**(given | changes))  # type: ignore[arg-type]


def drawn(
    root: Path,
    records: Sequence[Record] | None = None,
    method: str = "multimix",
    seed: int = 0,
    **changes: object,
) -> TrainingSets:
    records = cohort(root) if records is None else records
    return training_sets(config(root, records, **changes), METHODS[method], seed)


def images(records: Sequence[Record]) -> list[str]:
    return [record.image.name for record in records]


def test_budgets_and_the_rest(tmp_path: Path) -> None:
    sets = drawn(tmp_path)
    assert len(sets.labelled_classes) == 4
    assert len(sets.unlabelled_classes) == 8
    assert len(sets.labelled_masks) == 3
    assert len(sets.unlabelled_masks) == 9
    assert {r.source for r in sets.labelled_classes + sets.unlabelled_classes} == {"wards"}
    assert {r.source for r in sets.labelled_masks + sets.unlabelled_masks} == {"lungs"}
    training = sets.labelled_classes + sets.unlabelled_classes + sets.labelled_masks + sets.unlabelled_masks
    assert {r.split for r in training} == {"train"}
    assert len(set(images(training))) == 24
    assert sets.classes == ("A", "B")
    assert sets.structures == ("lungs",)


@pytest.mark.parametrize("method", METHODS)
def test_no_role_sees_more_than_its_own(tmp_path: Path, method: str) -> None:
    sets = drawn(tmp_path, method=method)
    for record in (*sets.unlabelled_classes, *sets.unlabelled_masks, *sets.everything):
        assert record.label is None
        assert record.masks == {}
    for record in sets.labelled_classes:
        assert record.label in ("A", "B")
        assert record.masks == {}
    for record in sets.labelled_masks:
        assert record.label is None
        assert set(record.masks) == {"lungs"}


def test_what_a_hidden_mask_shows_changes_nothing(tmp_path: Path) -> None:
    # The same draw again, with every mask that was not drawn replaced by another one.
    records = cohort(tmp_path)
    sets = drawn(tmp_path, records)
    hidden = {r.image for r in sets.unlabelled_classes}
    unmasked = {r.image for r in sets.unlabelled_masks}
    scrambled = [
        replace(r, masks={"lungs": (tmp_path / "other.png",)}) if r.image in unmasked | hidden else r
        for r in records
    ]
    assert drawn(tmp_path, scrambled).roles() == sets.roles()


def test_every_method_sees_the_same_labels(tmp_path: Path) -> None:
    reference = drawn(tmp_path)
    for name, method in METHODS.items():
        sets = drawn(tmp_path, method=name)
        assert sets.labelled_classes == (reference.labelled_classes if method.classify else [])
        assert sets.labelled_masks == (reference.labelled_masks if method.segment else [])
        assert sets.unlabelled_classes == (
            reference.unlabelled_classes if method.pseudo_labels or method.teacher else []
        )
        assert sets.unlabelled_masks == (
            reference.unlabelled_masks if method.consistency or method.teacher else []
        )


def test_the_seed_draws(tmp_path: Path) -> None:
    assert drawn(tmp_path, seed=1).labelled_classes == drawn(tmp_path, seed=1).labelled_classes
    assert images(drawn(tmp_path, seed=1).labelled_classes) != images(drawn(tmp_path).labelled_classes)
    assert images(drawn(tmp_path, seed=1).labelled_masks) != images(drawn(tmp_path).labelled_masks)


def test_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    records = cohort(tmp_path)
    forth, back = drawn(tmp_path, records), drawn(tmp_path, records[::-1])
    for role in ("labelled_classes", "unlabelled_classes", "labelled_masks", "unlabelled_masks"):
        assert getattr(forth, role) == getattr(back, role)


def test_without_a_budget_every_label_is_seen(tmp_path: Path) -> None:
    sets = drawn(tmp_path, class_labels=None, mask_labels=None)
    assert (len(sets.labelled_classes), len(sets.unlabelled_classes)) == (12, 0)
    assert (len(sets.labelled_masks), len(sets.unlabelled_masks)) == (12, 0)


def test_validation_is_the_val_split_with_its_labels(tmp_path: Path) -> None:
    sets = drawn(tmp_path)
    assert images(sets.val_classes) == [f"wards_val_{i}.png" for i in range(4)]
    assert [r.label for r in sets.val_classes] == ["A", "B", "A", "B"]
    assert images(sets.val_masks) == [f"lungs_val_{i}.png" for i in range(4)]
    assert drawn(tmp_path, method="u-net").val_classes == []
    assert drawn(tmp_path, method="enc").val_masks == []


def test_validation_leaves_out_what_has_no_label(tmp_path: Path) -> None:
    bare = ("wards_val_0.png", "lungs_val_1.png")
    records = [replace(r, label=None, masks={}) if r.image.name in bare else r for r in cohort(tmp_path)]
    sets = drawn(tmp_path, records)
    assert images(sets.val_classes) == [f"wards_val_{i}.png" for i in (1, 2, 3)]
    assert images(sets.val_masks) == [f"lungs_val_{i}.png" for i in (0, 2, 3)]


def test_masks_count_where_every_structure_is_there(tmp_path: Path) -> None:
    # Half of the images have a heart as well: only they can be labelled or validate, the others are unlabelled.
    records = [
        replace(r, masks=r.masks | {"heart": r.masks["lungs"]}) if r.image.stem[-1] in "02468" else r
        for r in cohort(tmp_path)
    ]
    sets = drawn(tmp_path, records)
    assert sets.structures == ("heart", "lungs")
    assert all(set(r.masks) == {"heart", "lungs"} for r in sets.labelled_masks + sets.val_masks)
    assert len(sets.val_masks) == 2
    assert len(sets.unlabelled_masks) == 9
    narrowed = drawn(tmp_path, records, structures=("lungs",))
    assert narrowed.structures == ("lungs",)
    assert len(narrowed.val_masks) == 4
    with pytest.raises(ManifestError, match=r"mask of every structure \(lungs, clavicles\).*--structures"):
        drawn(tmp_path, records, structures=("lungs", "clavicles"))


def test_where_the_disease_is_is_learned_only_when_asked_for(tmp_path: Path) -> None:
    records = [
        replace(r, masks=r.masks | {"finding": r.masks["lungs"]}) if r.image.stem[-1] in "02468" else r
        for r in cohort(tmp_path)
    ]
    sets = drawn(tmp_path, records)
    assert sets.structures == ("lungs",)
    assert len(sets.val_masks) == 4
    assert drawn(tmp_path, records, structures=("finding",)).structures == ("finding",)


def test_everything_is_all_splits_of_the_sources_used(tmp_path: Path) -> None:
    assert len(drawn(tmp_path).everything) == 40
    assert {r.source for r in drawn(tmp_path, method="enc").everything} == {"wards"}
    assert {r.split for r in drawn(tmp_path, method="enc").everything} == {"train", "val", "test"}
    assert {r.source for r in drawn(tmp_path, method="u-net").everything} == {"lungs"}


def test_classes_in_the_order_asked_for(tmp_path: Path) -> None:
    assert drawn(tmp_path, classes=("B", "A")).classes == ("B", "A")


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_label_that_nobody_listed(tmp_path: Path, split: str) -> None:
    records = [
        replace(r, label="X") if r.image.name == f"wards_{split}_1.png" else r for r in cohort(tmp_path)
    ]
    with pytest.raises(ManifestError, match=rf"wards_{split}_1\.png: label 'X' is not among.*--classes"):
        drawn(tmp_path, records, classes=("A", "B"))


def test_several_labels_at_once(tmp_path: Path) -> None:
    records = [
        replace(r, label="A|B") if r.image.name == "wards_train_2.png" else r for r in cohort(tmp_path)
    ]
    assert drawn(tmp_path, records, multi_label=True).classes == ("A", "B")


def test_one_class_is_none(tmp_path: Path) -> None:
    records = [replace(r, label="A") for r in cohort(tmp_path)]
    with pytest.raises(ManifestError, match=r"found the classes \['A'\] in wards, expected at least two"):
        drawn(tmp_path, records)


def test_no_masks(tmp_path: Path) -> None:
    records = [replace(r, masks={}) for r in cohort(tmp_path)]
    with pytest.raises(ManifestError, match="no masks in lungs"):
        drawn(tmp_path, records)


@pytest.mark.parametrize(
    ("method", "missing", "flag"),
    [
        ("multimix", "class_source", "--class-source"),
        ("multimix", "mask_source", "--mask-source"),
        ("enc", "class_source", "--class-source"),
        ("u-net", "mask_source", "--mask-source"),
    ],
)
def test_a_method_without_its_source(tmp_path: Path, method: str, missing: str, flag: str) -> None:
    with pytest.raises(UsageError, match=rf"needs {flag}.*lungs, wards"):
        drawn(tmp_path, method=method, **{missing: ()})


def test_a_method_needs_no_source_that_it_does_not_use(tmp_path: Path) -> None:
    assert len(drawn(tmp_path, method="u-net", class_source=()).labelled_masks) == 3
    assert len(drawn(tmp_path, method="enc", mask_source=()).labelled_classes) == 4


@pytest.mark.parametrize("missing", ["class_source", "mask_source"])
def test_a_source_that_is_not_there(tmp_path: Path, missing: str) -> None:
    with pytest.raises(ManifestError, match=r"no image of source 'nih'.*'lungs', 'wards'"):
        drawn(tmp_path, **{missing: ("nih",)})


def test_a_patient_in_two_splits_is_refused(tmp_path: Path) -> None:
    records = [
        replace(r, patient="p") if r.image.name in ("lungs_train_0.png", "lungs_test_0.png") else r
        for r in cohort(tmp_path)
    ]
    with pytest.raises(SplitError, match=r"patient 'p' of 'lungs' is in train"):
        drawn(tmp_path, records)
    # The source that leaks is not used here.
    assert drawn(tmp_path, records, method="enc").labelled_classes


@pytest.mark.parametrize(
    ("change", "flag"), [("class_labels", "--class-labels"), ("mask_labels", "--mask-labels")]
)
def test_a_budget_larger_than_the_data(tmp_path: Path, change: str, flag: str) -> None:
    with pytest.raises(UsageError, match=rf"{flag} 13: 12 training images"):
        drawn(tmp_path, **{change: 13})


def test_a_budget_smaller_than_the_classes(tmp_path: Path) -> None:
    with pytest.raises(SplitError, match=r"class '.' gets no image from a budget of 1"):
        drawn(tmp_path, class_labels=1)


def test_roles_name_every_set_of_records(tmp_path: Path) -> None:
    sets = drawn(tmp_path)
    assert {name: len(records) for name, records in sets.roles().items()} == {
        "labelled_classes": 4,
        "unlabelled_classes": 8,
        "labelled_masks": 3,
        "unlabelled_masks": 9,
        "val_classes": 4,
        "val_masks": 4,
    }


def test_a_class_that_only_the_test_split_has(tmp_path: Path) -> None:
    records = [replace(r, label="Z") if r.image.name == "wards_test_0.png" else r for r in cohort(tmp_path)]
    with pytest.raises(SplitError, match=r"no labelled training image of class 'Z' in wards.*--classes"):
        drawn(tmp_path, records)
    assert drawn(tmp_path, records, classes=("A", "B")).classes == ("A", "B")


def test_joint_labels_are_no_class_of_their_own(tmp_path: Path) -> None:
    records = [
        replace(r, label="A|B") if r.image.name == "wards_train_0.png" else r for r in cohort(tmp_path)
    ]
    with pytest.raises(ManifestError, match=r"label 'A\|B' names several classes.*--multi-label"):
        drawn(tmp_path, records)
    assert drawn(tmp_path, records, multi_label=True).classes == ("A", "B")


def without_finding(root: Path) -> list[Record]:
    """The cohort with the label `none` in place of A."""
    return [replace(r, label="none") if r.label == "A" else r for r in cohort(root)]


def test_none_is_no_class_where_classes_are_not_exclusive(tmp_path: Path) -> None:
    sets = drawn(tmp_path, without_finding(tmp_path), multi_label=True)
    assert sets.classes == ("B",)
    assert sorted(str(r.label) for r in sets.labelled_classes) == ["B", "B", "none", "none"]
    assert {r.label for r in sets.val_classes} == {"B", "none"}
    with pytest.raises(UsageError, match=r"^--classes: 'none' is the label of images that show no class"):
        drawn(tmp_path, without_finding(tmp_path), multi_label=True, classes=("B", "none"))


def test_none_is_a_class_where_classes_are_exclusive(tmp_path: Path) -> None:
    assert drawn(tmp_path, without_finding(tmp_path)).classes == ("B", "none")


def coloured(path: Path, seed: int, colour: bool) -> Path:
    """A red spot on brown skin, or its grey."""
    rng = np.random.default_rng(seed)
    pixels = np.full((32, 32, 3), (200, 150, 120)) + rng.integers(-9, 9, (32, 32, 1))
    pixels[8:20, 8:20] = (150, 40, 50)
    pixels = pixels if colour else pixels.mean(axis=2, keepdims=True).repeat(3, axis=2)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("wards", "lungs", "asked", "channels"),
    [(0, 0, 0, 1), (20, 0, 0, 3), (0, 20, 0, 3), (20, 20, 1, 1), (0, 0, 3, 3), (4, 4, 0, 1)],
)
def test_channels_are_those_of_most_images_of_a_source(
    tmp_path: Path, wards: int, lungs: int, asked: int, channels: int
) -> None:
    records = cohort(tmp_path)
    for source, count in (("wards", wards), ("lungs", lungs)):
        members = [record for record in records if record.source == source]
        for i, record in enumerate(members):
            coloured(record.image, i, i * count // len(members) < (i + 1) * count // len(members))
    assert drawn(tmp_path, records, channels=asked).channels == channels


def test_channels_of_images_that_cannot_be_read(tmp_path: Path) -> None:
    assert drawn(tmp_path).channels == 1
