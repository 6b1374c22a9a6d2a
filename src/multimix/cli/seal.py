"""`multimix seal`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from multimix.cli.options import seal_log_option
from multimix.errors import UsageError

if TYPE_CHECKING:
    from multimix.data.seal import Seal

SET_ASIDE = "training patients p with blake2b-64(p) / 2^64 < {share:g}; test images before are left out"
"""How `--from-train` chooses, for people; see `data.splits.set_aside`."""


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--split", default="test", show_default=True, help="train, val or test.")
@click.option(
    "--from-train",
    type=float,
    metavar="SHARE",
    help="Set this share of the training patients aside as a new test split, which is sealed.",
)
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), help="Manifest with the new split; with --from-train."
)
@seal_log_option
def seal(
    manifest: Path, split: str, from_train: float | None, out: Path | None, seal_log: Path | None
) -> None:
    """Lock the test part of MANIFEST by hash, and count every look at it from now on.

    MANIFEST is a CSV or Parquet table, or the folder that holds manifest.csv.

    \b
    Examples:
      multimix seal xrays
      multimix seal xrays --seal-log looks/xrays.seal.jsonl
      multimix seal xrays --from-train 0.2 --out xrays/sealed.csv

    `evaluate` and `benchmark` refuse a sealed part that has changed, and write down each look; the first is
    confirmatory, later ones are exploratory. Where there is a seal already, the part is checked against it and the
    looks are told; so --from-train makes a part anew whose log somebody else has published. Where MANIFEST's folder
    cannot be written to, name a place with --seal-log, here and in the other commands.
    """
    from multimix.cli.progress import bar
    from multimix.data.manifest import read_manifest, write_manifest
    from multimix.data.seal import check_part, read_seal, seal_file, seal_part
    from multimix.data.splits import set_aside

    if (from_train is None) != (out is None):
        raise UsageError("--from-train and --out belong together: the share, and the manifest to be written.")
    if out is not None and out.exists():
        raise UsageError(f"{out}: exists. Choose another --out, or remove it.")
    records, rule = read_manifest(manifest), ""
    if from_train is not None:
        if split != "test":
            raise UsageError(f"--split {split}: --from-train makes a split test; leave --split out.")
        records, rule = set_aside(records, from_train), SET_ASIDE.format(share=from_train)
    log = seal_log or seal_file(out or manifest)
    known = read_seal(log) if log.is_file() else None
    if known is not None:
        if known.split != split:
            raise UsageError(
                f"{log}: seals the split {known.split}, not {split}. Name another file with --seal-log."
            )
        sources = {record.source for record in records if record.split == split} | set(known.sources)
        check_part(known, records, sorted(sources))
    if out is not None:
        write_manifest(out, records)
    if known is None:
        with bar("Sealing", "images") as report:
            known = seal_part(records, split, log, rule=rule, progress=report)
    _say(known, out or manifest)


def _say(seal: "Seal", manifest: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("source", "images", "patients", "looks", "the next look is")
    for name, about in seal.sources.items():
        seen = seal.seen(name)
        numbers = (str(about["images"]), str(about["patients"]), str(seen))
        table.add_row(Text(name), *numbers, "exploratory" if seen else "confirmatory")
    Console().print(table)
    click.echo(
        f"{manifest}: split {seal.split} is sealed and unchanged. Log: {seal.log}\n"
        "Keep the log under version control: who deletes it starts to count anew."
    )
