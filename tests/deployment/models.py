"""A small model in a weights file that knows all that a trained one knows, for the tests of its export."""

from pathlib import Path

import numpy as np
import torch

from multimix.data.phantom import CHILD, generate
from multimix.networks.load import save_model
from multimix.networks.model import MultiMix
from multimix.reliability.calibration import Reliability
from multimix.reliability.ood import CUT_OUTS, cut_outs, fit_detector, thumbnails
from multimix.weights.file import ModelSpec

SIZE = 32


def phantoms(count: int, seed: int) -> np.ndarray:
    """(count 1 SIZE SIZE) float32 in [0, 1]."""
    return generate(count, SIZE, seed=seed, domain=CHILD).images[:, None].astype(np.float32) / 255


def write_model(path: Path, **changes: object) -> Path:
    """Weights drawn from a fixed seed; `changes` of its spec."""
    spec = ModelSpec(
        **{  # type: ignore[arg-type]
            "classes": ("NORMAL", "PNEUMONIA"),
            "structures": ("lungs", "heart"),
            "size": SIZE,
            "widths": (4, 6, 8, 10, 12),
            **changes,
        }
    )
    torch.manual_seed(0)
    network = MultiMix.from_spec(spec)
    training = phantoms(60, 1)
    places = np.random.default_rng(0).random((len(training) * CUT_OUTS, 2, 2))
    parts = np.concatenate([thumbnails(one) for one in cut_outs(training, places)])
    detector = fit_detector(thumbnails(training), parts, [thumbnails(phantoms(30, 2))])
    assert detector is not None
    known = Reliability(
        temperature=1.7,
        thresholds=((0.4, 0.55) if spec.multi_label else (0.45, 0.55)) if spec.classify else (),
        quantiles=(0.5, 0.6) if spec.classify else (),
        detector=detector,
    )
    means = {name: torch.full((SIZE, SIZE), 0.25) for name in spec.structures}
    save_model(path, network.state_dict(), spec, means, known)
    return path
