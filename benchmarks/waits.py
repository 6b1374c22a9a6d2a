"""Seconds of what a person waits for besides training and answers: comparing runs, making phantoms.

    python benchmarks/waits.py

Prints the seconds of `multimix compare` between two groups of three seeds on five sources (980 images with a class,
531 with a mask), and the phantoms of 128 x 128 that one core makes in a second; each the best of three.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from multimix.data.phantom import generate
from multimix.evaluation.compare import compare, read_group
from multimix.io.tables import write_table

SEEDS, CLASS_SOURCES, MASK_SOURCES = 3, 2, 3
CLASS_IMAGES, MASK_IMAGES = 490, 177
PHANTOMS = 96


def cell(seed: int, skill: float) -> pd.DataFrame:
    """Answers of one run about every source; images that are hard are so for every run."""
    rng, tables = np.random.default_rng(seed), []
    for source in range(CLASS_SOURCES):
        hard = np.random.default_rng(source)
        labels = hard.integers(2, size=CLASS_IMAGES)
        logits = skill * (2 * labels - 1) + 2 * hard.normal(size=CLASS_IMAGES) + rng.normal(size=CLASS_IMAGES)
        sick = 1 / (1 + np.exp(-logits))
        names = np.array(["NORMAL", "PNEUMONIA"])
        answers = {"label": names[labels], "predicted": names[(sick > 0.5).astype(int)]}
        tables.append(rows(f"c{source}", CLASS_IMAGES, answers | {"p_NORMAL": 1 - sick, "p_PNEUMONIA": sick}))
    for source in range(MASK_SOURCES):
        hard = np.random.default_rng(source).exponential(0.05, size=MASK_IMAGES)
        dice = (0.95 - hard + 0.01 * rng.normal(size=MASK_IMAGES)).clip(0, 1)
        tables.append(rows(f"m{source}", MASK_IMAGES, {"label": "", "dice_lungs": dice}))
    return pd.concat(tables, ignore_index=True)


def rows(source: str, count: int, answers: dict[str, object]) -> pd.DataFrame:
    """A per-image table, an image a patient."""
    names = [f"{source}/{i}.png" for i in range(count)]
    known = {"image": names, "source": source, "split": "test", "patient": names}
    return pd.DataFrame(known | answers)


def best(work: Callable[[], object]) -> float:
    """Seconds, the best of three."""
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def main() -> None:
    """Measure, print."""
    with tempfile.TemporaryDirectory() as folder:
        for name, skill in (("x", 2.0), ("y", 1.8)):
            for seed in range(SEEDS):
                place = Path(folder) / f"{name}-{seed}"
                place.mkdir()
                write_table(place / "per_image.parquet", cell(seed, skill))
        groups = read_group(f"{folder}/x-*"), read_group(f"{folder}/y-*")
        print(f"compare   {best(lambda: compare(*groups)):6.2f} s")
    with threadpool_limits(1):
        print(f"phantoms  {PHANTOMS / best(lambda: generate(PHANTOMS)):6.0f} a second")


if __name__ == "__main__":
    main()
