"""Rewrite the part of docs/results.md between its marks from the stored tables of a benchmark, without training.

    python tools/results_page.py            write the page
    python tools/results_page.py --check    fail where the page is out of step

The marks are `<!-- quick:begin -->` and `<!-- quick:end -->`; `quick` is the folder in results/. Of the sections
summary, grid, questions and details those are written that stand behind `begin`, all where none does.
"""

import re
import sys
from pathlib import Path

from multimix.report.build import results_sections
from multimix.report.written import markdown_sections

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results.md"
MARKS = re.compile(r"<!-- (\w[\w-]*):begin((?: \w+)*) -->\n.*?<!-- \1:end -->", re.DOTALL)


def page(text: str) -> str:
    """`text` with every marked part written anew."""

    def part(found: re.Match[str]) -> str:
        name, wanted = found[1], found[2].split()
        sections = [s for s in results_sections(ROOT / "results" / name) if s.name in wanted or not wanted]
        content = markdown_sections(sections, 3)
        return f"<!-- {name}:begin{found[2]} -->\n\n{content}\n<!-- {name}:end -->"

    return MARKS.sub(part, text)


def main() -> int:
    """Write or check the page; the exit status."""
    old = PAGE.read_text("utf-8")
    if not MARKS.search(old):
        print(f"{PAGE}: expected a line '<!-- quick:begin -->' and one '<!-- quick:end -->'", file=sys.stderr)
        return 1
    new = page(old)
    if "--check" not in sys.argv:
        PAGE.write_text(new, "utf-8")
    elif new != old:
        print("docs/results.md is out of date: run `python tools/results_page.py`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
