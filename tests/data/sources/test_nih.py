from dataclasses import replace

import pytest

from multimix.errors import ManifestError
from multimix.types import Record

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
)
ROWS = [
    ("00000001_000.png", "Cardiomegaly", 1),
    ("00000001_001.png", "Cardiomegaly|Emphysema", 1),
    ("00000002_000.png", "No Finding", 2),
    ("00000003_000.png", "Infiltration|Pneumonia", 3),
    ("00000004_000.png", "Pneumonia", 4),
    ("00000005_000.png", "No Finding", 5),  # no such image on disk
]
LABELS = {
    "00000001_000": "Cardiomegaly",
    "00000001_001": "Cardiomegaly|Emphysema",
    "00000002_000": "No Finding",
    "00000003_000": "Infiltration|Pneumonia",
    "00000004_000": "Pneumonia",
}


@pytest.fixture
def nih(tmp_path, touch):
    """A part of the set: five images in two archives' folders, the table of 2017, the lists."""
    lines = [f"{n},{f},0,{p},58,M,PA,2682,2749,0.143,0.143,\n" for n, f, p in ROWS]
    touch("Data_Entry_2017.csv", content=(HEADER + "".join(lines)).encode())
    touch("images_001/images/00000001_000.png", "images_001/images/00000001_001.png")
    touch(*(f"images_012/images/0000000{n}_000.png" for n in (2, 3, 4)))
    touch("train_val_list.txt", content=b"00000001_000.png\n00000001_001.png\n00000002_000.png\n")
    touch("test_list.txt", content=b"00000003_000.png\n00000004_000.png\n00000005_000.png")
    return tmp_path


def path_of(root, stem: str):
    return root / ("images_001" if stem < "00000002" else "images_012") / "images" / f"{stem}.png"


def test_all_findings(nih, read):
    assert read("nih") == [
        Record(
            image=path_of(nih, stem),
            label=label,
            split="train" if stem < "00000003" else "test",
            patient=stem[:8],
            source="nih",
        )
        for stem, label in LABELS.items()
    ]


def test_pneumonia_and_normal(nih, read):
    found = read("nih-pneumonia")
    assert [(r.image.stem, r.label, r.split) for r in found] == [
        ("00000002_000", "NORMAL", "train"),
        ("00000003_000", "PNEUMONIA", "test"),
        ("00000004_000", "PNEUMONIA", "test"),
    ]
    whole = {r.image: r for r in read("nih")}
    assert all(replace(whole[r.image], label=r.label) == r for r in found)


def test_later_table_goes_first_and_images_in_one_folder(nih, touch, read):
    touch("images/00000006_000.png")
    rows = [*ROWS, ("00000006_000.png", "Hernia", 6)]
    lines = [f"{n},{f},0,{p:08d},58,M,PA,2682,2749,0.143,0.143\n" for n, f, p in rows]
    touch("Data_Entry_2017_v2020.csv", content=(HEADER.replace(",\n", "\n") + "".join(lines)).encode())
    touch("test_list.txt", content=b"00000003_000.png\r\n00000004_000.png\r\n00000006_000.png\r\n")
    found = read("nih")
    assert [r.label for r in found] == [*LABELS.values(), "Hernia"]
    assert found[-1] == Record(
        nih / "images/00000006_000.png", label="Hernia", split="test", patient="00000006", source="nih"
    )


def test_a_tenth_of_the_training_patients_is_val(nih, touch, read):
    # 40 patients of two images, half of them with findings that nobody else has.
    names = [(f"{n:08d}_{k:03d}.png", n, k) for n in range(100, 140) for k in range(2)]
    rows = [f"{m},{'No Finding' if n % 2 else f'Mass|Nodule {n}{k}'},0,{n},1,F,AP\n" for m, n, k in names]
    table = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n"
    touch("Data_Entry_2017_v2020.csv", content=(table + "".join(rows)).encode())
    for path in nih.glob("images_*/images/*.png"):
        path.unlink()
    touch(*(f"images/{name}" for name, _, _ in names))
    touch("train_val_list.txt", content="\n".join(name for name, _, _ in names).encode())
    found = read("nih")
    val = {r.patient for r in found if r.split == "val"}
    assert len(val) == 4
    assert sum(int(p) % 2 for p in val) in (1, 2, 3)  # a tenth of 20, within a patient
    assert val.isdisjoint(r.patient for r in found if r.split == "train")
    assert {r.split for r in found} == {"train", "val"}


def test_without_the_lists_patients_are_split(nih, read):
    (nih / "train_val_list.txt").unlink()
    (nih / "test_list.txt").unlink()
    splits = {}
    for record in read("nih"):
        assert splits.setdefault(record.patient, record.split) == record.split


def test_one_list_alone_is_refused(nih, read):
    (nih / "test_list.txt").unlink()
    with pytest.raises(ManifestError, match=r"found train_val_list.txt alone\. Add the other"):
        read("nih")


@pytest.mark.parametrize(
    ("test_list", "says"),
    [
        (b"00000003_000.png\n", "00000004_000.png in one of .* found it in neither"),
        (b"00000002_000.png\n00000003_000.png\n00000004_000.png\n", "00000002_000.png .* found it in both"),
        (b"\xff\xfe\x00", "found it in neither"),
    ],
)
def test_lists_that_do_not_part_the_images_are_refused(nih, touch, read, test_list, says):
    touch("test_list.txt", content=test_list)
    with pytest.raises(ManifestError, match=says):
        read("nih")


def test_image_without_a_row_is_refused(nih, touch, read):
    touch("images_012/images/00000009_000.png")
    with pytest.raises(
        ManifestError, match=r"00000009_000.png: expected a row for it in .*Data_Entry_2017.csv"
    ):
        read("nih")
