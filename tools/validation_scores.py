"""What validation images said of the best checkpoint of every run of kept benchmarks, and the mean of each method.

    python tools/validation_scores.py results/ours results/long
    python tools/validation_scores.py results/equal --of val_log_loss --seeds 12 13 14 15 16 17

It is all that a choice may look at. By default the score that `multimix train` keeps its best weights by; any other
column of `log.jsonl` at that step is asked for by name, and runs whose log does not have it are left out. The table is
Markdown.
"""

import argparse
import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path

from multimix.recipes import method


def at_best(log: Path, column: str) -> float | None:
    """A column of a run's log at the step with the highest validation score; None where it has no such column."""
    rows = (json.loads(line) for line in log.read_text("utf-8").splitlines())
    best = max((row for row in rows if "score" in row), key=lambda row: row["score"], default={})
    return best.get(column)


def main() -> int:
    """Print the table; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--of", default="score", metavar="COLUMN")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help="of these draws alone")
    given = parser.parse_args()
    found: dict[tuple[str, str, int], dict[int, float]] = defaultdict(dict)
    for folder, file in ((where, file) for where in given.results for file in where.glob("*/cell.json")):
        cell = json.loads(file.read_text("utf-8"))
        value = at_best(file.parent / "run/log.jsonl", given.of)
        if value is not None and (given.seeds is None or cell["seed"] in given.seeds):
            found[cell["method"], str(folder), cell["steps"]][cell["seed"]] = value
    if not found:
        folders = " ".join(map(str, given.results))
        print(f"{folders}: no finished cell with {given.of}. Give folders in results/.", file=sys.stderr)
        return 1
    seeds = sorted(set.union(*map(set, found.values())))
    common = set.intersection(*map(set, found.values()))
    print(
        "| method | results | steps |",
        *(f"seed {seed} |" for seed in seeds),
        "mean of the seeds that all have |",
    )
    print("| --- | --- |" + " ---: |" * (len(seeds) + 2))
    for (name, folder, steps), values in sorted(found.items()):
        shown = [f"{values[seed]:.4f}" if seed in values else "" for seed in seeds]
        mean = statistics.fmean(values[seed] for seed in common) if common else float("nan")
        print(
            f"| {method(name).name} | {folder} | {steps} |",
            *(f"{value} |" for value in shown),
            f"{mean:.4f} |",
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
