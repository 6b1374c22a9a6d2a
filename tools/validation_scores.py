"""The best validation score of every run of kept benchmarks, and the mean of each method: what a choice may look at.

    python tools/validation_scores.py results/ours results/long

The score is what `multimix train` keeps its best weights by; the table is Markdown.
"""

import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path

from multimix.recipes import method


def best(log: Path) -> float:
    """The highest validation score in a run's log."""
    rows = (json.loads(line) for line in log.read_text("utf-8").splitlines())
    return max(row["score"] for row in rows if "score" in row)


def main() -> int:
    """Print the table; the exit status."""
    found: dict[tuple[str, int], dict[int, float]] = defaultdict(dict)
    for folder in map(Path, sys.argv[1:]):
        for file in folder.glob("*/cell.json"):
            cell = json.loads(file.read_text("utf-8"))
            found[cell["method"], cell["steps"]][cell["seed"]] = best(file.parent / "run/log.jsonl")
    if not found:
        print(
            f"{' '.join(sys.argv[1:]) or 'no folder'}: no finished cell. Give folders in results/.",
            file=sys.stderr,
        )
        return 1
    seeds = sorted(set.union(*map(set, found.values())))
    common = set.intersection(*map(set, found.values()))
    print("| method | steps |", *(f"seed {seed} |" for seed in seeds), "mean of the seeds that all have |")
    print("| --- |" + " ---: |" * (len(seeds) + 2))
    for (name, steps), scores in sorted(found.items()):
        shown = [f"{scores[seed]:.4f}" if seed in scores else "" for seed in seeds]
        mean = statistics.fmean(scores[seed] for seed in common) if common else float("nan")
        print(f"| {method(name).name} | {steps} |", *(f"{score} |" for score in shown), f"{mean:.4f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
