"""Masks from annotation programs and label maps: pixels counted by hand, from files as each program writes them."""

import base64
import json
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.pictures import SIDE, picture

import tiny
from multimix.data.annotations import matched, read_annotations
from multimix.data.annotations.label_studio import brush
from multimix.data.manifest import read_manifest
from multimix.errors import ManifestError, UsageError
from multimix.io.readers import read_mask

LUNGS = (4, 6, 30, 20)
"""x, y, x + width, y + height: pixels 4..29 by 6..19."""
HEART = (10, 24, 40, 44)
IMAGES = 8


def boxed(box: tuple[int, int, int, int]) -> np.ndarray:
    found = np.zeros((SIDE, SIDE), bool)
    found[box[1] : box[3], box[0] : box[2]] = True
    return found


def corners(box: tuple[int, int, int, int]) -> list[tuple[int, int]]:
    return [(box[0], box[1]), (box[2], box[1]), (box[2], box[3]), (box[0], box[3])]


def runs(mask: np.ndarray, order: str) -> list[int]:
    """Run lengths of background and foreground in turn."""
    flat = [0, *mask.ravel(order).astype(int), 2]
    changes = np.flatnonzero(np.diff(flat)) + 1
    if not mask.ravel(order)[0]:
        return np.diff([1, *changes]).tolist()
    return [0, *np.diff([1, *changes[changes > 1]]).tolist()]


def coco(folder: Path, kind: str) -> list[str]:
    def segmentation(box: tuple[int, int, int, int]) -> object:
        if kind == "polygon":
            return [[x for corner in corners(box) for x in corner]]
        if kind == "runs":
            return {"counts": runs(boxed(box), "F"), "size": [SIDE, SIDE]}
        coding = pytest.importorskip("pycocotools.mask")
        packed = coding.encode(np.asfortranarray(boxed(box).astype(np.uint8)))
        return {"counts": packed["counts"].decode(), "size": [SIDE, SIDE]}

    pytest.importorskip("pycocotools")
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": SIDE, "width": SIDE} for i in range(IMAGES)],
        "categories": [{"id": 1, "name": "Lung"}, {"id": 7, "name": "heart"}, {"id": 9, "name": "unused"}],
        "annotations": [
            {"image_id": i, "category_id": c, "segmentation": segmentation(box)}
            for i in range(IMAGES)
            for c, box in ((1, LUNGS), (7, HEART))
        ],
    }
    (folder / "instances.json").write_text(json.dumps(content))
    return ["--annotations", str(folder / "instances.json")]


def yolo(folder: Path) -> list[str]:
    (folder / "labels").mkdir()
    (folder / "data.yaml").write_text("names: {0: lungs, 1: heart}\n")
    for i in range(IMAGES):
        lines = [
            f"{c} " + " ".join(f"{v / SIDE:.6f}" for corner in corners(box) for v in corner)
            for c, box in enumerate((LUNGS, HEART))
        ]
        (folder / f"labels/{i}.txt").write_text("\n".join(lines) + "\n")
    return ["--annotations", str(folder)]


def cvat(folder: Path) -> list[str]:
    points = ";".join(f"{x}.0,{y}.0" for x, y in corners(LUNGS))
    part = boxed(HEART)[HEART[1] : HEART[3], HEART[0] : HEART[2]]
    left, top, right, bottom = HEART
    shapes = (
        f'<polygon label="lungs" points="{points}"/><mask label="heart" rle="{", ".join(map(str, runs(part, "C")))}" '
        f'left="{left}" top="{top}" width="{right - left}" height="{bottom - top}"/><box label="lungs"/>'
    )
    images = "".join(
        f'<image id="{i}" name="{i}.png" width="{SIDE}" height="{SIDE}">{shapes}</image>'
        for i in range(IMAGES)
    )
    (folder / "annotations.xml").write_text(f"<?xml version='1.0'?><annotations>{images}</annotations>")
    return ["--annotations", str(folder / "annotations.xml")]


