import csv
import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from multimix.data.manifest import read_manifest
from multimix.data.splits import (
    assign_splits,
    choose_classes,
    choose_masks,
    fingerprint,
    fold_splits,
    refuse_leaks,
    select,
    set_aside,
    write_split,
)
from multimix.errors import ManifestError, SplitError, UsageError
from multimix.types import UNKNOWN, Record

ROOT = Path("/data")


def record(name: str, label: str | None = None, patient: str = "", mask: bool = False, **more: str) -> Record:
    masks = {"lungs": (ROOT / "masks" / f"{name}.png",)} if mask else {}
    image = ROOT / "images" / f"{name}.png"
    return Record(image, masks, label, patient=patient or name, source=more.pop("source", "s"), **more)


def cohort(normal: int = 60, ill: int = 120, images: int = 3) -> list[Record]:
    """Patients of two classes with `images` images each, every one with a mask as well."""
    sizes = {"NORMAL": normal, "PNEUMONIA": ill}
    return [
        record(f"{label}-{p}-{i}", label, f"{label}-{p}", mask=True)
        for label, count in sizes.items()
        for p in range(count)
        for i in range(images)
    ]


def names(records: list[Record]) -> set[str]:
    return {r.image.name for r in records}


def test_select() -> None:
    records = [record("1", source="a"), record("2", source="b"), record("3", source="a", split="test")]
    assert names(select(records, ["a"], "train")) == {"1.png"}
    assert names(select(records, ["b", "a"], "train")) == {"1.png", "2.png"}
    assert select(records, ["b"], "test") == []


def test_select_names_the_sources_there_are() -> None:
    with pytest.raises(ManifestError, match=r"no image of source 'c'.*has 'a', 'b'"):
        select([record("1", source="b"), record("2", source="a")], ["a", "c"], "train")
    with pytest.raises(UsageError, match="split 'dev' does not exist; use train, val or test"):
        select([record("1", source="a")], ["a"], "dev")


def test_budget_is_exact_and_in_proportion() -> None:
    labelled, unlabelled = choose_classes(cohort(), 50, seed=0)
    # 180 and 360 images, 50 seats: 16.7 and 33.3
    assert Counter(r.label for r in labelled) == {"NORMAL": 17, "PNEUMONIA": 33}
    assert len(labelled) + len(unlabelled) == 540
    assert not names(labelled) & names(unlabelled)


def test_whole_patients_are_drawn() -> None:
    labelled, _ = choose_classes(cohort(), 50, seed=0)
    per_patient = Counter(r.patient for r in labelled)
    # 17 = 5 x 3 + 2 and 33 = 11 x 3: only the last patient drawn of NORMAL is cut
    assert sorted(per_patient.values()) == [2] + [3] * 16


def test_each_role_sees_only_what_it_may() -> None:
    labelled, unlabelled = choose_classes(cohort(), 20, seed=0)
    assert all(r.label and not r.masks for r in labelled)
    assert all(r.label is None and not r.masks for r in unlabelled)
    labelled, unlabelled = choose_masks(cohort(), 20, seed=0)
    assert all(r.masks and r.label is None for r in labelled)
    assert all(r.label is None and not r.masks for r in unlabelled)


@pytest.mark.parametrize("choose", [choose_classes, choose_masks])
def test_draw_depends_on_seed_and_not_on_order_or_machine(choose) -> None:
    records = cohort()
    shuffled = random.Random(1).sample(records, len(records))
    moved = [replace(r, image=Path("/elsewhere") / r.image.name) for r in shuffled]
    first, rest = choose(records, 30, 0)
    again, rest_again = choose(moved, 30, 0)
    assert [r.image.name for r in first] == [r.image.name for r in again]
    assert [r.image.name for r in rest] == [r.image.name for r in rest_again]
    assert names(first) != names(choose(records, 30, 1)[0])


@pytest.mark.parametrize("choose", [choose_classes, choose_masks])
def test_budgets_are_nested(choose) -> None:
    chosen = [names(choose(cohort(7, 30), budget, 3)[0]) for budget in (2, 3, 10, 11, 50, 111)]
    assert [len(c) for c in chosen] == [2, 3, 10, 11, 50, 111]
    assert all(small < large for small, large in pairwise(chosen))


def test_no_budget_means_all_and_leaves_the_unlabelled() -> None:
    records = [*cohort(2, 2, 1), record("u")]
    labelled, unlabelled = choose_classes(records, None, seed=0)
    assert len(labelled) == 4
    assert names(unlabelled) == {"u.png"}
    labelled, unlabelled = choose_masks(records, None, seed=0)
    assert len(labelled) == 4
    assert names(unlabelled) == {"u.png"}


def test_rare_class_gets_one_image() -> None:
    labelled, _ = choose_classes(cohort(1, 500, 1), 5, seed=0)
    assert Counter(r.label for r in labelled) == {"NORMAL": 1, "PNEUMONIA": 4}


