"""Weights and training states come back as they were; anything else is refused in one line, and never executed."""

import dataclasses
import errno
import io
import json
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import multimix
from multimix.errors import CheckpointError, MultimixError, UsageError
from multimix.networks.load import load_model, load_released, save_model
from multimix.networks.model import MultiMix
from multimix.reliability.calibration import Reliability
from multimix.reliability.ood import Detector, Gaussian
from multimix.training.state import TrainingState, load_state, save_state
from multimix.weights.file import BEST, ModelSpec, read_tensors, write_tensors

SPEC = ModelSpec(
    classes=("normal", "pneumonia", "ångström"),
    structures=("lungs", "heart"),
    size=32,
    channels=3,
    multi_label=True,
    method="umtl",
    widths=(2, 3, 4, 5, 6),
    dropout=0.25,
    bridge=False,
)


def one_line(refusal: pytest.ExceptionInfo[Any], file: Path) -> str:
    message = str(refusal.value)
    assert message.startswith(str(file))
    assert "\n" not in message
    assert len(message) < len(str(file)) + 500
    return message


@pytest.fixture
def weights_file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = MultiMix.from_spec(SPEC)
    masks = {name: torch.rand(32, 32) for name in SPEC.structures}
    save_model(tmp_path / BEST, model.state_dict(), SPEC, masks)
    return tmp_path / BEST


# Weights


def test_a_network_comes_back_as_it_was(tmp_path: Path):
    torch.manual_seed(0)
    model, masks = MultiMix.from_spec(SPEC), {"lungs": torch.rand(32, 32), "heart": torch.rand(32, 32)}
    save_model(tmp_path / "run" / BEST, model.state_dict(), SPEC, masks)
    for place in (tmp_path / "run", tmp_path / "run" / BEST):
        loaded = load_model(place)
        assert loaded.spec == SPEC
        assert loaded.trivial_masks.keys() == masks.keys()
        for name, mask in masks.items():
            assert np.array_equal(loaded.trivial_masks[name], mask.numpy())
        assert not any(module.training for module in loaded.model.modules())
        assert not any(p.requires_grad for p in loaded.model.parameters())
        images = torch.rand(1, 3, 32, 32)
        expected, got = model(images), loaded.model(images)
        for name, tensor in vars(expected).items():
            assert torch.equal(getattr(got, name), tensor), name


def test_a_network_that_only_classifies_has_no_structures(tmp_path: Path):
    spec = ModelSpec(classes=("a", "b"), structures=(), size=16, method="enc", widths=(2,) * 5, bridge=False)
    save_model(tmp_path / BEST, MultiMix.from_spec(spec).state_dict(), spec, {})
    loaded = load_model(tmp_path)
    assert (loaded.spec.classify, loaded.spec.segment) == (True, False)
    assert loaded.trivial_masks == {}
    assert loaded.model.classify(torch.rand(1, 1, 16, 16)).shape == (1, 2)


def three_steps(model: MultiMix) -> float:
    """How far three optimiser steps on a loss of class and mask move the weights."""
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        optimizer.zero_grad()
        output = model(images)
        (output.class_logits.square().mean() + output.mask_logits.square().mean()).backward()
        optimizer.step()
    moved = zip(before, model.parameters(), strict=True)
    return max(float((new.detach() - old).abs().max()) for old, new in moved)


def test_a_predictors_network_says_that_it_does_not_learn_and_from_run_does(weights_file: Path):
    answering = multimix.load(weights_file.parent).model
    with pytest.raises(UsageError, match=r"does not learn.*multimix\.MultiMix\.from_run"):
        answering.train()
    with pytest.raises(RuntimeError, match="does not require grad"):  # of torch, where nobody asked for train
        three_steps(answering)
    for place in (weights_file.parent, str(weights_file)):
        learning = multimix.MultiMix.from_run(place)
        assert learning.training
        torch.testing.assert_close(learning.state_dict(), answering.state_dict(), rtol=0, atol=0)
        assert three_steps(learning) > 1e-6
    with pytest.raises(CheckpointError, match="no such weights file"):
        multimix.MultiMix.from_run(weights_file.parent / "elsewhere")


