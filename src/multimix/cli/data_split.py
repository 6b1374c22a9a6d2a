"""`multimix data split`."""

from pathlib import Path

import click

from multimix.errors import UsageError


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option(
    "--out",
    "-o",
    required=True,
    type=click.Path(path_type=Path),
    help="The new manifest; with --folds 5 and x.csv x1.csv to x5.csv.",
)
@click.option(
    "--shares",
    default="0.7,0.1,0.2",
    show_default=True,
    metavar="TRAIN,VAL,TEST",
    help="Shares of the patients; with --folds that of val counts.",
)
@click.option(
    "--folds", type=click.IntRange(2, 100), help="Write so many manifests, each patient in one's test split."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides who goes where.")
def split(manifest: Path, out: Path, shares: str, folds: int | None, seed: int) -> None:
    """Draw a new split of MANIFEST by patient, stratified by class within each source; or k folds.

    \b
    Examples:
      multimix data split xrays --out xrays/drawn.csv
      multimix data split xrays --out xrays/drawn.csv --shares 0.6,0.2,0.2 --seed 1
      multimix data split xrays --out xrays/fold.csv --folds 5

    The split that MANIFEST has is not looked at. All images of a patient go to one split; where patients are not known
    each image counts as one.
    """
    from multimix.data.manifest import read_manifest, write_manifest
    from multimix.data.splits import assign_splits, fold_splits
    from multimix.types import patients_known

    try:
        train, val, test = (float(part) for part in shares.split(","))
    except ValueError as error:
        raise UsageError(
            f"--shares {shares!r}: expected three numbers such as 0.7,0.1,0.2; correct it"
        ) from error
    files = [out] if folds is None else [out.with_stem(f"{out.stem}{number + 1}") for number in range(folds)]
    if there := [file for file in files if file.exists()]:
        raise UsageError(f"{there[0]}: exists. Choose another --out.")
    records = read_manifest(manifest)
    if not patients_known(record.patient for record in records):
        click.echo(
            f"Note: {manifest}: some patients are not known; each image without one counts as a patient of its own.",
            err=True,
        )
    if folds is None:
        drawn = [assign_splits(records, seed, (train, val, test))]
    else:
        drawn = fold_splits(records, folds, seed, val)
    for file, rows in zip(files, drawn, strict=True):
        write_manifest(file, rows)
        counts = ", ".join(
            f"{name} {sum(r.split == name for r in rows)}" for name in ("train", "val", "test")
        )
        click.echo(f"{file}: {counts} of {len(rows)} images")
