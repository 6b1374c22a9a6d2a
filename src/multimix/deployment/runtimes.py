"""What runs an exported model, behind one function each: images in, every output by name."""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Num

from multimix.errors import needs_extra
from multimix.inference.onnx_backend import session


@runtime_checkable
class Run(Protocol):
    """A model in a runtime."""

    def __call__(self, images: Num[np.ndarray, "B C H W"], /) -> Mapping[str, np.ndarray]:
        """Every output by name."""


def _onnxruntime(content: bytes) -> tuple[Run, str]:
    import onnxruntime

    made = session(content, "the exported model")
    names = [output.name for output in made.get_outputs()]
    return lambda images: dict(
        zip(names, made.run(names, {"images": images}), strict=True)
    ), onnxruntime.__version__


def _openvino(content: bytes) -> tuple[Run, str]:
    with needs_extra("--runtime openvino", "openvino"):
        import openvino

    # Some processors compute in 16 bits unless they are told otherwise.
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(content, None),
        "CPU",
        {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1"},
    )
    names = [output.any_name for output in compiled.outputs]

    def run(images: Num[np.ndarray, "B C H W"]) -> dict[str, np.ndarray]:
        answers = compiled([images])
        return {name: np.array(answers[name]) for name in names}

    return run, openvino.__version__


RUNTIMES: Mapping[str, Callable[[bytes], tuple[Run, str]]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
"""Name -> a file's content to what runs it, and the runtime's version."""
