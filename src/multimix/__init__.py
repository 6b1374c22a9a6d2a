"""MultiMix: classify disease and segment anatomy in radiographs, from a handful of labels.

    import multimix
    predictor = multimix.load("RUN")          # a folder that `multimix train` wrote
    prediction = predictor("image.png")       # paths, arrays or tensors, one or many
    network = multimix.MultiMix.from_run("RUN")   # the same weights, to be trained further

Haque, Imran, Wang, Terzopoulos: ISBI 2021 (arXiv:2010.14731), MELBA 2021 (arXiv:2110.13185).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multimix.inference.predictor import load as load
    from multimix.networks.load import load_released as load_released
    from multimix.networks.model import MultiMix as MultiMix

__version__ = "0.1.0"

_WHERE = {
    "MultiMix": "multimix.networks.model",
    "load": "multimix.inference.predictor",
    "load_released": "multimix.networks.load",
}
__all__ = ["MultiMix", "__version__", "load", "load_released"]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `import multimix` and `multimix --help` load no torch.
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'multimix' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
