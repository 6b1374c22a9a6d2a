"""`multimix report`."""

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", "-o", type=click.Path(path_type=Path), help="Folder of the report. [default: FOLDER]")
def report(folder: Path, out: Path | None) -> None:
    """Write the report of FOLDER, a benchmark: one HTML file, Markdown, LaTeX tables.

    \b
    Examples:
      multimix report results
      multimix report results --out pages

    OUT gets report.html (pictures inside, opens without a network), report.md with figures/, table_in_domain.tex
    and table_cross_domain.tex. Needs the stored per-image tables alone, no model; of a benchmark that is not
    finished it reports what is there and names what is missing.
    """
    from multimix.cli.progress import bar
    from multimix.report.build import write_report

    with (
        bar("Scores", "settings") as scores,
        bar("Comparing", "pairs") as pairs,
        bar("Drawing", "parts") as parts,
    ):
        bars = {"Scores": scores, "Comparing": pairs, "Drawing": parts}
        written = write_report(folder, out, progress=lambda what, done, total: bars[what](done, total))
    if written.missing:
        count = len(written.missing)
        click.echo(
            f"Not finished: {count} of {count + written.cells} cells, such as {written.missing[0]}.", err=True
        )
    click.echo(
        f"Report:  {written.page}  ({written.cells} cells)\n"
        f"Text:    {written.text}\n"
        f"Tables:  {', '.join(map(str, written.tables))}"
    )
