"""Everything that can go wrong for a reason the user can mend.

    MultimixError            exit 1: one line that says what, expected, got, next step
    ├── UsageError           exit 2: a flag, a config value, an argument
    ├── ManifestError        a table that cannot be read, or a column or row that is wrong
    ├── SplitError           a leak between splits, or too few labelled images for the budget
    ├── SealError            a sealed test part, or the log of looks at it, that is not as it was
    ├── ImageError           a file that is not the image or mask it should be
    ├── CheckpointError      a run folder or weights file that cannot be used
    └── TrainingError        a loss that is not finite, no memory, no disk space

The command line prints the message and nothing else, so every message ends with what to do next.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class MultimixError(Exception):
    """Base of all errors whose message is meant for the user."""

    exit_code = 1

    def __str__(self) -> str:
        # One line: the message is a table cell in predictions.csv and a line on the terminal.
        return " ".join(super().__str__().split())


class UsageError(MultimixError):
    """A flag, a configuration value or an argument that cannot be used."""

    exit_code = 2


class ManifestError(MultimixError):
    """A manifest, or one of its columns or rows, is not what training can read."""


class SplitError(MultimixError):
    """Splits share a patient or an image, or hold too few labels for the budget."""


class SealError(MultimixError):
    """A sealed test part, or the log that counts the looks at it, is not as it was."""


class ImageError(MultimixError):
    """A file is not a readable image or mask of the expected kind."""


class CheckpointError(MultimixError):
    """A run folder or a weights file is missing, damaged or of another model."""


class TrainingError(MultimixError):
    """Training cannot go on; everything up to the last checkpoint is kept."""


@contextmanager
def needs_extra(what: str, extra: str) -> Iterator[None]:
    """UsageError, with the command that installs it, where an import finds that a library of `extra` is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("multimix"):  # a mistake of ours, not a missing library
            raise
        raise UsageError(
            f"{what}: needs {error.name}, which is not installed; run `pip install 'multimix[{extra}]'`."
        ) from error
