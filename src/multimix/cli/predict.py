"""`multimix predict`."""

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE|FOLDER...")
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), help="Folder of the answers.")
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["png", "dicom"]),
    default=["png"],
    show_default=True,
    help="png: masks and overlays. dicom: Segmentation, report (SR) and overlay. Give it twice for both.",
)
@click.option(
    "--force", is_flag=True, help="Answer DICOM images that do not say they are frontal chest X-rays."
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or mps.")
@click.option(
    "--precision", default="32-true", show_default=True, help="32-true, or bf16-mixed: faster, rounded."
)
def predict(
    run: Path,
    inputs: tuple[Path, ...],
    out: Path,
    formats: tuple[str, ...],
    force: bool,
    device: str,
    precision: str,
) -> None:
    """Answer images: class, mask and saliency, each at the image's own size.

    \b
    Examples:
      multimix predict RUN chest.png --out answers
      multimix predict RUN ward_3/ study.zip DICOMDIR --out answers
      multimix predict RUN study/ --format dicom --format png --out answers

    OUT gets predictions.csv (one row per image) and masks/*.png (0 and 255) with overlays/*.png, or
    dicom/*.dcm, objects that belong to the image's own study. A file that cannot be read is a row with its
    reason; the others are answered, and the exit status is 1. Our own results in a study are skipped. Not
    for clinical use.
    """
    from multimix.cli.progress import bar
    from multimix.predict import load
    from multimix.predict_files import predict_files

    predictor = load(run, device, precision=precision)
    with bar("Answering", "images") as report:
        summary = predict_files(
            predictor, list(inputs), out, formats=tuple(dict.fromkeys(formats)), force=force, progress=report
        )
    skipped = f", {summary.skipped} skipped" if summary.skipped else ""
    click.echo(f"{out / 'predictions.csv'}: {summary.done} answered, {summary.failed} failed{skipped}")
    if summary.failed:
        raise SystemExit(1)
