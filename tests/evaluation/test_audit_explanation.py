"""The audit of a run with enough validation images: a bridge that carries nothing, and a map that lies elsewhere."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import tiny
from multimix.data.phantom import write_dataset
from multimix.evaluation.audit import Finding, Unchecked
from multimix.evaluation.audit.explanation import bridge_unused, map_elsewhere
from multimix.evaluation.audit.run_folder import open_run_folder
from multimix.training.trainer import train
from multimix.weights.file import BEST, read_tensors, write_tensors

LISTENS = "model.decoder.blocks.0.conv1.weight"
"""Its last input channel is the map."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    manifest = write_dataset(folder / "data", size=32, train=16, val=24, test=1, other=0)
    config = tiny.run_config(
        manifest,
        data={"class_source": ["phantom_a"], "mask_source": ["phantom_a"], "size": 32, "mask_labels": 8},
        model={"widths": [4, 4, 4, 4, 4]},
        optim={"steps": 2},
    )
    train(config, folder / "run")
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


def given_weight(run: Path, factor: float) -> Path:
    """Multiply what the decoder takes from the map; the masks are about half of the image."""
    tensors, header = read_tensors(run / BEST)
    tensors[LISTENS][:, -1] *= factor
    tensors["model.decoder.last.bias"][:] = 0
    tensors["model.decoder.last.weight"][:] = np.array([1, -1, 1, -1]).reshape(1, 4, 1, 1)
    write_tensors(run / BEST, tensors, header)
    return run


def check(run: Path, of: object = bridge_unused) -> list[Finding | Unchecked]:
    return list(of(open_run_folder(run, None, (), None)))  # type: ignore[operator]


def test_a_decoder_that_does_not_take_the_map_is_found(run: Path) -> None:
    (found,) = check(given_weight(run, 0.0))
    assert isinstance(found, Finding)
    assert (found.fault, found.severity) == ("bridge-unused", "doubtful")
    assert found.evidence["Dice, given another patient"] == 1.0
    assert found.evidence["images"] == 24


def test_a_decoder_that_takes_it_seriously_is_not(run: Path) -> None:
    assert check(given_weight(run, 1e4)) == []


def test_a_map_of_a_network_that_has_learned_nothing_lies_elsewhere(run: Path) -> None:
    (found,) = check(run, map_elsewhere)
    assert isinstance(found, Finding)
    assert found.fault == "map-elsewhere"
    assert {"lift", "lift, edges", "brightest point inside", "area"} <= set(found.evidence)
    assert found.meaning.endswith(".")
    assert found.advice.endswith(".")
