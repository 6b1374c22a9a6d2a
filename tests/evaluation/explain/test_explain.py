"""The whole way: a model and a manifest to figures, files and words, from Python and from the command line."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import tiny
from multimix.data.manifest import read_manifest, write_manifest
from multimix.data.phantom import write_dataset
from multimix.errors import ManifestError, UsageError
from multimix.evaluation.explain import explain, pooled, shuffle_labels, write_explained
from multimix.evaluation.explain.summary import summarise
from multimix.io.run_folder import read_per_image
from multimix.networks.load import save_model
from multimix.networks.model import MultiMix
from multimix.weights.file import BEST, ModelSpec, read_weights

SPEC = ModelSpec(
    classes=("NORMAL", "PNEUMONIA"), structures=("lungs",), size=32, widths=(4, 4, 4, 4, 4), locate=True
)


def write_run(folder: Path, spec: ModelSpec = SPEC, seed: int = 0) -> Path:
    """A folder with the weights of an untrained network."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    save_model(folder / BEST, MultiMix.from_spec(spec).state_dict(), spec, {})
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    return write_dataset(folder, size=32, train=2, val=2, test=24, other=3, findings=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run")


def test_every_test_of_every_source(run: Path, data: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", seed=1)
    results = explain(run, data, seeds=[other], shuffled=[other])
    assert [(r.source, r.split, r.images, r.patients) for r in results] == [
        ("phantom_a", "test", 24, 24),
        ("phantom_b", "test", 3, 3),
    ]
    first = results[0]
    for name in (
        *("lift_structures_own", "pointing_finding_own_minus_gaussian", "lift_border_edges"),
        *("bridge_dice_another_patient", "bridge_change_noise", "deletion_own", "insertion_random"),
        *("road_own_minus_random", "cascade_location", "cascade_block1", "noise", "other_seeds"),
    ):
        assert np.isfinite(first.figures[name].value), name
    assert first.figures["other_seeds"] == first.figures["shuffled_labels"]
    # The disease is known of the ill alone.
    known = first.table["area_finding"].notna()
    assert (known == (first.table["label"] == "PNEUMONIA")).all()
    assert first.verdict.sample == "test images of phantom_a"
    assert "faithful" in first.verdict.failed  # the network has learned nothing
    assert results[1].verdict.untested  # three patients do not tell
    together = pooled(results)
    assert (together.images, together.sample) == (27, "test images of phantom_a, phantom_b")


def test_the_same_seed_gives_the_same_table_and_most_is_the_most(run: Path, data: Path) -> None:
    one, again = (explain(run, data, sources=["phantom_a"], most=5)[0] for _ in range(2))
    pd.testing.assert_frame_equal(one.table, again.table)
    assert one.images == 5
    other = explain(run, data, sources=["phantom_a"], most=5, seed=1)[0]
    assert other.table["image"].tolist() != one.table["image"].tolist()


def test_figures_can_be_had_again_from_the_stored_table(run: Path, data: Path, tmp_path: Path) -> None:
    results = explain(run, data, sources=["phantom_b"])
    summary, per_image = write_explained(tmp_path / "csv", results, manifest=data)
    stored = json.loads(summary.read_text())
    assert stored["manifest"] == str(data)
    (entry,) = stored["sources"]
    assert (entry["source"], entry["images"], entry["passed"]) == ("phantom_b", 3, False)
    again = summarise(read_per_image(per_image))
    for name, figure in entry["figures"].items():
        assert figure["value"] == again[name].value, name
    # As Parquet, in place of the other.
    _, parquet = write_explained(tmp_path / "csv", results, suffix=".parquet")
    assert parquet.is_file()
    assert not per_image.exists()


def test_a_model_without_classes_has_no_map(data: Path, tmp_path: Path) -> None:
    masks = write_run(tmp_path / "u-net", ModelSpec((), ("lungs",), 32, widths=(4,) * 5, bridge=False))
    with pytest.raises(UsageError, match="classifies nothing"):
        explain(masks, data)


def test_a_model_without_masks_is_tested_where_the_disease_is(data: Path, tmp_path: Path) -> None:
    classes = write_run(tmp_path / "enc", ModelSpec(("A", "B"), (), 32, widths=(4,) * 5, bridge=False))
    result = explain(classes, data, sources=["phantom_a"])[0]
    assert result.images == 12  # the ill ones
    assert "lift_finding_own" in result.figures
    assert not [name for name in result.figures if "structures" in name or "bridge" in name]


def test_images_without_masks_are_refused(run: Path, tmp_path: Path) -> None:
    tiny.write_xrays(tmp_path / "data")
    with pytest.raises(ManifestError, match=r"expected images with masks of lungs or with mask:finding"):
        explain(run, tmp_path / "data", sources=["wards"])
    assert [r.source for r in explain(run, tmp_path / "data")] == ["lungs"]


def test_networks_of_another_size_are_not_compared(run: Path, data: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "large", ModelSpec(("A", "B"), ("lungs",), 64, widths=(4,) * 5))
    with pytest.raises(UsageError, match="runs of one size"):
        explain(run, data, seeds=[other])


def test_shuffled_labels_stay_within_their_split(data: Path, tmp_path: Path) -> None:
    records = read_manifest(data)
    dealt = shuffle_labels(records, 1)
    assert [(r.image, r.masks) for r in dealt] == [(r.image, r.masks) for r in records]
    for split in ("train", "test"):
        counts = [Counter(r.label for r in given if r.split == split) for given in (records, dealt)]
        assert counts[0] == counts[1]
    assert [r.label for r in dealt] != [r.label for r in records]
    assert dealt == shuffle_labels(records, 1)
    write_manifest(data.with_name("shuffled.csv"), dealt)
    assert read_manifest(data.with_name("shuffled.csv")) == dealt


def test_command(run: Path, data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    answer = tiny.multimix(
        capsys, "explain", run, data, "--source", "phantom_a", "--most", "22", "--out", tmp_path / "out"
    )
    assert answer.code == 0
    for words in ("the model's map", "randomised network", "another patient's map", "ROAD", "down to block1"):
        assert words in answer.out
    assert "This model's heat map" in answer.out
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"explain.json", "per_image.csv"}


def test_command_where_it_does_not_fit(
    run: Path, data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for arguments, reason in (
        ([run], "a weights file does not know its data"),
        ([run, data, "--source", "nowhere"], "no image of source 'nowhere'"),
        ([run, data, "--split", "tset"], "split 'tset' does not exist"),
        ([run, data, "--weights", "chest-xray"], "expected one of them"),
        ([tmp_path / "nothing", data], "no such weights file"),
        ([run, data, "--device", "tpu"], "--device tpu: cannot be used here"),
    ):
        answer = tiny.multimix(capsys, "explain", *arguments)
        assert answer.code in (1, 2), arguments
        assert len(answer.errors) == 1, arguments
        assert "Traceback" not in answer.err
        assert reason in answer.err, arguments


def test_the_verdict_is_stored_where_it_is_asked_for(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = write_run(tmp_path / "own")
    words = ("explain", run, data, "--split", "val", "--out", tmp_path / "out")
    assert tiny.multimix(capsys, *words).code == 0
    assert read_weights(run).verdict is None
    answer = tiny.multimix(capsys, *words, "--store")
    assert (answer.code, f"Verdict: in {run / BEST}" in answer.out) == (0, True)
    stored = read_weights(run).verdict
    assert stored == pooled(explain(run, data, split="val"))
    assert stored is not None
    assert stored.sample == "validation images of phantom_a"


@pytest.mark.parametrize("model", [("--weights", "chest-xray"), ()], ids=["shipped", "test images"])
def test_a_verdict_of_test_images_or_in_shipped_weights_is_refused(
    model: tuple[str, ...], run: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*model, data, "--split", "val") if model else (run, data)
    answer = tiny.multimix(capsys, "explain", *words, "--store")
    assert (answer.code, "Give RUN and --split val" in answer.err) == (2, True)
    assert read_weights(run).verdict is None


def test_a_sealed_part_is_not_looked_at(
    run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = write_dataset(tmp_path / "data", size=32, train=2, val=2, test=2, other=0)
    assert tiny.multimix(capsys, "seal", data).code == 0
    answer = tiny.multimix(capsys, "explain", run, data.parent)
    assert answer.code == 2
    assert "sealed" in answer.errors[0]
    assert tiny.multimix(capsys, "explain", run, data, "--split", "val", "--out", tmp_path / "out").code == 0


def test_a_damaged_image_is_named(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", size=32, train=1, val=1, test=2, other=0)
    (tmp_path / "data" / "phantom_a" / "images" / "test_0001.png").write_bytes(b"no image")
    answer = tiny.multimix(capsys, "explain", run, data)
    assert answer.code == 1
    assert "test_0001.png" in answer.errors[0]


def test_grey_images_give_maps_of_zeros_and_no_crash(run: Path, tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", size=32, train=1, val=1, test=3, other=0)
    for file in (tmp_path / "data" / "phantom_a" / "images").glob("test_*.png"):
        Image.fromarray(np.full((32, 32), 100, np.uint8)).save(file)
    assert explain(run, data)[0].images == 3
