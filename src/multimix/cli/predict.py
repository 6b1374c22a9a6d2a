"""`multimix predict`."""

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE|FOLDER...")
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), help="Folder of the answers.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or mps.")
def predict(run: Path, inputs: tuple[Path, ...], out: Path, device: str) -> None:
    """Answer images: class, mask and saliency, each at the image's own size.

    \b
    Examples:
      multimix predict RUN chest.png --out answers
      multimix predict RUN ward_3/ ward_4/ --out answers

    OUT gets predictions.csv (one row per image), masks/*.png (0 and 255) and overlays/*.png. A file that
    cannot be read is a row with its reason; the others are answered, and the exit status is 1. Not for
    clinical use.
    """
    from multimix.cli.progress import bar
    from multimix.predict import load, predict_files

    predictor = load(run, device)
    with bar("Answering", "images") as report:
        summary = predict_files(predictor, list(inputs), out, progress=report)
    click.echo(f"{out / 'predictions.csv'}: {summary.done} answered, {summary.failed} failed")
    if summary.failed:
        raise SystemExit(1)
