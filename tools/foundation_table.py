"""Print the foundation table of docs/results.md from the stored per-image tables, without training.

    python tools/foundation_table.py          all seeds there are
    python tools/foundation_table.py 0        seed 0 alone

Each cell is the mean over seeds; the interval is a 95 % bootstrap over patients, in which a patient is drawn with its
answers of all seeds.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from multimix import metrics
from multimix.io.tables import read_per_image
from multimix.recipes import METHODS
from multimix.statistics import estimate
from multimix.types import Estimate

FOLDER = Path(__file__).resolve().parents[1] / "results" / "foundation"
CLASSES = ("NORMAL", "PNEUMONIA")
ROWS = ("u-net", "enc", "umtl", "multimix")
COLUMNS = (
    ("jsrt", "Dice"),
    ("montgomery", "Dice"),
    ("shenzhen", "Dice"),
    ("kermany", "AUC"),
    ("kermany", "accuracy"),
    ("nih", "AUC"),
    ("nih", "accuracy"),
)


def over_seeds(table: pd.DataFrame, score: str) -> Estimate:
    """Mean over the seeds in `table` with its interval; `table` holds one source."""
    parts = [np.flatnonzero(table["seed"] == seed) for seed in sorted(table["seed"].unique())]

    def statistic(weights: np.ndarray) -> np.ndarray:
        return np.mean([one(table.iloc[rows], score, weights[:, rows]) for rows in parts], axis=0)

    return estimate(table["patient"].tolist(), statistic)


def one(table: pd.DataFrame, score: str, weights: np.ndarray) -> np.ndarray:
    """The score (R,) of one seed under the weights (R N) of its images."""
    if score == "Dice":
        return metrics.mean(table["dice_lungs"].to_numpy(np.float64), weights)
    labels = np.array([CLASSES.index(name) for name in table["label"]])
    columns = [f"p_{name}" for name in CLASSES]
    metric = {"AUC": metrics.auc, "accuracy": metrics.accuracy}[score]
    return metric(labels, table[columns].to_numpy(np.float64), weights)


def read(method: str, seeds: list[str]) -> pd.DataFrame | None:
    """The seeds of a method (all where none is named) in one table, None where nothing is stored."""
    tables = []
    for folder in sorted(FOLDER.glob(f"{method}-[0-9]*")):
        seed = folder.name.rpartition("-")[2]
        if not seeds or seed in seeds:
            tables.append(read_per_image(folder / "per_image.parquet").assign(seed=seed))
    return pd.concat(tables, ignore_index=True) if tables else None


def cell(table: pd.DataFrame, source: str, score: str) -> str:
    """'.964 [.960, .968]', empty where the method has no such answer."""
    rows = table[table["source"] == source].reset_index(drop=True)
    if rows.empty:
        return ""
    result = over_seeds(rows, score)
    return f"{result.value:.3f} [{result.low:.3f}, {result.high:.3f}]"


def main() -> None:
    """The Markdown table."""
    print("| method | seeds | " + " | ".join(f"{source} {score}" for source, score in COLUMNS) + " |")
    print("| --- | ---: " + "| --- " * len(COLUMNS) + "|")
    for method in ROWS:
        table = read(method, sys.argv[1:])
        if table is not None:
            cells = [cell(table, *column) for column in COLUMNS]
            print(f"| {METHODS[method].name} | {table['seed'].nunique()} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
