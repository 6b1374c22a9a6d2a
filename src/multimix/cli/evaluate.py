"""`multimix evaluate`."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from multimix.cli.train import names
from multimix.cli.weights import model_of, weights_option
from multimix.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from multimix.predict import Predictor
    from multimix.types import Record, Scores


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.argument("data", required=False, type=click.Path(path_type=Path), metavar="[DATA]")
@weights_option
@click.option("--split", default="test", show_default=True, help="train, val or test.")
@click.option("--class-source", metavar="NAME[,NAME]", help="Sources judged by class. [default: the run's]")
@click.option("--mask-source", metavar="NAME[,NAME]", help="Sources judged by mask. [default: the run's]")
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), help="Folder of the scores. [default: in RUN/evaluation]"
)
@click.option("--parquet", is_flag=True, help="Per-image table as Parquet instead of CSV.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or mps.")
def evaluate(
    run: Path | None,
    data: Path | None,
    weights: str | None,
    split: str,
    class_source: str | None,
    mask_source: str | None,
    out: Path | None,
    parquet: bool,
    device: str,
) -> None:
    """Judge the model RUN on DATA.

    RUN is a run folder or a weights file; DATA is a manifest or its folder, by default what RUN was trained on.

    \b
    Examples:
      multimix evaluate RUN
      multimix evaluate RUN xrays --split test --class-source nih --mask-source montgomery
      multimix evaluate --weights chest-xray xrays --class-source nih

    Where neither --class-source nor --mask-source is given, the sources are those of the run.
    Every score stands beside its 95 % interval over patients and the answer that needs no model.
    """
    model, rest = model_of(weights, (run, data))
    if len(rest) > 1:
        raise UsageError(
            f"RUN and --weights: expected one of them, got {rest[0]} and {weights}; leave one out."
        )
    data = rest[0] if rest else None
    from rich.console import Console

    from multimix.data.manifest import read_manifest
    from multimix.data.splits import select
    from multimix.evaluate import format_scores, write_scores
    from multimix.predict import load

    predictor = load(model, device)
    manifest, by_class, by_mask = _what(model, data, class_source, mask_source)
    by_class = by_class if predictor.has_classes else ()
    by_mask = by_mask if predictor.has_masks else ()
    sources = tuple(dict.fromkeys((*by_class, *by_mask)))
    if not sources:
        raise UsageError(
            f"{model}: nothing to judge. Name --class-source or --mask-source for what the model predicts: classes "
            f"({', '.join(predictor.classes) or 'none'}), structures ({', '.join(predictor.structures) or 'none'})."
        )
    records = read_manifest(manifest)
    folder = Path() if weights is not None else model if model.is_dir() else model.parent
    out = out or folder / "evaluation" / f"{split}-{'-'.join(sources)}"
    chosen = {source: select(records, (source,), split) for source in sources}
    if split != "train" and _is_its_own(model, manifest):
        _refuse_what_was_learned(model, split, {record.image for mine in chosen.values() for record in mine})
    with _folder(out):
        base = manifest if manifest.is_dir() else manifest.parent
        scores, tables = _judged(predictor, chosen, by_class, by_mask, base)
        summary, per_image = write_scores(out, scores, tables, suffix=".parquet" if parquet else ".csv")
    Console().print(format_scores(scores))
    click.echo(f"Scores: {summary}\nPer image: {per_image}")


def _judged(
    predictor: "Predictor",
    chosen: "Mapping[str, Sequence[Record]]",
    by_class: tuple[str, ...],
    by_mask: tuple[str, ...],
    base: Path,
) -> "tuple[list[Scores], list[pd.DataFrame]]":
    """Scores and per-image table of each source."""
    from multimix.cli.progress import bar
    from multimix.evaluate import evaluate_source

    scores, tables = [], []
    for source, mine in chosen.items():
        with bar(f"Judging {source}", "images") as report:
            score, table = evaluate_source(
                predictor,
                mine,
                classes=source in by_class,
                masks=source in by_mask,
                base=base,
                progress=report,
            )
        scores.append(score)
        tables.append(table)
    return scores, tables


def _is_its_own(run: Path, manifest: Path) -> bool:
    """Whether `manifest` is the one that `run` was trained on, by its place."""
    from multimix.config import RunConfig

    if not (run / "config.yaml").is_file():
        return False
    paths = (manifest, Path(RunConfig.read(run / "config.yaml").data.manifest))
    own, known = (path / "manifest.csv" if path.is_dir() else path for path in paths)
    return own.resolve() == known.resolve()


def _refuse_what_was_learned(run: Path, split: str, chosen: set[Path]) -> None:
    """UsageError where the run's manifest has changed since, so that images that it learned from would be judged.

    Images that chose the checkpoint may be judged as `val`, as they are in the log.
    """
    from multimix.audit.material import TRAINING_ROLES, VALIDATION_ROLES, open_material

    if not (run / "split.csv").is_file():
        return
    roles = TRAINING_ROLES if split == "val" else (*TRAINING_ROLES, *VALIDATION_ROLES)
    known = open_material(run, None, (), None).playing(*roles)
    learned = sorted(record.image for record in known if record.image in chosen)
    if learned:
        raise UsageError(
            f"{run}: {len(learned)} of {len(chosen)} {split} images were used in its training (split.csv), such as "
            f"{learned[0].name}, so the manifest has changed since. Train again, or judge other images: give DATA."
        )


@contextmanager
def _folder(out: Path) -> Iterator[None]:
    """Make `out` before the work, so that none is lost; where nothing came of it, it goes again."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{out}: cannot be made a folder for the scores ({error.strerror}). Choose another --out."
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):  # it holds something
            out.rmdir()


def _what(
    run: Path, data: Path | None, class_source: str | None, mask_source: str | None
) -> tuple[Path, tuple[str, ...], tuple[str, ...]]:
    """Manifest, class sources and mask sources: as given, else as the run was trained."""
    from multimix.config import RunConfig

    file = run / "config.yaml"
    stored = RunConfig.read(file).data if file.is_file() else None
    if data is None and stored is None:
        raise UsageError(
            f"{run}: a weights file does not know its data. Give DATA, as in `evaluate {run} DATA`."
        )
    manifest = data if data is not None else Path(stored.manifest if stored else "")
    if class_source is None and mask_source is None and stored is not None:
        return manifest, stored.class_source, stored.mask_source
    return manifest, names(class_source or ""), names(mask_source or "")
