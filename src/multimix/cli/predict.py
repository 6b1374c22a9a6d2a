"""`multimix predict`."""

from pathlib import Path

import click

from multimix.cli.options import model_of, weights_option

REASONS = 5
"""Reasons that are printed; the table has all."""


@click.command()
@click.argument("words", nargs=-1, type=click.Path(path_type=Path), metavar="RUN FILE|FOLDER...")
@weights_option
@click.option(
    "--out",
    "-o",
    default="answers",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of the answers.",
)
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
    "--force",
    is_flag=True,
    help="Answer images unlike those learned from, and DICOM that does not say it is a frontal chest X-ray.",
)
@click.option(
    "--saliency",
    is_flag=True,
    help="Overlays show the saliency also where tests of this model's heat map failed.",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or mps.")
@click.option(
    "--precision", default="32-true", show_default=True, help="32-true, or bf16-mixed: faster, rounded."
)
def predict(
    words: tuple[Path, ...],
    weights: str | None,
    out: Path,
    formats: tuple[str, ...],
    force: bool,
    saliency: bool,
    device: str,
    precision: str,
) -> None:
    """Answer images: class, mask and saliency, each at the image's own size.

    \b
    Examples:
      multimix predict --weights chest-xray chest.png
      multimix predict RUN chest.png --out answers
      multimix predict RUN ward_3/ study.zip DICOMDIR --out answers
      multimix predict RUN manifest.csv --out answers
      multimix predict RUN study/ --format dicom --format png --out answers

    RUN is a run folder or a weights file; with --weights all words are images. The columns
    of a manifest are carried over as manifest:COLUMN. OUT gets predictions.csv (one
    row per image) and masks/*.png (0 and 255) with overlays/*.png, or dicom/*.dcm, objects that belong to the
    image's own study; what an earlier call left there is replaced.

    A file that cannot be read, or is unlike the images that the model learned from, is a row with its reason;
    the others are answered, and the exit status is 1, as where DICOM objects that were asked for could not be
    made. What --force had answered is a row with the reason against it. Our own results in a study are
    skipped. Not for clinical use.
    """
    model, inputs = model_of(weights, words)
    if not inputs:
        raise click.UsageError("Missing argument 'FILE|FOLDER...'.", click.get_current_context())
    from multimix.cli.progress import bar
    from multimix.inference.load import load
    from multimix.inference.predict_files import predict_files

    predictor = load(model, device, precision=precision, show_saliency=saliency)
    with bar("Answering", "images") as report:
        summary = predict_files(
            predictor, inputs, out, formats=tuple(dict.fromkeys(formats)), force=force, progress=report
        )
    if summary.replaced:
        click.echo(f"{out}: {summary.replaced} files of an earlier call were removed", err=True)
    for what in summary.passed_over:
        click.echo(f"{what} passed over", err=True)
    for reason in summary.reasons[:REASONS]:
        click.echo(reason, err=True)
    if len(summary.reasons) > REASONS:
        click.echo(f"{len(summary.reasons) - REASONS} more reasons are in the table", err=True)
    if summary.done and predictor.saliency_verdict:
        shown = "" if predictor.saliency_shown else "; overlays leave it out, --saliency shows it"
        click.echo(f"Of the overlays: {predictor.saliency_verdict}{shown}", err=True)
    others = {
        "rejected": summary.rejected,
        "skipped": summary.skipped,
        "without DICOM objects": summary.partly,
    }
    more = "".join(f", {count} {status}" for status, count in others.items() if count)
    click.echo(f"{out / 'predictions.csv'}: {summary.done} answered, {summary.failed} failed{more}")
    if summary.failed or summary.rejected or summary.partly:
        raise SystemExit(1)
