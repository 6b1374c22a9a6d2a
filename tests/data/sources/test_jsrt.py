from dataclasses import replace

import numpy as np
import pytest

from multimix.data.manifest import read_manifest, write_manifest
from multimix.errors import ManifestError
from multimix.io.readers import read_image, read_mask
from multimix.types import Record

PARTS = ("left lung", "right lung", "heart", "left clavicle", "right clavicle")


def outlines(stem: str, parts=PARTS, base="scratch") -> list[str]:
    fold = "fold1" if int(stem[-3:]) % 2 else "fold2"
    return [f"{base}/{fold}/masks/{part}/{stem}.gif" for part in parts]


def test_records(tmp_path, touch, read):
    touch("All247images/JPCLN001.IMG", "All247images/JPCLN002.IMG", "All247images/JPCNN004.IMG")
    touch("All247images/._JPCLN001.IMG", "All247images/readme.txt", "scratch/fold1/landmarks/JPCLN001.pfs")
    touch(*outlines("JPCLN001"), *outlines("JPCLN002", PARTS[:3]))
    fold1, fold2 = tmp_path / "scratch/fold1/masks", tmp_path / "scratch/fold2/masks"
    assert read("jsrt") == [
        Record(
            image=tmp_path / "All247images/JPCLN001.IMG",
            masks={
                "lungs": (fold1 / "left lung/JPCLN001.gif", fold1 / "right lung/JPCLN001.gif"),
                "heart": (fold1 / "heart/JPCLN001.gif",),
                "clavicles": (fold1 / "left clavicle/JPCLN001.gif", fold1 / "right clavicle/JPCLN001.gif"),
            },
            label="nodule",
            split="train",
            patient="JPCLN001",
            source="jsrt",
        ),
        Record(
            image=tmp_path / "All247images/JPCLN002.IMG",
            masks={
                "lungs": (fold2 / "left lung/JPCLN002.gif", fold2 / "right lung/JPCLN002.gif"),
                "heart": (fold2 / "heart/JPCLN002.gif",),
            },
            label="nodule",
            split="test",
            patient="JPCLN002",
            source="jsrt",
        ),
        Record(
            image=tmp_path / "All247images/JPCNN004.IMG",
            label="non-nodule",
            split="test",
            patient="JPCNN004",
            source="jsrt",
        ),
    ]


@pytest.mark.parametrize("base", ["scratch", "scr/scratch", "SCR", "."])
def test_png_copies_and_other_homes_of_the_outlines(tmp_path, touch, read, base):
    touch("images/JPCNN001.png", *outlines("JPCNN001", base=base))
    (record,) = read("jsrt")
    assert record.image == tmp_path / "images/JPCNN001.png"
    assert set(record.masks) == {"lungs", "heart", "clavicles"}
    assert record.masks["heart"] == (tmp_path / base / "fold1/masks/heart/JPCNN001.gif",)


def test_raw_film_goes_before_its_copy(tmp_path, touch, read):
    touch("All247images/JPCLN001.IMG", "All247images/JPCLN001.png", "images/JPCLN003.png")
    assert [record.image.name for record in read("jsrt")] == ["JPCLN001.IMG"]


def test_split_of_the_whole_set_has_the_papers_sizes(touch, read):
    nodule, clear = [f"JPCLN{n:03d}" for n in range(1, 155)], [f"JPCNN{n:03d}" for n in range(1, 94)]
    touch(*(f"All247images/{stem}.IMG" for stem in nodule + clear))
    found = read("jsrt")
    sizes = {s: [r for r in found if r.split == s] for s in ("train", "val", "test")}
    assert [len(v) for v in sizes.values()] == [111, 13, 123]
    assert {r.patient for r in sizes["test"]} == {s for s in nodule + clear if int(s[-1]) % 2 == 0}
    # 77 of the 124 odd numbers have a nodule, 8.07 of 13.
    assert abs(sum(r.label == "nodule" for r in sizes["val"]) - 77 * 13 / 124) < 2
    assert read("jsrt") == found


def test_one_lung_alone_is_refused(touch, read):
    touch("All247images/JPCLN001.IMG", *outlines("JPCLN001", PARTS[:1]))
    with pytest.raises(ManifestError, match=r"each of left lung, right lung for JPCLN001, found .*left lung"):
        read("jsrt")


def test_outlines_that_fit_no_image_are_refused(touch, read):
    touch("All247images/JPCLN001.IMG", *outlines("JPCLN003"))
    with pytest.raises(ManifestError, match="named as the images are"):
        read("jsrt")


def test_files_read_and_manifest_round_trip(tmp_path, touch, draw, read):
    film = np.full((2048, 2048), 4095, ">u2")
    film[:, :1024] = 0
    touch("All247images/JPCLN003.IMG", content=film.tobytes())
    for name in outlines("JPCLN003", PARTS[:2]):
        draw(name, mode="P", size=(64, 64))
    found = read("jsrt")
    image = read_image(found[0].image)
    assert image.size == (2048, 2048)
    assert image.spacing == (0.175, 0.175)
    # 4095 is the densest film, black on a monitor.
    assert (image.pixels[0, 0, 0], image.pixels[0, 0, -1]) == (1.0, 0.0)
    mask = read_mask(found[0].masks["lungs"])
    assert mask.shape == (64, 64)
    assert (mask[:, 32:].all(), mask[:, :32].any()) == (True, False)
    write_manifest(tmp_path / "manifest.csv", found)
    assert [replace(r, masks=dict(r.masks)) for r in read_manifest(tmp_path / "manifest.csv")] == found
