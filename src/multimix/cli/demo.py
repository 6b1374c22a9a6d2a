"""`multimix demo`."""

from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from multimix.experiment.demo import DemoResult
    from multimix.types import Estimate

SCORES = {"accuracy": "accuracy", "auc": "AUC", "dice_lungs": "Dice of the lungs"}


@click.command()
@click.option(
    "--out",
    "-o",
    default="demo",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of the demo.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides images, labels and weights.")
def demo(out: Path, seed: int) -> None:
    """Learn from generated chest radiographs in a few minutes, be judged, answer new ones.

    \b
    Examples:
      multimix demo
      multimix demo --out demo2 --seed 1
    """
    from rich.console import Console

    from multimix.cli.progress import bar
    from multimix.experiment.demo import clear, run_demo

    clear(out)
    result = run_demo(out, bar, seed=seed)
    console = Console()
    console.print(screen(result))
    console.print(
        f"Pictures: {result.pictures}/  ({result.answered.done} new images: mask outline and saliency)\n"
        f"Table:    {out / 'answers' / 'predictions.csv'}\n"
        f"Next:     multimix serve {out / 'multimix'}  (a page to drop images on, at http://127.0.0.1:8000/)\n"
        "          multimix data index FOLDER  (your own images)"
    )


def screen(result: "DemoResult") -> "Table":
    """The one screen: what was learned, beside the trivial answer and the supervised-only model."""
    from rich.table import Table

    from multimix.experiment.demo import CLASS_LABELS, DOMAINS, MASK_LABELS, METHODS

    table = Table(
        "on 95 % intervals over patients",
        *METHODS.values(),
        "trivial",
        title=f"Learned from {CLASS_LABELS} class labels and {MASK_LABELS} masks",
    )
    for source, domain in DOMAINS.items():
        for metric, title in SCORES.items():
            estimates = [result.scores[method, source].metrics[metric] for method in METHODS]
            trivial = estimates[0].trivial
            cells = [_cell(estimate) for estimate in estimates]
            table.add_row(f"{title}, {domain}", *cells, "" if trivial is None else f"{trivial:.3f}")
        table.add_section()
    return table


def _cell(estimate: "Estimate") -> str:
    if isnan(estimate.low):
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} \\[{estimate.low:.3f}, {estimate.high:.3f}]"
