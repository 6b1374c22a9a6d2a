"""Locks between processes: a folder that one process writes into, a file that many read and one removes.

Each ends with the process that holds it, however that ends, so that a kill leaves nothing locked.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from multimix.errors import MultimixError, UsageError

try:
    import fcntl
except ImportError:  # Windows has no shared locks on files
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
"""The file in a folder that the process at work holds; hidden and empty."""
PATIENCE = 10.0
"""Seconds to wait for a folder: so long a cell may go on after its benchmark was killed, a step being the least."""
BUSY = "another process is at work in this folder. Wait for its end, stop it, or choose another --out."


@contextmanager
def folder_lock(
    folder: Path, busy: str = BUSY, patience: float | None = None, name: str = LOCK
) -> Iterator[None]:
    """No other process writes into `folder` meanwhile, which is made as needed.

    `name`: the file that is held, another than LOCK where one file of the folder is guarded and not all of it.
    UsageError, with `busy` in its message, where one still does after `patience` seconds (None: `PATIENCE`);
    MultimixError where nobody can.
    """
    # The one who lets go need not be the thread that took it.
    lock = FileLock(folder / name, thread_local=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=PATIENCE if patience is None else patience)
    except Timeout as error:
        raise UsageError(f"{folder}: {busy}") from error
    except OSError as error:
        raise MultimixError(
            f"{folder}: cannot be written ({error.strerror}). Choose another folder or change its permissions."
        ) from error
    try:
        yield
    finally:
        lock.release()


def lock_shared(file: IO[bytes]) -> None:
    """Keep others from `lock_exclusive` until `file`, open for reading, is closed; waits while one has it.

    Without effect where there are no shared locks: on Windows, and on some file systems.
    """
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_SH)


def lock_exclusive(file: IO[bytes]) -> bool:
    """Whether nobody else holds a lock on `file`, and nobody can until it is closed.

    `file` is open for writing, as network file systems ask. False too where there are no shared locks.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
