"""One process at a time writes into a folder; the other guards are seen at work in test_trainer.py."""

import subprocess
import sys
from pathlib import Path

import pytest

from multimix.errors import MultimixError, UsageError
from multimix.training.guards import alone

HOLD = """
import sys, time
from pathlib import Path
from multimix.training.guards import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multimix.training.guards.PATIENCE", 0.1)
    folder = tmp_path / "new" / "run"
    with subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(UsageError, match=r"run: another process is at work.*another --out"),
            alone(folder),
        ):
            pass
        holder.kill()  # which leaves it no time to let go
        holder.wait()
        with alone(folder), pytest.raises(UsageError, match="another process"), alone(folder):
            pass
    with alone(folder):
        pass


def test_a_folder_that_cannot_be_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = pytest.raises(MultimixError, match=r"run: cannot be written \(Not a directory\)")
    with refused, alone(tmp_path / "file" / "run"):
        pass
