"""The table of layers in docs/architecture.md, written from the import contract in pyproject.toml.

python tools/layers.py            write it
python tools/layers.py --check    exit status 1 where it is not what the contract says
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- layers:begin -->", "<!-- layers:end -->"


def table() -> str:
    """Layers from the top down, a row each."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (contract,) = (
        c for c in project["tool"]["importlinter"]["contracts"] if c.get("containers") == ["multimix"]
    )
    rows = [" · ".join(f"`{name.strip()}`" for name in layer.split("|")) for layer in contract["layers"]]
    return "\n".join(
        ["| layer | rooms |", "| ---: | --- |", *(f"| {i} | {r} |" for i, r in enumerate(rows, 1))]
    )


def main() -> int:
    """Write or check; the exit status."""
    text = DOCUMENT.read_text("utf-8")
    new = re.sub(f"{BEGIN}.*{END}", f"{BEGIN}\n{table()}\n{END}", text, flags=re.DOTALL)
    if "--check" in sys.argv[1:]:
        if new != text:
            print(f"{DOCUMENT.name}: the layers are not those of pyproject.toml; run python tools/layers.py")
        return int(new != text)
    DOCUMENT.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
