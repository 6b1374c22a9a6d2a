"""What commands share: options, and what their words mean. Commands do not import each other."""

from collections.abc import Sequence
from pathlib import Path

import click

from multimix.errors import UsageError

LARGEST = 4096
"""Side in pixels: no radiograph is finer, and a step on larger ones needs more memory than there is."""

weights_option = click.option(
    "--weights", metavar="NAME", help="Weights that come with multimix (chest-xray), in place of RUN."
)
seal_log_option = click.option(
    "--seal-log",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Log of the seal. [default: beside the manifest, MANIFEST.seal.jsonl]",
)


def names(text: str) -> tuple[str, ...]:
    """'a,b' -> ('a', 'b')."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def model_of(weights: str | None, words: Sequence[Path | None]) -> tuple[Path, list[Path]]:
    """The model that a command shall ask, and the words of its command line that follow.

    Without --weights the first word is RUN. Raises UsageError on a name that is not shipped and click.UsageError
    where RUN is missing.
    """
    from multimix.weights import shipped_file

    given = [word for word in words if word is not None]
    if weights is not None:
        return shipped_file(weights), given
    if not given:
        raise click.UsageError(
            "Missing argument 'RUN': a run folder or weights file, or --weights NAME.",
            click.get_current_context(silent=True),
        )
    return given[0], given[1:]


def only_model(weights: str | None, run: Path | None) -> Path:
    """The model, for a command that takes no other word."""
    model, rest = model_of(weights, (run,))
    _refuse_more(weights, rest, 0)
    return model


def model_and_data(weights: str | None, run: Path | None, data: Path | None) -> tuple[Path, Path | None]:
    """The model, and the manifest or its folder where one is given, for a command of the words RUN [DATA]."""
    model, rest = model_of(weights, (run, data))
    _refuse_more(weights, rest, 1)
    return model, rest[0] if rest else None


def _refuse_more(weights: str | None, rest: Sequence[Path], most: int) -> None:
    if len(rest) > most:
        raise UsageError(
            f"RUN and --weights: expected one of them, got {rest[0]} and {weights}; leave one out."
        )
