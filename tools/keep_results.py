"""Copy of a benchmark what the repository keeps: tables, scores, pictures that may be shown, who was labelled, logs.

    python tools/keep_results.py BENCHMARK results/quick

No weights and no configuration: the spec has it. Pictures only of the first seed, which is what a report shows.
"""

import argparse
import json
import shutil
from pathlib import Path

from multimix.io.writers import atomic_write

FILES = (
    "per_image.parquet",
    "scores.json",
    "seal.jsonl",
    "run/split.csv",
    "run/run.json",
    "run/log.jsonl",
    "cell.json",
)
"""Of a cell, in the order of copying: the one that says it is finished comes last. The log of looks is there only where
the test part is sealed."""


def main() -> None:
    """Copy every finished cell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmark", type=Path)
    parser.add_argument("results", type=Path)
    given = parser.parse_args()
    given.results.mkdir(parents=True, exist_ok=True)
    for name in ("spec.yaml", "summary.csv"):
        if (given.benchmark / name).is_file():
            shutil.copyfile(given.benchmark / name, given.results / name)
    cells = sorted(file.parent for file in given.benchmark.glob("*/cell.json"))
    first = min((seed(cell) for cell in cells), default=0)
    for cell in cells:
        target = given.results / cell.name
        for name in FILES:
            if name == "seal.jsonl" and not (cell / name).is_file():
                continue
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(target / name) as part:
                shutil.copyfile(cell / name, part)
        if (cell / "examples").is_dir() and seed(cell) == first:
            shutil.copytree(cell / "examples", target / "examples", dirs_exist_ok=True)
    print(f"{given.results}: {len(cells)} cells")


def seed(cell: Path) -> int:
    """The seed of a finished cell."""
    return int(json.loads((cell / "cell.json").read_text("utf-8"))["seed"])


if __name__ == "__main__":
    main()
