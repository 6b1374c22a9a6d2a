import pytest

from multimix.errors import ManifestError
from multimix.io.readers import read_mask
from multimix.types import Record


def films(*stems: str) -> list[str]:
    folders = ("CXR_png", "ManualMask/leftMask", "ManualMask/rightMask")
    return [f"{folder}/{stem}.png" for stem in stems for folder in folders]


def test_records(tmp_path, touch, read_unsplit):
    touch(*films("MCUCXR_0104_1", "MCUCXR_0001_0"), "CXR_png/Thumbs.db", "NLM-MontgomeryCXRSet-ReadMe.pdf")
    touch(
        "ClinicalReadings/MCUCXR_0001_0.txt", content=b"Patient's Sex: F\r\nPatient's Age: 027Y\r\nnormal\r\n"
    )
    left, right = tmp_path / "ManualMask/leftMask", tmp_path / "ManualMask/rightMask"
    assert read_unsplit("montgomery") == [
        Record(
            image=tmp_path / f"CXR_png/{stem}.png",
            masks={"lungs": (left / f"{stem}.png", right / f"{stem}.png")},
            label=label,
            patient=patient,
            source="montgomery",
        )
        for stem, label, patient in [
            ("MCUCXR_0001_0", "normal", "MCUCXR_0001"),
            ("MCUCXR_0104_1", "tuberculosis", "MCUCXR_0104"),
        ]
    ]


def test_folder_above(tmp_path, touch, read):
    touch(*(f"MontgomerySet/{name}" for name in films("MCUCXR_0001_0")))
    assert [r.image for r in read("montgomery")] == [tmp_path / "MontgomerySet/CXR_png/MCUCXR_0001_0.png"]


def test_split_of_the_whole_set_has_the_papers_sizes(touch, read):
    touch(*films(*(f"MCUCXR_{n:04d}_{int(n > 80)}" for n in range(1, 139))))
    found = read("montgomery")
    counts = {s: [r.label for r in found if r.split == s] for s in ("train", "val", "test")}
    assert [len(labels) for labels in counts.values()] == [93, 10, 35]
    for labels, share in zip(counts.values(), (93, 10, 35), strict=True):
        assert abs(labels.count("tuberculosis") - share * 58 / 138) < 2
    assert read("montgomery") == found


@pytest.mark.parametrize(
    ("absent", "says"), [(("left",), "found rightMask alone"), (("left", "right"), "found neither")]
)
def test_image_without_both_masks_is_refused(tmp_path, touch, read, absent, says):
    touch(*films("MCUCXR_0001_0", "MCUCXR_0002_0"))
    for side in absent:
        (tmp_path / f"ManualMask/{side}Mask/MCUCXR_0002_0.png").unlink()
    with pytest.raises(ManifestError, match=f"MCUCXR_0002_0.png: expected a mask .* {says}"):
        read("montgomery")


def test_images_without_masks_are_not_this_layout(touch, read):
    touch("CXR_png/MCUCXR_0001_0.png")
    with pytest.raises(ManifestError, match=r"ManualMask/leftMask/ .* found CXR_png/\."):
        read("montgomery")


def test_mask_is_the_union_of_both_sides(draw, read):
    draw("CXR_png/MCUCXR_0001_0.png", size=(20, 16))
    draw("ManualMask/leftMask/MCUCXR_0001_0.png", mode="1", size=(20, 16))
    draw("ManualMask/rightMask/MCUCXR_0001_0.png", mode="1", size=(20, 16), level=0)
    mask = read_mask(read("montgomery")[0].masks["lungs"])
    assert mask.sum() == 16 * 10
