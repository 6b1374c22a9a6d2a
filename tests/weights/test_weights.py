"""Weights that come with the package: found by name, read as any others, and those that ship are what they claim."""

import fnmatch
import hashlib
import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import multimix
from multimix import weights
from multimix.errors import CheckpointError, UsageError
from multimix.networks.load import load_model, save_model
from multimix.networks.model import MultiMix
from multimix.reliability.map_verdict import MapVerdict
from multimix.weights import shipped_card, shipped_file, shipped_names
from multimix.weights.file import BEST, ModelSpec, read_tensors, read_weights, store_verdict, write_tensors

ROOT = Path(__file__).resolve().parents[2]


def save(file: Path, classes: tuple[str, ...] = ("NORMAL", "PNEUMONIA")) -> Path:
    spec = ModelSpec(classes=classes, structures=("lungs",), size=32, widths=(2,) * 5)
    torch.manual_seed(len(classes))
    save_model(file, MultiMix.from_spec(spec).state_dict(), spec, {"lungs": torch.full((32, 32), 0.25)})
    return file


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two weights files where those of the package would be; the working folder is another one."""
    folder = tmp_path / "shipped"
    for name in ("tiny", "small"):
        save(folder / f"{name}.safetensors")
    (folder / "tiny.txt").write_text("terms", encoding="utf-8")
    (folder / ".multimix-0.safetensors").touch()  # what a kill may leave
    monkeypatch.setattr(weights, "FOLDER", folder)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return folder


def test_names_and_files(folder: Path) -> None:
    assert shipped_names() == ("small", "tiny")
    assert shipped_file("tiny") == folder / "tiny.safetensors"


def test_the_card_of_shipped_weights(folder: Path, tmp_path: Path) -> None:
    (folder / "tiny.json").write_text('{"input": "page"}', encoding="utf-8")
    for place in (Path("tiny"), folder / "tiny.safetensors"):
        assert shipped_card(place) == {"input": "page"}
    other = save(tmp_path / "other" / "tiny.safetensors")
    (tmp_path / "other" / "tiny.json").write_text('{"input": "another"}', encoding="utf-8")
    for place in (Path("small"), other, other.parent, Path("large")):
        assert shipped_card(place) == {}
    Path("tiny").mkdir()  # a run of that name comes first, as it does for the weights
    assert shipped_card(Path("tiny")) == {}


@pytest.mark.parametrize("name", ["large", "", "tiny.safetensors", "../shipped/tiny", "TINY"])
def test_another_name_is_refused_with_those_there_are(folder: Path, name: str) -> None:
    with pytest.raises(UsageError) as refusal:
        shipped_file(name)
    assert "small, tiny" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_package_without_weights_says_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    with pytest.raises(UsageError, match="Choose from: none"):
        shipped_file("tiny")


def test_load_takes_a_name(folder: Path) -> None:
    named, read = multimix.load("tiny"), multimix.load(folder / "tiny.safetensors")
    image = np.linspace(0, 1, 40 * 30, dtype=np.float32).reshape(40, 30)
    assert named(image).probabilities == read(image).probabilities


def test_a_run_on_the_disk_comes_before_the_name_and_another_folder_does_not(folder: Path) -> None:
    Path("tiny").mkdir()
    assert load_model(Path("tiny")).spec.classes == ("NORMAL", "PNEUMONIA")
    save(Path("tiny") / BEST, ("a", "b", "c"))
    assert load_model(Path("tiny")).spec.classes == ("a", "b", "c")


def test_a_path_that_is_none_names_the_weights_there_are(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no such weights file.*\(small, tiny\)"):
        multimix.load("large")


@pytest.mark.numeric
def test_half_the_bits_are_computed_with_in_32(folder: Path) -> None:
    file = folder / "tiny.safetensors"
    tensors, header = read_tensors(file)
    write_tensors(file, {name: tensor.astype(np.float16) for name, tensor in tensors.items()}, header)
    loaded = load_model(Path("tiny"))
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert loaded.trivial_masks["lungs"].dtype == np.float32
    assert (loaded.trivial_masks["lungs"] == 0.25).all()


def test_the_package_takes_the_files_along() -> None:
    globs = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    for file in ("weights/chest-xray.safetensors", "weights/chest-xray.txt", "weights/chest-xray.json"):
        assert any(fnmatch.fnmatch(file, glob) for glob in globs["multimix"]), file


@pytest.fixture
def chest_xray() -> Path:
    if "chest-xray" not in shipped_names():
        pytest.skip("chest-xray is not in src/multimix/weights: results/weights/run.sh puts it there")
    return shipped_file("chest-xray")


def test_what_ships_is_small_and_names_its_terms(chest_xray: Path) -> None:
    assert chest_xray.stat().st_size <= 8_000_000
    terms = chest_xray.with_suffix(".txt").read_text("utf-8")
    for words in ("NOT FOR CLINICAL USE", "CC BY 4.0", "10.17632/rscbjbr9sj", "V7 Labs"):
        assert words in terms


def test_what_ships_is_what_the_card_describes(chest_xray: Path) -> None:
    facts = json.loads((ROOT / "results" / "weights" / "training.json").read_text("utf-8"))
    assert facts["sha256"] == hashlib.sha256(chest_xray.read_bytes()).hexdigest()
    assert {one["source"] for one in facts["images"]} <= {"kermany", "kermany_v7", "nih"}


def test_what_ships_answers(chest_xray: Path) -> None:
    predictor = multimix.load("chest-xray")
    assert (predictor.spec.classes, predictor.spec.structures) == (("NORMAL", "PNEUMONIA"), ("lungs",))
    image = np.linspace(0, 1, 90 * 70, dtype=np.float32).reshape(90, 70)
    answer = predictor(image, force=True)  # no X-ray
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert answer.masks["lungs"].shape == (90, 70)


@pytest.mark.numeric
@pytest.mark.real
def test_what_ships_finds_lungs_and_pneumonia(chest_xray: Path, shared: Path) -> None:
    """Twelve test films of Kermany: far from the card's numbers, but no broken file passes."""
    predictor = multimix.load("chest-xray")
    data = shared / "data"
    films = {
        label: sorted((data / "classification" / "kermany" / "test" / label).iterdir())[:60:10]
        for label in ("NORMAL", "PNEUMONIA")
    }
    right = 0
    for label, files in films.items():
        for answer in predictor(files):
            right += answer.predicted == label
            assert 0.08 < answer.masks["lungs"].mean() < 0.6
    assert right >= 9


