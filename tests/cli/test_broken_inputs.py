"""Broken inputs through the command line: one line that names the culprit and the remedy, and exit status 1 or 2."""

import csv
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import tiny
from multimix.data.manifest import read_manifest
from multimix.training.trainer import train as train_run

Words = list[str | Path]

IMAGE = "train_NORMAL_0.png"
"""A labelled training image."""


@dataclass(frozen=True)
class Place:
    """A data set and a finished run of one test's own."""

    root: Path

    @property
    def manifest(self) -> Path:
        return self.root / "data" / "manifest.csv"

    @property
    def images(self) -> Path:
        return self.root / "data" / "images"

    @property
    def masks(self) -> Path:
        return self.root / "data" / "masks"

    @property
    def run(self) -> Path:
        return self.root / "run"

    def rewrite(self, old: str, new: str, count: int = -1) -> None:
        """Replace in the manifest what must be there."""
        text = self.manifest.read_text("utf-8")
        assert old in text
        self.manifest.write_text(text.replace(old, new, count), "utf-8")

    def keep(self, pattern: str) -> None:
        """Keep the header and the rows that match."""
        header, *rows = self.manifest.read_text("utf-8").splitlines(True)
        self.manifest.write_text(header + "".join(row for row in rows if re.search(pattern, row)), "utf-8")

    def train(self, *more: str | Path, data: str | Path | None = None) -> Words:
        return ["train", data or self.manifest, *tiny.OPTIONS, "--out", self.root / "new", *more]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("original")
    train_run(tiny.run_config(tiny.write_xrays(root / "data")), root / "run")
    return root


@pytest.fixture
def place(original: Path, tmp_path: Path) -> Place:
    for name in ("data", "run"):
        shutil.copytree(original / name, tmp_path / name)
    file = tmp_path / "run" / "config.yaml"
    file.write_text(file.read_text("utf-8").replace(str(original), str(tmp_path)), "utf-8")
    return Place(tmp_path)


def refused(capsys: pytest.CaptureFixture[str], words: Words, pattern: str, code: int) -> None:
    """The command ends with `code` and one line, which `pattern` matches."""
    answer = tiny.multimix(capsys, *words)
    assert "Traceback" not in answer.out + answer.err
    lines = [
        line for line in answer.err.splitlines() if line.strip() and "━" not in line
    ]  # but progress bars
    assert len(lines) == 1, lines
    assert lines[0].startswith("Error: ")
    assert re.search(pattern, lines[0]), lines[0]
    assert answer.code == code


# Images that are none. Each is written to a path that ends in .png unless its suffix is given.


