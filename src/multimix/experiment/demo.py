"""The whole way on generated radiographs: learn from few labels, be judged in two domains, answer new images."""

import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from multimix.config import RunConfig
from multimix.data.manifest import read_manifest
from multimix.data.phantom import write_dataset
from multimix.data.splits import select
from multimix.evaluation.evaluate import evaluate_source, write_scores
from multimix.inference.load import load
from multimix.inference.predict_files import Summary, predict_files
from multimix.recipes import recipe
from multimix.training.trainer import Progress, train
from multimix.types import Report, Scores

CLASS_LABELS, MASK_LABELS = 40, 8
METHODS = {"multimix": "MultiMix", "umtl": "supervised only"}
DOMAINS = {"phantom_a": "own domain", "phantom_b": "other hospital"}

Bar = Callable[[str, str], AbstractContextManager[Report]]


@dataclass(frozen=True)
class DemoResult:
    """What the demo learned."""

    scores: Mapping[tuple[str, str], Scores]
    """(method, source) -> scores on that source's test images."""
    answered: Summary
    pictures: Path


def run_demo(out: Path, bar: Bar, *, steps: int = 300, size: int = 64, seed: int = 0) -> DemoResult:
    """Generate, train MultiMix and its supervised-only twin on the same labels, judge both, answer new images.

    `bar(title, unit)` opens a progress bar. Folders below `out`: phantoms, multimix, umtl, answers.
    """
    manifest = write_dataset(out / "phantoms", seed=seed)
    records = read_manifest(manifest)
    scores = {}
    for method, title in METHODS.items():
        config = demo_config(manifest, method, steps, size, seed)
        with bar(f"Training {title}", "steps") as report:
            train(config, out / method, report=partial(_steps, report))
        predictor = load(out / method)
        for source, domain in DOMAINS.items():
            with bar(f"Judging {title}, {domain}", "images") as report:
                result, table = evaluate_source(
                    predictor,
                    select(records, (source,), "test"),
                    base=manifest.parent,
                    progress=report,
                )
            write_scores(out / method / "evaluation" / f"test-{source}", [result], [table])
            scores[method, source] = result
    new = [r.image for r in select(records, ("phantom_b",), "test")[:12]]
    with bar("Answering new images", "images") as report:
        answered = predict_files(load(out / "multimix"), new, out / "answers", progress=report)
    return DemoResult(scores, answered, out / "answers" / "overlays")


def _steps(report: Report, progress: Progress) -> None:
    report(progress.step, progress.steps)


def demo_config(manifest: Path, method: str, steps: int, size: int, seed: int) -> RunConfig:
    """Both methods see the same labelled images, as many steps, and the recipe tuned for the paper's methods."""
    return RunConfig.from_mapping(
        {
            "method": method,
            "seed": seed,
            "data": {
                "manifest": str(manifest.absolute()),
                "class_source": "phantom_a",
                "mask_source": "phantom_a",
                "class_labels": CLASS_LABELS,
                "mask_labels": MASK_LABELS,
                "size": size,
            },
            "optim": {"steps": steps},
        },
        recipe("tuned"),
    )


def clear(out: Path) -> None:
    """Remove what an earlier demo left, and nothing else."""
    for name in ("phantoms", "answers", *METHODS):
        shutil.rmtree(out / name, ignore_errors=True)
