"""The network run by ONNX Runtime, from a file that `multimix export` wrote; without torch."""

import os
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from multimix.errors import CheckpointError
from multimix.inference.predictor import Outputs
from multimix.weights.exported import ExportedFile

FULL, MASKS = ("class_logits", "mask_logits", "saliency"), ("mask_logits",)
"""What is asked of the graph with classes and without them."""


class OnnxBackend:
    """An exported model's graph on the processor."""

    def __init__(self, file: ExportedFile, threads: int = 0):
        """`threads` of one computation, 0: as many as the process may use. CheckpointError where it cannot be run."""
        self._file = file
        self._session = session(file.content, str(file.path), threads)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the network's weights, hexadecimal."""
        return self._file.digest

    def share_cores(self, threads: int) -> int:
        """From now on a computation of this backend uses one core; returns how many to run side by side."""
        self._session = session(self._file.content, str(self._file.path), 1)
        return threads or cores()

    def run(self, images: Float[np.ndarray, "B C s s"], classify: bool) -> Outputs:
        """What the network says of images in [0, 1]; without `classify` no class head and no saliency."""
        wanted = FULL if classify else MASKS
        known = {output.name for output in self._session.get_outputs()}
        names = [name for name in wanted if name in known]
        # One after the other: a batch falls out of the processor's caches.
        parts = [
            dict(zip(names, self._session.run(names, {"images": image[None]}), strict=True))
            for image in images
        ]
        answer = {name: np.concatenate([one[name] for one in parts]) for name in names}
        size = self._file.spec.size
        logits = answer.get("class_logits")
        return Outputs(
            None if logits is None else logits.astype(np.float64),
            answer.get("mask_logits", np.zeros((len(images), 0, size, size), np.float32)),
            answer["saliency"][:, 0] if "saliency" in answer else None,
        )


def cores() -> int:
    """How many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def session(content: bytes, name: str, threads: int = 0) -> Any:
    """An onnxruntime.InferenceSession of a file's content; CheckpointError, which calls it `name`, where it has none.

    Whole graphs are optimised, threads sleep while they wait: those that spin take the cores that others compute with.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base of their own
        raise CheckpointError(
            f"{name}: cannot be run by onnxruntime {onnxruntime.__version__} ({' '.join(str(error).split())[:200]}). "
            "Export it again, or install a newer onnxruntime."
        ) from error
