import pytest

from multimix.errors import ManifestError
from multimix.io.readers import read_image
from multimix.types import Record


@pytest.mark.parametrize("folder", ["mask", "mask/mask", "masks"])
def test_records(tmp_path, touch, read_unsplit, folder):
    touch("CXR_png/CHNCXR_0001_0.png", "CXR_png/CHNCXR_0025_0.png", "CXR_png/CHNCXR_0327_1.png")
    touch(f"{folder}/CHNCXR_0001_0_mask.png", f"{folder}/CHNCXR_0327_1_mask.png")
    touch("CXR_png/MCUCXR_0001_0.png", f"{folder}/MCUCXR_0001_0.png")  # some copies mix in Montgomery
    touch("ClinicalReadings/CHNCXR_0001_0.txt", content=b"male 45yrs\r\nnormal\r\n")
    assert read_unsplit("shenzhen") == [
        Record(
            image=tmp_path / f"CXR_png/{stem}.png",
            masks={"lungs": (tmp_path / folder / f"{stem}_mask.png",)} if masked else {},
            label=label,
            patient=stem[:11],
            source="shenzhen",
        )
        for stem, masked, label in [
            ("CHNCXR_0001_0", True, "normal"),
            ("CHNCXR_0025_0", False, "normal"),
            ("CHNCXR_0327_1", True, "tuberculosis"),
        ]
    ]


def test_split_of_the_whole_set(touch, read):
    stems = [f"CHNCXR_{n:04d}_{int(n > 326)}" for n in range(1, 663)]
    touch(*(f"CXR_png/{stem}.png" for stem in stems))
    touch(*(f"mask/{stem}_mask.png" for stem in stems[47:326] + stems[375:]))
    found = read("shenzhen")
    assert sum(bool(r.masks) for r in found) == 566
    splits = {s: [r.label for r in found if r.split == s] for s in ("train", "val", "test")}
    # 463.4, 66.2 and 132.4 patients, of which 235.2, 33.6 and 67.2 with tuberculosis.
    for split, total, sick in [("train", 463.4, 235.2), ("val", 66.2, 33.6), ("test", 132.4, 67.2)]:
        assert abs(len(splits[split]) - total) < 1
        assert abs(splits[split].count("tuberculosis") - sick) < 2
    assert read("shenzhen") == found


def test_folder_above_without_masks(tmp_path, touch, read):
    touch("ChinaSet_AllFiles/CXR_png/CHNCXR_0001_0.png")
    (record,) = read("shenzhen")
    assert record.image == tmp_path / "ChinaSet_AllFiles/CXR_png/CHNCXR_0001_0.png"
    assert record.masks == {}


def test_masks_that_fit_no_image_are_refused(touch, read):
    touch("CXR_png/CHNCXR_0001_0.png", "mask/CHNCXR_0001_0.png")
    with pytest.raises(ManifestError, match=r"expected CHNCXR_0001_0_mask.png .* found CHNCXR_0001_0.png\."):
        read("shenzhen")


def test_palette_images_read_as_grey(draw, read):
    draw("CXR_png/CHNCXR_0001_0.png", mode="P", size=(20, 16), level=204)
    pixels = read_image(read("shenzhen")[0].image).pixels
    assert pixels.shape == (1, 16, 20)
    assert pixels[0, 0, 0] == 0
    assert pixels[0, 0, -1] == pytest.approx(204 / 255)
