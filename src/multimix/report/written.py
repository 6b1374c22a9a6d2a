"""A document as Markdown, a table as LaTeX."""

from collections.abc import Sequence

from multimix.report.document import (
    Block,
    Bullets,
    Code,
    Document,
    Heading,
    Paragraph,
    Pictures,
    Section,
    Table,
    picture_file,
)

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "−": "$-$",
    "≤": r"$\leq$",
}
_MARKDOWN = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_<>|#"})


def markdown(document: Document, pictures: str = "figures") -> str:
    """The whole document; panels are links into the folder `pictures`, which `report.build` writes."""
    parts = [f"# {_plain(document.title)}", _plain(document.lead), *_sections(document.sections, 2, pictures)]
    return "\n\n".join(parts) + "\n"


def markdown_sections(sections: Sequence[Section], level: int) -> str:
    """Sections under headings of `level`, without pictures."""
    return "\n\n".join(_sections(sections, level, "")) + "\n"


def _sections(sections: Sequence[Section], level: int, pictures: str) -> list[str]:
    parts = []
    for section in sections:
        parts.append(f"{'#' * level} {_plain(section.title)}")
        parts += [text for block in section.blocks if (text := _block(block, level, pictures))]
    return parts


def _block(block: Block, level: int, pictures: str) -> str:
    match block:
        case Heading() | Paragraph():
            mark = f"{'#' * (level + 1)} " if isinstance(block, Heading) else ""
            return mark + _plain(block.text)
        case Bullets():
            return "\n".join(f"- {_plain(item)}" for item in block.items)
        case Code():
            return f"```\n{block.text}\n```"
        case Table():
            return markdown_table(block)
        case Pictures():
            links = [f"![{_plain(p.alt)}]({pictures}/{picture_file(p)})" for p in block.panels]
            return "\n".join([*links, "", _plain(block.caption)]) if pictures else ""


def markdown_table(table: Table) -> str:
    """Caption, table, notes."""
    header = [_plain(cell) for cell in table.header]
    rule = ["---" if i < table.words else "---:" for i in range(len(header))]
    rows = [[_plain(cell) for cell in row] for row in table.rows]
    lines = [f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)]
    return "\n\n".join([_plain(table.caption), "\n".join(lines), *map(_plain, table.notes)])


def _plain(text: str) -> str:
    """`text` with what Markdown would read as its own marks taken literally."""
    return " ".join(text.split()).translate(_MARKDOWN)


def latex_table(table: Table) -> str:
    r"""The table in a `table` environment; the document needs \usepackage{booktabs}."""
    columns = "l" * table.words + "r" * (len(table.header) - table.words)
    lines = [
        "% Written by `multimix report`; needs \\usepackage{booktabs}.",
        "\\begin{table}",
        "  \\centering",
        f"  \\caption{{{latex(' '.join((table.caption, *table.notes)))}}}",
        f"  \\label{{tab:{table.name}}}",
        f"  \\begin{{tabular}}{{{columns}}}",
        "    \\toprule",
        f"    {' & '.join(map(latex, table.header))} \\\\",
        "    \\midrule",
        *(f"    {' & '.join(map(latex, row))} \\\\" for row in table.rows),
        "    \\bottomrule",
        "  \\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def latex(text: str) -> str:
    """`text` with every character that LaTeX reads as a command taken literally."""
    return "".join(_LATEX.get(character, character) for character in text)
