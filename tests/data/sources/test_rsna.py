import json

import pytest

from multimix.errors import ManifestError
from multimix.types import Record

IDS = (
    "0004cfab-14fd-4e49-80ba-63a80b6bddd6",
    "00313ee0-9eaa-42f4-b0ab-c148ed3241cd",
    "00436515-870c-4b36-a041",
)
BOXES = (
    "patientId,x,y,width,height,Target\r\n"
    f"{IDS[0]},,,,,0\r\n{IDS[1]},,,,,0\r\n"
    f"{IDS[2]},264.0,152.0,213.0,379.0,1\r\n{IDS[2]},562.0,152.0,256.0,453.0,1\r\n"
)
CLASSES = (
    f"patientId,class\r\n{IDS[0]},No Lung Opacity / Not Normal\r\n{IDS[1]},Normal\r\n"
    f"{IDS[2]},Lung Opacity\r\n{IDS[2]},Lung Opacity\r\n"
)


@pytest.fixture
def rsna(tmp_path, touch):
    dicom = bytes(128) + b"DICM"
    touch(*(f"stage_2_train_images/{name}.dcm" for name in IDS), content=dicom)
    touch("stage_2_test_images/0000a175-0e68-4ca4-b1af-167204a7e0bc.dcm", content=dicom)
    touch("stage_2_train_labels.csv", content=BOXES.encode())
    touch("stage_2_detailed_class_info.csv", content=CLASSES.encode())
    return tmp_path


def test_three_classes(rsna, read_unsplit):
    labels = ["No Lung Opacity / Not Normal", "Normal", "Lung Opacity"]
    assert read_unsplit("rsna") == [
        Record(
            image=rsna / f"stage_2_train_images/{name}.dcm",
            label=label,
            patient=name,
            source="rsna",
        )
        for name, label in zip(IDS, labels, strict=True)
    ]


def test_pneumonia_and_normal(rsna, read):
    found = read("rsna-pneumonia")
    assert [(r.image.stem, r.label) for r in found] == [(IDS[1], "NORMAL"), (IDS[2], "PNEUMONIA")]


def test_mapping_tells_the_true_patient(rsna, touch, read):
    entries = [
        {"subset_img_id": IDS[0], "img_id": "00000003_000.png", "SOPInstanceUID": "1.2.276.1"},
        {"subset_img_id": IDS[2], "img_id": "00000003_004.png", "SOPInstanceUID": "1.2.276.2"},
    ]
    touch("pneumonia-challenge-dataset-mappings_2018.json", content=json.dumps(entries).encode())
    found = read("rsna")
    assert [r.patient for r in found] == ["00000003", IDS[1], "00000003"]
    assert found[0].split == found[2].split


@pytest.mark.parametrize("content", [b"{", b"[1]", b'[{"img_id": "1_0.png"}]', b"\xff\xfe", b"7"])
def test_mapping_of_another_form_is_refused(rsna, touch, read, content):
    touch("pneumonia-challenge-dataset-mappings_2018.json", content=content)
    with pytest.raises(ManifestError, match=r"mappings_2018.json: expected a list of objects"):
        read("rsna")


@pytest.mark.parametrize("name", ["stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"])
def test_image_missing_from_a_table_is_refused(rsna, touch, read, name):
    lines = (rsna / name).read_text().splitlines(keepends=True)
    touch(name, content="".join(line for line in lines if IDS[1] not in line).encode())
    with pytest.raises(ManifestError, match=f"{IDS[1]}.dcm: expected a class .* None"):
        read("rsna")


def test_tables_that_disagree_are_refused(rsna, touch, read):
    touch("stage_2_detailed_class_info.csv", content=CLASSES.replace("Lung Opacity\r", "Normal\r").encode())
    with pytest.raises(ManifestError, match=r"got 'Normal' and '1'"):
        read("rsna")


def test_split_is_by_patient_and_class(rsna, touch, read):
    names = [f"{n:04d}" for n in range(60)]
    touch(*(f"stage_2_train_images/{name}.dcm" for name in names))
    boxes = [f"{name},,,,,{int(n % 3 == 0)}\n" for n, name in enumerate(names)]
    kinds = ("Lung Opacity", "Normal", "No Lung Opacity / Not Normal")
    classes = [f"{name},{kinds[n % 3]}\n" for n, name in enumerate(names)]
    touch("stage_2_train_labels.csv", content=(BOXES + "".join(boxes)).encode())
    touch("stage_2_detailed_class_info.csv", content=(CLASSES + "".join(classes)).encode())
    found = read("rsna")
    splits = [r.split for r in found]
    # 63 images: 44.1, 6.3 and 12.6; of the 21 of each class 14.7, 2.1 and 4.2.
    assert [splits.count(s) for s in ("train", "val", "test")] == [44, 6, 13]
    for kind in kinds:
        splits = [r.split for r in found if r.label == kind]
        for split, share in (("train", 14.7), ("val", 2.1), ("test", 4.2)):
            assert abs(splits.count(split) - share) < 2
