"""Runs that begin from earlier weights."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from multimix.networks.load import save_model
from multimix.networks.model import MultiMix
from multimix.training.start import begin_from
from multimix.weights.file import ModelSpec

SPEC = ModelSpec(("a", "b"), ("lungs",), 16, widths=(2, 2, 2, 2, 2), locate=True)


def network(spec: ModelSpec, seed: int) -> MultiMix:
    torch.manual_seed(seed)
    return MultiMix.from_spec(spec)


def stored(path: Path, spec: ModelSpec = SPEC) -> dict[str, np.ndarray]:
    model = network(spec, 1)
    save_model(path, model.state_dict(), spec, {})
    return {name: values.numpy() for name, values in model.state_dict().items()}


def begun(
    path: Path, spec: ModelSpec
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], tuple[str, ...]]:
    """Weights before, weights after, what is new."""
    model = network(spec, 2)
    before = {name: values.clone().numpy() for name, values in model.state_dict().items()}
    start = begin_from(model, spec, str(path))
    return before, {name: values.numpy() for name, values in model.state_dict().items()}, start.new


def test_the_same_network_is_taken_whole(tmp_path: Path) -> None:
    earlier = stored(tmp_path / "w.safetensors")
    _, after, new = begun(tmp_path / "w.safetensors", SPEC)
    assert new == ()
    assert all(np.array_equal(after[name], earlier[name]) for name in earlier)


def test_classes_and_structures_are_kept_by_name(tmp_path: Path) -> None:
    earlier = stored(tmp_path / "w.safetensors")
    spec = replace(SPEC, classes=("c", "a"), structures=("heart", "lungs"))
    before, after, new = begun(tmp_path / "w.safetensors", spec)
    assert set(new) == {"class 'c'", "structure 'heart'"}
    for name in ("head.linear.weight", "head.linear.bias"):
        np.testing.assert_array_equal(after[name], [before[name][0], earlier[name][0]])
    for name in ("decoder.last.weight", "locate.bias"):
        np.testing.assert_array_equal(after[name], [before[name][0], earlier[name][0]])


def test_parts_of_another_shape_are_new(tmp_path: Path) -> None:
    earlier = stored(tmp_path / "w.safetensors", replace(SPEC, bridge=False, locate=False))
    before, after, new = begun(tmp_path / "w.safetensors", SPEC)
    assert set(new) == {"decoder.blocks.0.conv1", "structure 'lungs'"}  # the coarse map of it
    name = "decoder.blocks.0.conv1.weight"
    np.testing.assert_array_equal(after[name], before[name])
    np.testing.assert_array_equal(after["decoder.last.weight"], earlier["decoder.last.weight"])


@pytest.mark.parametrize(("from_channels", "to_channels"), [(1, 3), (3, 1)])
def test_a_grey_image_has_the_same_features_in_colour(
    tmp_path: Path, from_channels: int, to_channels: int
) -> None:
    specs = [replace(SPEC, channels=c, bridge=False) for c in (from_channels, to_channels)]
    stored(tmp_path / "w.safetensors", specs[0])
    model = network(specs[1], 2)
    assert begin_from(model, specs[1], str(tmp_path / "w.safetensors")).new == ()
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    ours, theirs = (
        net(image.expand(-1, channels, -1, -1)).class_logits.detach()
        for net, channels in ((model, to_channels), (network(specs[0], 1), from_channels))
    )
    torch.testing.assert_close(ours, theirs)


def test_another_size_of_network_is_refused_with_the_option(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    manifest = tiny.write_xrays(tmp_path / "xrays")
    stored(tmp_path / "w.safetensors", replace(SPEC, widths=(4, 4, 4, 4, 4)))
    options = [*tiny.OPTIONS, "--init", tmp_path / "w.safetensors", "--out", tmp_path / "run"]
    answer = tiny.multimix(capsys, "train", manifest, *options)
    assert answer.code != 0
    assert "--set 'model.widths=[4, 4, 4, 4, 4]'" in answer.err
    assert not (tmp_path / "run").exists()


def test_a_run_begins_from_another_and_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    manifest = tiny.write_xrays(tmp_path / "xrays")
    assert tiny.multimix(capsys, "train", manifest, *tiny.OPTIONS, "--out", tmp_path / "one").code == 0
    options = [*tiny.OPTIONS, "--init", tmp_path / "one", "--seed", "1", "--out", tmp_path / "two"]
    answer = tiny.multimix(capsys, "train", manifest, *options)
    assert answer.code == 0, answer.err
    assert f"Began from {tmp_path / 'one'}; made new: nothing." in answer.out
    assert json.loads((tmp_path / "two/run.json").read_text())["init"]["weights"] == str(tmp_path / "one")
    # More of the same run needs the earlier weights no longer.
    (tmp_path / "one").rename(tmp_path / "gone")
    assert tiny.multimix(capsys, "train", "--out", tmp_path / "two", "--resume").code == 0


def test_weights_that_know_the_test_images_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    manifest = tiny.write_xrays(tmp_path / "xrays")
    assert tiny.multimix(capsys, "train", manifest, *tiny.OPTIONS, "--out", tmp_path / "one").code == 0
    exchange = {"train": "test", "test": "train"}
    header, *rows = (tmp_path / "xrays/manifest.csv").read_text().splitlines()
    column = header.split(",").index("split")
    cells = [row.split(",") for row in rows]
    swapped = [[*c[:column], exchange.get(c[column], c[column]), *c[column + 1 :]] for c in cells]
    (tmp_path / "xrays/other.csv").write_text("\n".join([header, *map(",".join, swapped)]) + "\n")
    options = [*tiny.OPTIONS, "--class-labels", "2", "--mask-labels", "1", "--init", tmp_path / "one"]
    answer = tiny.multimix(capsys, "train", tmp_path / "xrays/other.csv", *options, "--out", tmp_path / "two")
    assert answer.code != 0
    assert "has learned from" in answer.err
    assert not (tmp_path / "two").exists()


def test_weights_that_ship_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    manifest = tiny.write_xrays(tmp_path / "xrays")
    options = [o for o in tiny.OPTIONS if "widths" not in o]
    options.remove("--set")
    answer = tiny.multimix(
        capsys, "train", manifest, *options, "--init", "chest-xray", "--out", tmp_path / "run"
    )
    assert answer.code == 0, answer.err
    assert "Began from chest-xray; made new: nothing." in answer.out