def reliable() -> Reliability:
    """Every part of it, with numbers that mean nothing."""
    rng = np.random.default_rng(0)
    kinds = [Gaussian(rng.normal(size=256), rng.normal(size=(3, 256)), np.ones(3), 0.5) for _ in range(2)]
    return Reliability(2.5, (0.2, 0.3, 0.5), 0.9, (0.1, 0.2, 0.3), Detector(*kinds, 30.0, 1.0, 2.0))


def test_reliability_comes_back_as_it_was(tmp_path: Path):
    known = reliable()
    save_model(tmp_path / "plain", MultiMix.from_spec(SPEC).state_dict(), SPEC, {})
    save_model(tmp_path / BEST, MultiMix.from_spec(SPEC).state_dict(), SPEC, {}, known)
    assert load_model(tmp_path / "plain").reliability is None
    found = load_model(tmp_path / BEST).reliability
    assert found is not None
    assert dataclasses.replace(found, detector=None) == dataclasses.replace(known, detector=None)
    assert found.detector is not None
    assert known.detector is not None
    assert (found.detector.far, found.detector.part) == (30, 2)
    np.testing.assert_allclose(found.detector.whole.components, known.detector.whole.components, atol=1e-6)
    assert (tmp_path / BEST).stat().st_size - (tmp_path / "plain").stat().st_size < 300_000


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": -1.0},
        {"temperature": "warm"},
        {"thresholds": [0.5]},
        {"quantiles": None},
        {"detector": {"far": 1.0}},
        {"detector": 3},
    ],
)
def test_damaged_reliability_is_refused(change: dict[str, Any], tmp_path: Path):
    save_model(tmp_path / BEST, MultiMix.from_spec(SPEC).state_dict(), SPEC, {}, reliable())
    tensors, header = read_tensors(tmp_path / BEST)
    header["reliability"] |= change
    write_tensors(tmp_path / BEST, tensors, header)
    with pytest.raises(CheckpointError) as refusal:
        load_model(tmp_path)
    assert "not weights of a MultiMix network" in one_line(refusal, tmp_path / BEST)


def test_saving_leaves_no_other_file(weights_file: Path):
    assert [path.name for path in weights_file.parent.iterdir()] == [BEST]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failed_write_leaves_the_old_file(number: int, weights_file: Path, monkeypatch: pytest.MonkeyPatch):
    before = weights_file.read_bytes()

    def half(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half)
        with pytest.raises((MultimixError, OSError)):
            save_model(weights_file, MultiMix.from_spec(SPEC).state_dict(), SPEC, {})
    assert [path.name for path in weights_file.parent.iterdir()] == [BEST]
    assert weights_file.read_bytes() == before


def test_nothing_there_is_said_so(tmp_path: Path):
    for place, file in ((tmp_path, tmp_path / BEST), (tmp_path / "none", tmp_path / "none")):
        with pytest.raises(CheckpointError) as refusal:
            load_model(place)
        assert "no such weights file. Give a folder" in one_line(refusal, file)


@pytest.mark.parametrize("length", [0, 1, 8, 200, 2_000, -1])
def test_a_truncated_file_is_refused(length: int, weights_file: Path):
    weights_file.write_bytes(weights_file.read_bytes()[:length])
    for load in (load_model, load_state):
        with pytest.raises(CheckpointError) as refusal:
            load(weights_file)
        assert "not a readable safetensors file" in one_line(refusal, weights_file)


def test_a_text_file_is_refused(tmp_path: Path):
    file = tmp_path / "weights.safetensors"
    file.write_text("these are no weights, however long one goes on about it\n" * 100)
    for load in (load_model, load_state):
        with pytest.raises(CheckpointError) as refusal:
            load(file)
        assert "not a readable safetensors file" in one_line(refusal, file)


def test_another_programs_safetensors_are_refused(tmp_path: Path):
    file = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(2)}, file, {"multimix": "no JSON"})
    with pytest.raises(CheckpointError):
        load_model(file)
    save_file({"x": torch.zeros(2)}, file)
    with pytest.raises(CheckpointError) as refusal:
        load_model(file)
    assert "not weights of a MultiMix network" in one_line(refusal, file)
    with pytest.raises(CheckpointError) as refusal:
        load_state(file)
    assert "not a training state" in one_line(refusal, file)


