"""The graph against the predictor, which computes the same with autograd and NumPy; and faults that it has to show."""

from collections.abc import Iterator
from pathlib import Path

import models
import numpy as np
import pytest
import torch

from multimix.deployment.graph import PIXELS, Graph
from multimix.deployment.parity import differences, failures, stored_images
from multimix.inference.predictor import Predictor
from multimix.inference.torch_backend import TorchBackend
from multimix.networks import explicit_saliency
from multimix.reliability.calibration import Reliability
from multimix.weights.file import WeightsFile, read_weights

pytestmark = pytest.mark.numeric

KINDS = {
    "plain": {},
    "labels that are not exclusive": {"multi_label": True},
    "colour, located": {"channels": 3, "locate": True},
    "classes alone": {"structures": ()},
    "masks alone": {"classes": ()},
}


def predictor(file: WeightsFile) -> Predictor:
    backend = TorchBackend.read(file, "cpu", "32-true")
    return Predictor(file.spec, backend, reliability=file.reliability or Reliability())


def images(channels: int) -> Iterator[np.ndarray]:
    """Of several sizes, upright, on their side and of one grey level."""
    for image in list(stored_images(channels))[2:6]:
        yield image[:, ::2, ::2]
        yield np.ascontiguousarray(np.rot90(image[:, ::2, ::2], axes=(1, 2)))


def over(graph: Graph, file: WeightsFile, pixels: str = "float32") -> list[str]:
    """What the certificate would say of the graph."""

    def run(batch: np.ndarray) -> dict[str, np.ndarray]:
        with torch.no_grad():
            answers = graph(torch.from_numpy(batch.astype(np.int32) if pixels == "uint16" else batch))
        return dict(zip(graph.names, (one.numpy() for one in answers), strict=True))

    found = differences({"torch": run}, predictor(file), images(file.spec.channels), graph.names, pixels)
    return failures(found["torch"], "fp32")


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_every_output_is_what_the_predictor_says(tmp_path: Path, changes: dict[str, object]) -> None:
    file = read_weights(models.write_model(tmp_path / "model.safetensors", **changes))
    graph = Graph(file).eval()
    assert ("decision" in graph.names) == file.spec.classify
    assert ("masks" in graph.names) == file.spec.segment
    assert over(graph, file) == []


@pytest.mark.parametrize("pixels", sorted(PIXELS))
def test_pixels_of_every_kind(tmp_path: Path, pixels: str) -> None:
    file = read_weights(models.write_model(tmp_path / "model.safetensors"))
    assert over(Graph(file, pixels).eval(), file, pixels) == []


def test_an_image_of_one_level_is_far_and_an_outlier(tmp_path: Path) -> None:
    graph = Graph(read_weights(models.write_model(tmp_path / "model.safetensors"))).eval()
    with torch.no_grad():
        answers = dict(zip(graph.names, graph(torch.full((1, 1, 40, 50), 0.5)), strict=True))
    assert answers["ood_distance"].item() == np.inf
    assert answers["outlier"].item() is True


def planted(graph: Graph, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "a pool passes no gradient":
        right = explicit_saliency.pool_gradient
        monkeypatch.setattr(explicit_saliency, "pool_gradient", lambda x, dy: right(x, dy) * 0)
    elif fault == "a transposed weight":
        kernel = graph.network.encoder.blocks[1].conv2.weight
        kernel.data = kernel.data.transpose(0, 1).contiguous()
    else:  # the gradient's kernel is not turned, as where a runtime takes the convolution's own for it
        turned = torch.Tensor.flip
        monkeypatch.setattr(torch.Tensor, "flip", lambda x, *axes: x if axes == (2, 3) else turned(x, *axes))


@pytest.mark.parametrize("fault", ["a pool passes no gradient", "a transposed weight", "a shared weight"])
def test_a_planted_fault_is_over_its_tolerance(
    tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = read_weights(models.write_model(tmp_path / "model.safetensors"))
    graph = Graph(file).eval()
    planted(graph, fault, monkeypatch)
    said = over(graph, file)
    assert any(one.startswith("saliency: relative L2") for one in said)
