"""A graph as the bytes of one ONNX file, without traces of the machine that wrote it."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from multimix.deployment.graph import Graph

OPSET = 20
LARGEST_BATCH, SMALLEST_SIDE, LARGEST_SIDE = 65_535, 16, 65_535
HALVED = 1024
"""Weights of fewer numbers stay as they are: halving them saves nothing."""


def traced(graph: Graph, pixels: str) -> torch.export.ExportedProgram:
    """The graph as a program of torch for any number of images of any size."""
    size, kind = graph.spec.size, getattr(torch, pixels)
    example = torch.zeros(
        (2, graph.spec.channels, size + 9, size + 7), dtype=kind
    )  # of no size that means something
    sizes = {
        0: torch.export.Dim("batch", min=1, max=LARGEST_BATCH),
        2: torch.export.Dim("height", min=SMALLEST_SIDE, max=LARGEST_SIDE),
        3: torch.export.Dim("width", min=SMALLEST_SIDE, max=LARGEST_SIDE),
    }
    with _quiet():
        return torch.export.export(graph.eval(), (example,), dynamic_shapes=(sizes,), strict=False)


def onnx_bytes(
    program: torch.export.ExportedProgram,
    outputs: Mapping[str, str],
    precision: str,
    input_text: str,
    metadata: Mapping[str, str],
) -> bytes:
    """The program as an ONNX file; `outputs` are their names, in order, and what each is."""
    with _quiet():
        made = torch.onnx.export(
            program,
            (),
            dynamo=True,
            opset_version=OPSET,
            input_names=["images"],
            output_names=list(outputs),
            verbose=False,
        )
    assert made is not None
    model = made.model_proto
    _strip(model)
    _name_sizes(model)
    if precision == "fp16":
        _halve(model)
    model.graph.input[0].doc_string = input_text
    for value in model.graph.output:
        value.doc_string = outputs[value.name]
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def _strip(model: onnx.ModelProto) -> None:
    """Take out what the exporter notes of each node: where in whose files it was traced."""
    model.producer_name, model.doc_string = "multimix", ""
    del model.metadata_props[:]
    graph = model.graph
    graph.name, graph.doc_string = "multimix", ""
    del graph.metadata_props[:]
    del graph.value_info[:]
    for one in (*graph.node, *graph.initializer, *graph.input, *graph.output, *model.functions):
        one.doc_string = ""
        del one.metadata_props[:]


def _name_sizes(model: onnx.ModelProto) -> None:
    """Call the sizes that are free what they are."""
    given = [size.dim_param for size in model.graph.input[0].type.tensor_type.shape.dim]
    names = {
        old: new for old, new in zip(given, ("batch", "channels", "height", "width"), strict=True) if old
    }
    for value in (*model.graph.input, *model.graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = names[size.dim_param]


def _halve(model: onnx.ModelProto) -> None:
    """Store the network's weights in 16 bits, and widen them before they are used."""
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or not tensor.name.startswith("network."):
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < HALVED:
            continue
        wide, narrow = tensor.name, f"{tensor.name}.half"
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), narrow))
        casts.append(
            onnx.helper.make_node("Cast", [narrow], [wide], f"{wide}.widen", to=onnx.TensorProto.FLOAT)
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says to its own developers."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
