"""`--weights NAME` in place of RUN, for every command that asks a model."""

from collections.abc import Sequence
from pathlib import Path

import click

from multimix.errors import UsageError

weights_option = click.option(
    "--weights", metavar="NAME", help="Weights that come with multimix (chest-xray), in place of RUN."
)


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
    if rest:
        raise UsageError(
            f"RUN and --weights: expected one of them, got {rest[0]} and {weights}; leave one out."
        )
    return model