def label_studio(folder: Path) -> list[str]:
    def result(name: str, box: tuple[int, int, int, int]) -> dict[str, object]:
        points = [[100 * x / SIDE, 100 * y / SIDE] for x, y in corners(box)]
        return {
            "type": "polygonlabels",
            "original_width": SIDE,
            "original_height": SIDE,
            "value": {"points": points, "polygonlabels": [name]},
        }

    tasks = [
        {
            "data": {"image": f"/data/upload/3/1a2b3c4d-{i}.png"},
            "annotations": [{"result": [result("lungs", LUNGS), result("heart", HEART)]}],
        }
        for i in range(IMAGES)
    ]
    (folder / "export.json").write_text(json.dumps(tasks))
    return ["--annotations", str(folder / "export.json")]


def labelme(folder: Path) -> list[str]:
    stream = BytesIO()
    part = boxed(HEART)[HEART[1] : HEART[3], HEART[0] : HEART[2]]
    Image.fromarray(part.astype(np.uint8)).save(stream, "PNG")
    for i in range(IMAGES):
        shapes = [
            {"label": "lungs", "points": [LUNGS[:2], LUNGS[2:]], "shape_type": "rectangle"},
            {
                "label": "heart",
                "points": [HEART[:2], (HEART[2] - 1, HEART[3] - 1)],
                "shape_type": "mask",
                "mask": base64.b64encode(stream.getvalue()).decode(),
            },
        ]
        content = {
            "shapes": shapes,
            "imagePath": f"..\\images\\{i}.png",
            "imageHeight": SIDE,
            "imageWidth": SIDE,
        }
        (folder / "images" / f"{i}.json").write_text(json.dumps(content))
    return ["--annotations", str(folder)]


def label_maps(folder: Path, kind: str) -> list[str]:
    (folder / "masks").mkdir()
    values = (boxed(LUNGS) + 2 * boxed(HEART)).astype(np.uint8)
    palette = [0, 0, 0, 255, 0, 0, 0, 128, 0]
    for i in range(IMAGES):
        image = Image.fromarray(values)
        if kind != "levels":
            image.putpalette(palette + [0] * (768 - len(palette)))
        (image.convert("RGB") if kind == "colours" else image).save(folder / f"masks/{i}.png")
    if kind == "labelmap.txt":
        text = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nlungs:255,0,0::\nheart:0,128,0::\n"
        (folder / "labelmap.txt").write_text(text)
        return []
    if kind == "dataset.json":
        content = {"labels": {"background": 0, "lungs": 1, "heart": 2}}
        (folder / "dataset.json").write_text(json.dumps(content))
        return []
    told = "lungs=#ff0000,heart=#008000" if kind == "colours" else "lungs=1,heart=2"
    return ["--structures", told]


