"""`multimix compare`."""

from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

import click

from multimix.cli.options import names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from multimix.evaluation.compare import Comparison


@click.command()
@click.argument("a")
@click.argument("b")
@click.option(
    "--metric",
    multiple=True,
    metavar="NAME[,NAME]",
    help="Such as auc. [default: accuracy, auc, balanced_accuracy; of each class sensitivity, specificity; "
    "of each structure dice]",
)
@click.option("--source", multiple=True, metavar="NAME[,NAME]", help="Judged on. [default: all they share]")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Also write everything to this file.")
def compare(a: str, b: str, metric: tuple[str, ...], source: tuple[str, ...], out: Path | None) -> None:
    """Say whether run A is better than run B, or whether it cannot be told.

    \b
    Examples:
      multimix compare RUN_A RUN_B
      multimix compare RUN/evaluation/test-nih OTHER/evaluation/test-nih --json differences.json
      multimix compare 'results/multimix-*' 'results/u-net-*' --metric dice_lungs

    A and B are judged on the same images. Each is a run folder, a folder or table that `multimix evaluate` wrote, or
    several seeds of one setting by a quoted pattern. Seeds are paired by cell.json, else in the order of their names.
    """
    from rich.console import Console

    from multimix.evaluation.compare import compare as compare_groups
    from multimix.evaluation.compare import read_group
    from multimix.io.writers import write_json

    metrics = tuple(name for given in metric for name in names(given))
    sources = tuple(name for given in source for name in names(given))
    first, second = read_group(a), read_group(b)
    found, how = compare_groups(first, second, metrics, sources)
    if out is not None:
        sides = {"a": [run.path for run in first.runs], "b": [run.path for run in second.runs]}
        write_json(out, {**sides, "pairing": how, "level": 0.95, "power": 0.8, "comparisons": found})
    console = Console()
    console.width = max(console.width, 120)  # narrower, numbers would be cut
    console.print(_table(found), no_wrap=True)
    for comparison in found:
        click.echo(f"- {comparison.sentence}")
    click.echo(f"\n{how} {_legend(found)}")
    if out is not None:
        click.echo(f"All numbers: {out}")


def _table(found: "Sequence[Comparison]") -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from multimix.evaluation.compare.verdict import said

    table = Table(
        "source", "metric", "A", "B", "A - B [95 % interval]", "p", "test", "Holm p", box=box.SIMPLE_HEAD
    )
    for c in found:
        interval = "undefined" if isnan(c.low) else f"[{c.low:+.4f}, {c.high:+.4f}]"
        test = "" if c.p_test is None else f"{c.test} {said(c.p_test)}"
        cells = [c.source, c.metric, f"{c.value_a:.4f}", f"{c.value_b:.4f}", f"{c.value:+.4f} {interval}"]
        cells += [
            "" if isnan(c.p_interval) else said(c.p_interval),
            test,
            "" if isnan(c.p_holm) else said(c.p_holm),
        ]
        # Text, not str: rich would take the brackets of an interval or of a name for markup.
        table.add_row(*map(Text, cells))
    return table


def _legend(found: "Sequence[Comparison]") -> str:
    several = found[0].seeds > 1
    over = "patients and seeds" if several else "patients, for these two trained models"
    trials = ("not recorded" if n is None else str(n) for n in (found[0].trials_a, found[0].trials_b))
    return (
        f"A is {found[0].name_a}, B is {found[0].name_b}. Interval and p are over {over}; the named test takes the "
        "trained models as they are. Holm's correction is over the larger p of every line. What would tell: "
        "80 % power, if the observed difference and variances are the true ones. Settings tuned over (trials): "
        f"{' for A, '.join(trials)} for B."
    )
