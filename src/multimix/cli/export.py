"""`multimix export`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from multimix.cli.options import only_model, weights_option
from multimix.errors import needs_extra

if TYPE_CHECKING:
    from multimix.deployment.export import Found


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@weights_option
@click.option(
    "--out", "-o", required=True, type=click.Path(path_type=Path), metavar="FILE", help="NAME.onnx."
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16"]),
    default="fp32",
    show_default=True,
    help="Bits that the weights are stored in; they are computed with in 32.",
)
@click.option(
    "--pixels",
    type=click.Choice(["float32", "uint8", "uint16"]),
    default="float32",
    show_default=True,
    help="Pixels that the model takes; multimix itself runs those of float32.",
)
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    type=click.Choice(["onnxruntime", "openvino"]),
    default=["onnxruntime"],
    show_default=True,
    help="Where it is tried; may be repeated.",
)
@click.option(
    "--parity",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Images to try it on, besides generated ones.",
)
def export(
    run: Path | None,
    weights: str | None,
    out: Path,
    precision: str,
    pixels: str,
    runtimes: tuple[str, ...],
    parity: Path | None,
) -> None:
    """Write a trained model as one ONNX file that needs no torch.

    \b
    Examples:
      multimix export RUN --out model.onnx
      multimix export --weights chest-xray --out model.onnx --precision fp16
      multimix export RUN --out model.onnx --parity my_xrays --runtime onnxruntime --runtime openvino
      multimix predict model.onnx chest.png

    The file takes images of any size and answers probabilities, decision, prediction set, masks, saliency and the
    distance from the images that the model learned from; its metadata say what each is. Before it is written, every
    output is compared with torch's; where one is over its tolerance, no file is written. What was found is its
    certificate. predict, evaluate, serve and pacs take the file in place of RUN and refuse one that was changed.
    Not for clinical use.
    """
    from multimix.cli.progress import bar

    with needs_extra("multimix export", "export"):
        from multimix.deployment.export import export as export_model

    model = only_model(weights, run)
    with bar("Comparing", "images") as report:
        found = export_model(
            model, out, precision=precision, pixels=pixels, runtimes=runtimes, parity=parity, progress=report
        )
    _say(found)
    click.echo(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


def _say(found: "Found") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("output", "runtime", "largest difference", "relative L2", "differ")
    for runtime, outputs in found.items():
        for name, one in outputs.items():
            differ = "" if one.differing is None else f"{one.differing} of {one.of}"
            table.add_row(name, runtime, f"{one.largest:.2g}", f"{one.relative_l2:.2g}", differ)
    Console().print(table)
