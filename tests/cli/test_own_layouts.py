"""Data as it lies on people's disks: indexed, checked, learned from for two steps, answered."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.pictures import ellipses, mask, picture, pixels, write_plane

import tiny
from multimix.data.manifest import read_manifest

COUNT = 12


def class_folders(folder: Path) -> list[str]:
    for i in range(COUNT):
        picture(folder / ("normal", "ill")[i % 2] / f"p{i:02}.png", i)
    return []


def split_folders(folder: Path) -> list[str]:
    for i in range(COUNT):
        split = ("Training", "Training", "Testing")[i // 4]
        picture(folder / split / ("normal", "ill")[i % 2] / f"p{i:02}.png", i)
    return []


def nnunet(folder: Path, suffix: str) -> list[str]:
    for i in range(COUNT):
        write_plane(folder / f"imagesTr/c_{i:03}_0000{suffix}", pixels(i))
        write_plane(folder / f"labelsTr/c_{i:03}{suffix}", ellipses(i).astype(np.uint8))
    (folder / "dataset.json").write_text('{"labels": {"background": 0, "lungs": 1}}')
    return []


def medsam(folder: Path) -> list[str]:
    for i in range(COUNT):
        write_plane(folder / f"imgs/{i}.npy", np.repeat(pixels(i)[..., None], 3, axis=2) / 255)
        write_plane(folder / f"gts/{i}.npy", ellipses(i).astype(np.uint8))
    return []


def isic(folder: Path) -> list[str]:
    rows = ["image,MEL,NV"]
    for i in range(COUNT):
        picture(folder / f"ISIC_{i:07}.jpg", i)
        mask(folder / f"ISIC_{i:07}_segmentation.png", i)
        rows.append(f"ISIC_{i:07},{i % 2}.0,{1 - i % 2}.0")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return ["labels.csv", "--root", str(folder), "--structures", "lesion"]


def excel(folder: Path) -> list[str]:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["File", "Finding", "MRN"])
    for i in range(COUNT):
        picture(folder / f"films/f{i}.png", i)
        book.active.append([f"Z:\\PACS\\films\\f{i}.png", ("normal", "ill")[i % 2], f"m{i // 2 * 2 + i % 2}"])
    book.save(folder / "ward.xlsx")
    columns = ["--image-column", "File", "--label-column", "Finding", "--patient-column", "MRN"]
    return ["ward.xlsx", "--root", str(folder), "--path-map", "Z:\\PACS=.", *columns]


def two_structures(folder: Path) -> list[str]:
    for i in range(COUNT):
        picture(folder / f"images/{i}.png", i)
        levels = np.zeros((48, 48), np.uint8)
        levels[8:20, 8:20], levels[24:40, 20:40] = 1, 2
        (folder / "labels").mkdir(exist_ok=True)
        Image.fromarray(levels).save(folder / f"labels/{i}.png")
    return ["--structures", "lesion=1,hair=2"]


CASES: list[tuple[str, Callable[[Path], list[str]], set[str], set[str]]] = [
    ("class folders", class_folders, {"normal", "ill"}, set()),
    ("Kaggle's splits", split_folders, {"normal", "ill"}, set()),
    ("nnU-Net, PNG", lambda folder: nnunet(folder, ".png"), set(), {"lungs"}),
    ("nnU-Net, NIfTI", lambda folder: nnunet(folder, ".nii.gz"), set(), {"lungs"}),
    ("nnU-Net, MHA", lambda folder: nnunet(folder, ".mha"), set(), {"lungs"}),
    ("nnU-Net, NRRD", lambda folder: nnunet(folder, ".nrrd"), set(), {"lungs"}),
    ("MedSAM", medsam, set(), {"lungs"}),
    ("ISIC", isic, {"MEL", "NV"}, {"lesion"}),
    ("Excel", excel, {"normal", "ill"}, set()),
    ("label maps", two_structures, set(), {"lesion", "hair"}),
]


@pytest.mark.parametrize(
    ("write", "classes", "structures"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_every_layout_is_learned_from_and_answers(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    write: Callable[[Path], list[str]],
    classes: set[str],
    structures: set[str],
) -> None:
    data, run, out = tmp_path / "own", tmp_path / "run", tmp_path / "answers"
    data.mkdir()
    options = write(data)
    table = data / options.pop(0) if options and not options[0].startswith("-") else data
    manifest = data / "manifest.csv"
    answer = tiny.multimix(capsys, "data", "index", table, *options, "--out", manifest)
    assert answer.code == 0, answer.err
    records = read_manifest(manifest)
    assert len(records) == COUNT
    assert {r.label for r in records} - {None} == classes
    assert {s for r in records for s in r.masks} == structures
    assert tiny.multimix(capsys, "data", "check", manifest, "--confirm-classes").code == 0
    source = records[0].source
    train = ["--method", "multimix-plus" if classes and structures else "enc" if classes else "u-net"]
    train += ["--class-source", source] if classes else []
    train += ["--mask-source", source] if structures else []
    train += ["--size", "16", "--steps", "2", "--device", "cpu", "--set", "model.widths=[2,2,2,2,2]"]
    answer = tiny.multimix(capsys, "train", manifest, *train, "--out", run)
    assert answer.code == 0, answer.err
    images = [record.image for record in records[:2]]
    answer = tiny.multimix(capsys, "predict", run, *images, "--force", "--out", out)
    assert answer.code == 0, answer.err
    header = (out / "predictions.csv").read_text().splitlines()[0].split(",")
    assert {f"p_{name}" for name in classes} | {f"area_px_{name}" for name in structures} <= {*header}
    assert len(list(out.glob("masks/*.png"))) == len(structures) * len(images)
