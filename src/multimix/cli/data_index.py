"""`multimix data index`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multimix.data.sources import LAYOUTS
from multimix.errors import ManifestError, UsageError

if TYPE_CHECKING:
    from multimix.data.annotations.structures import Structures
    from multimix.data.index import FolderIndex
    from multimix.types import Record

_OF_TABLES = (
    "root",
    "path_map",
    "image_column",
    "label_column",
    "patient_column",
    "split_column",
    "source_column",
)
"""Options that need a table."""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="FOLDER|TABLE")
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
    "--annotations",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Masks and classes from COCO, labelme, Label Studio, CVAT or YOLO: a file, or the folder that holds them.",
)
@click.option(
    "--structures",
    metavar="NAME=VALUE,...|FILE",
    help="What the values of label maps are (a level, a colour #ff0000), or which labels of annotations are taken; a "
    "NAME alone is that of masks without one.",
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
    "--root", type=click.Path(path_type=Path), help="Folder of a table's images. [default: the table's]"
)
@click.option(
    "--path-map",
    multiple=True,
    metavar="OLD=NEW",
    help="What replaces the beginning of a table's paths; repeatable.",
)
@click.option("--image-column", metavar="NAME", help="Column of a table that holds the image files.")
@click.option("--label-column", metavar="NAME", help="Column of a table that holds the classes.")
@click.option("--patient-column", metavar="NAME", help="Column of a table that holds the patients.")
@click.option("--split-column", metavar="NAME", help="Column of a table that holds train, val or test.")
@click.option("--source-column", metavar="NAME", help="Column of a table that holds the data sets.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Draws a split where there is none on disk."
)
@click.option("--replace", is_flag=True, help="Overwrite an existing manifest.")
def index(folder: Path, layout: str | None, out: Path | None, replace: bool, **options: Any) -> None:
    """Write the manifest of a folder: class folders, images/ and masks/, or both; or of a TABLE (CSV, Excel, Parquet).

    \b
    Examples:
      multimix data index xrays
      multimix data index xrays --patient-pattern '(p\\d+)_'
      multimix data index xrays --folders split/class/patient
      multimix data index skin --annotations skin/instances.json
      multimix data index scans --structures lungs=1,heart=2
      multimix data index ward.xlsx --root scans --patient-column Fallnummer
      multimix data index NLM-MontgomeryCXRSet --layout montgomery

    \b
    Folders that are understood, also with a folder per patient:
      CLASS/x.png              train/CLASS/x.png            images/x.png + masks/x.png
      unlabelled/x.png         Training/CLASS/x.png         imagesTr/x_0000.png + labelsTr/x.png
      masks/STRUCTURE/x.png    CLASS/x.png + CLASS/x_mask.png
      SOURCE/ above any of these

    What can be read in two ways is refused until --folders says how. Masks of annotations and label maps are written
    to FOLDER/multimix_masks.
    """
    from multimix.data.manifest import write_manifest

    is_table = folder.is_file()
    home = (options["root"] or folder.parent) if is_table else folder
    out = out or home / "manifest.csv"
    if out.exists() and not replace:
        raise UsageError(f"{out}: exists. Add --replace to overwrite it, or choose another --out.")
    given = [name for name, value in options.items() if value and name != "seed"]
    if layout is not None and given:
        raise UsageError(
            f"--{given[0].replace('_', '-')} is for plain folders; --layout knows its own. Leave it out."
        )
    if not is_table and (of_tables := [name for name in given if name in _OF_TABLES]):
        raise UsageError(
            f"--{of_tables[0].replace('_', '-')} is for a table, and {folder} is none; name the table, or leave it out."
        )
    found = _found(folder, layout, is_table, options)
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


def _found(folder: Path, layout: str | None, is_table: bool, options: dict[str, Any]) -> "FolderIndex":
    from multimix.data import sources
    from multimix.data.index import index_folder
    from multimix.data.index.from_table import index_table

    if layout is not None:
        return sources.index_layout(layout, folder)
    completed = _completed(options.pop("annotations"), options.pop("structures"))
    shared = {k: options[k] for k in ("seed", "mask_suffix", "patient_pattern", "patient_per_image")}
    if not is_table:
        return index_folder(folder, folders=options["folders"], completed=completed, **shared)
    if options["folders"]:
        raise UsageError("--folders is for a folder; a table says itself what its images are. Leave it out.")
    names = ("image", "label", "patient", "split", "source")
    columns = {name: options[f"{name}_column"] for name in names if options[f"{name}_column"]}
    maps = []
    for text in options["path_map"]:
        old, equals, new = text.partition("=")
        if not equals or not old:
            raise UsageError(f"--path-map {text!r}: expected OLD=NEW; correct it")
        maps.append((old, new))
    return index_table(
        folder, options["root"], columns=columns, path_maps=maps, completed=completed, **shared
    )


def _completed(
    annotations: Path | None, structures: str | None
) -> "Callable[[Path, list[Record]], FolderIndex]":
    """What is said of the records beyond folders and tables: masks of annotations, of label maps, names of masks."""
    from multimix.cli.progress import bar
    from multimix.data.annotations import structures as named
    from multimix.data.annotations.written import annotated, divided, refuse_label_maps, renamed
    from multimix.data.index import FolderIndex

    told: Structures | None = named.parse(structures) if structures else None

    def complete(root: Path, records: "list[Record]") -> "FolderIndex":
        if annotations is not None:
            with bar("Masks", "images") as report:
                return annotated(root, records, annotations, told, report)
        if told is not None and told.only_name:
            refuse_label_maps(records)
            return FolderIndex(renamed(records, told.only_name), [])
        values = told or named.in_folder(root)
        if values is not None and values.values and any(record.masks for record in records):
            with bar("Masks", "images") as report:
                done = divided(root, records, values, report)
            done.notes.insert(0, f"the values of the masks are those that {values.where} says")
            return done
        if told is not None:
            raise UsageError(
                "--structures: expected NAME=VALUE for masks that are label maps, one NAME for masks without a name, "
                "or --annotations for labels; correct it"
            )
        refuse_label_maps(records)
        return FolderIndex(records, [])

    return complete


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
