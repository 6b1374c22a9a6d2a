"""`multimix evaluate`."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import zip_longest
from math import isnan
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from multimix.cli.options import model_and_data, names, seal_log_option, weights_option
from multimix.errors import SplitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from rich.table import Table

    from multimix.data.seal import Look
    from multimix.inference.predictor import Predictor
    from multimix.types import Estimate, Record, Scores


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
@seal_log_option
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
    seal_log: Path | None,
) -> None:
    """Judge the model RUN on DATA.

    RUN is a run folder or a weights file; DATA is a manifest or its folder, by default what RUN was trained on.

    \b
    Examples:
      multimix evaluate RUN
      multimix evaluate RUN xrays --split test --class-source nih --mask-source montgomery
      multimix evaluate --weights chest-xray xrays --class-source nih

    Where neither --class-source nor --mask-source is given, the sources are those of the run.
    Every score stands beside its 95 % interval over patients and the answer that needs no model. A look at images that
    `multimix seal` has sealed is counted.
    """
    model, data = model_and_data(weights, run, data)
    from rich.console import Console

    from multimix.evaluation.evaluate import write_scores
    from multimix.inference.load import load

    predictor = load(model, device)
    manifest, by_class, by_mask = _what(model, data, class_source, mask_source)
    by_class = by_class if predictor.spec.classify else ()
    by_mask = by_mask if predictor.spec.segment else ()
    sources = tuple(dict.fromkeys((*by_class, *by_mask)))
    if not sources:
        raise UsageError(
            f"{model}: nothing to judge. Name --class-source or --mask-source for what the model predicts: classes "
            f"({', '.join(predictor.spec.classes) or 'none'}), structures "
            f"({', '.join(predictor.spec.structures) or 'none'})."
        )
    chosen = _chosen(manifest, sources, split)
    home = model if model.is_dir() else model.parent
    _refuse_what_was_learned(home, manifest, split, chosen)
    if out is None:
        out = (Path() if weights is not None else home) / "evaluation" / f"{split}-{'-'.join(sources)}"
        _refuse_scores_of_another(manifest, out)
    suffix = ".parquet" if parquet else ".csv"
    with _folder(out):
        look = _look(model, manifest, seal_log, split, chosen)
        scores, tables = _judged(predictor, chosen, by_class, by_mask, manifest.parent, _labelled(home))
        summary, per_image = write_scores(
            out, scores, tables, manifest=manifest.resolve(), look=look, suffix=suffix
        )
    Console().print(scores_table(scores))
    click.echo(f"Scores: {summary}\nPer image: {per_image}")
    if look is not None:
        click.echo(look.sentence)
    if unfinished := _unfinished(home):
        click.echo(unfinished, err=True)


def _unfinished(run: Path) -> str:
    """That the training of a run was stopped before its end; empty where it was not, or nothing is known."""
    from multimix.config import RunConfig
    from multimix.io.run_folder import CONFIG, LOG, read_log

    if not ((run / CONFIG).is_file() and (run / LOG).is_file()):
        return ""
    config = RunConfig.read(run / CONFIG)
    taken = max((line.get("step", 0) for line in read_log(run / LOG)), default=0)
    if config.patience is not None or taken >= config.optim.steps:
        return ""  # with patience, fewer steps may be all that were meant
    return (
        f"Note: {run} has stopped at step {taken} of {config.optim.steps}; these are the scores of its best weights so "
        f"far. Go on with `multimix train --out {run} --resume`."
    )


def scores_table(scores: "Sequence[Scores]") -> "Table":
    """Value, interval and baseline (majority class, thumbnail, mean mask) of every score, by source."""
    from rich.table import Table
    from rich.text import Text

    table = Table("images", "score", "value", "95 % interval", "baseline")
    for group in scores:
        patients = f"{group.patients} patients" if group.patients else "patients not known"
        about = [f"{group.source} {group.split}", f"{group.images} images", patients]
        lines = [_line(name, item) for name, item in group.metrics.items()]
        for left, line in zip_longest(about, lines, fillvalue=""):
            # Text, not str: rich would take the brackets of an interval or of a class name for markup.
            table.add_row(*map(Text, (left, *line)))
        table.add_section()
    return table


def _line(name: str, item: "Estimate") -> tuple[str, str, str, str]:
    from multimix.metrics.table import find

    known = find(name)
    digits = known[0].digits if known is not None else 3
    value, low, high, trivial = (
        "" if x is None else "undefined" if isnan(x) else f"{x:.{digits}f}"
        for x in (item.value, item.low, item.high, item.trivial)
    )
    interval = f"[{low}, {high}]" if not isnan(item.low) else low if isnan(item.value) else "none"
    return name, value, interval, trivial


def _look(
    model: Path, manifest: Path, seal_log: Path | None, split: str, chosen: "Mapping[str, Sequence[Record]]"
) -> "Look | None":
    """The look at a sealed part, counted; None where it is not sealed. SplitError where the run has learned from it."""
    from multimix.data.seal import find_seal, open_look, plan_of
    from multimix.io.run_folder import SPLIT, read_roles
    from multimix.weights.file import BEST

    seal = find_seal(manifest, seal_log)
    if seal is None or seal.split != split:
        return None
    records = [record for mine in chosen.values() for record in mine]
    if model.is_dir() and (model / SPLIT).is_file():
        learned = {(row["source"], row["patient"]) for row in read_roles(model)}
        if both := sorted(
            {record.patient for record in records if (record.source, record.patient) in learned}
        ):
            raise SplitError(
                f"{model}: has learned from {len(both)} of the sealed patients, such as {both[0]}. Train on "
                f"{manifest}, or judge other images."
            )
    else:
        click.echo(
            f"Note: {model} does not say whom it learned from; sealed patients may be among them.", err=True
        )
    plan = plan_of(model / BEST if model.is_dir() else model, *chosen)
    return open_look(seal, records, split, tuple(chosen), by=f"evaluate {model.name}", plan=plan)


def _chosen(manifest: Path, sources: tuple[str, ...], split: str) -> "Mapping[str, Sequence[Record]]":
    """Source -> its images in the split; UsageError where there is none."""
    from multimix.data.manifest import read_manifest
    from multimix.data.splits import select

    records = read_manifest(manifest)
    chosen = {source: select(records, (source,), split) for source in sources}
    for source in (source for source, mine in chosen.items() if not mine):
        has = Counter(record.split for record in records if record.source == source)
        known = ", ".join(f"{name} {count}" for name, count in has.items())
        raise UsageError(
            f"{manifest}: no image of source {source!r} is in split {split!r}; it has {known}. Choose another --split."
        )
    return chosen


def _judged(
    predictor: "Predictor",
    chosen: "Mapping[str, Sequence[Record]]",
    by_class: tuple[str, ...],
    by_mask: tuple[str, ...],
    base: Path,
    labelled: "Sequence[Record]",
) -> "tuple[list[Scores], list[pd.DataFrame]]":
    """Scores and per-image table of each source; `labelled` are the images whose class the run was told."""
    from multimix.cli.progress import bar
    from multimix.evaluation.evaluate import evaluate_source
    from multimix.evaluation.thumbnail import with_floor

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
        scores.append(with_floor(score, labelled, mine, predictor.spec) if source in by_class else score)
        tables.append(table)
    return scores, tables


def _labelled(run: Path) -> "list[Record]":
    """The images whose class the run was told; none where it, or its data, is not there."""
    from multimix.errors import MultimixError
    from multimix.evaluation.audit.run_folder import open_run_folder

    try:
        return open_run_folder(run, None, (), None).playing("labelled_classes")
    except MultimixError:
        return []


def _refuse_what_was_learned(
    run: Path, manifest: Path, split: str, chosen: "Mapping[str, Sequence[Record]]"
) -> None:
    """UsageError where the run's own manifest has changed since, so that images which taught it would be judged.

    Images that chose the checkpoint may be judged as `val`, as they are in the log, and any as `train`. Of another
    manifest nothing is said: that its images have the names of those in split.csv does not make them the same.
    """
    from multimix.evaluation.audit.run_folder import TRAINING_ROLES, VALIDATION_ROLES, open_run_folder
    from multimix.io.run_folder import CONFIG, SPLIT

    if split == "train" or not all((run / name).is_file() for name in (CONFIG, SPLIT)):
        return
    material = open_run_folder(run)
    if material.table_file.resolve() != manifest.resolve():
        return
    roles = TRAINING_ROLES if split == "val" else (*TRAINING_ROLES, *VALIDATION_ROLES)
    images = {record.image for mine in chosen.values() for record in mine}
    learned = sorted({record.image for record in material.playing(*roles)} & images)
    if learned:
        raise UsageError(
            f"{run}: {len(learned)} of {len(images)} {split} images were used in its training (split.csv), such as "
            f"{learned[0].name}, so the manifest has changed since. Train again, or judge other images: give DATA."
        )


def _refuse_scores_of_another(manifest: Path, folder: Path) -> None:
    """UsageError where the scores in `folder` name another manifest; what names none is overwritten."""
    from multimix.io.run_folder import SCORES

    try:
        known = json.loads((folder / SCORES).read_text("utf-8")).get("manifest")
    except (OSError, ValueError, AttributeError):  # nothing there, or nothing that could be kept
        return
    if known is not None and known != str(manifest.resolve()):
        raise UsageError(
            f"{folder}: holds the scores of {known}, expected none or those of {manifest.resolve()}. Give another "
            "folder with --out, or remove this one."
        )


@contextmanager
def _folder(out: Path) -> Iterator[None]:
    """Make `out` before the work, so that none is lost; where nothing came of it, what was made goes again."""
    made = [folder for folder in (out, *out.parents) if not os.path.exists(folder)]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{out}: cannot be made a folder for the scores ({error.strerror}). Choose another --out."
        ) from error
    try:
        yield
    finally:
        for folder in made:
            with suppress(OSError):  # it holds something
                folder.rmdir()


def _what(
    run: Path, data: Path | None, class_source: str | None, mask_source: str | None
) -> tuple[Path, tuple[str, ...], tuple[str, ...]]:
    """Manifest's file, class sources and mask sources: as given, else as the run was trained."""
    from multimix.io.run_folder import read_config

    config = read_config(run)
    stored = config.data if config is not None else None
    if data is None and stored is None:
        raise UsageError(
            f"{run}: a weights file does not know its data. Give DATA, as in `multimix evaluate {quote(str(run))} "
            "DATA`."
        )
    manifest = data if data is not None else Path(stored.manifest if stored else "")
    manifest = manifest / "manifest.csv" if manifest.is_dir() else manifest
    if class_source is None and mask_source is None and stored is not None:
        return manifest, stored.class_source, stored.mask_source
    return manifest, names(class_source or ""), names(mask_source or "")
