"""Files, folders, DICOMDIR and zip in; tables, pictures and DICOM objects out."""

import csv
import re
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image

import studies
import tiny
from bright import WIDTHS, half, picky, predictor
from multimix.errors import ManifestError, MultimixError, UsageError
from multimix.inference.predict_files import Summary, predict_files
from multimix.io.writers import write_png
from multimix.networks.load import save_model
from multimix.networks.model import MultiMix
from multimix.types import Prediction, Radiograph
from multimix.weights.file import ModelSpec


def _rows(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_files_one_structure(tmp_path: Path) -> None:
    source = tmp_path / "in"
    write_png(source / "10.png", half(64, 48))
    write_png(source / "2.png", half(40, 90))
    seen: list[tuple[int, int]] = []
    out = tmp_path / "out"
    summary = predict_files(predictor(), [source], out, progress=lambda done, all_: seen.append((done, all_)))
    assert summary == Summary(done=2, failed=0)
    assert seen == [(1, 2), (2, 2)]
    rows = _rows(out)
    classes = ["p_NORMAL", "threshold_NORMAL", "p_PNEUMONIA", "threshold_PNEUMONIA"]
    columns = ["path", "status", "predicted", *classes, "area_px_lungs", "mask", "overlay"]
    assert list(rows[0]) == [*columns, "rejection", "error"]
    assert [float(row["threshold_PNEUMONIA"]) for row in rows] == [0.5, 0.5]
    assert [r["path"] for r in rows] == [str(source / "2.png"), str(source / "10.png")]
    assert [r["mask"] for r in rows] == ["masks/2.png", "masks/10.png"]
    assert [r["overlay"] for r in rows] == ["overlays/2.png", "overlays/10.png"]
    for row, image in zip(rows, (half(40, 90), half(64, 48)), strict=True):
        # Every input is bright in its lower half, and not square: a transposed mask would not pass.
        np.testing.assert_array_equal(_read(out / row["mask"]), image)
        assert _read(out / row["overlay"]).shape == (*image.shape, 3)
        assert int(row["area_px_lungs"]) == image.size // 2
        assert float(row["p_NORMAL"]) + float(row["p_PNEUMONIA"]) == pytest.approx(1, abs=1e-5)


def test_mask_files_equal_the_prediction_for_several_structures(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_png(path, np.random.default_rng(0).integers(0, 256, (50, 70), dtype=np.uint8))
    answer = predictor("lungs", "heart")
    predict_files(answer, [path], tmp_path / "out")
    prediction = answer(path)
    assert isinstance(prediction, Prediction)
    (row,) = _rows(tmp_path / "out")
    assert row["mask"] == "masks/a_lungs.png|masks/a_heart.png"
    for name, structure in zip(row["mask"].split("|"), ("lungs", "heart"), strict=True):
        mask = _read(tmp_path / "out" / name)
        np.testing.assert_array_equal(mask, prediction.masks[structure] * np.uint8(255))
        assert int(row[f"area_px_{structure}"]) == (mask > 0).sum() > 0


def test_broken_files_are_rows_and_the_others_go_on(tmp_path: Path) -> None:
    source = tmp_path / "in"
    good = ["a, b.png", "röntgen 1.png", "sub/deep.png", "z.png"]
    for name in good:
        write_png(source / name, half())
    whole = (source / "z.png").read_bytes()
    (source / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (source / "empty.png").write_bytes(b"")
    (source / "text.png").write_text("this is no image")
    (source / "folder.png").mkdir()
    write_png(source / "dot.png", np.zeros((1, 1), np.uint8))
    broken = ["dot.png", "empty.png", "text.png", "truncated.png"]
    absent, bare = tmp_path / "absent.png", tmp_path / "bare"
    bare.mkdir()
    summary = predict_files(predictor(), [source, absent, bare], tmp_path / "out")
    assert summary == Summary(done=4, failed=6)
    rows = {r["path"]: r for r in _rows(tmp_path / "out")}
    assert set(rows) == {str(p) for p in (*(source / n for n in good + broken), absent, bare)}
    for name in good:
        row = rows[str(source / name)]
        assert (row["status"], row["error"]) == ("ok", "")
        assert row["mask"] == f"masks/{name}"
        np.testing.assert_array_equal(_read(tmp_path / "out" / row["mask"]), half())
    for path in (*(source / n for n in broken), absent, bare):
        row = rows[str(path)]
        assert row["status"] == "failed"
        assert str(path) in row["error"]
        assert row["mask"] == row["overlay"] == row["predicted"] == ""
    masks = sorted(
        p.relative_to(tmp_path / "out/masks").as_posix() for p in (tmp_path / "out").rglob("masks/**/*.png")
    )
    assert masks == sorted(good)
    assert not [p for p in (tmp_path / "out").rglob("*") if p.name.startswith(".")]


def test_equal_names_do_not_overwrite_each_other(tmp_path: Path) -> None:
    for i, name in enumerate(("x/a.png", "y/a.png", "y/A.tif", "y/a_2.png", "y/deep/a.png")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(half(40, 30 + i)).save(tmp_path / name)
    inputs = [tmp_path / "x/a.png", tmp_path / "y/A.tif", tmp_path / "y", tmp_path / "x/a.png"]
    predict_files(predictor(), inputs, tmp_path / "out")
    rows = _rows(tmp_path / "out")
    assert {Path(r["path"]).relative_to(tmp_path).as_posix(): r["mask"] for r in rows} == {
        "x/a.png": "masks/a.png",
        "y/A.tif": "masks/A_2.png",
        "y/a.png": "masks/a_3.png",
        "y/a_2.png": "masks/a_2_2.png",
        "y/deep/a.png": "masks/deep/a.png",
    }
    for row in rows:
        with Image.open(row["path"]) as image:
            assert _read(tmp_path / "out" / row["mask"]).shape == (image.height, image.width)


def test_structures_in_file_names_do_not_collide(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", half(40, 30))
    write_png(tmp_path / "a_left.png", half(40, 31))
    predict_files(
        predictor("left_lung", "lung"), [tmp_path / "a.png", tmp_path / "a_left.png"], tmp_path / "out"
    )
    masks = [m for r in _rows(tmp_path / "out") for m in r["mask"].split("|")]
    assert len(set(masks)) == 4


def test_long_names_are_cut(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 120 + ".png")
    write_png(path, half())
    assert predict_files(predictor(), [path], tmp_path / "out") == Summary(1, 0)
    assert (tmp_path / "out" / _rows(tmp_path / "out")[0]["mask"]).is_file()


def test_area_in_mm2_where_spacing_is_known(tmp_path: Path) -> None:
    (tmp_path / "film.IMG").write_bytes(np.zeros((2048, 2048), ">u2").tobytes())  # 0 is white in JSRT
    write_png(tmp_path / "a.png", half())
    predict_files(predictor(), [tmp_path / "film.IMG", tmp_path / "a.png"], tmp_path / "out")
    film, other = _rows(tmp_path / "out")
    assert list(film)[7:9] == ["area_px_lungs", "area_mm2_lungs"]
    assert int(film["area_px_lungs"]) == 2048 * 2048
    assert float(film["area_mm2_lungs"]) == pytest.approx((2048 * 0.175) ** 2, abs=0.01)
    assert other["area_mm2_lungs"] == ""


def test_a_second_call_replaces_and_does_not_feed_on_the_first(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", half())
    assert predict_files(predictor(), [tmp_path], tmp_path) == Summary(1, 0)
    write_png(tmp_path / "a.png", half(48, 32))
    assert predict_files(predictor(), [tmp_path], tmp_path) == Summary(1, 0, replaced=2)
    assert _read(tmp_path / "masks/a.png").shape == (48, 32)


def test_files_of_other_kinds_are_counted(tmp_path: Path) -> None:
    write_png(tmp_path / "in/a.png", half())
    for name in ("b.webp", "notes.txt", ".hidden", "sub/c.webp"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"x")
    # Neither of one call nor of the next are our own files among them.
    for _ in range(2):
        summary = predict_files(predictor(), [tmp_path / "in", tmp_path / "in/a.png"], tmp_path / "in/out")
        assert (summary.done, summary.failed) == (1, 0)
        assert summary.passed_over == (f"{tmp_path / 'in'}: 3 files of other kinds (1 .txt, 2 .webp)",)


def test_places_that_are_refused(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", half())
    (tmp_path / "bare").mkdir()
    with pytest.raises(UsageError, match=r"No image to answer.*bare"):
        predict_files(predictor(), [tmp_path / "bare"], tmp_path / "out")
    with pytest.raises(UsageError, match="No image to answer: found none in no input"):
        predict_files(predictor(), [], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match=r"a\.png: expected a folder to write to, found a file"):
        predict_files(predictor(), [tmp_path / "a.png"], tmp_path / "a.png")
    # Somebody's own masks must not be overwritten.
    write_png(tmp_path / "masks/a.png", half())
    with pytest.raises(UsageError, match=r"masks: exists but was not written by predict"):
        predict_files(predictor(), [tmp_path / "a.png"], tmp_path)


def test_an_interruption_leaves_the_rows_that_are_done(tmp_path: Path) -> None:
    for i in range(12):
        write_png(tmp_path / f"in/{i}.png", half())

    def interrupt(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_files(predictor(), [tmp_path / "in"], tmp_path / "out", progress=interrupt)
    assert [Path(r["path"]).name for r in _rows(tmp_path / "out")] == ["0.png", "1.png"]


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more files are read ahead of the answers than the stages may hold."""
    for i in range(40):
        write_png(tmp_path / f"in/{i}.png", half(32, 32))
    opened = answered = most = 0

    def counting(path: Path, channels: int, force: bool) -> Any:
        nonlocal opened
        opened += 1
        return Radiograph(np.full((channels, 32, 32), 0.5, np.float32), str(path))

    def progress(done: int, _: int) -> None:
        nonlocal answered, most
        answered, most = done, max(most, opened - done)

    monkeypatch.setattr("multimix.io.inputs.read_image", counting)
    predict_files(predictor(), [tmp_path / "in"], tmp_path / "out", progress=progress)
    assert answered == 40
    assert most <= 16


def test_a_full_disk_ends_the_work_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_png(tmp_path / "a.png", half())

    def full(path: Path, pixels: np.ndarray) -> None:
        raise MultimixError(f"{path}: no space left on the disk")

    monkeypatch.setattr("multimix.inference.answer_files.write_png", full)
    with pytest.raises(MultimixError, match=re.escape("a.png: no space left")):
        predict_files(predictor(), [tmp_path / "a.png"], tmp_path / "out")
    assert _rows(tmp_path / "out") == []


def test_dicom_answers_lie_on_their_images(tmp_path: Path) -> None:
    """Both formats at once: each segment is the PNG mask, whatever the image's size and polarity."""
    rgb = np.repeat(studies.phantom(90, 120)[..., None], 3, axis=2)
    studies.study(tmp_path / "in")
    studies.save(studies.capture(rgb, seed=5), tmp_path / "in" / "RGB")
    out = tmp_path / "out"
    summary = predict_files(predictor("lungs", "heart"), [tmp_path / "in"], out, formats=("png", "dicom"))
    assert summary == Summary(4, 0)
    for row in _rows(out):
        source = pydicom.dcmread(row["path"])
        segmentation, report, overlay = (pydicom.dcmread(out / name) for name in row["dicom"].split("|"))
        assert segmentation.pixel_array.shape == (2, source.Rows, source.Columns)
        for mask, segment in zip(row["mask"].split("|"), segmentation.pixel_array, strict=True):
            np.testing.assert_array_equal(_read(out / mask), segment * np.uint8(255))
        assert segmentation.pixel_array.any()
        assert {d.StudyInstanceUID for d in (source, segmentation, report, overlay)} == {
            source.StudyInstanceUID
        }
        assert row["error"] == ""


def test_dicom_alone_writes_no_pictures_and_refuses_other_files(tmp_path: Path) -> None:
    studies.save(studies.dx(), tmp_path / "in" / "a.dcm")
    write_png(tmp_path / "in" / "b.png", half())
    bare = studies.dx(StudyInstanceUID=None)
    studies.save(bare, tmp_path / "in" / "c.dcm")
    out = tmp_path / "out"
    assert predict_files(predictor(), [tmp_path / "in"], out, formats=("dicom",)) == Summary(1, 2)
    good, png, orphan = _rows(out)
    assert good["dicom"] == "dicom/a_seg.dcm|dicom/a_sr.dcm|dicom/a_overlay.dcm"
    assert good["mask"] == good["overlay"] == ""
    assert sorted(p.name for p in out.iterdir()) == ["dicom", "predictions.csv"]
    assert "b.png: is not a DICOM file" in png["error"]
    assert "c.dcm: DICOM has no valid StudyInstanceUID" in orphan["error"]
    # Asked for both, a PNG gets what it can.
    assert predict_files(predictor(), [tmp_path / "in"], out, formats=("dicom", "png")) == Summary(
        3, 0, partly=2, replaced=3
    )
    _, png, orphan = _rows(out)
    assert (out / png["mask"]).is_file()
    assert (png["dicom"], orphan["dicom"]) == ("", "")
    assert "use --format png" in png["error"]


def test_our_own_results_in_a_study_are_skipped(tmp_path: Path) -> None:
    studies.save(studies.dx(), tmp_path / "study" / "a.dcm")
    predict_files(predictor(), [tmp_path / "study"], tmp_path / "out", formats=("dicom",))
    for file in (tmp_path / "out" / "dicom").iterdir():
        file.rename(tmp_path / "study" / file.name)
    summary = predict_files(predictor(), [tmp_path / "study"], tmp_path / "again", force=True)
    assert summary == Summary(1, 0, skipped=3)
    rows = {Path(r["path"]).name: r for r in _rows(tmp_path / "again")}
    assert rows["a.dcm"]["status"] == "ok"
    for name in ("a_seg.dcm", "a_sr.dcm", "a_overlay.dcm"):
        assert rows[name]["status"] == "skipped"
        assert "a result that multimix wrote" in rows[name]["error"]


def test_answering_twice_gives_the_same_uids(tmp_path: Path) -> None:
    studies.save(studies.dx(), tmp_path / "a.dcm")
    uids, answer = [], predictor()
    for out in ("one", "two"):
        predict_files(answer, [tmp_path / "a.dcm"], tmp_path / out, formats=("dicom",))
        written = sorted((tmp_path / out / "dicom").iterdir())
        uids.append([pydicom.dcmread(file).SOPInstanceUID for file in written])
    assert uids[0] == uids[1]
    assert len(set(uids[0])) == 3


def test_zip_and_force(tmp_path: Path) -> None:
    file = studies.save(studies.dx(ViewPosition="LL", ViewCodeSequence=None), tmp_path / "lateral.dcm")
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        archive.write(file, "../../up/lateral.dcm")
    out = tmp_path / "out" / "deep"
    assert predict_files(predictor(), [tmp_path / "s.zip"], out) == Summary(0, 0, rejected=1)
    (row,) = _rows(out)
    assert row["path"] == f"{tmp_path / 's.zip'}/../../up/lateral.dcm"
    assert "a lateral view (View Position LL)" in row["error"]
    summary = predict_files(predictor(), [tmp_path / "s.zip"], out, force=True, formats=("png", "dicom"))
    assert summary == Summary(1, 0)
    (row,) = _rows(out)
    assert (row["status"], row["error"]) == ("ok", "")
    assert row["rejection"] == "a lateral view (View Position LL)"
    assert row["mask"] == "masks/up/lateral.png"
    assert row["dicom"].startswith("dicom/up/lateral_seg.dcm|")
    outside = [p for p in tmp_path.rglob("*") if p.is_file() and out not in p.parents]
    assert sorted(p.name for p in outside) == ["lateral.dcm", "s.zip"]


def test_two_images_with_one_uid_do_not_share_their_objects(tmp_path: Path) -> None:
    first, second = studies.dx(), studies.dx(studies.phantom(seed=7).astype(np.uint16) * 16)
    second.SOPInstanceUID = first.SOPInstanceUID
    second.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    for name, data in (("a", first), ("b", second), ("c", first)):
        studies.save(data, tmp_path / "in" / f"{name}.dcm")
    out = tmp_path / "out"
    assert predict_files(predictor(), [tmp_path / "in"], out, formats=("dicom",)) == Summary(2, 1)
    one, other, copy = _rows(out)
    assert f"b.dcm: has the SOP Instance UID of {tmp_path / 'in' / 'a.dcm'}, another image" in other["error"]
    assert (other["status"], other["dicom"]) == ("failed", "")
    uids = [pydicom.dcmread(out / row["dicom"].split("|")[0]).SOPInstanceUID for row in (one, copy)]
    assert uids[0] == uids[1]  # the same image twice has the same answer
    summary = predict_files(predictor(), [tmp_path / "in"], out, formats=("dicom", "png"))
    assert (summary.done, summary.partly) == (3, 1)


def test_files_of_an_earlier_call_do_not_stay_beside_a_table_that_does_not_name_them(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", half())
    write_png(tmp_path / "b.png", half())
    out = tmp_path / "out"
    predict_files(predictor(), [tmp_path / "a.png"], out)
    (out / "masks" / "mine.png").write_bytes(b"of the user")
    (tmp_path / "precious.png").write_bytes(b"not ours")
    table = out / "predictions.csv"
    table.write_text(table.read_text().replace("overlays/a.png", "overlays/a.png|../precious.png"))
    assert predict_files(predictor(), [tmp_path / "b.png"], out).replaced == 2
    written = {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()}
    assert written == {"predictions.csv", "masks/b.png", "masks/mine.png", "overlays/b.png"}
    assert (tmp_path / "precious.png").exists()
    # What is asked for again as an input is read first.
    assert predict_files(predictor(), [out / "overlays" / "b.png"], out).done == 1


def test_unknown_and_missing_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_png(tmp_path / "a.png", half())
    for formats, found in ((("tiff",), "tiff"), ((), "none")):
        with pytest.raises(UsageError, match=f"--format: expected png or dicom, got {found}"):
            predict_files(predictor(), [tmp_path / "a.png"], tmp_path / "out", formats=formats)
    monkeypatch.delitem(sys.modules, "multimix.io.dicom.identity", raising=False)
    monkeypatch.delitem(sys.modules, "multimix.io.dicom.codes", raising=False)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    monkeypatch.setitem(sys.modules, "highdicom.sr", None)
    with pytest.raises(UsageError, match=r"--format dicom: needs highdicom.*multimix\[dicom\]"):
        predict_files(predictor(), [tmp_path / "a.png"], tmp_path / "out", formats=("dicom",))
    assert not (tmp_path / "out").exists()


def test_the_command_writes_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = ModelSpec(("NORMAL", "PNEUMONIA"), ("lungs",), size=32, widths=WIDTHS)
    save_model(tmp_path / "run" / "best.safetensors", MultiMix.from_spec(spec).state_dict(), spec, {})
    studies.save(studies.cr(), tmp_path / "CR1")
    words = ("predict", tmp_path / "run", tmp_path / "CR1", "--out", tmp_path / "out")
    answer = tiny.multimix(capsys, *words, "--format", "dicom", "--format", "png")
    assert (answer.code, answer.errors) == (0, [])
    assert answer.out == f"{tmp_path / 'out' / 'predictions.csv'}: 1 answered, 0 failed\n"
    assert len(list((tmp_path / "out" / "dicom").iterdir())) == 3
    assert (tmp_path / "out" / "masks" / "CR1.png").is_file()
    assert tiny.multimix(capsys, *words, "--format", "bmp").code == 2


def test_images_unlike_those_learned_from_are_rows_and_the_others_go_on(tmp_path: Path) -> None:
    shaded = np.tile(np.linspace(0, 230, 40).astype(np.uint8), (60, 1))
    write_png(tmp_path / "in" / "a.png", shaded)
    write_png(tmp_path / "in" / "b.png", np.full((40, 40), 90, np.uint8))
    write_png(tmp_path / "in" / "c.png", shaded)
    out, model = tmp_path / "out", replace(predictor(), reliability=picky())
    summary = predict_files(model, [tmp_path / "in"], out)
    assert summary == Summary(2, 0, rejected=1)
    # What failed is told first: a wrong path among hundreds that are rejected.
    both = predict_files(model, [tmp_path / "in/b.png", tmp_path / "gone.png"], tmp_path / "more")
    assert [reason.rpartition(": ")[0] for reason in both.reasons] == [
        str(tmp_path / "gone.png"),
        str(tmp_path / "in/b.png"),
    ]
    rows = _rows(out)
    assert [row["status"] for row in rows] == ["ok", "rejected", "ok"]
    assert [row["prediction_set"] for row in rows] == ["NORMAL|PNEUMONIA", "", "NORMAL|PNEUMONIA"]
    assert rows[1]["error"].startswith(f"{tmp_path / 'in' / 'b.png'}: is of one grey level")
    assert rows[1]["error"].endswith("or use --force")
    assert rows[1]["rejection"] == "is of one grey level throughout, so there is nothing to answer"
    told = {name for name, cell in rows[1].items() if cell}
    assert told == {"path", "status", "rejection", "error"}
    assert sorted(path.name for path in (out / "masks").iterdir()) == ["a.png", "c.png"]
    assert predict_files(model, [tmp_path / "in"], out, force=True) == Summary(3, 0, replaced=4)
    rows = _rows(out)
    assert [row["status"] for row in rows] == ["ok"] * 3
    assert [row["error"] for row in rows] == [""] * 3
    assert [row["rejection"][:20] for row in rows] == ["", "is of one grey level", ""]
    assert (out / "masks" / "b.png").is_file()


def test_the_command_says_how_many_were_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = ModelSpec(("NORMAL", "PNEUMONIA"), ("lungs",), size=32, widths=WIDTHS)
    save_model(
        tmp_path / "run" / "best.safetensors", MultiMix.from_spec(spec).state_dict(), spec, {}, picky()
    )
    write_png(tmp_path / "flat.png", np.zeros((40, 40), np.uint8))
    words = ("predict", tmp_path / "run", tmp_path / "flat.png", "--out", tmp_path / "out")
    answer = tiny.multimix(capsys, *words)
    assert answer.code == 1
    assert answer.out == f"{tmp_path / 'out' / 'predictions.csv'}: 0 answered, 0 failed, 1 rejected\n"
    answer = tiny.multimix(capsys, *words, "--force")
    assert (answer.code, answer.out.endswith(": 1 answered, 0 failed\n")) == (0, True)
    assert "flat.png: answered on request, although rejected: is of one grey level" in answer.err


def test_what_a_header_says_and_is_not_followed_stands_in_the_table(tmp_path: Path) -> None:
    studies.save(studies.dx(), tmp_path / "in" / "a.dcm")
    studies.save(studies.dx(WindowCenter=512, WindowWidth=0, seed=1), tmp_path / "in" / "b.dcm")
    predict_files(predictor(), [tmp_path / "in"], tmp_path / "out")
    with (tmp_path / "out" / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["note"] for row in rows] == ["", "the window of the file has a width of 0; not used"]


def test_a_manifest_is_answered_and_its_columns_carried_over(tmp_path: Path) -> None:
    for name in ("b/2.png", "a/1.png", "a/left_out.png"):
        write_png(tmp_path / name, half(40, 90))
    table = tmp_path / "ward.csv"
    table.write_text(
        "image,patient,label,age,predicted\nb/2.png,p2,NORMAL,71,yes\na/1.png,p1,,,no\na/gone.png,p3,,,\n"
    )
    out = tmp_path / "out"
    assert predict_files(predictor(), [table], out) == Summary(done=2, failed=1)
    rows = _rows(out)
    assert [r["path"] for r in rows] == [str(tmp_path / n) for n in ("b/2.png", "a/1.png", "a/gone.png")]
    assert [r["manifest:patient"] for r in rows] == ["p2", "p1", "p3"]
    assert [r["manifest:age"] for r in rows] == ["71", "", ""]
    assert [r["manifest:predicted"] for r in rows] == ["yes", "no", ""]
    assert [r["mask"] for r in rows] == ["masks/b/2.png", "masks/a/1.png", ""]


def test_a_table_that_is_no_manifest_is_told(tmp_path: Path) -> None:
    write_png(tmp_path / "1.png", half(40, 90))
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ManifestError, match=r"t\.csv"):
        predict_files(predictor(), [tmp_path / "t.csv"], tmp_path / "out")
    # Beside other inputs it is a row with its reason.
    both = [tmp_path / "t.csv", tmp_path / "1.png"]
    assert predict_files(predictor(), both, tmp_path / "out") == Summary(done=1, failed=1)
