"""Tables to and from CSV or Parquet; apart from the other writers because pandas is slow to import."""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from multimix.errors import ManifestError, UsageError
from multimix.io.writers import atomic_write

TEXT = ("image", "source", "split", "patient", "label", "predicted", "prediction_set")
"""Columns of a per-image table that are text; all others are numbers."""


def write_table(path: str | os.PathLike[str], table: pd.DataFrame) -> None:
    """Write a table without its index, as CSV or Parquet by the suffix of `path`; UsageError on others."""
    suffix = Path(path).suffix.lower()
    if suffix not in {".csv", ".parquet"}:
        raise UsageError(f"{path}: expected a name that ends in .csv or .parquet; choose one of the two.")
    with atomic_write(path) as temporary:
        if suffix == ".csv":
            table.to_csv(temporary, index=False, encoding="utf-8", lineterminator="\n")
        else:
            table.to_parquet(temporary, index=False)


def per_image_table(folder: Path) -> Path | None:
    """The per-image table in `folder`, None where there is none; ManifestError where there are two, one stale."""
    found = [file for kind in ("parquet", "csv") if (file := folder / f"per_image.{kind}").is_file()]
    if len(found) > 1:
        older = min(found, key=lambda file: file.stat().st_mtime_ns).name
        raise ManifestError(
            f"{folder}: holds {found[0].name} and {found[1].name}, expected one of them. Remove the older, {older}, or "
            "judge the run again with `multimix evaluate`."
        )
    return found[0] if found else None


def read_per_image(path: Path) -> pd.DataFrame:
    """A per-image table of `multimix evaluate`, number for number: text "" where empty, float64 nan where empty.

    Raises ManifestError where it cannot be read.
    """
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            # A class may be called "NA" or "1", so names stay text; float() brings numbers back to the last bit.
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
        for name in set(table) - set(TEXT):
            column = table[name]
            table[name] = (
                column.astype("float64")
                if path.suffix == ".parquet"
                else [float(cell) if cell else np.nan for cell in column]
            )
        for name in set(TEXT) & set(table):
            table[name] = table[name].fillna("").astype(str)
    except (OSError, ValueError, TypeError) as error:  # pandas and Arrow raise subclasses of these
        raise ManifestError(
            f"{path}: not a per-image table that can be read ({str(error).splitlines()[0][:120]}). Judge the run "
            "again with `multimix evaluate`."
        ) from error
    return table
