"""Tables come back as they were written."""

from pathlib import Path

import pandas as pd
import pytest

from multimix.errors import UsageError
from multimix.io.tables import write_table


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_tables_come_back(tmp_path: Path, name: str) -> None:
    table = pd.DataFrame({"path": ["é,a", "b"], "dice": [0.1, None], "pixels": [3, 4]})
    write_table(tmp_path / name, table)
    read = pd.read_csv(tmp_path / name) if name.endswith("csv") else pd.read_parquet(tmp_path / name)
    pd.testing.assert_frame_equal(read, table, check_dtype=False)


def test_table_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"t\.xlsx: expected a name that ends in \.csv or \.parquet"):
        write_table(tmp_path / "t.xlsx", pd.DataFrame())
