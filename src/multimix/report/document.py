"""What a report is made of, whatever it is written as: sections of paragraphs, lists, tables and pictures."""

import math
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of plain texts."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """Text that keeps its lines."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table of plain text; a cell is one line."""

    name: str
    """Of a file or an anchor: lower case, joined by '-'."""
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    """How many of the first columns are words; the others are numbers."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Panel:
    """One drawing as SVG, or a stored PNG."""

    name: str
    """Of its file, without suffix."""
    alt: str
    """What it shows, for those who do not see it."""
    svg: str = ""
    png: Path | None = None
    """Where `svg` is empty."""


@dataclass(frozen=True)
class Pictures:
    """Panels of one kind under one caption."""

    caption: str
    panels: tuple[Panel, ...]
    small: bool = False
    """Many to a row."""


Block = Heading | Paragraph | Bullets | Code | Table | Pictures


@dataclass(frozen=True)
class Section:
    """A heading with what stands under it."""

    name: str
    """Of its anchor."""
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A report."""

    title: str
    lead: str
    sections: tuple[Section, ...]

    def panels(self) -> list[Panel]:
        """Every panel, in order."""
        pictures = [b for section in self.sections for b in section.blocks if isinstance(b, Pictures)]
        return [panel for picture in pictures for panel in picture.panels]


def picture_file(panel: Panel) -> str:
    """Name of the panel's own file."""
    return f"{panel.name}{'.png' if panel.png is not None else '.svg'}"


def picture_bytes(panel: Panel) -> bytes:
    """Content of the panel's own file."""
    return panel.png.read_bytes() if panel.png is not None else panel.svg.encode()


def number(value: float, digits: int = 3, *, sign: bool = False) -> str:
    """'0.965', '−0.012', '+0.012' where `sign`; '' for nan."""
    if math.isnan(value):
        return ""
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    # '-0.000' and '+0.000' would claim a side that the digits do not show.
    return (text.lstrip("+-") if float(text) == 0 else text).replace("-", "−")


def with_interval(value: float, low: float, high: float, digits: int = 3, *, sign: bool = False) -> str:
    """'0.965 [0.962, 0.968]'; without the brackets where the interval is not determined."""
    text = number(value, digits, sign=sign)
    if math.isnan(low) or math.isnan(high):
        return text
    return f"{text} [{number(low, digits, sign=sign)}, {number(high, digits, sign=sign)}]"
