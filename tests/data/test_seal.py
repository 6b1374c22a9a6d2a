"""A sealed part: looks are counted, and every way of changing what is sealed refuses."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny
from multimix.data.manifest import read_manifest
from multimix.data.seal import (
    Look,
    Seal,
    check_part,
    check_writable,
    count_look,
    find_seal,
    open_look,
    plan_of,
    read_seal,
    seal_file,
    seal_part,
)
from multimix.errors import ImageError, MultimixError, SealError, UsageError


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return tiny.write_xrays(tmp_path / "data")


@pytest.fixture
def sealed(manifest: Path) -> Seal:
    return seal_part(read_manifest(manifest), "test", seal_file(manifest))


def look(seal: Seal, plan: str, *sources: str) -> Look:
    return count_look(seal, sources, by="somebody", plan=plan)


def test_a_seal_lies_beside_its_manifest_and_knows_its_part(manifest: Path, sealed: Seal) -> None:
    assert sealed.log == manifest.parent / "manifest.seal.jsonl"
    assert find_seal(manifest) == find_seal(manifest.parent) == sealed
    assert sealed.split == "test"
    counts = {name: (about["images"], about["patients"]) for name, about in sealed.sources.items()}
    assert counts == {"wards": (6, 6), "lungs": (3, 3)}
    assert str(manifest.parent) not in sealed.log.read_text()  # no place of a machine goes into a repository
    check_part(sealed, read_manifest(manifest), ["wards", "lungs"])


def test_looks_are_counted_source_by_source(sealed: Seal) -> None:
    assert look(sealed, "p1", "wards").numbers == {"wards": 1}
    assert look(sealed, "p2", "wards", "lungs").numbers == {"wards": 2, "lungs": 1}
    third = look(sealed, "p3", "lungs", "elsewhere")  # which is not sealed
    assert third.numbers == {"lungs": 2}
    now = read_seal(sealed.log)
    assert (now.seen("wards"), now.seen("lungs"), len(now.looks)) == (2, 2, 3)
    assert third.hash == now.looks[-1]["hash"]
    assert third.sentence.endswith("look 2 at lungs (exploratory).")


def test_the_same_plan_is_the_same_look(sealed: Seal) -> None:
    first = look(sealed, "p1", "wards")
    look(sealed, "p2", "wards")
    assert look(sealed, "p1", "wards") == first
    assert len(read_seal(sealed.log).looks) == 2
    assert "look 1 at wards (confirmatory)" in first.sentence


def test_a_plan_is_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"weights")
    one = plan_of(tmp_path / "w", "nih")
    (tmp_path / "moved").write_bytes(b"weights")
    assert plan_of(tmp_path / "moved", "nih") == one
    assert plan_of(tmp_path / "w", "kermany") != one
    (tmp_path / "w").write_bytes(b"other weights")
    assert plan_of(tmp_path / "w", "nih") != one


def test_only_the_sealed_split_is_looked_at(manifest: Path, sealed: Seal) -> None:
    records = read_manifest(manifest)
    assert open_look(sealed, records, "val", ["wards"], by="x", plan="p") is None
    assert open_look(None, records, "test", ["wards"], by="x", plan="p") is None
    found = open_look(sealed, records, "test", ["wards"], by="x", plan="p")
    assert found is not None
    assert found.numbers == {"wards": 1}


def rows(manifest: Path, change: Callable[[dict[str, str]], dict[str, str] | None]) -> None:
    with manifest.open(newline="") as stream:
        kept = [new for row in csv.DictReader(stream) if (new := change(dict(row)))]
    with manifest.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(kept[0]))
        writer.writeheader()
        writer.writerows(kept)


def change_a_label(manifest: Path) -> None:
    rows(manifest, lambda r: r | {"label": "PNEUMONIA"} if "test_NORMAL_0" in r["image"] else r)


def change_a_patient(manifest: Path) -> None:
    rows(manifest, lambda r: r | {"patient": "test_NORMAL_1"} if "test_NORMAL_0" in r["image"] else r)


def replace_an_image(manifest: Path) -> None:
    images = manifest.parent / "images"
    (images / "test_NORMAL_0.png").write_bytes((images / "val_NORMAL_0.png").read_bytes())


def leave_one_out(manifest: Path) -> None:
    rows(manifest, lambda r: None if "test_NORMAL_0" in r["image"] else r)


def move_one_to_training(manifest: Path) -> None:
    rows(manifest, lambda r: r | {"split": "train"} if "test_NORMAL_0" in r["image"] else r)


def add_one(manifest: Path) -> None:
    rows(manifest, lambda r: r | {"split": "test"} if "val_NORMAL_0" in r["image"] else r)


def replace_a_mask(manifest: Path) -> None:
    masks = manifest.parent / "masks"
    (masks / "test_0.png").write_bytes((masks / "test_1.png").read_bytes())


@pytest.mark.parametrize(
    ("tamper", "source", "says"),
    [
        (change_a_label, "wards", "'wards' are not those that were sealed: labels were changed"),
        (change_a_patient, "wards", "patients were changed"),
        (replace_an_image, "wards", r"replaced, added or left out \(6 images, sealed were 6\)"),
        (leave_one_out, "wards", r"\(5 images, sealed were 6\)"),
        (move_one_to_training, "wards", r"\(5 images, sealed were 6\)"),
        (add_one, "wards", r"\(7 images, sealed were 6\)"),
        (replace_a_mask, "lungs", "masks were changed"),
    ],
)
def test_a_changed_part_refuses_and_is_not_counted(
    manifest: Path, sealed: Seal, tamper: Callable[[Path], None], source: str, says: str
) -> None:
    tamper(manifest)
    records = read_manifest(manifest)
    with pytest.raises(SealError, match=says):
        open_look(sealed, records, "test", ["wards", "lungs"], by="x", plan="p")
    assert read_seal(sealed.log).looks == ()
    other = "lungs" if source == "wards" else "wards"
    check_part(sealed, records, [other])  # what is as it was may still be looked at


def test_a_source_that_joined_the_part_later_refuses(manifest: Path, sealed: Seal) -> None:
    rows(manifest, lambda r: r | {"source": "new"} if "test_NORMAL_0" in r["image"] else r)
    with pytest.raises(SealError, match="'new' are not those that were sealed"):
        check_part(sealed, read_manifest(manifest), ["new"])


def test_data_may_move_and_be_renamed(manifest: Path, sealed: Seal, tmp_path: Path) -> None:
    folder = manifest.parent.rename(tmp_path / "elsewhere")
    (folder / "images" / "test_NORMAL_0.png").rename(folder / "images" / "renamed.png")
    text = (folder / "manifest.csv").read_text()
    (folder / "manifest.csv").write_text(text.replace("images/test_NORMAL_0.png", "images/renamed.png"))
    found = find_seal(folder)
    assert found is not None
    check_part(found, read_manifest(folder), ["wards", "lungs"])


def test_data_whose_patients_nobody_knows_may_move_too(manifest: Path, tmp_path: Path) -> None:
    rows(manifest, lambda r: r | {"patient": ""})
    seal_part(read_manifest(manifest), "test", seal_file(manifest))
    text = manifest.read_text().replace("images/", "moved/images/").replace("masks/", "moved/masks/")
    moved = manifest.parent / "moved"
    moved.mkdir()
    for name in ("images", "masks"):
        (manifest.parent / name).rename(moved / name)
    manifest.write_text(text)
    found = find_seal(manifest)
    assert found is not None
    check_part(found, read_manifest(manifest), ["wards", "lungs"])


def test_training_images_may_change(manifest: Path, sealed: Seal) -> None:
    rows(manifest, lambda r: None if "train_NORMAL_0" in r["image"] else r)
    check_part(sealed, read_manifest(manifest), ["wards", "lungs"])


def test_a_log_that_was_edited_refuses(manifest: Path, sealed: Seal) -> None:
    look(sealed, "p1", "wards")
    lines = sealed.log.read_text().splitlines()
    sealed.log.write_text("\n".join([lines[0], lines[1].replace("somebody", "nobody")]) + "\n")
    with pytest.raises(SealError, match="line 2: is not as it was written"):
        find_seal(manifest)


def test_a_log_without_its_seal_refuses(manifest: Path, sealed: Seal) -> None:
    first = json.loads(sealed.log.read_text())
    first["kind"] = "look"
    from multimix.io.chain import line_hash

    sealed.log.write_text(json.dumps(first | {"hash": line_hash(first)}) + "\n")
    with pytest.raises(SealError, match="expected a seal and then looks"):
        find_seal(manifest)


def test_a_seal_is_written_once(manifest: Path, sealed: Seal) -> None:
    with pytest.raises(UsageError, match="exists"):
        seal_part(read_manifest(manifest), "test", sealed.log)


def test_what_cannot_be_sealed(manifest: Path, tmp_path: Path) -> None:
    records = [r for r in read_manifest(manifest) if r.split != "test"]
    with pytest.raises(UsageError, match="nothing to seal; there is train, val"):
        seal_part(records, "test", tmp_path / "s.seal.jsonl")
    (manifest.parent / "images" / "test_NORMAL_0.png").unlink()
    with pytest.raises(ImageError, match="test_NORMAL_0"):
        seal_part(read_manifest(manifest), "test", tmp_path / "s.seal.jsonl")
    assert not (tmp_path / "s.seal.jsonl").exists()
    with pytest.raises(UsageError, match="no such file"):
        find_seal(manifest, tmp_path / "s.seal.jsonl")


def test_where_nothing_can_be_written_no_look_is_made(manifest: Path, sealed: Seal, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    nowhere = Seal(tmp_path / "file" / "x.seal.jsonl", sealed.split, sealed.sources, sealed.lines)
    with pytest.raises(MultimixError, match=r"no look can be counted there.*--seal-log"):
        check_writable(nowhere)
    with pytest.raises(MultimixError, match="no look can be counted there"):
        look(nowhere, "p", "wards")
    check_writable(sealed)