FORMATS: dict[str, Callable[[Path], list[str]]] = {
    **{
        f"COCO {kind}": lambda folder, kind=kind: coco(folder, kind) for kind in ("polygon", "runs", "packed")
    },
    "YOLO": yolo,
    "CVAT": cvat,
    "Label Studio": label_studio,
    "labelme": labelme,
    **{
        f"label map {kind}": lambda folder, kind=kind: label_maps(folder, kind)
        for kind in ("levels", "palette", "colours", "labelmap.txt", "dataset.json")
    },
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_masks(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "scans"
    for i in range(IMAGES):
        picture(folder / f"images/{i}.png", i)
    options = FORMATS[name](folder)
    answer = tiny.multimix(capsys, "data", "index", folder, "--patient-per-image", *options)
    assert answer.code == 0, answer.err
    records = read_manifest(folder)
    assert len(records) == IMAGES
    assert {record.label for record in records} == {None}
    for record in records:
        assert set(record.masks) == {"lungs", "heart"}
        for structure, box in (("lungs", LUNGS), ("heart", HEART)):
            np.testing.assert_array_equal(read_mask(record.masks[structure]), boxed(box))
            assert record.masks[structure][0].name == f"{record.image.name}.png"
    assert tiny.multimix(capsys, "data", "check", folder).code == 0
    # Again: what was written is no image.
    assert tiny.multimix(capsys, "data", "index", folder, *options, "--replace").code == 0
    assert len(read_manifest(folder)) == IMAGES


def test_an_imported_folder_is_learned_from_and_answers(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    for i in range(IMAGES):
        picture(tmp_path / f"scans/images/{i}.png", i)
    assert tiny.multimix(capsys, "data", "index", tmp_path / "scans", *yolo(tmp_path / "scans")).code == 0
    options = [
        "--mask-source",
        "scans",
        "--method",
        "u-net",
        "--size",
        "16",
        "--steps",
        "2",
        "--device",
        "cpu",
    ]
    options += ["--set", "model.widths=[2,2,2,2,2]", "--out", tmp_path / "run"]
    assert tiny.multimix(capsys, "train", tmp_path / "scans", *options).code == 0
    answer = tiny.multimix(
        capsys, "predict", tmp_path / "run", tmp_path / "scans/images", "--force", "--out", tmp_path / "a"
    )
    assert answer.code == 0
    assert {"0_heart.png", "0_lungs.png"} <= {file.name for file in (tmp_path / "a/masks").iterdir()}


def test_label_maps_that_nobody_named_are_refused_with_their_values(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for i in range(IMAGES):
        picture(tmp_path / f"images/{i}.png", i)
    label_maps(tmp_path, "levels")
    answer = tiny.multimix(capsys, "data", "index", tmp_path)
    assert answer.code == 1
    assert "--structures NAME=1,NAME=2" in answer.err
    answer = tiny.multimix(capsys, "data", "index", tmp_path, "--structures", "lungs=1")
    assert "holds 2, which --structures does not name; add NAME=2, or ignore=2" in answer.err
    assert tiny.multimix(capsys, "data", "index", tmp_path, "--structures", "lungs=1,ignore=2").code == 0
    assert {tuple(record.masks) for record in read_manifest(tmp_path)} == {("lungs",)}


def test_labels_are_renamed_joined_and_left_out(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for i in range(IMAGES):
        picture(tmp_path / f"images/{i}.png", i)
    options = cvat(tmp_path)
    answer = tiny.multimix(
        capsys, "data", "index", tmp_path, *options, "--structures", "chest=lungs,chest=heart"
    )
    assert answer.code == 0, answer.err
    assert "shapes that are no masks were left out: 8 of kind box" in re.sub(r"\s+", " ", answer.err)
    record = read_manifest(tmp_path)[0]
    np.testing.assert_array_equal(read_mask(record.masks["chest"]), boxed(LUNGS) | boxed(HEART))
    wrong = tiny.multimix(capsys, "data", "index", tmp_path, *options, "--structures", "liver", "--replace")
    assert "'liver' is not among the structures that are annotated ('lungs', 'heart')" in wrong.err


def test_masks_without_a_name_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for i in range(IMAGES):
        picture(tmp_path / f"images/{i}.png", i)
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(boxed(LUNGS).astype(np.uint8) * 255).save(tmp_path / f"masks/{i}.png")
    assert tiny.multimix(capsys, "data", "index", tmp_path, "--structures", "lesion").code == 0
    assert {tuple(record.masks) for record in read_manifest(tmp_path)} == {("lesion",)}


def test_images_without_annotation_keep_no_mask_and_empty_ones_are_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for i in range(IMAGES + 2):
        picture(tmp_path / f"images/{i}.png", i)
    options = yolo(tmp_path)
    (tmp_path / "labels/0.txt").write_text("")
    answer = tiny.multimix(capsys, "data", "index", tmp_path, *options)
    said = re.sub(r"\s+", " ", answer.err)
    assert "2 images have no annotation" in said
    assert "1 masks of 'heart' are empty" in said
    masks = {record.image.name: record.masks for record in read_manifest(tmp_path)}
    assert masks["8.png"] == {}
    assert not read_mask(masks["0.png"]["heart"]).any()


def test_tags_and_choices_are_classes(tmp_path: Path) -> None:
    size = f'width="{SIDE}" height="{SIDE}"'
    (tmp_path / "a.xml").write_text(
        f'<annotations><image name="x.png" {size}><tag label="ILL"/></image></annotations>'
    )
    (one,) = read_annotations(tmp_path / "a.xml").images
    assert one.labels == ("ILL",)
    task = {
        "data": {"image": "x.png"},
        "annotations": [{"result": [{"type": "choices", "value": {"choices": ["ILL"]}}]}],
    }
    (tmp_path / "b").mkdir()
    (tmp_path / "b/b.json").write_text(json.dumps([task]))
    (one,) = read_annotations(tmp_path / "b").images
    assert one.labels == ("ILL",)


def test_a_brush_stroke_of_label_studio() -> None:
    # By hand: 32 bits of 4 * 4 bytes, 8 bits a byte, runs of 2, 2, 2 and 4 bits; then one run of 4 zeros (width 2),
    # one of 3 literal bytes 1, 2, 3 and so on.
    def bits(value: int, width: int) -> str:
        return f"{value:0{width}b}"

    text = bits(16, 32) + bits(7, 5) + "".join(bits(width - 1, 4) for width in (2, 2, 2, 4))
    text += "1" + "00" + bits(3, 2) + bits(0, 8)  # pixel 0: four zeros
    text += "1" + "11" + bits(7, 4) + bits(255, 8)  # pixels 1 and 2: eight times 255
    text += "0" + "00" + bits(3, 2) + "".join(bits(v, 8) for v in (9, 9, 9, 0))  # pixel 3: opacity 0
    text += "0" * (-len(text) % 8)
    packed = [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]
    assert brush(packed, (2, 2)).tolist() == [[False, True], [True, False]]


def test_images_are_found_by_name_and_as_many_folders_as_needed(tmp_path: Path) -> None:
    files = [picture(tmp_path / f"{part}/images/1.png", n) for n, part in enumerate(("train", "val"))]
    (tmp_path / "labels/val").mkdir(parents=True)
    (tmp_path / "labels/val/1.txt").write_text("0 0 0 1 0 1 1\n")
    (tmp_path / "classes.txt").write_text("lungs\n")
    found, lost = matched(read_annotations(tmp_path), files)
    assert (list(found), lost) == ([files[1]], [])
    (tmp_path / "labels/2.txt").write_text("")
    _, lost = matched(read_annotations(tmp_path), files)
    assert "'2' is the name of no image" in lost[0]


def test_annotations_of_another_size_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture(tmp_path / "images/0.png", 0)
    (tmp_path / "a.xml").write_text(
        '<annotations><image name="0.png" width="96" height="96"><polygon label="x" points="0,0;9,0;9,9"/></image>'
        "</annotations>"
    )
    answer = tiny.multimix(capsys, "data", "index", tmp_path, "--annotations", tmp_path / "a.xml")
    assert answer.code == 1
    assert "is 96 x 96 there, the file is 48 x 48" in answer.err


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.json", "{", "is not JSON"),
        ("a.json", '{"images": [{}], "annotations": [], "categories": []}', "is not as its format says"),
        ("a.xml", "<a", "is not XML"),
        (
            "a.xml",
            "<!DOCTYPE a [<!ENTITY b 'c'>]><annotations><image/></annotations>",
            "declares XML entities",
        ),
        (
            "a.xml",
            '<annotations><image name="x"><polygon points="1"/></image></annotations>',
            "not as its format",
        ),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, text: str, problem: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ManifestError, match=problem) as error:
        read_annotations(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_what_holds_no_annotations(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(UsageError, match=r"no annotations found, expected COCO.*YOLO"):
        read_annotations(tmp_path)
    with pytest.raises(UsageError, match="no such file or folder"):
        read_annotations(tmp_path / "gone")
