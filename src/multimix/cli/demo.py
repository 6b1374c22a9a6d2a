"""`multimix demo`."""

from pathlib import Path

import click


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
    from multimix.experiment.demo import clear, run_demo, screen

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