def test_class_without_an_image_is_named() -> None:
    with pytest.raises(SplitError, match=r"class 'NORMAL' gets no image from a budget of 1.*at least 2"):
        choose_classes(cohort(1, 5, 1), 1, seed=0)


def test_joint_labels_need_each_class_but_not_each_combination() -> None:
    records = [record(f"{label}{i}", label) for label in ("A", "B", "C", "A|B", "A|C") for i in range(4)]
    labelled, _ = choose_classes([r for r in records if r.label != "B"], 3, seed=0)
    assert {part for r in labelled for part in str(r.label).split("|")} == {"A", "B", "C"}
    with pytest.raises(SplitError, match="class 'C' gets no image from a budget of 2"):
        choose_classes(records, 2, seed=0)


@pytest.mark.parametrize("budget", [0, -1, 13])
def test_impossible_budgets_say_how_many_there_are(budget: int) -> None:
    with pytest.raises(UsageError, match=f"--class-labels {budget}: 12 training images have a class label"):
        choose_classes(cohort(2, 2), budget, seed=0)
    with pytest.raises(UsageError, match=f"--mask-labels {budget}: 12 training images have a mask"):
        choose_masks(cohort(2, 2), budget, seed=0)


def test_nothing_to_choose_from() -> None:
    with pytest.raises(SplitError, match="no training image has a class label; name another source"):
        choose_classes([record("1")], None, seed=0)
    with pytest.raises(
        SplitError, match="no training image has a mask of every structure; name another source"
    ):
        choose_masks([record("1")], 1, seed=0)


def test_assign_splits_by_patient_and_class() -> None:
    records = assign_splits(cohort(30, 70, 2), seed=0)
    refuse_leaks(records)
    patients = Counter((r.split, r.label) for r in {r.patient: r for r in records}.values())
    assert patients == {
        ("train", "NORMAL"): 21,
        ("val", "NORMAL"): 3,
        ("test", "NORMAL"): 6,
        ("train", "PNEUMONIA"): 49,
        ("val", "PNEUMONIA"): 7,
        ("test", "PNEUMONIA"): 14,
    }
    assert records != assign_splits(cohort(30, 70, 2), seed=1)


def test_assign_splits_refuses_shares_that_do_not_sum_to_1() -> None:
    with pytest.raises(UsageError, match="three shares that sum to 1"):
        assign_splits(cohort(), seed=0, fractions=(0.7, 0.1, 0.3))


def test_leak_is_refused_within_a_source_only() -> None:
    refuse_leaks([record("1", patient="p", source="a"), record("2", patient="p", source="b", split="test")])
    with pytest.raises(
        SplitError, match=r"patient 'p' of 's' is in train \(1\.png\) and in test \(2\.png\); put"
    ):
        refuse_leaks([record("1", patient="p"), record("2", patient="p", split="test")])


def test_fingerprint_is_the_same_elsewhere_and_in_another_order() -> None:
    records = cohort(2, 3)
    moved = [
        replace(
            r,
            image=Path("/else/where/images") / r.image.name,
            masks={"lungs": (Path("/else/where/masks") / r.image.name,)},
        )
        for r in records
    ]
    assert len(fingerprint(records)) == 64
    assert fingerprint(records) == fingerprint(moved[::-1])


@pytest.mark.parametrize(
    "change",
    [
        {"label": "X"},
        {"split": "val"},
        {"masks": {}},
        {"masks": {"heart": (ROOT / "masks" / "NORMAL-0-0.png",)}},
        {"image": ROOT / "images" / "other.png"},
    ],
)
def test_fingerprint_notices_a_change(change: dict[str, object]) -> None:
    records = cohort(2, 3)
    assert fingerprint([replace(records[0], **change), *records[1:]]) != fingerprint(records)


