"""Write the AUC of thumbnails beside that of the network, in the stored scores of a benchmark that did not note it yet.

    python tools/thumbnail_floor.py DATA results/draws

DATA is the manifest of the benchmark, or its folder. Every cell that tells classes apart gets what a ridge regression
on 24 x 24 thumbnails learns from the cell's own labelled images, as `trivial` of the AUC in its scores.json;
chance, .5, where that is more.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from multimix.data.manifest import read_manifest
from multimix.data.splits import select
from multimix.evaluation.audit.run_folder import locate
from multimix.evaluation.thumbnail import thumbnail_auc
from multimix.io.run_folder import CELL, SCORES, read_roles
from multimix.io.writers import write_json
from multimix.types import Record


def floors(data: Path, cells: Sequence[Path]) -> dict[Path, dict[str, float]]:
    """Of each cell with classes: class source -> AUC."""
    records = read_manifest(data)
    known: dict[tuple[object, ...], float | None] = {}
    found: dict[Path, dict[str, float]] = {}
    for cell in cells:
        about = json.loads((cell / CELL).read_text("utf-8"))
        rows = [row for row in read_roles(cell / "run") if row["role"] == "labelled_classes"]
        if not rows:
            continue
        images = [(row["source"], row["image"]) for row in rows]
        labelled = [record for record in locate(images, select_train(records)) if record is not None]
        if len(labelled) != len(rows):
            raise SystemExit(f"{cell}: {len(rows) - len(labelled)} of its labelled images are not in {data}.")
        for source in about["class_sources"]:
            key = (source, tuple(images), tuple(about["classes"]), about["multi_label"])
            if key not in known:
                judged = select(records, (source,), "test")
                known[key] = thumbnail_auc(labelled, judged, about["classes"], about["multi_label"])
            if (auc := known[key]) is not None:
                found.setdefault(cell, {})[source] = auc
    return found


def select_train(records: Sequence[Record]) -> list[Record]:
    """The training images."""
    return [record for record in records if record.split == "train"]


def main() -> None:
    """Write and print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("results", type=Path, nargs="+")
    given = parser.parse_args()
    cells = sorted(file.parent for results in given.results for file in results.glob(f"*/{CELL}"))
    for cell, each in floors(given.data, cells).items():
        scores = json.loads((cell / SCORES).read_text("utf-8"))
        for group in scores["scores"]:
            if group["source"] in each:
                group["metrics"]["auc"]["trivial"] = max(each[group["source"]], 0.5)
        write_json(cell / SCORES, scores)
        print(f"{cell}: " + ", ".join(f"{source} {auc:.3f}" for source, auc in each.items()))


if __name__ == "__main__":
    main()
