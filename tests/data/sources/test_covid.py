import pytest

from multimix.errors import ManifestError
from multimix.io.readers import read_mask
from multimix.types import Record

HEADER = (
    "patientid,offset,sex,age,finding,RT_PCR_positive,view,modality,folder,filename,license,clinical_notes,\n"
)
ROWS = """\
2,0.0,M,65.0,Pneumonia/Viral/COVID-19,Y,PA,X-ray,images,a-2020_01_28_Vietnam.jpeg,,"On 22, January
2020, admitted to Chợ Rẫy hospital",
2,3.0,M,65.0,Pneumonia/Viral/COVID-19,Y,AP Supine,X-ray,images,b-2020_01_28_Vietnam.png,CC BY-NC-SA,,
3,4.0,M,74.0,No Finding,,AP,X-ray,images,c.jpg,CC BY,,
3,4.0,M,74.0,No Finding,,L,X-ray,images,c-lateral.jpg,CC BY,,
4,,F,,todo,,AP Erect,X-ray,images,d.PNG,,,
,,F,,Pneumonia,,PA,X-ray,images,f.jpg,,,
5,,F,40.0,Pneumonia/Viral/COVID-19,Y,Axial,CT,volumes,scan.nii.gz,,,
5,,F,40.0,Pneumonia/Viral/COVID-19,Y,PA,X-ray,images,never-downloaded.jpg,,,
3,9.0,M,74.0,Pneumonia,,AP,X-ray,images,c.jpg,CC BY,,
"""


@pytest.fixture
def covid(tmp_path, touch, draw):
    touch("metadata.csv", content=(HEADER + ROWS).encode())
    draw("images/a-2020_01_28_Vietnam.jpeg", size=(40, 32))
    draw("images/b-2020_01_28_Vietnam.png", mode="RGBA", size=(40, 32))
    draw("images/c.jpg", mode="RGB", size=(40, 32))
    draw("images/d.PNG", size=(40, 32))
    draw("images/f.jpg", size=(40, 32))
    touch("images/c-lateral.jpg", "images/unlisted.jpg", "volumes/scan.nii.gz")
    draw("semantic_masks_v7labs_lungs/a-2020_01_28_Vietnam.jpeg", size=(40, 32))
    draw("semantic_masks_v7labs_lungs/b-2020_01_28_Vietnam.png", size=(40, 32), level=127)
    draw("semantic_masks_v7labs_lungs/c.png", size=(40, 32))
    draw("semantic_masks_v7labs_lungs/f.jpg", size=(40, 31))  # not this image's size
    return tmp_path


def test_records(covid, read_unsplit):
    masks = covid / "semantic_masks_v7labs_lungs"
    expected = [
        ("a-2020_01_28_Vietnam.jpeg", "a-2020_01_28_Vietnam.jpeg", "Pneumonia/Viral/COVID-19", "2"),
        ("b-2020_01_28_Vietnam.png", "b-2020_01_28_Vietnam.png", "Pneumonia/Viral/COVID-19", "2"),
        ("c.jpg", "c.png", "No Finding", "3"),
        ("d.PNG", None, None, "4"),
        ("f.jpg", None, "Pneumonia", "f"),
    ]
    assert read_unsplit("covid") == [
        Record(
            image=covid / "images" / name,
            masks={} if mask is None else {"lungs": (masks / mask,)},
            label=label,
            patient=patient,
            source="covid",
        )
        for name, mask, label, patient in expected
    ]


def test_older_table(covid, touch, read):
    touch(
        "metadata.csv",
        content=b"Patientid,offset,finding,view,filename\n6,0,COVID-19,PA,f.jpg\n3,,ARDS,AP,c.jpg\n",
    )
    assert [(r.patient, r.label) for r in read("covid")] == [("6", "COVID-19"), ("3", "ARDS")]


def test_split_keeps_patients_together(covid, touch, draw, read):
    rows = [f"{n // 2},,F,,Pneumonia/Viral/COVID-19,Y,PA,X-ray,images,p{n}.png,,,\n" for n in range(40)]
    touch("metadata.csv", content=(HEADER + "".join(rows)).encode())
    for n in range(40):
        draw(f"images/p{n}.png")
        draw(f"semantic_masks_v7labs_lungs/p{n}.png")
    found = read("covid")
    assert [r.split for r in found[::2]] == [r.split for r in found[1::2]]
    splits = [r.split for r in found]
    assert [splits.count(s) for s in ("train", "val", "test")] == [28, 4, 8]


def test_without_masks(covid, read):
    for path in (covid / "semantic_masks_v7labs_lungs").iterdir():
        path.unlink()
    (covid / "semantic_masks_v7labs_lungs").rmdir()
    assert [r.masks for r in read("covid")] == [{}] * 5


def test_masks_that_fit_no_image_are_refused(covid, read):
    for name in ("a-2020_01_28_Vietnam.jpeg", "b-2020_01_28_Vietnam.png", "c.png"):
        (covid / "semantic_masks_v7labs_lungs" / name).unlink()
    with pytest.raises(ManifestError, match=r"expected masks with the names and sizes .* found f.jpg\."):
        read("covid")


def test_no_listed_image_is_refused(covid, touch, read):
    touch("metadata.csv", content=(HEADER + "5,,F,,COVID-19,Y,L,X-ray,images,c-lateral.jpg,,,\n").encode())
    with pytest.raises(ManifestError, match=r"expected the PA and AP images that metadata.csv lists"):
        read("covid")


def test_damaged_image_is_left_to_the_check(covid, touch, read):
    touch("images/a-2020_01_28_Vietnam.jpeg", content=b"not a JPEG")
    assert read("covid")[0].masks != {}


def test_column_missing_is_told(covid, touch, read):
    touch("metadata.csv", content=b"patientid,finding,filename\n")
    with pytest.raises(ManifestError, match=r"metadata.csv: expected columns .*, lacks view\."):
        read("covid")


def test_mask_is_level_255(covid, read):
    assert read_mask(read("covid")[2].masks["lungs"]).sum() == 32 * 20
