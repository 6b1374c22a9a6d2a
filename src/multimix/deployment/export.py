"""A trained model as one file for other runtimes, written only where every output is torch's within a tolerance."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from multimix.deployment.describe import entries, input_text, output_texts
from multimix.deployment.graph import PIXELS, Graph
from multimix.deployment.onnx_file import onnx_bytes, traced
from multimix.deployment.parity import (
    STORED_IMAGES,
    TOLERANCES,
    Difference,
    differences,
    failures,
    stored_images,
)
from multimix.deployment.runtimes import RUNTIMES
from multimix.errors import CheckpointError, UsageError
from multimix.inference.predictor import Predictor
from multimix.inference.torch_backend import TorchBackend
from multimix.io.arrays import as_radiograph
from multimix.io.readers import find_images
from multimix.io.writers import atomic_write
from multimix.reliability.calibration import Reliability
from multimix.types import Report
from multimix.weights.exported import SUFFIX, certified
from multimix.weights.file import read_weights

Found = dict[str, dict[str, Difference]]
"""Runtime -> output -> how far it is from torch's."""


def export(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    precision: str = "fp32",
    pixels: str = "float32",
    runtimes: Sequence[str] = ("onnxruntime",),
    parity: str | os.PathLike[str] | None = None,
    progress: Report | None = None,
) -> Found:
    """Write the model of a run folder, a weights file or a name of shipped weights as the ONNX file `out`.

    The file takes images of any size, resizes them, and answers probabilities, decision, masks and map; its metadata
    `input` and `outputs` say how. `precision` 'fp16' stores the weights in half the bits and computes in float32.
    `pixels` are what it takes: 'float32' in [0, 1], which multimix itself needs, 'uint8' or 'uint16'.

    It is tried first, on generated images and those of the folder `parity`, in each of `runtimes` ('onnxruntime',
    'openvino'). Returns the differences to torch, which the file's certificate holds too.

    Raises CheckpointError, and writes nothing, where an output is over its tolerance; UsageError for an argument.
    """
    out = Path(out)
    _check(out, precision, pixels, runtimes)
    file = read_weights(Path(model))
    graph = Graph(file, pixels)
    content = onnx_bytes(
        traced(graph, pixels),
        output_texts(graph),
        precision,
        input_text(graph, pixels),
        entries(file, graph, pixels, precision),
    )
    asked = Predictor(
        file.spec, TorchBackend.read(file, "cpu", "32-true"), reliability=file.reliability or Reliability()
    )
    running, versions = {}, {}
    for name in runtimes:
        running[name], versions[name] = RUNTIMES[name](content)
    own = find_images([Path(parity)]) if parity is not None else []
    images = _counted(_images(file.spec.channels, own), STORED_IMAGES + len(own), progress)
    found = differences(running, asked, images, graph.names, pixels)
    for name, of_runtime in found.items():
        if over := failures(of_runtime, precision):
            raise CheckpointError(
                f"{name} {versions[name]}: answers otherwise than torch ({'; '.join(over)}), so {out} was not written. "
                f"Use another version of {name} or of torch, or leave out that runtime or image."
            )
    named = {
        "images": {"generated": STORED_IMAGES, "own": len(own)},
        "runtimes": {
            name: {
                "version": versions[name],
                "outputs": {output: asdict(one) for output, one in of_runtime.items()},
            }
            for name, of_runtime in found.items()
        },
    }
    with atomic_write(out) as temporary:
        temporary.write_bytes(certified(content, named))
    return found


def _check(out: Path, precision: str, pixels: str, runtimes: Sequence[str]) -> None:
    for option, known, got in (
        ("precision", TOLERANCES, [precision]),
        ("pixels", PIXELS, [pixels]),
        ("runtime", RUNTIMES, runtimes),
    ):
        if unknown := [one for one in got if one not in known]:
            raise UsageError(f"--{option}: expected one of {', '.join(known)}, got {unknown[0]!r}.")
    if not runtimes:
        raise UsageError(
            f"--runtime: expected at least one of {', '.join(RUNTIMES)}, so that the file is tried."
        )
    if out.suffix.lower() != SUFFIX:
        raise UsageError(f"--out {out}: expected a name that ends with {SUFFIX}.")


def _images(channels: int, own: Sequence[Path]) -> Iterator[Float[np.ndarray, "C H W"]]:
    yield from stored_images(channels)
    for path in own:
        yield as_radiograph(path, channels, str(path)).upright


def _counted(images: Iterator[Any], total: int, progress: Report | None) -> Iterator[Any]:
    for done, image in enumerate(images, start=1):
        yield image
        if progress is not None:
            progress(done, total)
