"""`multimix explain`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from multimix.cli.options import model_and_data, names, weights_option
from multimix.errors import UsageError, needs_extra

if TYPE_CHECKING:
    from rich.table import Table

    from multimix.evaluation.explain import Explained
    from multimix.types import Estimate

MAPS = {
    "own": "the model's map",
    "edges": "edges (Sobel)",
    "gaussian": "centred Gaussian",
    "random_network": "randomised network",
    "random": "random order",
}
EXCHANGES = {
    "zeros": "zeros",
    "another_patient": "another patient's map",
    "edges": "edges",
    "noise": "noise of the same spectrum",
}
REGIONS = {"structures": "structures", "finding": "disease", "border": "border strip"}


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.argument("data", required=False, type=click.Path(path_type=Path), metavar="[DATA]")
@weights_option
@click.option("--split", default="test", show_default=True, help="train, val or test.")
@click.option("--source", metavar="NAME[,NAME]", help="Sources to test on. [default: all with masks]")
@click.option(
    "--most", type=click.IntRange(1), default=120, show_default=True, help="Images of each source, at most."
)
@click.option(
    "--other-seed",
    "seeds",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="A run that differs in its seed alone; may be repeated.",
)
@click.option(
    "--shuffled",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="A run that learned shuffled labels; may be repeated.",
)
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), help="Folder of the figures. [default: in RUN/explain]"
)
@click.option("--parquet", is_flag=True, help="Per-image table as Parquet instead of CSV.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or mps.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Decides images and noise."
)
def explain(
    run: Path | None,
    data: Path | None,
    weights: str | None,
    split: str,
    source: str | None,
    most: int,
    seeds: tuple[Path, ...],
    shuffled: tuple[Path, ...],
    out: Path | None,
    parquet: bool,
    device: str,
    seed: int,
) -> None:
    """Test whether the heat map of RUN explains its answers, and whether its bridge carries anything.

    RUN is a run folder or a weights file; DATA is a manifest or its folder, by default what RUN was trained on.

    \b
    Examples:
      multimix explain RUN
      multimix explain RUN xrays --split val
      multimix explain --weights chest-xray xrays --source kermany_v7
      multimix explain RUN xrays --other-seed RUN2 --shuffled RUN3

    The images need masks of the model's structures, or mask:finding, which says where the disease is. Every figure
    has its 95 % interval over patients and stands beside that of edges, of a centred Gaussian and of randomised
    networks. A minute or two for 120 images of 128 x 128 pixels on one core. See docs/explain.md.
    """
    from rich.console import Console

    from multimix.cli.progress import bar

    with needs_extra("multimix explain", "train"):
        from multimix.evaluation.explain import explain as explain_run
        from multimix.evaluation.explain import write_explained
    model, data = model_and_data(weights, run, data)
    manifest = _manifest(model, data)
    _refuse_sealed(manifest, split)
    results = explain_run(
        model,
        manifest,
        split=split,
        sources=names(source or ""),
        most=most,
        seeds=seeds,
        shuffled=shuffled,
        device=device,
        seed=seed,
        bar=bar,
    )
    home = Path() if weights is not None else model if model.is_dir() else model.parent
    folder = out or home / "explain" / f"{split}-{'-'.join(result.source for result in results)}"
    suffix = ".parquet" if parquet else ".csv"
    summary, per_image = write_explained(folder, results, manifest=manifest.absolute(), suffix=suffix)
    console = Console()
    for result in results:
        for table in tables(result):
            console.print(table)
        console.print(
            result.verdict.sentence()[:1].upper() + result.verdict.sentence()[1:] + ".", markup=False
        )
        for line in bridge_in_words(result):
            console.print(line)
    click.echo(f"Figures: {summary}\nPer image: {per_image}")


def _manifest(model: Path, data: Path | None) -> Path:
    """What DATA says, else what the run was trained on."""
    from multimix.io.run_folder import read_config

    if data is not None:
        return data
    config = read_config(model)
    if config is None:
        raise UsageError(
            f"{model}: a weights file does not know its data. Give DATA, a manifest or its folder."
        )
    return Path(config.data.manifest)


def _refuse_sealed(manifest: Path, split: str) -> None:
    """UsageError for a sealed part: what a map looks like there would choose between methods, and is no score."""
    from multimix.data.seal import find_seal

    file = manifest / "manifest.csv" if manifest.is_dir() else manifest
    if (seal := find_seal(file)) is not None and seal.split == split:
        raise UsageError(
            f"{file}: its {split} images are sealed, and only `multimix evaluate` looks at them, counted. Test the map "
            "on --split val."
        )


def tables(result: "Explained") -> "list[Table]":
    """For the screen: where the map lies, the bridge, faithfulness, sensitivity; what was not tested is left out."""
    made = [_place(result, region) for region in REGIONS]
    made += [_bridge(result), _faithfulness(result), _sensitivity(result)]
    return [table for table in made if table.row_count]


def _place(result: "Explained", region: str) -> "Table":
    """Lift and brightest point of every map; no row where the region is known in no image."""
    from rich.table import Table

    figures, whats = result.figures, {"lift": "lift", "pointing": "brightest point"}
    shown = {what: title for what, title in whats.items() if f"{what}_{region}_own" in figures}
    where = f"{result.source}, {result.split}: {REGIONS[region]}"
    table = Table("map", *shown.values(), title=where, title_justify="left")
    for name, title in MAPS.items():
        cells = [figures.get(f"{what}_{region}_{name}") for what in shown]
        if any(cells):
            table.add_row(title, *map(_cell, cells))
    if shown:
        chance = {"lift": "1", "pointing": _cell(figures[f"area_{region}"])}
        table.add_row("by chance", *(chance[what] for what in shown))
    return table


def _bridge(result: "Explained") -> "Table":
    from rich.table import Table

    table = Table(
        "the decoder is given",
        "Dice with its own masks",
        "change of Dice",
        title="Bridge",
        title_justify="left",
    )
    for name, title in EXCHANGES.items():
        if (same := result.figures.get(f"bridge_dice_{name}")) is not None:
            table.add_row(title, _cell(same, 4), _cell(result.figures.get(f"bridge_change_{name}"), 4))
    return table


def _faithfulness(result: "Explained") -> "Table":
    from rich.table import Table

    measures = {"deletion": "deletion (lower)", "insertion": "insertion (higher)", "road": "ROAD (higher)"}
    table = Table("map", *measures.values(), title="Faithfulness", title_justify="left")
    for name, title in MAPS.items():
        cells = [result.figures.get(f"{measure}_{name}") for measure in measures]
        if any(cells):
            table.add_row(title, *map(_cell, cells))
    return table


def _sensitivity(result: "Explained") -> "Table":
    from rich.table import Table

    table = Table("SSIM with the model's map", "", title="Sensitivity", title_justify="left")
    titles = {
        "noise": "under noise of 1 %",
        "other_seeds": "other seeds",
        "shuffled_labels": "learned shuffled labels",
    }
    for name, figure in result.figures.items():
        if name.startswith("cascade_"):
            titles[name] = f"randomised down to {name.removeprefix('cascade_')}"
        if name in titles:
            table.add_row(titles[name], _cell(figure))
    return table


def bridge_in_words(result: "Explained") -> Sequence[str]:
    """One sentence on the bridge, where there is one; with rich's markup."""
    from multimix.reliability.map_verdict import UNMOVED

    if (same := result.figures.get("bridge_dice_another_patient")) is None:
        return ()
    found = f"with another patient's map, Dice with its own masks is {_cell(same, 4)}"
    if "bridge" in result.verdict.failed:
        return (
            f"Its masks are not shown to depend on its map: {found}; an interval below {UNMOVED} would show it.",
        )
    return (f"Its masks depend on its map: {found}.",)


def _cell(figure: "Estimate | None", digits: int = 3) -> str:
    if figure is None:
        return ""
    if figure.low != figure.low:  # nan: the same in every image, or of one patient
        return f"{figure.value:.{digits}f}"
    return f"{figure.value:.{digits}f} \\[{figure.low:.{digits}f}, {figure.high:.{digits}f}]"
