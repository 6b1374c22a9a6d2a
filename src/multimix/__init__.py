"""MultiMix: classify disease and segment anatomy in radiographs, from a handful of labels.

    import multimix
    predictor = multimix.load("RUN")          # a folder that `multimix train` wrote
    prediction = predictor("image.png")       # paths, arrays or tensors, one or many
    network = multimix.MultiMix.from_run("RUN")   # the same weights, to be trained further

What is listed here is stable: it changes with a new first or second number of the version, and the changelog says so.

Haque, Imran, Wang, Terzopoulos: ISBI 2021 (arXiv:2010.14731), MELBA 2021 (arXiv:2110.13185).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from multimix.errors import (
    CheckpointError,
    ImageError,
    ManifestError,
    MultimixError,
    SplitError,
    TrainingError,
    UsageError,
)

if TYPE_CHECKING:
    from multimix.data.manifest import read_manifest as read_manifest
    from multimix.data.manifest import write_manifest as write_manifest
    from multimix.deployment.export import export as export
    from multimix.evaluation.audit import audit as audit
    from multimix.evaluation.compare import compare as compare
    from multimix.evaluation.compare import read_group as read_group
    from multimix.evaluation.evaluate import evaluate_source as evaluate
    from multimix.inference.load import load as load
    from multimix.inference.predictor import Predictor as Predictor
    from multimix.networks.load import load_released as load_released
    from multimix.networks.model import MultiMix as MultiMix
    from multimix.types import Estimate as Estimate
    from multimix.types import Prediction as Prediction
    from multimix.types import Radiograph as Radiograph
    from multimix.types import Record as Record
    from multimix.types import Scores as Scores

__version__ = "0.1.0"

_WHERE = {
    "Estimate": "multimix.types",
    "MultiMix": "multimix.networks.model",
    "Prediction": "multimix.types",
    "Predictor": "multimix.inference.predictor",
    "Radiograph": "multimix.types",
    "Record": "multimix.types",
    "Scores": "multimix.types",
    "audit": "multimix.evaluation.audit",
    "compare": "multimix.evaluation.compare",
    "evaluate": "multimix.evaluation.evaluate",
    "export": "multimix.deployment.export",
    "load": "multimix.inference.load",
    "load_released": "multimix.networks.load",
    "read_group": "multimix.evaluation.compare",
    "read_manifest": "multimix.data.manifest",
    "write_manifest": "multimix.data.manifest",
}
__all__ = [
    "CheckpointError",
    "Estimate",
    "ImageError",
    "ManifestError",
    "MultiMix",
    "MultimixError",
    "Prediction",
    "Predictor",
    "Radiograph",
    "Record",
    "Scores",
    "SplitError",
    "TrainingError",
    "UsageError",
    "__version__",
    "audit",
    "compare",
    "evaluate",
    "export",
    "load",
    "load_released",
    "read_group",
    "read_manifest",
    "write_manifest",
]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `import multimix` and `multimix --help` load no torch.
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), "evaluate_source" if name == "evaluate" else name)
    raise AttributeError(f"module 'multimix' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
