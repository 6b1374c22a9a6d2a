"""Stored evaluations: scores.json and the per-image table beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from multimix.io.run_folder import SCORES, per_image_table, read_object, read_per_image, read_scores


@dataclass(frozen=True)
class Evaluation:
    """What one call of `multimix evaluate` stored."""

    folder: Path
    scores: tuple[Mapping[str, Any], ...]
    """Of scores.json: source, split, images, patients, metrics."""
    table: pd.DataFrame | None
    """per_image.csv or .parquet; None where there is none."""
    manifest: Path | None = None
    """Of the images, where it is stored."""
    look: Mapping[str, Any] | None = None
    """'hash' and 'numbers' of the look at a sealed part; None where nothing was sealed."""

    def metrics(self, entry: Mapping[str, Any], field: str = "value") -> dict[str, float]:
        """Metric name -> its `field` ('value', 'low', 'high', 'trivial') in one of `scores`, where that is a number."""
        found = {}
        for name, estimate in dict(entry.get("metrics") or {}).items():
            number = estimate.get(field) if isinstance(estimate, Mapping) else None
            if isinstance(number, int | float) and not isinstance(number, bool):
                found[str(name)] = float(number)
        return found

    def rows(self, entry: Mapping[str, Any]) -> pd.DataFrame | None:
        """The per-image rows of one of `scores`; None where there are none."""
        if self.table is None or not {"source", "split"} <= set(self.table):
            return None
        chosen = (self.table["source"] == entry.get("source")) & (self.table["split"] == entry.get("split"))
        return self.table[chosen] if chosen.any() else None


def read_evaluation(folder: Path) -> Evaluation:
    """The scores and the per-image table in `folder`; MultimixError where they are damaged, or there are two tables."""
    scores, table, about = read_scores(folder), per_image_table(folder), read_object(folder / SCORES)
    rows = None if table is None else read_per_image(table)
    manifest = Path(about["manifest"]) if about.get("manifest") else None
    return Evaluation(folder, scores, rows, manifest, about.get("look"))
