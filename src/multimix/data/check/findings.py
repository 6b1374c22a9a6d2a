"""One thing that a check found."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that a check found."""

    level: Level
    where: str
    """A file, a line of the table, or a source and split."""
    message: str
    """What is wrong and what to do."""
    image: Path | None = None
    """Whose row has files that cannot be used; None where no single row is at fault."""


def some(examples: list[str], most: int = 3) -> str:
    """A few of some examples, joined by commas."""
    return ", ".join(examples[:most]) + (", ..." if len(examples) > most else "")