@pytest.mark.parametrize("header", [[], 3, None, "x", {}, {"spec": None}, {"spec": []}, {"spec": {}}])
def test_a_header_of_another_kind_is_refused(header: Any, tmp_path: Path):
    file = tmp_path / "weights.safetensors"
    save_file({"x": torch.zeros(2)}, file, {"multimix": json.dumps(header)})
    with pytest.raises(CheckpointError) as refusal:
        load_model(file)
    one_line(refusal, file)


@pytest.mark.parametrize(
    "change",
    [
        {"widths": (2, 3, 4, 5, 7)},
        {"widths": (2, 3, 4)},
        {"widths": ()},
        {"widths": (-2, 3, 4, 5, 6)},
        {"channels": 1},
        {"bridge": True},
        {"classes": ("one",)},
        {"structures": ("lungs",)},
        {"structures": ("lungs", "../../heart")},
    ],
)
def test_weights_that_do_not_fit_their_header_are_refused(change: dict[str, Any], tmp_path: Path):
    file, header = tmp_path / "weights.safetensors", {"spec": vars(SPEC) | change}
    write_tensors(
        file, {f"model.{k}": v.numpy() for k, v in MultiMix.from_spec(SPEC).state_dict().items()}, header
    )
    with pytest.raises(CheckpointError) as refusal:
        load_model(file)
    assert "not weights of a MultiMix network" in one_line(refusal, file)


def test_a_header_of_a_later_version_is_read_as_far_as_it_is_known(weights_file: Path):
    tensors = {f"model.{k}": v.numpy() for k, v in load_model(weights_file).model.state_dict().items()}
    write_tensors(weights_file, tensors, {"spec": vars(SPEC) | {"new": 1}, "also": 2})
    assert load_model(weights_file).spec == SPEC


# Training state


def state(**changes: Any) -> TrainingState:
    values: dict[str, Any] = {
        "step": 12,
        "seconds": 3.25,
        "best_score": 0.1 + 0.2,
        "stale": 2,
        "weights": {"a": torch.randn(3, 4), "b": torch.randn(2).double()},
        "average": {"a": torch.randn(4, 3).T, "b": torch.randn(2)[None].expand(3, 2)},
        "optimizer": {"0.step": torch.tensor(12.0), "0.exp_avg": torch.full((2,), float("nan"))},
    }
    return TrainingState(**values | changes)


@pytest.mark.parametrize("best", [None, 0.1 + 0.2, -1e-300])
def test_a_training_state_comes_back_bit_by_bit(best: float | None, tmp_path: Path):
    saved = state(best_score=best)
    save_state(tmp_path / "last.safetensors", saved)
    loaded = load_state(tmp_path / "last.safetensors")
    assert (loaded.step, loaded.seconds, loaded.best_score, loaded.stale) == (12, 3.25, best, 2)
    for part in ("weights", "average", "optimizer"):
        before, after = getattr(saved, part), getattr(loaded, part)
        assert before.keys() == after.keys()
        for name, tensor in before.items():
            assert after[name].dtype == tensor.dtype
            assert after[name].shape == tensor.shape
            torch.testing.assert_close(after[name], tensor, rtol=0, atol=0, equal_nan=True)


def test_what_was_loaded_outlives_the_file(tmp_path: Path):
    """A run goes on from tensors whose file it will replace."""
    file = tmp_path / "last.safetensors"
    save_state(file, state(weights={"a": torch.ones(1000)}))
    loaded = load_state(file)
    save_state(file, state(weights={"a": torch.zeros(1000)}))
    loaded.weights["a"].add_(1)
    assert loaded.weights["a"].eq(2).all()
    assert load_state(file).weights["a"].eq(0).all()


@pytest.mark.parametrize("numbers", [None, [], {}, {"step": 1}, {"step": 1, "more": 2}])
def test_a_state_with_other_fields_is_refused(numbers: Any, tmp_path: Path):
    write_tensors(tmp_path / "last.safetensors", {"model.a": np.zeros(1, np.float32)}, {"state": numbers})
    with pytest.raises(CheckpointError) as refusal:
        load_state(tmp_path / "last.safetensors")
    assert "not a training state" in one_line(refusal, tmp_path / "last.safetensors")


