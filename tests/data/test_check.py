from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.pictures import ellipses, write_dicom

import studies
from multimix.data.check import Finding, check_manifest
from multimix.data.check.files import is_outline
from multimix.data.columns import SPLITS
from multimix.data.thumbnails import negatives
from multimix.errors import ManifestError

HEADER = "image,mask,label,split,patient,source\n"


def picture(file: Path, seed: int, size: tuple[int, int] = (16, 16)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, size, np.uint8)).save(file)


def mask(file: Path, value: int = 255, size: tuple[int, int] = (16, 16)) -> None:
    """A square of `value` on black."""
    pixels = np.zeros(size, np.uint8)
    pixels[4:12, 4:12] = value
    Image.fromarray(pixels).save(file)


def uniform(file: Path, value: int) -> None:
    Image.fromarray(np.full((16, 16), value, np.uint8)).save(file)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three good images, one per split, the first with a mask."""
    for number in range(3):
        picture(tmp_path / f"{number}.png", number)
    mask(tmp_path / "m.png")
    rows = ["0.png,m.png,A,train,p0,s", "1.png,,A,val,p1,s", "2.png,,A,test,p2,s"]
    (tmp_path / "manifest.csv").write_text(HEADER + "\n".join(rows) + "\n")
    return tmp_path


def add(data: Path, *rows: str) -> None:
    with (data / "manifest.csv").open("a") as stream:
        stream.writelines(f"{row}\n" for row in rows)


def serious(data: Path) -> list[Finding]:
    return [finding for finding in check_manifest(data) if finding.level != "note"]


def test_good_data_gives_notes_only(data: Path) -> None:
    findings = check_manifest(data / "manifest.csv")
    assert [(f.level, f.where, f.message) for f in findings] == [
        ("note", "s train", "1 images of 1 patients, A 1, masks of lungs 1"),
        ("note", "s val", "1 images of 1 patients, A 1"),
        ("note", "s test", "1 images of 1 patients, A 1"),
    ]


def test_progress_counts_every_image(data: Path) -> None:
    seen: list[tuple[int, int]] = []
    check_manifest(data, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def one(data: Path, level: str, where: str, *words: str) -> None:
    (finding,) = serious(data)
    assert finding.level == level
    assert finding.where.endswith(where)
    for word in words:
        assert word in finding.message
    assert "\n" not in finding.message


def test_missing_image(data: Path) -> None:
    add(data, "gone.png,,A,train,p3,s")
    one(data, "error", "gone.png", "no such file", "check the path")


def test_unreadable_image(data: Path) -> None:
    (data / "text.png").write_text("hello, this is text")
    add(data, "text.png,,A,train,p3,s")
    one(data, "error", "text.png", "is not a PNG", "export it")


def test_missing_mask(data: Path) -> None:
    picture(data / "3.png", 3)
    add(data, "3.png,gone.png,A,train,p3,s")
    one(data, "error", "gone.png", "no such file", "check the path")


def test_mask_of_another_size(data: Path) -> None:
    picture(data / "3.png", 3)
    mask(data / "m3.png", size=(16, 20))
    add(data, "3.png,m3.png,A,train,p3,s")
    one(data, "error", "m3.png", "20 x 16 but its image is 16 x 16", "export the mask")


def test_empty_mask(data: Path) -> None:
    picture(data / "3.png", 3)
    mask(data / "m3.png", value=0)
    add(data, "3.png,m3.png,A,train,p3,s")
    one(data, "warning", "m3.png", "mask of 'lungs' is empty", "draw it or clear the cell")


@pytest.mark.parametrize(
    ("rows", "columns", "words"),
    [
        (slice(3, 5), slice(3, 5), "covers the whole image"),
        (slice(3, 13), slice(3, 13), "background and structure may be exchanged"),
        # Lungs that fill most of the image and reach its lower edge: less than half is left, and less of the border.
        (slice(1, 16), slice(2, 14), "background and structure may be exchanged"),
    ],
)
def test_mask_that_is_full_or_inverted(data: Path, rows: slice, columns: slice, words: str) -> None:
    pixels = np.full((16, 16), 255, np.uint8)
    pixels[rows, columns] = 0
    Image.fromarray(pixels).save(data / "m.png")
    one(data, "warning", "m.png", "'lungs'", words)


def test_mask_that_holds_border_and_middle_is_as_meant(data: Path) -> None:
    pixels = np.full((16, 16), 255, np.uint8)
    pixels[:, :2] = 0  # a body beside the collimator's edge
    Image.fromarray(pixels).save(data / "m.png")
    assert serious(data) == []


def test_images_that_use_few_of_the_levels_of_their_files(data: Path) -> None:
    for number in range(3):
        values = np.random.default_rng(number).integers(0, 4096, (16, 16)).astype(np.uint16)
        values[0, 0] = 4095
        Image.fromarray(values).save(data / f"{number}.png")
    # 4095 of 65535 is 16 of 255.
    one(data, "warning", "s", "no 16-bit image is brighter than 6% of white", "17 grey levels of 256")
    picture(data / "3.png", 3)
    add(data, "3.png,,A,train,p3,s")  # of 8 bits, so that it says nothing of the others
    one(data, "warning", "s", "no 16-bit image is brighter than 6% of white", "17 grey levels of 256")


def test_dark_images_of_8_bits_lose_nothing(data: Path) -> None:
    for number in range(3):
        values = np.random.default_rng(number).integers(0, 50, (16, 16), np.uint8)
        Image.fromarray(values).save(data / f"{number}.png")
    assert serious(data) == []


def test_classes_of_nearly_one_name(data: Path) -> None:
    table = data / "manifest.csv"
    table.write_text(table.read_text().replace(",A,val", ",a,val"))
    found = [f for f in serious(data) if "nearly one name" in f.message]
    assert [(f.level, f.where) for f in found] == [("warning", "s")]
    assert found[0].message.startswith("classes 'A', 'a' have nearly one name")
    table.write_text(table.read_text().replace(",A,", ",1,").replace(",a,", ",1.0,"))
    assert [f.message[:18] for f in serious(data) if "nearly one name" in f.message] == ["classes '1', '1.0'"]
    table.write_text(table.read_text().replace(",1.0,val,p1,s", ",1.0,val,p1,t"))  # of another source
    assert not [f for f in serious(data) if "nearly one name" in f.message]


def test_class_that_validation_lacks(data: Path) -> None:
    picture(data / "3.png", 3)
    picture(data / "4.png", 4)
    add(data, "3.png,,B,train,p3,s", "4.png,,B,train,p4,s")
    assert [(f.level, f.where, f.message.split(",")[0]) for f in serious(data)] == [
        ("warning", f"s {split}", f"class 'B' of train is not in {split}") for split in ("val", "test")
    ]


def test_image_of_one_grey_level(data: Path) -> None:
    uniform(data / "flat.png", value=7)
    add(data, "flat.png,,A,train,p3,s")
    one(data, "warning", "flat.png", "same value", "remove its row")


def test_patient_in_two_splits(data: Path) -> None:
    picture(data / "3.png", 3)
    add(data, "3.png,,A,test,p0,s")
    one(data, "error", "s", "'p0' is in train (0.png), test (3.png)", "one split")


def test_same_pixels_in_two_splits_even_in_another_format_and_source(data: Path) -> None:
    pixels = np.asarray(Image.open(data / "0.png")).astype(np.uint16) * 257
    Image.fromarray(pixels).save(data / "deep.tif")
    add(data, "deep.tif,,A,test,p3,other")
    one(
        data,
        "error",
        "other test and s train",
        "1 image with identical pixels in two splits",
        "deep.tif = 0.png",
    )


def test_same_pixels_within_a_split(data: Path) -> None:
    for number in range(3, 8):
        picture(data / f"{number}.png", 0)
    add(data, *[f"{number}.png,,A,train,p{number},s" for number in range(3, 8)])
    one(
        data,
        "warning",
        "s train",
        "5 images with identical pixels",
        "0.png = 5.png, ...",
        "remove the copies",
    )


def test_same_pixels_in_two_sources_of_one_split_are_a_note(data: Path) -> None:
    picture(data / "copy.png", 0)
    add(data, "copy.png,,A,train,p0,other")
    assert serious(data) == []
    notes = [finding for finding in check_manifest(data) if "identical" in finding.message]
    assert [note.where for note in notes] == ["other and s, train"]
    assert "copy.png = 0.png" in notes[0].message


def test_missing_split(data: Path) -> None:
    lines = (data / "manifest.csv").read_text().splitlines()
    (data / "manifest.csv").write_text("\n".join(line for line in lines if ",val," not in line) + "\n")
    one(data, "warning", "val", "no image is in val", "set some rows' split")


def test_class_that_training_lacks(data: Path) -> None:
    picture(data / "3.png", 3)
    picture(data / "4.png", 4)
    add(data, "3.png,,B,test,p3,s", "4.png,,B,test,p4,s")
    one(data, "warning", "s test", "class 'B' is not in train", "move some patients")


def test_class_of_one_image(data: Path) -> None:
    picture(data / "3.png", 3)
    add(data, "3.png,,A|B,train,p3,s")
    (found,) = [finding for finding in serious(data) if "no other image" in finding.message]
    assert (found.level, found.where) == ("warning", str(data / "3.png"))
    assert "no other image is of class 'B'" in found.message


def test_errors_come_first_and_the_rest_goes_on(data: Path) -> None:
    add(data, "gone.png,,A,train,p3,s", "zero.png,,A,train,p4,s")
    (data / "zero.png").write_bytes(b"")
    findings = check_manifest(data)
    assert [finding.level for finding in findings] == ["error", "error", "note", "note", "note"]
    assert findings[2].message == "3 images of 3 patients, A 3, masks of lungs 1"


def test_errors_of_a_rows_files_name_its_image(data: Path) -> None:
    picture(data / "3.png", 3, (16, 17))
    add(data, "gone.png,,A,train,p3,s", "3.png,m.png,A,train,p4,s", "1.png,,A,test,p1,s2")
    images = [finding.image for finding in serious(data) if finding.level == "error"]
    # The third error, pixels in two splits, is no row's alone.
    assert images == [data / "gone.png", data / "3.png", None]


def test_table_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such manifest"):
        check_manifest(tmp_path / "manifest.csv")


def test_columns_that_nothing_is_read_from(data: Path) -> None:
    manifest = data / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("label", "class"))
    notes = [finding.message for finding in check_manifest(data) if finding.where == str(data)]
    assert notes == ["columns that nothing is read from: class; rename those that are meant to be"]


def test_masks_of_some_structures_only(data: Path) -> None:
    for number in (3, 4, 5):
        picture(data / f"{number}.png", number)
    rows = ["image,mask:disc,mask:vessel,split,patient"]
    rows += [
        "0.png,m.png,,train,0",
        "1.png,m.png,m.png,train,1",
        "2.png,,m.png,train,2",
        "3.png,m.png,,train,3",
    ]
    rows += ["4.png,,,val,4", "5.png,m.png,,test,5"]
    (data / "manifest.csv").write_text("\n".join(rows) + "\n")
    one(
        data,
        "warning",
        "train",
        "3 of 4 images with masks lack some (disc 1, vessel 2)",
        "narrow --structures",
    )


def test_findings_are_no_structure_that_others_lack(data: Path) -> None:
    rows = ["image,mask,mask:finding,split", "0.png,m.png,m.png,train", "1.png,m.png,,train"]
    (data / "manifest.csv").write_text("\n".join(rows) + "\n")
    assert not [finding for finding in check_manifest(data) if "lack some" in finding.message]


def colour(file: Path, *levels: int) -> None:
    Image.fromarray(np.full((16, 16, 3), levels, np.uint8) + np.eye(16, dtype=np.uint8)[..., None]).save(file)


def test_colour_is_told_and_counts_where_pixels_are_compared(data: Path) -> None:
    colour(data / "3.png", 100, 50, 200)  # both are of one grey
    colour(data / "4.png", 245, 15, 0)
    colour(data / "5.png", 90, 90, 90)  # RGB, and grey all the same
    add(data, "3.png,,A,train,p3,s", "4.png,,A,test,p4,s", "5.png,,A,val,p5,s")
    assert serious(data) == []
    notes = [finding for finding in check_manifest(data) if "colour" in finding.message]
    assert [(note.where, note.message) for note in notes] == [
        ("s", "2 of 6 images are in colour; `train` learns from grey unless most are")
    ]


def messages(folder: Path, level: str) -> list[str]:
    return [f"{f.where}: {f.message}" for f in check_manifest(folder) if f.level == level]


def test_all_rows_that_cannot_be_read_are_told_in_one_run(data: Path) -> None:
    add(
        data,
        "3.png,,A,part,p3,s",
        ",,A,train,p4,s",
        "5.png,,A",
        "1.png,,A,val,p1,s",
        "gone.png,,A,train,p6,s",
    )
    errors = messages(data, "error")
    assert [line.partition("manifest.csv, ")[2][:6] for line in errors[:4]] == [
        f"line {n}" for n in (5, 6, 7, 8)
    ]
    assert "split is 'part'" in errors[0]
    assert "the image cell is empty" in errors[1]
    assert "3 cells where the header has 6" in errors[2]
    assert "already in line 3" in errors[3]
    assert "gone.png: no such file" in errors[4]
    assert len(errors) == 5


@pytest.mark.parametrize("labels", [("", "", ""), ("none", "", "")])
def test_nothing_to_learn(data: Path, labels: tuple[str, ...]) -> None:
    rows = [f"{i}.png,{label},{s},p{i}" for i, (label, s) in enumerate(zip(labels, SPLITS, strict=True))]
    (data / "manifest.csv").write_text("image,label,split,patient\n" + "\n".join(rows) + "\n")
    assert any("has a label or a mask, so nothing can be learned" in m for m in messages(data, "error")) == (
        labels[0] == ""
    )


@pytest.mark.parametrize("written", [("7", "7.0", "007"), ("M\u00fcller", "Mu\u0308ller", "M\u00fcller")])
def test_one_patient_written_in_several_ways_is_one(data: Path, written: tuple[str, ...]) -> None:
    rows = [f"{i}.png,A,{split},{who}" for i, (split, who) in enumerate(zip(SPLITS, written, strict=True))]
    (data / "manifest.csv").write_text("image,label,split,patient\n" + "\n".join(rows) + "\n")
    (error,) = messages(data, "error")
    assert f"patient {written[0]!r} = {written[1]!r}" in error
    assert "is in train (0.png), val (1.png), test (2.png)" in error
    assert any("1 patients are written in several ways" in m for m in messages(data, "warning"))


def test_patients_that_are_not_known_are_told(data: Path) -> None:
    (data / "manifest.csv").write_text("image,label,split\n0.png,A,train\n1.png,A,val\n2.png,A,test\n")
    (warning,) = messages(data, "warning")
    assert "the patients of 3 of 3 images are not known" in warning
    assert messages(data, "note")[0].endswith("1 images, patients not known, A 1")


@pytest.mark.parametrize(
    ("label", "others", "words"),
    [
        ("None", "AB", "how a program writes an empty cell"),
        ("?", "AB", "how a program writes an empty cell"),
        ("NA", "AB", "how a program writes an empty cell"),
        ("unlabeled", "AB", "how a program writes an empty cell"),
        ("-1.0", ("1.0", "0.0"), "is it uncertain"),
        ("-1", ("1", "0"), "is it uncertain"),
        ("A;B", "AB", "joined by |"),
        ('"A,B"', "AB", "joined by |"),
        ("\"['a', 'b']\"", "AB", "a list as a program prints it"),
        ("{'a'}", "AB", "a list as a program prints it"),
    ],
)
def test_words_that_are_no_class(data: Path, label: str, others: tuple[str, str], words: str) -> None:
    rows = []
    for i in range(6):
        picture(data / f"{i}.png", i)
        rows.append(f"{i}.png,{(label, *others)[i % 3]},{SPLITS[i // 3]},p{i}")
    (data / "manifest.csv").write_text("image,label,split,patient\n" + "\n".join(rows) + "\n")
    (found,) = [m for m in messages(data, "warning") if "no image is in" not in m]
    assert f"class {label.strip(chr(34))!r} of 2 images" in found
    assert words in found


@pytest.mark.parametrize("labels", ["A,B", "NA and B", "-1", "none", "A; B"[:1], "0.5"])
def test_words_that_are_classes(data: Path, labels: str) -> None:
    rows = [f'{i}.png,"{labels}",{s},p{i}' for i, s in enumerate(SPLITS)]
    (data / "manifest.csv").write_text("image,label,split,patient\n" + "\n".join(rows) + "\n")
    assert messages(data, "warning") == []


def test_classes_that_look_like_patients_are_an_error_until_confirmed(data: Path) -> None:
    rows = [f"{i}.png,{'ABC'[i // 2]},{SPLITS[i % 2]},p{i // 2}" for i in range(6)]
    for i in range(6):
        picture(data / f"{i}.png", i)
    text = "image,label,split,patient\n" + "\n".join(rows).replace("val", "train") + "\n"
    (data / "manifest.csv").write_text(text)
    (error,) = messages(data, "error")
    assert "each of the 3 classes ('A', 'B', 'C', ...) is of one patient" in error
    assert "--confirm-classes" in error
    assert not [f for f in check_manifest(data, confirm_classes=True) if f.level == "error"]


def test_the_patient_in_the_dicom_header_is_compared_over_splits(tmp_path: Path) -> None:
    rows = ["image,label,split,patient"]
    for i in range(4):
        write_dicom(tmp_path / f"{i}.dcm", number=i, patient=f"T{i // 2}")
        rows.append(f"{i}.dcm,A,{('train', 'train', 'val', 'test')[i]},p{i}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    (error,) = messages(tmp_path, "error")
    assert "PatientID 'T1' of the DICOM headers is in val (2.dcm), test (3.dcm)" in error


@pytest.mark.parametrize(
    ("shape", "outline"),
    [("ring", True), ("thick ring", False), ("disc", False), ("cross", False), ("two", True)],
)
def test_outlines_are_told_from_structures(data: Path, shape: str, outline: bool) -> None:
    y, x = np.mgrid[:96, :96] - 48
    radius = np.hypot(y, x)
    drawn = {
        "ring": (radius < 30) & (radius >= 29),
        "thick ring": (radius < 30) & (radius >= 15),
        "disc": radius < 30,
        "cross": (abs(x) < 1) | (abs(y) < 1),
        "two": (abs(np.hypot(y, abs(x) - 22) - 15) < 0.8),
    }[shape]
    assert is_outline(drawn) == outline
    picture(data / "0.png", 0, (96, 96))
    Image.fromarray(drawn.astype(np.uint8) * 255).save(data / "m.png")
    found = [m for m in messages(data, "warning") if "outline" in m]
    assert len(found) == outline
    assert not outline or "1 of 1 masks of 'lungs' are an outline" in found[0]


def write_rows(folder: Path, rows: list[tuple[str, str]]) -> None:
    lines = [f"{name},{'AB'[i % 2]},{split},{name}" for i, (name, split) in enumerate(rows)]
    (folder / "manifest.csv").write_text("image,label,split,patient\n" + "\n".join(lines) + "\n")


def film(number: int, side: int = 96) -> np.ndarray:
    """Two dark lungs on light, with the fine structure of its own."""
    rng = np.random.default_rng(number)
    grain = np.kron(rng.normal(0, 30, (side // 2, side // 2)), np.ones((2, 2)))
    return (180 - 110 * ellipses(number, side) + grain).clip(0, 255).astype(np.uint8)


def test_one_picture_saved_again_in_another_split_is_told(tmp_path: Path) -> None:
    rows = []
    for i in range(12):
        Image.fromarray(film(i)).save(tmp_path / f"{i}.png")
        rows.append((f"{i}.png", ("train", "val")[i > 8]))
    first = Image.fromarray(film(0))
    first.save(tmp_path / "quality.jpg", quality=80)
    first.point(lambda v: 0.6 * v).save(tmp_path / "dark.png")
    first.resize((160, 160)).save(tmp_path / "large.png")
    first.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "mirror.png")
    Image.fromarray(255 - film(0)).save(tmp_path / "negative.png")
    made = ["quality.jpg", "dark.png", "large.png", "mirror.png", "negative.png"]
    write_rows(tmp_path, [*rows, *((name, "test") for name in made)])
    (found,) = [m for m in messages(tmp_path, "warning") if "nearly one picture" in m]
    assert "train and test: 5 pairs" in found
    assert all(f"0.png = {name}" in found for name in made)
    assert "mirror.png (mirrored)" in found
    assert "negative.png (inverted)" in found


@pytest.mark.parametrize("inverted", [0, 1, 4, 20])
def test_negatives_among_films_are_told(tmp_path: Path, inverted: int) -> None:
    """Whichever of the two kinds there are fewer of."""
    rows = []
    for i in range(24):
        pixels = film(i)
        Image.fromarray(255 - pixels if i < inverted else pixels).save(tmp_path / f"{i}.png")
        rows.append((f"{i}.png", SPLITS[i % 3]))
    write_rows(tmp_path, rows)
    found = [m for m in messages(tmp_path, "warning") if "negatives" in m]
    fewer = min(inverted, 24 - inverted)
    assert len(found) == (fewer > 0)
    assert not fewer or f": {fewer} of 24 images look like negatives" in found[0]


def test_images_of_no_common_look_are_no_negatives(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    small = rng.random((40, 16, 16))
    assert not negatives(small).any()


def test_a_name_in_another_unicode_form_is_told(data: Path) -> None:
    picture(data / "Mu\u0308ller.png", 7)
    add(data, "M\u00fcller.png,,A,train,p7,s")
    (error,) = messages(data, "error")
    assert "no such file, but one whose name differs in its Unicode form (NFD)" in error
    assert "multimix data index" in error


def test_a_header_that_was_not_followed_is_warned_of(data: Path) -> None:
    studies.save(studies.dx(WindowCenter=1, WindowWidth=2), data / "w.dcm")
    add(data, "w.dcm,,A,train,p5,s")
    told = [f.message for f in serious(data) if f.where.endswith("w.dcm")]
    assert len(told) == 1
    assert told[0].startswith("the window of the file makes ")
    assert told[0].endswith("not used; correct the header, or export the image as PNG as it should be seen")


@pytest.mark.parametrize(
    ("one", "other", "options"),
    [
        ((255, 0, 0), (0, 255, 0), "NAME=#ff0000,NAME=#00ff00"),
        ((255, 255, 255), (128, 128, 128), "NAME=255,NAME=128"),
    ],
)
def test_structures_told_by_the_colour_of_a_file_are_not_one(
    tmp_path: Path, one: tuple[int, int, int], other: tuple[int, int, int], options: str
) -> None:
    rows = []
    for number, colour in enumerate([one, other, one]):
        picture(tmp_path / f"{number}.png", number)
        pixels = np.zeros((16, 16, 3), np.uint8)
        pixels[4:12, 4:12] = colour
        Image.fromarray(pixels).save(tmp_path / f"m{number}.png")
        rows.append(f"{number}.png,m{number}.png,,{SPLITS[number]},p{number},s")
    (tmp_path / "manifest.csv").write_text(HEADER + "\n".join(rows) + "\n")
    (found,) = serious(tmp_path)
    assert found.level == "error"
    assert "2 images (m0.png)" in found.message
    assert options in found.message


def test_masks_of_0_and_1_and_of_0_and_255_are_in_one_colour(data: Path) -> None:
    mask(data / "m1.png", 1)
    picture(data / "9.png", 9)
    add(data, "9.png,m1.png,A,train,p9,s")
    assert serious(data) == []


@pytest.mark.parametrize("name", ["a.tif", "a.gif"])
def test_frames_that_are_not_read_are_told(data: Path, name: str) -> None:
    frames = [
        Image.fromarray(np.random.default_rng(n).integers(0, 255, (16, 16), np.uint8)) for n in range(30, 33)
    ]
    frames[0].save(data / name, save_all=True, append_images=frames[1:])
    add(data, f"{name},,A,train,p9,s")
    (found,) = serious(data)
    assert (found.level, found.where) == ("warning", str(data / name))
    assert "holds 3 frames, of which the first was read" in found.message