def png(width: int, height: int, *more: tuple[bytes, bytes]) -> bytes:
    """A PNG file that says how large it is, and `more` (kind, data)."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), *more]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def truncated(path: Path) -> None:
    Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32)).save(path)
    path.write_bytes(path.read_bytes()[:-40])


def one_pixel(path: Path) -> None:
    Image.fromarray(np.zeros((1, 1), np.uint8)).save(path)


def float_tiff(value: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        pixels = np.full((32, 32), 0.5, np.float32)
        pixels[3, 4] = value
        Image.fromarray(pixels).save(path, format="TIFF")

    return write


def content(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


def folder(path: Path) -> None:
    path.mkdir()


def dangling(path: Path) -> None:
    path.symlink_to("nowhere.png")


IMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated PNG": (truncated, "damaged or incomplete.*copy or export"),
    "zero bytes": (content(b""), "0 bytes.*copy or export"),
    "text": (content(b"this is no image"), "is not a PNG, JPEG.*export it"),
    "1 x 1": (one_pixel, "1 x 1 pixels is too small.*give the original"),
    "20,000 x 20,000 header": (
        content(png(20_000, 20_000, (b"IDAT", zlib.compress(b"")))),
        "20000 x 20000.*smaller",
    ),
    "header and nothing else": (content(png(32, 32)), "damaged or incomplete.*copy or export"),
    "NaN": (float_tiff(float("nan")), "1 pixels are NaN or infinite.*replace them"),
    "infinity": (float_tiff(float("inf")), "1 pixels are NaN or infinite.*replace them"),
    "JPEG cut short": (content(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"), "damaged or incomplete.*copy or export"),
    "TIFF cut short": (content(b"II*\x00\x08\x00\x00\x00"), "damaged or incomplete.*copy or export"),
    "GIF cut short": (content(b"GIF89a\x20\x00\x20\x00"), "damaged or incomplete.*copy or export"),
    "DICOM without an image": (
        content(b"\0" * 128 + b"DICM" + b"\0" * 20),
        "(has no image; give a CR or DX file|pip install)",
    ),
    "zeros": (content(b"\0" * 4096), "is not a PNG, JPEG.*export it"),
    "folder": (folder, "is a folder, expected an image file.*name the files"),
    "link to nowhere": (dangling, "o such file.*(check the path|Restore the file)"),
}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_images(place: Place, capsys: pytest.CaptureFixture[str], name: str, command: str) -> None:
    write, reason = IMAGES[name]
    broken = place.images / (IMAGE if command == "train" else "test_NORMAL_0.png")
    broken.unlink()
    write(broken)
    words = place.train() if command == "train" else ["evaluate", place.run]
    refused(capsys, words, f"{broken}: .*{reason}", 1)


def test_predict_answers_the_good_files_among_bad_ones(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs: list[Path] = [place.images / "test_0.png"]
    for number, (write, _) in enumerate(IMAGES.values()):
        inputs.append(place.root / f"bad_{number}.png")
        write(inputs[-1])
    inputs += [place.root / "missing.png", place.images / "test_1.png"]
    answer = tiny.multimix(capsys, "predict", place.run, *inputs, "--out", place.root / "answers")
    assert answer.code == 1
    assert answer.out.endswith(f"2 answered, {len(inputs) - 2} failed\n")
    assert "Traceback" not in answer.out + answer.err
    with (place.root / "answers" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [str(path) for path in inputs]
    assert [row["status"] for row in rows] == ["ok", *["failed"] * (len(inputs) - 2), "ok"]
    for row in rows:
        if row["status"] == "ok":
            assert (place.root / "answers" / row["mask"]).is_file()
            assert (place.root / "answers" / row["overlay"]).is_file()
            assert row["error"] == ""
        else:
            assert row["error"].startswith(row["path"])
            assert "\n" not in row["error"]
    reasons = [reason for _, reason in IMAGES.values()]
    for row, reason in zip(rows[1:-2], reasons, strict=True):
        # A folder is searched, so its error is that it is empty.
        assert re.search("no image in this folder" if "folder" in reason else reason, row["error"]), row[
            "error"
        ]


def test_check_lists_all_bad_files_at_once(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"train_{label}_{i}.png" for label in ("NORMAL", "PNEUMONIA") for i in range(6)]
    names += [f"val_{label}_{i}.png" for label in ("NORMAL", "PNEUMONIA") for i in range(3)]
    broken = [place.images / name for name, _ in zip(names, IMAGES, strict=False)]
    for path, (write, _) in zip(broken, IMAGES.values(), strict=True):
        path.unlink()
        write(path)
    answer = tiny.multimix(capsys, "data", "check", place.manifest)
    assert answer.code == 1
    assert "Traceback" not in answer.out + answer.err
    findings = [line for line in answer.out.splitlines() if line.startswith("error: ")]
    assert len(findings) == len(broken)
    for path in broken:
        assert sum(f"error: {path}: " in line for line in findings) == 1


def test_check_writes_what_can_be_used_and_training_goes_on_with_it(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, good = place.images / IMAGE, place.manifest.with_name("good.csv")
    broken.write_bytes(b"no image")
    refused(capsys, place.train(), rf"{IMAGE}: .*--good FILE", 1)
    before = read_manifest(place.manifest)
    answer = tiny.multimix(capsys, "data", "check", place.manifest, "--good", good)
    assert answer.code == 1
    assert f"{good}: {len(before) - 1} of {len(before)} rows" in answer.out
    assert read_manifest(good) == [record for record in before if record.image != broken]
    assert tiny.multimix(capsys, *place.train(data=good)).code == 0
    refused(capsys, ["data", "check", place.manifest, "--good", good], f"{good}: exists", 2)


# Manifests.


def duplicate_row(place: Place) -> None:
    row = place.manifest.read_text("utf-8").splitlines(True)[1]
    with place.manifest.open("a", encoding="utf-8") as file:
        file.write(row)


def same_patient(place: Place) -> None:
    place.rewrite(",train,train_0,lungs", ",train,test_0,lungs")


def same_pixels(place: Place) -> None:
    shutil.copy(place.images / "train_0.png", place.images / "test_0.png")


def small_mask(place: Place) -> None:
    for mask in place.masks.glob("train_*.png"):
        Image.fromarray(np.full((16, 20), 255, np.uint8)).save(mask)


def text_mask(place: Place) -> None:
    for mask in place.masks.glob("train_*.png"):
        mask.write_text("no mask")


def grey_mask(place: Place) -> None:
    for mask in place.masks.glob("train_*.png"):
        Image.fromarray(np.full((32, 32), 7, np.uint8)).save(mask)


def no_masks(place: Place) -> None:
    place.manifest.write_text(re.sub(r"masks/[^,]*", "", place.manifest.read_text("utf-8")), "utf-8")


def to_bytes(data: bytes) -> Callable[[Place], None]:
    return lambda place: place.manifest.write_bytes(data) and None


def remove(name: str) -> Callable[[Place], None]:
    return lambda place: (place.root / "data" / name).unlink()


def rewrite(old: str, new: str, count: int = -1) -> Callable[[Place], None]:
    return lambda place: place.rewrite(old, new, count)


MANIFESTS: dict[str, tuple[Callable[[Place], None], str]] = {
    "without a column": (
        rewrite("image,", "picture,", 1),
        r"manifest\.csv: no image column.*rename the column",
    ),
    "empty": (to_bytes(b""), r"manifest\.csv: has no rows.*data index"),
    "header alone": (to_bytes(b"image,label\n"), r"manifest\.csv: has no rows.*data index"),
    "binary": (to_bytes(bytes(range(256)) * 8), r"manifest\.csv: .*(save it as CSV|rename|complete)"),
    "a picture": (
        lambda place: shutil.copy(place.images / IMAGE, place.manifest) and None,
        r"manifest\.csv: is not a CSV.*save it as CSV",
    ),
    "not UTF-8": (
        to_bytes(b"image,label\n\x81.png,A\n"),
        r"manifest\.csv: is not a CSV table in UTF-8.*save",
    ),
    "a ragged row": (
        rewrite(",NORMAL,train,", ",NORMAL,train,more,", 1),
        r"manifest\.csv, line \d+: 7 cells.*complete the line",
    ),
    "a column twice": (
        rewrite("image,mask,", "image,image,", 1),
        r"manifest\.csv: columns \['image'\] occur twice.*rename",
    ),
    "a row twice": (duplicate_row, r"manifest\.csv, line 38: image .* is already in line 2.*keep one"),
    "a split that cannot be": (
        rewrite(",train,", ",part,", 1),
        r"line 2: split is 'part'.*correct the cell",
    ),
    "a path outside the folder": (
        rewrite(f"images/{IMAGE}", "../../x.png"),
        r"line 2: '\.\./\.\./x\.png' lies outside.*move the manifest",
    ),
    "an absolute path": (
        rewrite(f"images/{IMAGE}", "/etc/passwd"),
        r"line 2: '/etc/passwd' lies outside.*move the manifest",
    ),
    "an empty path": (rewrite(f"images/{IMAGE}", ""), "line 2: the image cell is empty.*name the file"),
    "a missing image": (remove(f"images/{IMAGE}"), rf"{IMAGE}: No such file.*Restore the file"),
    "a missing mask": (
        lambda place: [m.unlink() for m in place.masks.glob("train_*")] and None,
        r"masks/train_\d\.png: No such file.*Restore the file",
    ),
    "no manifest": (remove("manifest.csv"), r"manifest\.csv: no such manifest.*data index"),
    "a patient in two splits": (
        same_patient,
        "patient 'test_0' of 'lungs' is in .*put all images of a patient into one split",
    ),
    "the same pixels in two splits": (
        same_pixels,
        r"(train_0.*test_0|test_0.*train_0).* are the same picture in two splits\. Remove one",
    ),
    "masks of another size": (small_mask, r"masks/train_\d\.png: .*20 x 16.*32 x 32.*(export|Give)"),
    "text as a mask": (text_mask, r"masks/train_\d\.png: is not a PNG.*export it"),
    "a mask of one grey": (grey_mask, r"masks/train_\d\.png: mask values reach 7.*foreground 255"),
    "no masks": (no_masks, "manifest.csv: no masks in lungs.*Fill the mask column"),
    "one class": (
        rewrite("PNEUMONIA,", "NORMAL,"),
        r"manifest\.csv: found the classes \['NORMAL'\].*Check the label column",
    ),
    "no labels": (
        lambda place: (
            place.manifest.write_text(re.sub(",(NORMAL|PNEUMONIA),", ",,", place.manifest.read_text()))
            and None
        ),
        r"manifest\.csv: found the classes \[\].*Check the label column",
    ),
    "a class that no training image has": (
        rewrite("PNEUMONIA,train", "NORMAL,train"),
        "no labelled training image of class 'PNEUMONIA'.*--classes",
    ),
    "no training images": (
        rewrite(",train,", ",test,"),
        "no training image has a class label.*name another source",
    ),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests(place: Place, capsys: pytest.CaptureFixture[str], name: str) -> None:
    breaking, pattern = MANIFESTS[name]
    breaking(place)
    refused(capsys, place.train(), pattern, 1)
    assert not (place.root / "new" / "best.safetensors").exists()


def test_a_manifest_of_another_kind(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for name, pattern in (
        ("manifest.ods", r"manifest\.ods: a manifest ends in \.csv.*convert it"),
        ("manifest.parquet", r"manifest\.parquet: is not a Parquet table.*write it again"),
    ):
        file = place.manifest.with_name(name)
        shutil.copy(place.manifest, file)
        refused(capsys, place.train(data=file), pattern, 1)


@pytest.mark.parametrize("command", ["train", "evaluate", "check"])
def test_data_that_is_not_there(place: Place, capsys: pytest.CaptureFixture[str], command: str) -> None:
    missing = place.root / "nowhere"
    words = {
        "train": place.train(data=missing),
        "evaluate": ["evaluate", place.run, missing],
        "check": ["data", "check", missing],
    }
    refused(capsys, words[command], f"{missing}: no such (manifest|file).*check the path", 1)


# Options of train. {root} is the folder of the test.

OPTIONS: dict[str, tuple[list[str], str]] = {
    "a size that does not fit": (
        ["--size", "100"],
        "--size: expected a positive multiple of 16, got 100. Change",
    ),
    "no size": (["--size", "0"], "--size.*0 is not in the range 16<=x<=4096. See"),
    "two channels": (["--channels", "2"], "--channels: expected 1 or 3, got 2. Change"),
    "a negative seed": (["--seed", "-1"], "--seed: expected an integer >= 0.*got -1. Change"),
    "no steps": (["--steps", "0"], "--steps: expected at least 1, got 0. Change"),
    "no patience": (["--patience", "0"], "patience: expected at least 1, or null, got 0. Change"),
    "an unknown method": (["--method", "magic"], "Unknown --method 'magic'. Choose one of: u-net"),
    "an unknown recipe": (["--recipe", "cake"], "Unknown --recipe 'cake'. Choose one of: ours, tuned, paper"),
    "an unknown device": (
        ["--device", "abacus"],
        "--device: expected auto, cpu, cuda or mps, got 'abacus'. Change",
    ),
    "an unknown precision": (
        ["--precision", "8"],
        "--precision: expected 32-true or bf16-mixed, got '8'. Change",
    ),
    "more labels than there are": (
        ["--class-labels", "99"],
        "--class-labels 99: 12 training images.*give 1 to 12",
    ),
    "more masks than there are": (
        ["--mask-labels", "99"],
        "--mask-labels 99: 6 training images.*give 1 to 6",
    ),
    "no labels": (["--class-labels", "0"], "--class-labels.*expected a number of images from 1 on.*See"),
    "labels in words": (
        ["--class-labels", "few"],
        "--class-labels.*expected a number of images from 1 on.*See",
    ),
    "a number that is none": (
        ["--mask-labels", "²"],
        "--mask-labels.*expected a number of images from 1 on.*See",
    ),
    "no source": (
        ["--class-source", ""],
        r"MultiMix\+ needs --class-source. Sources in .*: lungs, wards. Name one .*masks alone: --method u-net",
    ),
    "a field that does not exist": (
        ["--set", "optim.speed=1"],
        "Unknown configuration field 'optim.speed'. Known here",
    ),
    "a field of a field": (["--set", "seed.x=1"], "seed: expected a value of type int.*Change"),
    "a wrong type": (
        ["--set", "optim.steps=many"],
        "optim.steps: expected a value of type int, got 'many'. Change",
    ),
    "no value": (["--set", "optim.steps"], "--set: expected NAME=VALUE.*Change"),
    "a value that is no YAML": (
        ["--set", "model.widths=[1, 2"],
        r"--set model.widths=\[1, 2: the value is not YAML. Quote",
    ),
    "too few widths": (
        ["--set", "model.widths=[2, 2]"],
        "model.widths: expected five positive integers.*Change",
    ),
    "a rate that is no number": (
        ["--set", "optim.learning_rate=.nan"],
        "optim.learning_rate: expected .*got nan.*Change",
    ),
    "a structure that nobody drew": (
        ["--structures", "heart"],
        r"mask of every structure \(heart\). Narrow --structures",
    ),
    "a config that is not there": (
        ["--config", "{root}/x.yaml"],
        "x.yaml: not a readable YAML file.*Check the path",
    ),
    "a config that is a folder": (
        ["--config", "{root}/data"],
        "data: not a readable YAML file.*Check the path",
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options(place: Place, capsys: pytest.CaptureFixture[str], name: str) -> None:
    words, pattern = OPTIONS[name]
    code = 1 if "heart" in words else 2
    refused(capsys, place.train(*(word.format(root=place.root) for word in words)), pattern, code)
    assert not (place.root / "new").exists()


DATA_OPTIONS: dict[str, tuple[list[str], str]] = {
    "fewer labels than classes": (
        ["--class-labels", "1"],
        "class '.*' gets no image from a budget of 1; raise --class-labels",
    ),
    "a class source that does not exist": (
        ["--class-source", "nih"],
        "no image of source 'nih'.*'lungs', 'wards': use one",
    ),
    "a mask source that does not exist": (
        ["--mask-source", "jsrt,lungs"],
        "no image of source 'jsrt'.*'lungs', 'wards': use one",
    ),
    "a label that nobody listed": (
        ["--classes", "NORMAL,OTHER"],
        r"PNEUMONIA_\d\.png: label 'PNEUMONIA' is not among.*--classes",
    ),
    "a class source without labels": (
        ["--class-source", "lungs"],
        r"found the classes \[\] in lungs.*--class-source",
    ),
    "a mask source without masks": (["--mask-source", "wards"], "no masks in wards.*--mask-source"),
}


@pytest.mark.parametrize("name", DATA_OPTIONS)
def test_options_that_do_not_fit_the_data(
    place: Place, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    words, pattern = DATA_OPTIONS[name]
    refused(capsys, place.train(*words), pattern, 1)
    assert not (place.root / "new").exists()


CONFIGS: dict[str, tuple[bytes, str]] = {
    "syntax error": (b"seed: [1, 2", "not a readable YAML file.*Check the path and the syntax"),
    "binary": (bytes(range(256)), "not a readable YAML file.*Check the path and the syntax"),
    "list": (b"- 1\n- 2\n", "expected a YAML mapping such as 'seed: 0', got list"),
    "empty": (b"", "expected a YAML mapping such as 'seed: 0', got NoneType"),
    "unknown field": (b"speed: 3\n", "Unknown configuration field 'speed'. Known here"),
    "wrong type": (b"seed: high\n", "seed: expected a value of type int, got 'high'. Change"),
    "value instead of fields": (b"optim: fast\n", "optim: expected a mapping, got 'fast'. Change"),
    "date that is none": (b"seed: 2021-02-31\n", "not a readable YAML file.*Check the path and the syntax"),
    "code": (
        b"seed: !!python/object/apply:os.getpid []\n",
        "not a readable YAML file.*Check the path and the syntax",
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("where", ["new", "resumed", "evaluated"])
def test_configs(place: Place, capsys: pytest.CaptureFixture[str], name: str, where: str) -> None:
    data, pattern = CONFIGS[name]
    file = place.root / "given.yaml" if where == "new" else place.run / "config.yaml"
    file.write_bytes(data)
    words = {
        "new": place.train("--config", file),
        "resumed": ["train", "--out", place.run, "--resume"],
        "evaluated": ["evaluate", place.run],
    }
    refused(capsys, words[where], f"{file}: {pattern}", 2)


# Run folders and weights.


def other_weights(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path)


def other_network(path: Path) -> None:
    save_file(
        {"model.weight": torch.zeros(3)}, path, {"multimix": '{"spec": {"classes": ["a"], "size": "big"}}'}
    )


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


WEIGHTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "no such weights file. Give a folder that `multimix train` wrote"),
    "cut short": (cut_short, "not a readable safetensors file.*Copy it again"),
    "zero bytes": (content(b""), "not a readable safetensors file.*Copy it again"),
    "zeros": (content(b"\0" * 5000), "not a readable safetensors file.*Copy it again"),
    "text": (content(b"these are no weights"), "not a readable safetensors file.*Copy it again"),
    "of something else": (other_weights, "not weights of a MultiMix network.*Use best.safetensors of a run"),
    "of another network": (other_network, "not weights of a MultiMix network.*Use best.safetensors of a run"),
}


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_weights(place: Place, capsys: pytest.CaptureFixture[str], name: str, command: str) -> None:
    breaking, pattern = WEIGHTS[name]
    file = place.run / "best.safetensors"
    breaking(file)
    words: Words = ["evaluate", place.run]
    if command == "predict":
        words = ["predict", place.run, place.images, "--out", place.root / "answers"]
    refused(capsys, words, f"{file}: {pattern}", 1)
    assert not (place.root / "answers").exists()


@pytest.mark.parametrize("name", [name for name in WEIGHTS if name not in ("missing", "of another network")])
def test_states(place: Place, capsys: pytest.CaptureFixture[str], name: str) -> None:
    file = place.run / "last.safetensors"
    WEIGHTS[name][0](file)
    words: Words = ["train", "--out", place.run, "--resume"]
    refused(capsys, words, rf"{file}: not a (readable safetensors file|training state).*[Tt]rain anew", 1)


def test_a_run_that_is_not_there(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    missing = place.root / "nowhere"
    refused(capsys, ["evaluate", missing], f"{missing}: no such weights file. Give a folder", 1)
    words: Words = ["predict", missing, place.images, "--out", place.root / "answers"]
    refused(capsys, words, f"{missing}: no such weights file. Give a folder", 1)


def test_a_damaged_run_json(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    (place.run / "run.json").write_text("{")
    refused(
        capsys, ["train", "--out", place.run, "--resume"], r"run\.json: .*Train anew into another folder", 1
    )


def test_a_damaged_log_costs_its_lines_only(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    (place.run / "log.jsonl").write_bytes(b'{"step": 4}\n\xff\xfe\x00 rubbish')
    assert tiny.multimix(capsys, "train", "--out", place.run, "--resume").code == 0
    assert (place.run / "log.jsonl").read_text() == '{"step": 4}\n'


# Where to write.


def test_outputs_that_are_files(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    file = place.root / "file"
    file.write_text("mine")
    refused(capsys, place.train("--out", file), f"{file}: exists and is no run. Choose", 2)
    words: Words = ["predict", place.run, place.images, "--out", file]
    refused(capsys, words, f"{file}: expected a folder.*choose another --out", 2)
    refused(
        capsys,
        ["evaluate", place.run, "--out", file],
        f"{file}: cannot be made a folder.*Choose another --out",
        2,
    )
    refused(capsys, ["data", "phantom", file, "--size", "32"], f"{file}.*(c|C)hoose another", 1)
    assert file.read_text() == "mine"


def test_outputs_below_a_file(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    (place.root / "file").write_text("mine")
    below = place.root / "file" / "below"
    refused(capsys, place.train("--out", below), f"{below}.*cannot be written.*Choose another folder", 1)
    words: Words = ["predict", place.run, place.images, "--out", below]
    refused(capsys, words, f"{below}.*cannot be written.*Choose another folder", 1)
    refused(
        capsys,
        ["evaluate", place.run, "--out", below],
        f"{below}: cannot be made a folder.*Choose another --out",
        2,
    )
    words = ["data", "index", place.images, "--out", below / "manifest.csv"]
    refused(capsys, words, f"{below}.*(Choose another|choose another|above)", 1)


def test_a_folder_with_other_things_in_it_is_no_place_for_a_run(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(capsys, place.train("--out", place.images), f"{place.images}: exists and is no run. Choose", 2)


def test_a_cache_that_cannot_be_written(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (place.root / "file").write_text("mine")
    monkeypatch.setenv("MULTIMIX_CACHE", str(place.root / "file" / "cache"))
    refused(
        capsys,
        place.train(),
        f"{place.root / 'file' / 'cache'}: the cache cannot be written.*MULTIMIX_CACHE",
        1,
    )


# evaluate, predict, data.


def test_evaluate(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    run = place.run
    refused(
        capsys, ["evaluate", run, "--split", "dev"], "split 'dev' does not exist; use train, val or test", 2
    )
    words: Words = ["evaluate", run, place.manifest, "--class-source", "nih"]
    refused(capsys, words, "no image of source 'nih'.*'lungs', 'wards': use one", 1)
    words = ["evaluate", run, place.manifest, "--class-source", "lungs"]
    refused(
        capsys, words, "source 'lungs' split 'test': expected images with a class label.*Choose another", 1
    )
    refused(
        capsys, ["evaluate", run, "--device", "abacus"], "--device abacus: cannot be used here.*use 'cpu'", 2
    )


def test_evaluate_a_label_that_the_model_does_not_know(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.rewrite("PNEUMONIA,test", "COVID,test", 1)
    pattern = r"test_PNEUMONIA_0\.png: label 'COVID' is not among the model's classes.*Correct the label"
    refused(capsys, ["evaluate", place.run], pattern, 1)


def test_evaluate_a_mask_of_another_size(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    mask = place.masks / "test_0.png"
    Image.fromarray(np.zeros((16, 20), np.uint8)).save(mask)
    refused(
        capsys,
        ["evaluate", place.run],
        rf"{mask}: mask is 20 x 16 but its image is 32 x 32; export the mask",
        1,
    )


def test_predict_nothing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    empty = place.root / "empty"
    empty.mkdir()
    for path in (empty, place.root / "nowhere" / "x"):
        answer = tiny.multimix(capsys, "predict", place.run, path, "--out", place.root / "answers")
        assert answer.code in (1, 2)
        assert "Traceback" not in answer.err
        assert str(path) in (
            answer.err if answer.code == 2 else (place.root / "answers" / "predictions.csv").read_text()
        )
    refused(capsys, ["predict", place.run, empty, "--out", place.root / "a"], f"{empty}.*Name image files", 2)


INDEX: dict[str, tuple[list[str], str, int]] = {
    "a folder that is not there": (["{root}/nowhere"], "nowhere: is not a folder; name the folder", 1),
    "an empty folder": (["{root}/empty"], "empty: no image in this folder; expected", 1),
    "masks alone": (["{root}/only"], "only: holds masks but no images; name the folder", 1),
    "a pattern that is none": (
        ["{root}/data/images", "--patient-pattern", "("],
        r"--patient-pattern '\('.*correct it",
        2,
    ),
    "a pattern without a group": (
        ["{root}/data/images", "--patient-pattern", "x"],
        "has 0 groups, expected one",
        2,
    ),
    "a pattern that finds nothing": (
        ["{root}/data/images", "--patient-pattern", "(zz)"],
        "finds no patient.*correct",
        2,
    ),
    "a layout that it does not have": (
        ["{root}/data/images", "--layout", "jsrt"],
        "jsrt: expected .*images.*[A-Z]",
        1,
    ),
    "a pattern for a layout": (
        ["{root}/data/images", "--layout", "jsrt", "--patient-pattern", "(x)"],
        "--patient-pattern is for plain folders.*Leave it out",
        2,
    ),
    "another kind of table": (
        ["{root}/data/images", "--out", "{root}/m.xlsx"],
        r"m\.xlsx: .*\.csv or \.parquet",
        1,
    ),
    "a manifest beside its images": (
        ["{root}/data/images", "--out", "{root}/empty/m.csv"],
        r"lies outside.*write the manifest to a folder above",
        1,
    ),
    "a manifest that exists": (["{root}/data"], r"manifest\.csv: exists. Add --replace", 2),
}


@pytest.mark.parametrize("name", INDEX)
def test_index(place: Place, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (place.root / "empty").mkdir()
    shutil.copytree(place.masks, place.root / "only" / "masks")
    words, pattern, code = INDEX[name]
    refused(capsys, ["data", "index", *(word.format(root=place.root) for word in words)], pattern, code)


@pytest.mark.parametrize("words", [["--size", "0"], ["--size", "-16"], ["--seed", "-1"]])
def test_phantom(place: Place, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    refused(capsys, ["data", "phantom", place.root / "phantoms", *words], f"{words[0][2:]}.*{words[1]}", 2)
    assert not (place.root / "phantoms").exists()


def test_there_are_forty_and_more() -> None:
    tables = (IMAGES, MANIFESTS, OPTIONS, DATA_OPTIONS, CONFIGS, WEIGHTS, INDEX)
    assert sum(map(len, tables)) >= 40