def test_weights_are_no_training_state_and_the_reverse(weights_file: Path, tmp_path: Path):
    with pytest.raises(CheckpointError, match="not a training state"):
        load_state(weights_file)
    save_state(tmp_path / "last.safetensors", state())
    with pytest.raises(CheckpointError, match="not weights of a MultiMix network"):
        load_model(tmp_path / "last.safetensors")


@pytest.mark.parametrize("place", ["none.safetensors", "."])
def test_no_training_state_is_said_so(place: str, tmp_path: Path):
    with pytest.raises(CheckpointError):
        load_state(tmp_path / place)


# The released checkpoint


def released_state(
    channels: int = 1, classes: int = 2, structures: int = 1, widths: tuple[int, ...] = (2, 3, 4, 5, 6)
) -> dict[str, Tensor]:
    """Random weights under the released names, whose shapes are in the paper's supplement, Tables 1 and 2."""
    w, rng = widths, torch.Generator().manual_seed(3)
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (a, b) in enumerate(zip((channels, *w[:4]), w, strict=True), start=1):
        shapes |= {f"encoder.dconv_down{i}.0": (b, a, 3, 3), f"encoder.dconv_down{i}.3": (b, b, 3, 3)}
    shapes["encoder.fc"] = (classes, w[4])
    for i, inputs in ((4, w[4] + w[3] + 2 * channels), (3, w[3] + w[2]), (2, w[2] + w[1]), (1, w[1] + w[0])):
        b = w[i - 1]
        shapes |= {f"decoder.dconv_up{i}.0": (b, inputs, 3, 3), f"decoder.dconv_up{i}.3": (b, b, 3, 3)}
    shapes["decoder.conv_last"] = (structures, w[0], 1, 1)
    shapes["decoder.conv_last_saliency"] = (structures, w[0] + channels, 1, 1)
    state = {}
    for name, shape in shapes.items():
        state[f"{name}.weight"] = torch.randn(shape, generator=rng)
        state[f"{name}.bias"] = torch.randn(shape[0], generator=rng)
    return state


def test_the_released_names_and_shapes(shared: Path):
    file = shared / "parity" / "reference_checkpoint.pth"
    stored = torch.load(file, map_location="cpu", weights_only=True)
    ours = released_state(widths=(16, 32, 64, 128, 256))
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in stored.items()}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(("channels", "classes", "structures"), [(1, 2, 1), (3, 5, 2)])
def test_the_network_follows_from_the_shapes(
    channels: int, classes: int, structures: int, zipped: bool, tmp_path: Path
):
    released = released_state(channels, classes, structures)
    torch.save(released, tmp_path / "m.pth", _use_new_zipfile_serialization=zipped)
    model = load_released(tmp_path / "m.pth")
    assert isinstance(model, MultiMix)
    assert not model.training
    for ours, theirs in (
        (model.encoder.blocks[0].conv1, "encoder.dconv_down1.0"),
        (model.encoder.blocks[4].conv2, "encoder.dconv_down5.3"),
        (model.head.linear, "encoder.fc"),
        (model.decoder.blocks[0].conv1, "decoder.dconv_up4.0"),
        (model.decoder.blocks[3].conv2, "decoder.dconv_up1.3"),
        (model.decoder.last, "decoder.conv_last"),
    ):
        assert torch.equal(ours.weight, released[f"{theirs}.weight"]), theirs
        assert torch.equal(ours.bias, released[f"{theirs}.bias"]), theirs
    # Every tensor but the released network's unused layer has found its place.
    unused = sum(v.numel() for k, v in released.items() if "conv_last_saliency" in k)
    assert sum(p.numel() for p in model.parameters()) == sum(v.numel() for v in released.values()) - unused
    output = model(torch.rand(1, channels, 32, 32))
    assert output.class_logits.shape == (1, classes)
    assert output.mask_logits.shape == (1, structures, 32, 32)


def test_it_takes_text_as_a_path(tmp_path: Path):
    torch.save(released_state(), tmp_path / "m.pth")
    assert multimix.load_released(str(tmp_path / "m.pth")).channels == 1