def test_a_verdict_is_stored_beside_what_the_file_holds(tmp_path: Path) -> None:
    torch.manual_seed(0)
    file = tmp_path / BEST
    spec = ModelSpec(("NORMAL", "PNEUMONIA"), ("lungs",), 32, widths=(2, 2, 2, 2, 2))
    save_model(file, MultiMix.from_spec(spec).state_dict(), spec, {"lungs": torch.ones(32, 32)})
    before = read_weights(file)
    assert before.verdict is None
    verdict = MapVerdict(90, "validation images of wards", ("localises",), ("bridge",), {"lift": 0.5})
    assert store_verdict(tmp_path, verdict) == file
    after = read_weights(file)
    assert after.verdict == verdict
    assert (after.spec, after.digest) == (before.spec, before.digest)
    assert (after.trivial_masks["lungs"] == 1).all()
    assert store_verdict(file, replace(verdict, failed=())) == file
    assert read_weights(file).verdict == replace(verdict, failed=())


def test_a_verdict_that_cannot_be_is_refused_with_the_file(tmp_path: Path) -> None:
    tensors, header = read_tensors(shipped_file("chest-xray"))
    write_tensors(tmp_path / BEST, tensors, header | {"map_verdict": {"images": 0}})
    with pytest.raises(CheckpointError, match="not weights of a MultiMix network"):
        read_weights(tmp_path)
