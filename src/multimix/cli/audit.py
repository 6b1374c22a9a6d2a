"""`multimix audit`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from multimix.cli.options import seal_log_option

if TYPE_CHECKING:
    from rich.table import Table

    from multimix.evaluation.audit import AuditReport

STYLES = {"wrong": "bold red", "doubtful": "yellow", "note": "dim"}


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--data", type=click.Path(path_type=Path), help="Manifest or its folder, where the data has moved."
)
@click.option(
    "--scores",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of an evaluation that lies elsewhere; may be repeated.",
)
@seal_log_option
@click.option("--json", "file", type=click.Path(path_type=Path), help="Also write everything to this file.")
def audit(
    run: Path, data: Path | None, scores: tuple[Path, ...], seal_log: Path | None, file: Path | None
) -> None:
    """Look in RUN for what makes results wrong.

    That is dead loss terms, leaks, shortcuts, impossible scores and more; RUN is a run folder or a benchmark's cell.

    \b
    Examples:
      multimix audit RUN
      multimix audit results/multimix-c100-m10-s0
      multimix audit RUN --data xrays --json audit.json

    Evaluations in RUN/evaluation are audited with it. Each finding says what it means and what to do. Exit status 1
    where one of them makes a result wrong; doubtful ones and notes do not change it.
    """
    from rich.console import Console

    from multimix.cli.progress import bar
    from multimix.evaluation.audit import audit as audit_run
    from multimix.io.writers import write_json

    with bar("Auditing", "checks") as progress:
        report = audit_run(run, data, scores=scores, seal_log=seal_log, progress=progress)
    if file is not None:
        write_json(file, _plain(report))
    console = Console()
    if report.findings:
        console.print(_table(report))
    # One missing file leaves many checks unmade.
    for reason in dict.fromkeys(missed.reason for missed in report.unchecked):
        faults = dict.fromkeys(missed.fault for missed in report.unchecked if missed.reason == reason)
        click.echo(f"Not checked: {', '.join(faults)}: {reason}")
    counts = ", ".join(
        f"{sum(found.severity == severity for found in report.findings)} {severity}" for severity in STYLES
    )
    click.echo(f"{report.run}: {len(report.checked)} checks made: {counts}")
    if report.wrong:
        raise SystemExit(1)


def _table(report: "AuditReport") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("", "finding", "what it means, what to do, and the evidence", show_lines=True)
    for found in report.findings:
        evidence = ", ".join(f"{name} {_short(value)}" for name, value in found.evidence.items())
        table.add_row(
            Text(found.severity, STYLES[found.severity]),
            Text(f"{found.title}\n{found.where}"),
            Text(f"{found.meaning}\n") + Text(f"{found.advice}\n", "bold") + Text(evidence, "dim"),
        )
    return table


def _short(value: float | int | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _plain(report: "AuditReport") -> dict[str, object]:
    from dataclasses import asdict

    findings = [{**asdict(found), "title": found.title} for found in report.findings]
    return {**asdict(report), "findings": findings, "wrong": report.wrong}
