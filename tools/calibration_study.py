"""What limits the calibration error on test images, and whether a temperature from views of validation images helps.

    python tools/calibration_study.py BENCHMARK [BENCHMARK ...] [--method multimix-plus]

One table in Markdown, a row per cell and the mean with its 95 % interval over cells (t), for the source that classes
were learned from. Calibration error (ECE, 15 bins) of its test images

as kept         with the temperature of validation images, as `multimix benchmark` reports it
views           with a temperature of strong views of them; only where the weights lie beside the cell
test labels     with the temperature that is likeliest by the test labels themselves, which nobody could know
flawless        of labels drawn from the kept probabilities, which are then true: what so few images show at least

Why views: validation patients share scanner, hospital and habits with the training patients, test patients may not, so
a temperature that is right for the former may be too low for the latter. Validation images that are perturbed before
they calibrate stand for what is not known of the latter (Tomani et al., CVPR 2021, arXiv:2012.10988).

Set before it was run once: no other views are tried, and they become the rule of `multimix train` if the calibration
error of the fifteen draws of draws.yaml is lower with them, by an interval that excludes zero, and their Brier score is
not higher. At the six draws judged, 12 to 17, it was not lower, so the nine others were not trained again for it.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from scipy.stats import t

from multimix.config import RunConfig
from multimix.experiment.cells import Cell, read_benchmark
from multimix.metrics.classification import calibration_error
from multimix.networks.load import load_model
from multimix.reliability.calibration import Reliability, best_temperature
from multimix.training.augment import strong_view
from multimix.training.prepare import prepare
from multimix.training.seeds import generator
from multimix.weights.file import BEST

VIEWS = 8
"""Views of a validation image, so that the draw of views hardly moves the temperature."""
DRAWS = 200
"""Drawn sets of labels of a flawless model."""


@torch.inference_mode()
def views_over_kept(run: Path) -> float:
    """The temperature of views of a run's validation images, divided by the one that it was judged with."""
    config = RunConfig.read(run / "config.yaml")
    validation, stored = prepare(config).validation, load_model(run / BEST)
    if stored.reliability is None:
        raise SystemExit(
            f"{run}: its temperature is not known. `multimix train --out {run} --resume` measures it."
        )
    images = torch.from_numpy(np.array(validation.class_images)).float() / 255
    rng = generator(config.seed, "views for calibration")
    views = [
        stored.model.classify(strong_view(part, config.streams.augmentation, rng))
        for _ in range(VIEWS)
        for part in images.split(32)
    ]
    labels = np.concatenate([validation.labels.numpy().astype(np.int64)] * VIEWS)
    return best_temperature(torch.cat(views).double().numpy(), labels) / stored.reliability.temperature


def errors(cell: Cell, source: str) -> list[float]:
    """The columns of the table for one cell; nan where it has no weights."""
    rows = cell.table[(cell.table["source"] == source) & (cell.table["split"] == "test")]
    labels = rows["label"].map({name: k for k, name in enumerate(cell.classes)}).to_numpy(np.int64)
    kept = rows[[f"p_{name}" for name in cell.classes]].to_numpy(np.float64)
    # Logits are known but for a constant of each image, which softmax takes out, and for the kept temperature.
    logits = np.log(np.maximum(kept, 1e-300))

    def at(temperature: float) -> float:
        probabilities = Reliability(temperature).probabilities(logits, multi_label=False)
        return float(calibration_error(labels, probabilities))

    run = cell.folder / "run"
    views = at(views_over_kept(run)) if (run / BEST).is_file() else float("nan")
    rng, below = np.random.default_rng(0), kept.cumsum(axis=1)[:, :-1]
    drawn = [(rng.random((len(kept), 1)) > below).sum(axis=1) for _ in range(DRAWS)]
    flawless = float(np.mean([calibration_error(one, kept) for one in drawn]))
    return [at(1.0), views, at(best_temperature(logits, labels)), flawless]


def main() -> int:
    """Print the table; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmarks", type=Path, nargs="+")
    parser.add_argument("--method", default="multimix-plus")
    given = parser.parse_args()
    found: list[list[float]] = []
    for cell in (cell for folder in given.benchmarks for cell in read_benchmark(folder).cells):
        if cell.setting.method != given.method or cell.multi_label:
            continue
        source = next(name for name in cell.class_sources if name in cell.in_domain)
        if not found:
            print("| cell | source | as kept | views | test labels | flawless |")
            print("| --- | --- | ---: | ---: | ---: | ---: |")
        found.append(errors(cell, source))
        print(f"| {cell.folder.name} | {source} |", *(f"{shown(x)} |" for x in found[-1]), flush=True)
    if not found:
        print(
            f"No cell of {given.method} with exclusive classes. Give folders of `multimix benchmark`.",
            file=sys.stderr,
        )
        return 1
    every = np.array(found)
    with_views = ~np.isnan(every[:, 1])
    print("| mean | |", *(f"{mean(values)} |" for values in every.T))
    if with_views.any() and not with_views.all():
        print("| mean of those with views | |", *(f"{mean(values)} |" for values in every[with_views].T))
    return 0


def mean(values: np.ndarray) -> str:
    """Mean (N,) and its 95 % interval over the cells that have a value."""
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return shown(float(known.mean())) if len(known) else ""
    half = t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / len(known) ** 0.5
    return f"{shown(known.mean())} [{shown(known.mean() - half)}, {shown(known.mean() + half)}]"


def shown(value: float) -> str:
    """Three digits; nothing for nan."""
    return "" if np.isnan(value) else f"{value:.3f}"


if __name__ == "__main__":
    sys.exit(main())
