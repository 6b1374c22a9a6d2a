"""tools/ship_weights.py: half the bits with the same answers, and only what may be given out."""

import hashlib
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import multimix
from multimix.config import RunConfig
from multimix.errors import CheckpointError, UsageError
from multimix.io.writers import write_json
from multimix.networks.load import load_model, save_model
from multimix.networks.model import MultiMix
from multimix.reliability.calibration import Reliability
from multimix.weights.file import BEST, ModelSpec, read_tensors, write_tensors

ROOT = Path(__file__).resolve().parents[2]
SPEC = ModelSpec(("NORMAL", "PNEUMONIA"), ("lungs",), 32, widths=(4, 4, 8, 8, 8))


@pytest.fixture(scope="module")
def tool() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))
        yield importlib.import_module("ship_weights")


def write_run(folder: Path, *, mask_source: str = "kermany_v7", also: str = "") -> Path:
    """A run folder as training leaves it; `also` is a source that split.csv alone names."""
    torch.manual_seed(0)
    save_model(folder / BEST, MultiMix.from_spec(SPEC).state_dict(), SPEC, {"lungs": torch.rand(32, 32)})
    data = {
        "manifest": "/somewhere/xrays",
        "class_source": ["kermany", "nih"],
        "mask_source": [mask_source],
        "size": 32,
    }
    config = RunConfig.from_mapping({"method": "multimix", "data": data})
    (folder / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    write_json(
        folder / "run.json", {"versions": {"multimix": "1", "torch": "2", "python": "3", "platform": "x"}}
    )
    rows = [
        "role,image,label,source,patient",
        "labelled_classes,a.png,NORMAL,kermany,1",
        "labelled_classes,b.png,NORMAL,nih,2",
        f"labelled_masks,c.png,,{mask_source},3",
        f"labelled_masks,d.png,,{mask_source},4",
        *([f"val_masks,e.png,,{also},5"] if also else []),
    ]
    (folder / "split.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


def test_half_the_bits_answer_alike(tool: ModuleType, run: Path, tmp_path: Path) -> None:
    file = tool.ship(run, "tiny-xray", tmp_path / "weights", tmp_path / "results")
    assert file == tmp_path / "weights" / "tiny-xray.safetensors"
    before, header = read_tensors(run / BEST)
    after, kept = read_tensors(file)
    assert kept == header
    assert before.keys() == after.keys()
    assert {tensor.dtype for tensor in after.values()} == {np.dtype(np.float16)}
    assert file.stat().st_size < 0.6 * (run / BEST).stat().st_size
    rng = np.random.default_rng(0)
    images = [rng.random((40, 50), dtype=np.float32).cumsum(axis=0) / 40 for _ in range(4)]
    own, shipped = multimix.load(run), multimix.load(file)
    for image in images:
        expected, got = own(image), shipped(image)
        # 16 bits have a relative error of 2^-11.
        assert got.probabilities == pytest.approx(expected.probabilities, abs=2e-3)
        assert (got.masks["lungs"] != expected.masks["lungs"]).mean() < 0.02


def test_what_is_neither_network_nor_mean_mask_stays_as_it_is(
    tool: ModuleType, run: Path, tmp_path: Path
) -> None:
    tensors, header = read_tensors(run / BEST)
    write_tensors(run / BEST, tensors | {"other.thing": np.array([1 / 3], np.float32)}, header)
    after, _ = read_tensors(tool.ship(run, "tiny", tmp_path / "weights", tmp_path / "results"))
    assert after["other.thing"].dtype == np.float32
    np.testing.assert_array_equal(after["other.thing"], np.array([1 / 3], np.float32))


def test_text_and_facts(tool: ModuleType, run: Path, tmp_path: Path) -> None:
    file = tool.ship(run, "tiny", tmp_path / "weights", tmp_path / "results")
    text = (tmp_path / "weights" / "tiny.txt").read_text("utf-8")
    for words in ("NOT FOR CLINICAL USE", "V7 Labs", "rscbjbr9sj", "ChestX-ray14"):
        assert words in text
    facts = json.loads((tmp_path / "results" / "training.json").read_text("utf-8"))
    assert facts["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert facts["images"] == [
        {"role": "labelled_classes", "source": "kermany", "images": 1},
        {"role": "labelled_classes", "source": "nih", "images": 1},
        {"role": "labelled_masks", "source": "kermany_v7", "images": 2},
    ]
    assert facts["reliability"] is None
    assert "/somewhere" not in json.dumps(facts)


def test_how_far_the_answers_may_be_believed_goes_along(tool: ModuleType, run: Path, tmp_path: Path) -> None:
    known = Reliability(temperature=1.5, thresholds=(0.6, 0.4), quantiles=(0.3, 0.7))
    save_model(run / BEST, MultiMix.from_spec(SPEC).state_dict(), SPEC, {}, known)
    file = tool.ship(run, "tiny", tmp_path / "weights", tmp_path / "results")
    assert load_model(file).reliability == known
    facts = json.loads((tmp_path / "results" / "training.json").read_text("utf-8"))
    assert facts["reliability"] == {"temperature": 1.5, "thresholds": [0.6, 0.4], "coverage": 0.9}


def refused(tool: ModuleType, kind: type[Exception], words: str, *given: Any) -> None:
    folder, results = given[-2:]
    with pytest.raises(kind, match=words):
        tool.ship(*given)
    assert not list(folder.glob("*"))
    assert not list(results.glob("*"))


@pytest.mark.parametrize("changes", [{"mask_source": "jsrt"}, {"also": "jsrt"}])
def test_other_sources_are_refused(tool: ModuleType, changes: dict[str, str], tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", **changes)
    refused(tool, UsageError, "learned from jsrt", run, "tiny", tmp_path / "weights", tmp_path / "results")


def test_a_large_network_is_refused(
    tool: ModuleType, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tool.LARGEST == 8_000_000
    monkeypatch.setattr(tool, "LARGEST", 1000)
    refused(tool, CheckpointError, "at most 1,000", run, "tiny", tmp_path / "weights", tmp_path / "results")


def test_a_weight_beyond_16_bits_is_refused(tool: ModuleType, run: Path, tmp_path: Path) -> None:
    tensors, header = read_tensors(run / BEST)
    name = next(iter(tensors))
    tensors[name].flat[0] = 70_000
    write_tensors(run / BEST, tensors, header)
    refused(tool, CheckpointError, "16 bits", run, "tiny", tmp_path / "weights", tmp_path / "results")


@pytest.mark.parametrize("name", ["Chest", "a b", "../x", "", "-a"])
def test_names(tool: ModuleType, run: Path, name: str, tmp_path: Path) -> None:
    refused(tool, UsageError, "small letters", run, name, tmp_path / "weights", tmp_path / "results")


@pytest.mark.parametrize("missing", ["config.yaml", "split.csv", BEST, "run.json"])
def test_an_incomplete_run_is_refused(tool: ModuleType, run: Path, missing: str, tmp_path: Path) -> None:
    (run / missing).unlink()
    refused(tool, CheckpointError, str(run), run, "tiny", tmp_path / "weights", tmp_path / "results")