class Payload:
    """Makes a folder where it is unpickled."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def pickled(thing: Any, file: Path) -> None:
    file.write_bytes(pickle.dumps(thing))


def saved(thing: Any, file: Path) -> None:
    torch.save(thing, file)


def saved_before_zip(thing: Any, file: Path) -> None:
    torch.save(thing, file, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [pickled, saved, saved_before_zip])
@pytest.mark.parametrize("where", ["alone", "among the weights"])
def test_code_in_a_checkpoint_is_not_executed(where: str, write: Callable[[Any, Path], None], tmp_path: Path):
    payload = Payload(tmp_path / "executed")
    write(payload if where == "alone" else released_state() | {"extra": payload}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError) as refusal:
        load_released(tmp_path / "bad.pth")
    assert not payload.folder.exists()
    message = one_line(refusal, tmp_path / "bad.pth")
    # torch's own message explains how to execute it after all.
    assert "weights_only" not in message
    assert "never executed" in message
    # The payload works, so the test could have failed.
    pickle.loads(pickle.dumps(payload))
    assert payload.folder.is_dir()


def a_folder(file: Path) -> None:
    file.mkdir()


def a_zip_of_text(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/readme.txt", "no weights here")


def truncated(share: float, zipped: bool = True) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        buffer = io.BytesIO()
        torch.save(released_state(), buffer, _use_new_zipfile_serialization=zipped)
        file.write_bytes(buffer.getvalue()[: int(share * len(buffer.getvalue()))])

    return write


@pytest.mark.parametrize(
    "write",
    [
        a_folder,
        a_zip_of_text,
        lambda file: file.write_bytes(b""),
        lambda file: file.write_text("hello, world\n"),
        lambda file: file.write_bytes(bytes(range(256)) * 8),
        lambda file: file.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100)),
        *(truncated(share, zipped) for share in (0.05, 0.5, 0.99) for zipped in (True, False)),
    ],
)
def test_a_file_that_is_no_state_dict_is_refused(write: Callable[[Path], Any], tmp_path: Path):
    write(tmp_path / "odd.pth")
    with pytest.raises(CheckpointError) as refusal:
        load_released(tmp_path / "odd.pth")
    assert "cannot be read as a PyTorch state dict" in one_line(refusal, tmp_path / "odd.pth")


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(CheckpointError) as refusal:
        load_released(tmp_path / "none.pth")
    assert "no such file" in one_line(refusal, tmp_path / "none.pth")


GOOD = released_state()


@pytest.mark.parametrize(
    "content",
    [
        None,
        3,
        [torch.zeros(2)],
        torch.zeros(2),
        {},
        {"state_dict": GOOD},
        {f"module.{k}": v for k, v in GOOD.items()},
        {k: v for k, v in GOOD.items() if k != "encoder.fc.bias"},
        {k: v for k, v in GOOD.items() if k != "encoder.dconv_down3.3.weight"},
        GOOD | {"encoder.fc.weight": "text"},
        GOOD | {"encoder.fc.weight": torch.tensor(1.0)},
        GOOD | {"encoder.fc.weight": torch.zeros(2, 7)},
        GOOD | {"encoder.fc.bias": torch.zeros(3)},
        GOOD | {"encoder.fc.weight": torch.zeros(2, 6).to_sparse()},
        GOOD | {"encoder.dconv_down1.0.weight": torch.zeros(2)},
        GOOD | {"encoder.dconv_down1.0.weight": torch.zeros(2, 1, 5, 5)},
        GOOD | {"decoder.dconv_up4.0.weight": torch.zeros(5, 11, 3, 3)},
    ],
)
def test_a_state_dict_of_another_network_is_refused(content: Any, tmp_path: Path):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(CheckpointError) as refusal:
        load_released(tmp_path / "other.pth")
    assert "not a released MultiMix checkpoint" in one_line(refusal, tmp_path / "other.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_flipped_bytes_end_in_a_network_or_in_a_refusal(zipped: bool, tmp_path: Path):
    file, rng = tmp_path / "damaged.pth", random.Random(4)
    torch.save(released_state(), file, _use_new_zipfile_serialization=zipped)
    whole, refusals = file.read_bytes(), []
    for _ in range(100):
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 3, 20])):
            damaged[rng.randrange(3_000)] = rng.randrange(256)
        file.write_bytes(damaged)
        try:
            load_released(file)
        except CheckpointError as error:
            refusals.append(str(error))
    assert len(refusals) > 50
    assert all(message.startswith(str(file)) for message in refusals)
