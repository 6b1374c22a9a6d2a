"""`multimix data`: index, check, phantom."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multimix.cli.options import LARGEST
from multimix.data.sources import LAYOUTS
from multimix.errors import ManifestError, UsageError

if TYPE_CHECKING:
    from multimix.types import Record

STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


@click.group()
def data() -> None:
    """Make and check manifests, the tables that training reads.

    \b
    Examples:
      multimix data index xrays
      multimix data check xrays
    """


@data.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--layout", type=click.Choice(sorted(LAYOUTS)), help="FOLDER is this public set as given out.")
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), help="CSV or Parquet. [default: FOLDER/manifest.csv]"
)
@click.option(
    "--folders",
    metavar="LEVELS",
    help="What the folders are from the top down: source, split, class, patient, images or *, joined by /.",
)
@click.option(
    "--mask-suffix", metavar="TEXT", help="What a mask's name has after its image's: x_roi.png of x.png."
)
@click.option(
    "--patient-pattern",
    metavar="REGEX",
    help="One group finds the patient in a file name, or else in its path.",
)
@click.option("--patient-per-image", is_flag=True, help="Every image is of another patient.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Draws a split where there is none on disk."
)
@click.option("--replace", is_flag=True, help="Overwrite an existing manifest.")
def index(folder: Path, layout: str | None, out: Path | None, replace: bool, **options: Any) -> None:
    """Write the manifest of a folder: class folders, images/ and masks/, or both.

    \b
    Examples:
      multimix data index xrays
      multimix data index xrays --patient-pattern '(p\\d+)_'
      multimix data index xrays --folders split/class/patient
      multimix data index NLM-MontgomeryCXRSet --layout montgomery

    \b
    Folders that are understood, also with a folder per patient:
      CLASS/x.png              train/CLASS/x.png            images/x.png + masks/x.png
      unlabelled/x.png         Training/CLASS/x.png         imagesTr/x_0000.png + labelsTr/x.png
      masks/STRUCTURE/x.png    CLASS/x.png + CLASS/x_mask.png
      SOURCE/ above any of these

    What can be read in two ways is refused until --folders says how.
    """
    from multimix.data import sources
    from multimix.data.index import index_folder
    from multimix.data.manifest import write_manifest

    out = out or folder / "manifest.csv"
    if out.exists() and not replace:
        raise UsageError(f"{out}: exists. Add --replace to overwrite it, or choose another --out.")
    if layout is not None:
        given = [name for name, value in options.items() if value and name != "seed"]
        if given:
            raise UsageError(
                f"--{given[0].replace('_', '-')} is for plain folders; --layout knows its own. Leave it out."
            )
        found = sources.index_layout(layout, folder)
    else:
        found = index_folder(folder, **options)
    write_manifest(out, found.records)
    for what, lines in (("Left out", found.unmatched), ("Note", found.notes)):
        for line in lines[:10]:
            click.echo(f"{what}: {line}", err=True)
        if len(lines) > 10:
            click.echo(f"{what}: {len(lines) - 10} more", err=True)
    _print_counts(found.records)
    if not any(record.label or record.masks for record in found.records):
        raise ManifestError(
            f"{out}: written, but none of its {len(found.records)} images has a label or a mask, so nothing can be "
            "learned from it alone. Fill in the label or mask column, or move the images into folders per class."
        )
    click.echo(f"{out}: {len(found.records)} images. Next: multimix data check {out}")


def _print_counts(records: "list[Record]") -> None:
    from collections import Counter

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from multimix.types import patients_known

    table = Table("source", "split", "images", "patients", "with label", "with mask")
    groups = Counter((r.source, r.split) for r in records)
    for (source, split), count in sorted(groups.items()):
        mine = [r for r in records if (r.source, r.split) == (source, split)]
        numbers = (
            count,
            len({r.patient for r in mine}) if patients_known(r.patient for r in mine) else "not known",
            sum(r.label is not None for r in mine),
            sum(bool(r.masks) for r in mine),
        )
        table.add_row(Text(source), split, *map(str, numbers))
    Console().print(table)
    # By name: what a folder was taken for, class or source, is not to be seen from numbers.
    for source in sorted({r.source for r in records}):
        classes = Counter(c for r in records if r.source == source and r.label for c in r.label.split("|"))
        named = ", ".join(f"{name} {count}" for name, count in classes.most_common(12))
        more = f" and {len(classes) - 12} more" if len(classes) > 12 else ""
        click.echo(f"Classes of {source}: {named or 'none'}{more}")


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
