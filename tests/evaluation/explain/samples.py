"""Samples of images without files."""

from pathlib import Path

import numpy as np

from multimix.evaluation.explain.images import Sample
from multimix.types import Record


def records(count: int, **masks: tuple[Path, ...]) -> list[Record]:
    """Test images of as many patients, each with the named masks."""
    return [Record(Path(f"/x/{i}.png"), masks, "A", "test", f"p{i}", "s") for i in range(count)]


def sample(region: np.ndarray, finding: np.ndarray | None = None) -> Sample:
    """Noise (N H W) whose one structure is `region`."""
    count = len(region)
    return Sample(
        records=tuple(records(count)),
        pixels=np.random.default_rng(0).random((count, 1, *region.shape[1:]), dtype=np.float32),
        masks=region[:, None],
        has_masks=np.full(count, True),
        findings=np.zeros_like(region) if finding is None else finding,
    )
