"""`multimix data`: index, check, split, phantom."""

from pathlib import Path

import click

from multimix.cli.data_index import index
from multimix.cli.data_split import split
from multimix.cli.options import LARGEST
from multimix.errors import ManifestError, UsageError

STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


@click.group()
def data() -> None:
    """Make and check manifests, the tables that training reads.

    \b
    Examples:
      multimix data index xrays
      multimix data check xrays
      multimix data split xrays --out xrays/fold.csv --folds 5
    """


data.add_command(index)
data.add_command(split)


@data.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option(
    "--good",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the rows whose files can all be used to FILE, CSV or Parquet.",
)
@click.option(
    "--confirm-classes", is_flag=True, help="Classes of one patient or one image each are meant so."
)
def check(manifest: Path, good: Path | None, confirm_classes: bool) -> None:
    """Look at every file of MANIFEST and report what would corrupt a result.

    MANIFEST is a CSV, Parquet or Excel table, or the folder that holds manifest.csv.

    \b
    Examples:
      multimix data check xrays
      multimix data check xrays/wards.parquet
      multimix data check xrays --good xrays/good.csv

    Rows that cannot be read, missing, unreadable or mismatched files, a patient or the same pixels in two splits,
    classes that look like patients are errors: exit status 1. Warnings and notes (class balance) do not change the
    exit status.
    """
    from rich.console import Console
    from rich.text import Text

    from multimix.cli.progress import bar
    from multimix.data.check import check_manifest
    from multimix.data.manifest import read_rows, write_manifest

    if good is not None and good.exists():
        raise UsageError(f"{good}: exists. Choose another --good, or remove it.")
    with bar("Checking", "images") as report:
        findings = check_manifest(manifest, report, confirm_classes=confirm_classes)
    console = Console(soft_wrap=True)
    for finding in findings:
        console.print(
            Text(f"{finding.level}: {finding.where}: {finding.message}", style=STYLES[finding.level])
        )
    errors = sum(f.level == "error" for f in findings)
    warnings = sum(f.level == "warning" for f in findings)
    click.echo(f"{manifest}: {errors} errors, {warnings} warnings")
    rows = list(read_rows(manifest))
    unusable = {finding.image for finding in findings if finding.image is not None}
    if good is None and (unusable or any(isinstance(row, ManifestError) for row in rows)):
        click.echo("--good FILE writes a manifest of the rows whose files can all be used.")
    if good is not None:
        kept = [row for row in rows if not isinstance(row, ManifestError) and row.image not in unusable]
        write_manifest(good, kept)
        click.echo(f"{good}: {len(kept)} of {len(rows)} rows")
    if errors:
        raise SystemExit(1)


@data.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--size",
    type=click.IntRange(32, LARGEST),
    default=128,
    show_default=True,
    help="Side of the images in pixels.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Decides every image.")
@click.option(
    "--findings", is_flag=True, help="Also write where the opacities are, as mask:finding of the manifest."
)
def phantom(folder: Path, size: int, seed: int, findings: bool) -> None:
    """Write generated chest radiographs with labels and masks, and their manifest, to FOLDER.

    \b
    Examples:
      multimix data phantom phantoms
      multimix data phantom phantoms --size 64 --seed 1
      multimix data phantom phantoms --findings

    Source phantom_a has training, validation and test images, phantom_b test images of another scanner and
    younger patients.
    """
    from multimix.data.phantom import write_dataset

    if (folder / "manifest.csv").exists():
        raise UsageError(f"{folder}: already holds a manifest. Choose an empty or new folder.")
    manifest = write_dataset(folder, size=size, seed=seed, findings=findings)
    click.echo(f"{manifest}: written. Next: multimix train {folder} --class-source phantom_a ...")
