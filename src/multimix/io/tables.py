"""Tables to and from CSV or Parquet; apart from the other writers because pandas is slow to import."""

import os
from pathlib import Path

import pandas as pd

from multimix.errors import UsageError
from multimix.io.writers import atomic_write


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
