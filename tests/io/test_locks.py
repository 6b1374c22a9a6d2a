"""One process at a time writes into a folder; many read a file, which nobody removes meanwhile."""

import subprocess
import sys
from pathlib import Path

import pytest

from multimix.errors import MultimixError, UsageError
from multimix.io.locks import folder_lock, lock_exclusive, lock_shared

HOLD = """
import sys, time
from pathlib import Path
from multimix.io.locks import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multimix.io.locks.PATIENCE", 0.1)
    folder = tmp_path / "new" / "run"
    with subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(UsageError, match=r"run: another process is at work.*another --out"),
            folder_lock(folder),
        ):
            pass
        holder.kill()  # which leaves it no time to let go
        holder.wait()
        with folder_lock(folder), pytest.raises(UsageError, match="another process"), folder_lock(folder):
            pass
    with folder_lock(folder):
        pass


def test_a_folder_that_cannot_be_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = pytest.raises(MultimixError, match=r"run: cannot be written \(Not a directory\)")
    with refused, folder_lock(tmp_path / "file" / "run"):
        pass


def test_who_may_wait_no_longer_is_told_in_the_callers_words(tmp_path: Path) -> None:
    refused = pytest.raises(UsageError, match=r"run: a queue at work$")
    with (
        folder_lock(tmp_path / "run"),
        refused,
        folder_lock(tmp_path / "run", "a queue at work", patience=0.0),
    ):
        pass


def test_one_file_of_a_folder_may_be_guarded_alone(tmp_path: Path) -> None:
    log = ".log.lock"
    with (
        folder_lock(tmp_path),
        folder_lock(tmp_path, name=log),
        pytest.raises(UsageError),
        folder_lock(tmp_path, patience=0.0, name=log),
    ):
        raise AssertionError
    with folder_lock(tmp_path, patience=0.0, name=log):
        pass


def test_a_file_is_had_alone_only_while_nobody_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "index"
    file.write_bytes(b"")
    with file.open("rb") as one, file.open("rb") as two:
        lock_shared(one)
        lock_shared(two)
        with file.open("r+b") as remover:
            assert not lock_exclusive(remover)
    with file.open("r+b") as remover:
        assert lock_exclusive(remover)
        with file.open("r+b") as another:
            assert not lock_exclusive(another)


WITHOUT_FCNTL = """
import sys
sys.modules["fcntl"] = None
from pathlib import Path
import multimix.data.cache
from multimix.io.locks import lock_exclusive, lock_shared
from multimix.pacs.queue import Queue
Queue(Path(sys.argv[1])).close()
with Path(sys.argv[1], "queue.db").open("r+b") as file:
    lock_shared(file)
    print(lock_exclusive(file))
"""


def test_where_the_system_has_no_shared_locks_nothing_is_ever_had_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT_FCNTL, str(tmp_path / "queue")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("False\n", "")
