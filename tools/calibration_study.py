"""Temperature from validation images as they are, or from strong views of them: which comes true?

    python tools/calibration_study.py BENCHMARK [BENCHMARK ...] [--method multimix-plus]

For every finished cell whose run lies beside it, its temperature is fitted a second time, on strong views of the
validation images, and the probabilities of its test images are divided by it. The table, in Markdown, has both for the
sources that a cell learned classes from: calibration error and Brier score, mean over cells with a 95 % interval (t).

Why views: validation patients share scanner, hospital and habits with the training patients, test patients may not, so
a temperature that is right for the former is too low for the latter. Validation images that are perturbed before they
calibrate stand for what is not known of the latter (Tomani et al., CVPR 2021, arXiv:2012.10988).

Set before it was run once: no other views are tried, and they become the rule of `multimix train` if the calibration
error of the fifteen draws of draws.yaml is lower with them, by an interval that excludes zero, and their Brier score is
not higher.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from scipy.stats import t

from multimix.augment import strong_view
from multimix.checkpoint import BEST, load_model
from multimix.config import RunConfig
from multimix.metrics import brier, calibration_error
from multimix.prepare import prepare
from multimix.reliability import Reliability, best_temperature
from multimix.report.cells import Cell, read_benchmark
from multimix.seeds import generator

VIEWS = 8
"""Views of a validation image, so that the draw of views hardly moves the temperature."""


@torch.inference_mode()
def temperatures(run: Path) -> tuple[float, float, float]:
    """Of a run: as it was measured, as it is measured here from images as they are, and from views of them."""
    config = RunConfig.read(run / "config.yaml")
    validation, stored = prepare(config).validation, load_model(run / BEST)
    if stored.reliability is None or not len(validation.class_images):
        raise SystemExit(f"{run}: no temperature is known. Train with validation images of classes.")
    labels = validation.labels.numpy().astype(np.int64)
    images = torch.from_numpy(np.array(validation.class_images)).float() / 255
    rng = generator(config.seed, "views for calibration")
    plain = [stored.model.classify(part) for part in images.split(32)]
    views = [
        stored.model.classify(strong_view(part, config.streams.augmentation, rng))
        for _ in range(VIEWS)
        for part in images.split(32)
    ]
    again = best_temperature(torch.cat(plain).double().numpy(), labels)
    repeated = np.concatenate([labels] * VIEWS)
    return (
        stored.reliability.temperature,
        again,
        best_temperature(torch.cat(views).double().numpy(), repeated),
    )


def judge(cell: Cell, source: str, ratio: float) -> tuple[float, float]:
    """Calibration error and Brier score of a source's test images, their logits multiplied by `ratio`."""
    rows = cell.table[(cell.table["source"] == source) & (cell.table["split"] == "test")]
    labels = rows["label"].map({name: k for k, name in enumerate(cell.classes)}).to_numpy(np.int64)
    stored = rows[[f"p_{name}" for name in cell.classes]].to_numpy(np.float64)
    # Logits are known up to a constant of the image, which softmax takes out.
    probabilities = Reliability(1 / ratio).probabilities(np.log(np.maximum(stored, 1e-300)), False)
    return float(calibration_error(labels, probabilities)), float(brier(labels, probabilities))


def main() -> int:
    """Print the table; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmarks", type=Path, nargs="+")
    parser.add_argument("--method", default="multimix-plus")
    given = parser.parse_args()
    found: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    print("| cell | temperature, images as they are | temperature, views |\n| --- | ---: | ---: |")
    for cell in (cell for folder in given.benchmarks for cell in read_benchmark(folder).cells):
        run = cell.folder / "run"
        if cell.setting.method != given.method or cell.multi_label or not (run / BEST).is_file():
            continue
        before, again, views = temperatures(run)
        print(f"| {cell.folder.name} | {again:.3f} | {views:.3f} |", flush=True)
        for source in set(cell.class_sources) & set(cell.in_domain):
            pair = zip(judge(cell, source, before / again), judge(cell, source, before / views), strict=True)
            found[source].append(tuple(value for both in pair for value in both))
    if not found:
        print("No cell of the method with its run beside it. Give --out folders of `multimix benchmark`.")
        return 1
    print("\n| source | cells | score | images as they are | views | views less images as they are |")
    print("| --- | ---: | --- | ---: | ---: | ---: |")
    for source, values in found.items():
        for name, (old, new) in zip(("ECE", "Brier"), np.array(values).T.reshape(2, 2, -1), strict=True):
            print(f"| {source} | {len(old)} | {name} |", *(f"{mean(x)} |" for x in (old, new, new - old)))
    return 0


def mean(values: np.ndarray) -> str:
    """Mean (N,) and its 95 % interval over cells."""
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():.3f} [{values.mean() - half:.3f}, {values.mean() + half:.3f}]"


if __name__ == "__main__":
    sys.exit(main())
