"""The documents say what the program does."""

import importlib.util
import re
import shlex
from pathlib import Path

import click
import pytest

from multimix.cli import commands

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def shell_commands() -> list[tuple[str, str]]:
    """(page, command line) of every `multimix ...` line in a code block."""
    found = []
    for page in PAGES:
        blocks = re.findall(r"^```\w*\n(.*?)^```|((?:^    .*\n)+)", page.read_text("utf-8"), re.M | re.S)
        for text in (fenced or indented for fenced, indented in blocks):
            for line in text.replace("\\\n", " ").splitlines():
                if line.strip().startswith("multimix "):
                    found.append((page.name, line.strip().partition("  #")[0]))
    return found


@pytest.mark.parametrize(("page", "line"), shell_commands())
def test_commands_in_the_documents_parse(page: str, line: str):
    context, words = click.Context(commands), shlex.split(line)[1:]
    command: click.Command = commands
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(context, words)
        assert found is not None, name
        command = found
    command.make_context(line, words)  # raises on an option or argument that does not exist


def test_there_are_commands_to_check():
    assert len(shell_commands()) >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_item_of_the_paper_is_claimed_once_and_the_map_is_current():
    pytest.importorskip("torch")  # the docstrings of the network are read too
    spec = importlib.util.spec_from_file_location("paper_map", ROOT / "tools" / "paper_map.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    found = tool.claims()
    assert tool.problems(found) == []
    assert tool.PAGE.read_text("utf-8") == tool.page(found)
    # The check can fail: an item claimed twice, one not at all, and one that is none.
    item = next(iter(tool.ITEMS))
    assert tool.problems(found | {item: ["a", "b"]})
    assert tool.problems({k: v for k, v in found.items() if k != item})
    assert tool.problems(found | {"Eq. (9)": ["a"]})
