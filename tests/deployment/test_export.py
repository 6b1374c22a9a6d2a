"""`multimix export`: the file says what it is, answers as torch does, and is refused where it was changed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import models
import numpy as np
import onnx
import pytest
from PIL import Image

import multimix
from multimix.cli import main
from multimix.data.phantom import CHILD, generate
from multimix.deployment.export import export
from multimix.deployment.runtimes import RUNTIMES, Run
from multimix.errors import CheckpointError, UsageError
from multimix.weights.exported import certified, read_exported, read_metadata
from multimix.weights.file import read_weights

pytestmark = pytest.mark.numeric


@pytest.fixture(autouse=True, scope="module")
def _unchecked() -> Iterator[None]:
    """Without the tests' checks of shapes, which know no symbolic sizes."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.write_model(tmp_path_factory.mktemp("weights") / "model.safetensors")


@pytest.fixture(scope="module")
def exported(weights: Path) -> Path:
    """The model as an ONNX file, tried on an image of its own."""
    own = weights.parent / "own"
    own.mkdir()
    Image.fromarray(generate(1, 90, seed=8, domain=CHILD).images[0]).save(own / "chest.png")
    out = weights.parent / "model.onnx"
    with pytest.MonkeyPatch.context() as patch:
        words = ("export", str(weights), "--out", str(out), "--parity", str(own))
        patch.setattr("sys.argv", ["multimix", *words])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 0
    return out


def test_the_file_says_what_it_is(exported: Path, weights: Path) -> None:
    said = read_metadata(exported.read_bytes())
    assert said == {entry.key: entry.value for entry in onnx.load(exported).metadata_props}
    assert json.loads(said["classes"]) == ["NORMAL", "PNEUMONIA"]
    assert json.loads(said["structures"]) == ["lungs", "heart"]
    assert json.loads(said["thresholds"]) == [0.45, 0.55]
    assert json.loads(said["temperature"]) == 1.7
    assert said["weights_sha256"] == read_weights(weights).digest
    assert {"notice", "licence", "map_verdict", "spacing", "versions", "card"} <= set(said)
    outputs = json.loads(said["outputs"])
    graph = onnx.load(exported).graph
    assert list(outputs) == [output.name for output in graph.output]
    assert [output.doc_string for output in graph.output] == list(outputs.values())
    certificate = json.loads(said["certificate"])
    assert certificate["images"] == {"generated": 8, "own": 1}
    assert set(certificate["runtimes"]["onnxruntime"]["outputs"]) == set(outputs)


def test_no_trace_of_the_machine_that_wrote_it(exported: Path) -> None:
    content = exported.read_bytes()
    assert not re.search(rb"\.py\b|File \"|site-packages", content)
    assert str(Path.cwd()).encode() not in content


def test_it_answers_as_torch_does(exported: Path, weights: Path) -> None:
    ours, torch = multimix.load(exported), multimix.load(weights)
    assert ours.spec == torch.spec
    assert ours.backend.digest == torch.backend.digest
    for image in generate(4, 77, seed=9, domain=CHILD).images:
        got, right = ours(image, force=True), torch(image, force=True)
        assert got.probabilities == pytest.approx(right.probabilities, abs=1e-5)
        assert (got.predicted, got.prediction_set, got.rejection) == (
            right.predicted,
            right.prediction_set,
            right.rejection,
        )
        for name, mask in right.masks.items():
            assert (got.masks[name] != mask).sum() <= 1
        assert got.saliency is not None
        assert right.saliency is not None
        assert np.linalg.norm(got.saliency - right.saliency) < 0.02 * np.linalg.norm(right.saliency)


def test_a_changed_file_is_refused_unless_it_is_asked_for(exported: Path, tmp_path: Path) -> None:
    model = onnx.load(exported)
    changed = tmp_path / "changed.onnx"
    weight = next(one for one in model.graph.initializer if "conv" in one.name)
    weight.raw_data = bytes(len(weight.raw_data))
    onnx.save(model, changed)
    with pytest.raises(CheckpointError, match="its certificate is of another file"):
        multimix.load(changed)
    assert multimix.load(changed, uncertified=True).spec.classes == ("NORMAL", "PNEUMONIA")


def test_a_certificate_has_to_name_the_runtime(exported: Path, tmp_path: Path) -> None:
    model = onnx.load(exported)
    kept = [entry for entry in model.metadata_props if entry.key != "certificate"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    bare, other = tmp_path / "bare.onnx", tmp_path / "other.onnx"
    onnx.save(model, bare)
    with pytest.raises(CheckpointError, match="it has no certificate"):
        read_exported(bare)
    other.write_bytes(certified(bare.read_bytes(), {"runtimes": {"openvino": {}}}))
    with pytest.raises(CheckpointError, match="does not name onnxruntime"):
        read_exported(other)


def test_no_file_where_an_answer_is_over_its_tolerance(
    exported: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def doubled(content: bytes) -> tuple[Run, str]:
        run, version = RUNTIMES["onnxruntime"](content)

        def run_wrongly(images: np.ndarray) -> dict[str, np.ndarray]:
            answers = dict(run(images))
            return answers | {"saliency": 2 * answers["saliency"]}

        return run_wrongly, version

    # The graph is exported once for all tests.
    monkeypatch.setattr("multimix.deployment.export.traced", lambda graph, pixels: None)
    monkeypatch.setattr("multimix.deployment.export.onnx_bytes", lambda *_: exported.read_bytes())
    monkeypatch.setattr("multimix.deployment.export.RUNTIMES", {"onnxruntime": doubled})
    with pytest.raises(CheckpointError, match=r"saliency: relative L2 1, at most 0\.005"):
        export(weights, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"precision": "int8"}, "--precision: expected one of fp32, fp16, got 'int8'"),
        ({"pixels": "int32"}, "--pixels: expected one of float32, uint8, uint16, got 'int32'"),
        ({"runtimes": ("tflite",)}, "--runtime: expected one of onnxruntime, openvino, got 'tflite'"),
        ({"runtimes": ()}, "--runtime: expected at least one"),
    ],
)
def test_arguments_that_are_none(weights: Path, tmp_path: Path, changes: dict, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        export(weights, tmp_path / "model.onnx", **changes)


def test_a_name_that_is_no_onnx_file(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected a name that ends with \.onnx"):
        export(weights, tmp_path / "model.pt")