def test_split_file_shows_roles_and_hides_labels(tmp_path: Path) -> None:
    labelled, unlabelled = choose_classes(cohort(1, 2, 1), 2, seed=0)
    write_split(tmp_path / "split.csv", {"class_labelled": labelled, "class_unlabelled": unlabelled})
    with (tmp_path / "split.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["role", "image", "label", "source", "patient"]
    assert [r["role"] for r in rows] == ["class_labelled"] * 2 + ["class_unlabelled"]
    assert {r["label"] for r in rows[:2]} == {"NORMAL", "PNEUMONIA"}
    assert rows[2]["label"] == ""
    assert rows[0]["image"] == labelled[0].image.name  # relative to their common folder
    assert rows[0]["source"] == "s"


@pytest.mark.real
def test_shared_budget_of_the_paper(shared: Path) -> None:
    records = read_manifest(shared / "data")
    refuse_leaks(records)
    labelled, unlabelled = choose_classes(select(records, ["kermany"], "train"), 100, seed=0)
    assert Counter(r.label for r in labelled) == {"NORMAL": 26, "PNEUMONIA": 74}  # 939 and 2721 of 3660
    assert len(unlabelled) == 3560
    labelled, unlabelled = choose_masks(select(records, ["jsrt"], "train"), 10, seed=0)
    assert (len(labelled), len(unlabelled)) == (10, 90)


def test_a_share_of_the_training_patients_is_set_aside_by_name_alone() -> None:
    # `printf p2 | b2sum -l 64` over 2^64: p0 .553, p1 .907, p2 .300, p3 .551, p6 .347, p7 .236.
    known = [record(f"{p}-{i}", patient=p) for p in ("p0", "p1", "p2", "p3", "p6", "p7") for i in range(2)]
    elsewhere = [record("a", patient="p2", source="t"), record("b", patient="p1", source="t")]
    aside = set_aside([*known, *elsewhere], 0.34)
    assert {(r.source, r.patient) for r in aside if r.split == "test"} == {
        ("s", "p2"),
        ("s", "p7"),
        ("t", "p2"),
    }
    assert len(aside) == len(known) + len(elsewhere)
    refuse_leaks(aside)
    # Others change nothing for those before.
    assert set_aside(known[4:], 0.34) == aside[4:12]


def test_only_training_patients_are_set_aside_and_old_test_images_are_left_out() -> None:
    known = [record("1", patient="p7", split="val"), record("2", patient="p2", split="test")]
    learned = [record("3", patient="p6"), record("4", patient="p1")]
    aside = set_aside([*known, *learned], 0.35)
    assert [(r.patient, r.split) for r in aside] == [("p7", "val"), ("p6", "test"), ("p1", "train")]


def test_a_share_that_sets_nobody_or_everybody_aside() -> None:
    with pytest.raises(UsageError, match="a share of 1 cannot be set aside; give one between 0 and 1"):
        set_aside([record("1")], 1.0)
    with pytest.raises(SplitError, match=r"no training patient is set aside at a share of 0\.2"):
        set_aside([record("1", patient="p7")], 0.2)
    with pytest.raises(SplitError, match=r"1\.png: its patient is not known, nor are those of 0 more"):
        set_aside([record("1", patient=f"{UNKNOWN}1")], 0.2)
    with pytest.raises(SplitError, match="no training patient is left to learn from"):
        set_aside([record("1", patient="p7")], 0.5)


@pytest.mark.parametrize(
    ("one", "other"),
    [("7", "7.0"), ("7", "007"), ("7.00", "07"), ("Mu\u0308ller", "M\u00fcller"), ("p7 ", "p7")],
)
def test_a_patient_written_in_two_ways_is_one(one: str, other: str) -> None:
    with pytest.raises(
        SplitError, match=rf"patient '{one}' .* as '{other}'" if one != "p7 " else "patient 'p7 '"
    ):
        refuse_leaks([record("1", patient=one), record("2", patient=other, split="test")])
    drawn = assign_splits([record(str(i), patient=(one, other)[i % 2]) for i in range(8)], seed=0)
    assert len({r.split for r in drawn}) == 1


def test_patients_that_only_look_alike_are_several() -> None:
    names = ("7", "70", "p7", "P7", "7.5", "0.7")
    refuse_leaks([record(n, patient=n, split=s) for n, s in zip(names, ("train", "test") * 3, strict=True)])


def test_folds_put_every_patient_into_one_test_split() -> None:
    records = [
        Record(Path(f"/{source}/{i}.png"), {}, "AB"[i % 2], "train", f"p{i // 2 * 2 + i % 2}", source)
        for source in "st"
        for i in range(20)
    ]
    folds = fold_splits(records, 5, seed=3, val=0.2)
    tested: dict[tuple[str, str], list[int]] = {}
    for number, fold in enumerate(folds):
        assert [r.image for r in fold] == [r.image for r in records]
        refuse_leaks(fold)
        assert {r.split for r in fold} == {"train", "val", "test"}
        for record in fold:
            if record.split == "test":
                tested.setdefault((record.source, record.patient), []).append(number)
        # 40 patients, 2 sources of 2 classes: 8 in each test split, 2 of each kind.
        kinds = [(r.source, r.label) for r in fold if r.split == "test"]
        assert sorted(kinds) == sorted([(s, c) for s in "st" for c in "AB"] * 2)
    assert len(tested) == 40
    assert all(len(where) == 1 for where in tested.values())


def test_folds_that_cannot_be() -> None:
    records = [Record(Path(f"/{i}.png"), {}, "A", "train", f"p{i}", "s") for i in range(3)]
    with pytest.raises(SplitError, match="3 patients cannot be divided into 5 folds"):
        fold_splits(records, 5, seed=0)
    with pytest.raises(UsageError, match="leaves nothing to learn from"):
        fold_splits(records, 2, seed=0, val=0.5)
