"""`multimix train`."""

import os
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from multimix.cli.options import LARGEST, names
from multimix.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from multimix.config import RunConfig
    from multimix.types import Record

SHORT = {
    "classification": "class",
    "pseudo_label": "pseudo",
    "dice": "dice loss",
    "consistency": "KL",
    "kept": "kept",
    "pseudo_mask": "pseudo Dice",
    "val_auc": "val AUC",
    "val_dice": "val Dice",
}
"""Names of losses and scores as the progress bar has room for them."""


class Budget(click.ParamType):
    """A number of images, or 'all'."""

    name = "N|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """'all' or an integer >= 1."""
        if value == "all" or isinstance(value, int):
            return value
        if str(value).isdecimal() and int(value) >= 1:
            return int(value)
        self.fail(f"expected a number of images from 1 on, or 'all', got {value!r}", param, ctx)


@click.command()
@click.argument("data", required=False, metavar="[DATA]")
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), help="Folder of the run.")
@click.option("--class-source", metavar="NAME[,NAME]", help="Sources whose class labels are learned.")
@click.option("--mask-source", metavar="NAME[,NAME]", help="Sources whose masks are learned.")
@click.option(
    "--class-labels", type=Budget(), metavar="N|all", help="Images whose class label is seen. [default: all]"
)
@click.option(
    "--mask-labels", type=Budget(), metavar="N|all", help="Images whose mask is seen. [default: all]"
)
@click.option(
    "--classes",
    metavar="NAME[,NAME]",
    help="Class names, in order; where one has a comma, --set 'data.classes=[\"A, b\", C]' or --config. "
    "[default: those found]",
)
@click.option("--structures", metavar="NAME[,NAME]", help="Structure names, in order. [default: those found]")
@click.option(
    "--multi-label/--exclusive",
    default=None,
    help="Whether an image may show several classes ('a|b'), or 'none'. [default: exclusive]",
)
@click.option(
    "--method",
    help="multimix-plus, or one of the paper: multimix, umtl, enc, u-net, ... [default: multimix-plus]",
)
@click.option(
    "--recipe", help="Hyper-parameters: ours, paper, or tuned (the paper, for few labels). [default: ours]"
)
@click.option(
    "--size",
    type=click.IntRange(16, LARGEST),
    help="Side of the network's input in pixels, a multiple of 16. [default: 256]",
)
@click.option("--channels", type=int, help="1 (grey) or 3 (colour). [default: as the images are]")
@click.option("--steps", type=int, help="Training steps. [default: the recipe's]")
@click.option("--seed", type=int, help="Decides labelled images, weights and batches. [default: 0]")
@click.option("--device", help="auto, cpu, cuda or mps. [default: auto]")
@click.option("--precision", help="32-true or bf16-mixed. [default: 32-true]")
@click.option(
    "--init",
    metavar="RUN|FILE|NAME",
    help="Begin from earlier weights: what fits is kept, what is made new is told. NAME: weights that ship.",
)
@click.option("--patience", type=int, help="Stop after so many validations without a gain. [default: never]")
@click.option("--config", type=click.Path(path_type=Path), help="YAML file with any of the fields of a run.")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any field, as in the YAML; may be repeated.",
)
@click.option("--resume", is_flag=True, help="Go on where the run in --out stopped.")
@click.option("--tensorboard", is_flag=True, help="Also log for TensorBoard (extra 'track').")
def train(
    data: str | None,
    out: Path,
    recipe: str | None,
    config: Path | None,
    assignments: tuple[str, ...],
    resume: bool,
    tensorboard: bool,
    **options: Any,
) -> None:
    """Train one model on DATA.

    DATA is a manifest (CSV or Parquet), or the folder that holds manifest.csv.

    \b
    Examples:
      multimix train xrays --class-source kermany --mask-source jsrt \\
          --class-labels 100 --mask-labels 10 --size 128 --out RUN
      multimix train xrays --mask-source jsrt --method u-net --out UNET
      multimix train xrays --mask-source ours --init chest-xray --out RUN3
      multimix train --out RUN --resume
      multimix train xrays --config run.yaml --set optim.steps=2000 --out RUN2

    A later source of a value wins: recipe, --config, options, --set. Decoded images are kept in the user's cache
    folder, or in the one that MULTIMIX_CACHE names; MULTIMIX_CACHE_GB limits what they take, 20 by default.
    """
    from multimix.recipes import recipe as recipe_named

    stored = _stored(out, resume)
    base = stored if stored is not None and recipe is None else recipe_named(recipe or "ours")
    given = _configuration(base, data, config, assignments, options)
    if stored is None and not given.data.manifest:
        raise UsageError(
            f"{out}: no run to go on with, and no data to begin one. Give DATA, as in `multimix train DATA --out "
            f"{out}`."
        )
    if stored is not None:
        _refuse_changes(out, stored, given)
    if tensorboard:
        from multimix.training.runlog import board_writer

        board_writer()  # refused before anything is decoded or written
    _run(given, out, resume, tensorboard)


def _configuration(
    config: "RunConfig",
    data: str | None,
    file: Path | None,
    assignments: tuple[str, ...],
    options: dict[str, Any],
) -> "RunConfig":
    from multimix.config import RunConfig
    from multimix.recipes import method

    if file is not None:
        config = RunConfig.read(file, config)
    given = {k: v for k, v in options.items() if v is not None}
    chosen: dict[str, Any] = {
        k: given[k] for k in ("method", "seed", "device", "precision", "patience", "init") if k in given
    }
    chosen["data"] = {k: given[k] for k in ("size", "channels", "multi_label") if k in given}
    for key in ("class_source", "mask_source", "classes", "structures"):
        if key in given:
            chosen["data"][key] = names(given[key])
    for key in ("class_labels", "mask_labels"):
        if key in given:
            chosen["data"][key] = None if given[key] == "all" else given[key]
    if data is not None:
        chosen["data"]["manifest"] = data
    if "steps" in given:
        chosen["optim"] = {"steps": given["steps"]}
    if "init" in chosen and Path(chosen["init"]).exists():  # a path, which holds from any folder
        chosen["init"] = os.path.abspath(chosen["init"])
    config = RunConfig.from_mapping(chosen, config)
    for assignment in assignments:
        config = config.override(assignment)
    method(config.method)
    if config.data.manifest:
        # Absolute, so that --resume works from any folder.
        manifest = os.path.abspath(config.data.manifest)
        config = RunConfig.from_mapping({"data": {"manifest": manifest}}, config)
    return config


def _stored(out: Path, resume: bool) -> "RunConfig | None":
    """The configuration of the run in `out`, None where a new run may begin there; anything else is refused."""
    from multimix.config import RunConfig
    from multimix.io.run_folder import CONFIG

    file = out / CONFIG
    if not file.is_file():
        if out.exists() and (not out.is_dir() or any(p.name[0] != "." for p in out.iterdir())):
            raise UsageError(f"{out}: exists and is no run. Choose an empty or new folder for --out.")
        return None
    if not resume:
        raise UsageError(
            f"{out}: already holds a run. Add --resume to go on with it, or choose another --out."
        )
    return RunConfig.read(file)


def _refuse_changes(out: Path, stored: "RunConfig", given: "RunConfig") -> None:
    """A run goes on as it began: options given with --resume must be those it has."""
    if given != stored:
        before, now = _flat(stored.to_mapping()), _flat(given.to_mapping())
        changed = [f"{k} ({before[k]!r}, now {now[k]!r})" for k in before if before[k] != now[k]]
        raise UsageError(
            f"{out}: the options differ from the run's own: {'; '.join(changed)}. Leave them out when resuming, or "
            "choose another --out."
        )


def _flat(mapping: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _run(config: "RunConfig", out: Path, resume: bool, tensorboard: bool) -> None:
    from multimix.cli.progress import bar
    from multimix.io.run_folder import CONFIG
    from multimix.training.trainer import train as run

    with bar("Decoding", "images") as decoding, bar("Training", "steps") as training:
        try:
            trainer = run(
                config,
                out,
                resume=resume,
                tensorboard=tensorboard,
                decoding=decoding,
                report=lambda p: training(
                    p.step, p.steps, {SHORT[k]: v for k, v in p.values.items() if k in SHORT}
                ),
            )
        except KeyboardInterrupt:
            if (out / CONFIG).is_file():  # else nothing has begun that could go on
                click.echo(f"Stopped; go on with `multimix train --out {out} --resume`.", err=True)
            raise
    if trainer.start is not None:
        click.echo(
            f"Began from {trainer.start.weights}; made new: {', '.join(trainer.start.new) or 'nothing'}."
        )
    click.echo(_learned_from(trainer.prepared.sets.roles(), trainer.prepared.sets.channels))
    if unknown := _not_measured(out):
        click.echo(f"Too few validation images for {unknown} (docs/reliability.md).")
    best = "none" if trainer.best_score is None else f"{trainer.best_score:.4f}{_made_of(out)}"
    click.echo(
        f"{out}: {trainer.step} steps in {trainer.seconds / 60:.1f} min, best validation score {best}. "
        f"Next: multimix evaluate {quote(str(out))}, or multimix predict {quote(str(out))} FILE."
    )


def _learned_from(roles: "Mapping[str, Sequence[Record]]", channels: int) -> str:
    """What the run saw, in a line: an image that is in none of these was not learned from."""
    words = {"labelled_classes": "with class", "unlabelled_classes": "whose class was not seen"}
    words |= {
        "labelled_masks": "with masks of every structure",
        "unlabelled_masks": "whose masks were not seen",
    }
    seen = ", ".join(f"{len(roles[role]):,} {what}" for role, what in words.items() if roles[role])
    return f"Learned from images{' in colour' if channels == 3 else ''}: {seen}."


def _not_measured(run: Path) -> str:
    """What of its reliability the weights do not know; empty where they know all."""
    from multimix.networks.load import load_model
    from multimix.reliability.calibration import Reliability
    from multimix.weights.file import BEST

    stored = load_model(run / BEST)
    known = stored.reliability or Reliability()
    missing = {
        "prediction sets": bool(stored.spec.classes) and not known.quantiles,
        "refusal of unlike images": known.detector is None,
    }
    return " and ".join(what for what, lacks in missing.items() if lacks)


def _made_of(run: Path) -> str:
    """' (what the validation score is made of)'; empty where the log has lost its scores."""
    from multimix.io.run_folder import LOG, read_log
    from multimix.training.validation import score_in_words

    lines = [line for line in read_log(run / LOG) if "score" in line]
    return f" ({score_in_words(lines[-1])})" if lines else ""
