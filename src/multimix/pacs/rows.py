"""The rows of the queue, to be looked at: what waits, what failed and why, what is done."""

import hashlib
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multimix.errors import MultimixError, UsageError
from multimix.pacs.outcomes import Image, Result

WAITING = ("found", "received", "answered")
DONE = ("sent", "skipped", "ignored", "failed")


@dataclass(frozen=True)
class Row:
    """An image and how far it is."""

    uid: str
    """SOPInstanceUID of the image."""
    study: str
    series: str
    state: str
    reason: str
    """Why it failed or was skipped, or why it is being tried again; empty otherwise."""
    attempts: int
    """Tries of the present step that came to nothing."""
    due: float
    """Not to be tried before this moment, seconds since 1970."""
    added: float
    """When it was first heard of, seconds since 1970."""
    changed: float
    """When it last changed, seconds since 1970."""

    @property
    def image(self) -> Image:
        """Where it belongs."""
        return Image(self.uid, self.study, self.series)


_COLUMNS = ", ".join(Row.__dataclass_fields__)


class QueueView:
    """The rows of a queue, to be looked at while a worker has it. Methods may be called from several threads."""

    def __init__(self, folder: Path) -> None:
        """Open the queue in `folder`; UsageError where there is none."""
        if not (folder / "queue.db").is_file():
            raise UsageError(f"{folder}: holds no queue. Give the --queue of a `multimix pacs run`.")
        self.folder = folder
        self._lock = threading.RLock()
        try:
            self._db = connect(folder / "queue.db")
        except sqlite3.Error as error:
            raise unusable(folder, error) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def fact(self, name: str) -> str:
        """A stored word about the whole queue; empty where there is none."""
        with self._lock:
            row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return row[0] if row else ""

    def row(self, uid: str) -> Row | None:
        """The row of one image."""
        return next(iter(self._rows("WHERE uid = ?", uid)), None)

    def rows(self, *states: str) -> list[Row]:
        """Rows in these states, oldest first; all without an argument."""
        marks = ", ".join("?" * len(states))
        return self._rows(f"WHERE state IN ({marks}) ORDER BY added" if states else "ORDER BY added", *states)

    def counts(self) -> dict[str, int]:
        """State -> number of images, for every state."""
        with self._lock:
            found = dict(self._db.execute("SELECT state, count(*) FROM images GROUP BY state").fetchall())
        return {state: found.get(state, 0) for state in (*WAITING, *DONE)}

    def next_due(self, *states: str) -> float | None:
        """When the first image in these states is due, seconds since 1970; None where there is none."""
        marks = ", ".join("?" * len(states))
        with self._lock:
            return self._db.execute(
                f"SELECT min(due) FROM images WHERE state IN ({marks})", states
            ).fetchone()[0]

    def oldest(self, *states: str) -> float | None:
        """When the oldest image in these states was first heard of, seconds since 1970; None where there is none."""
        marks = ", ".join("?" * len(states))
        with self._lock:
            return self._db.execute(
                f"SELECT min(added) FROM images WHERE state IN ({marks})", states
            ).fetchone()[0]

    def is_result(self, uid: str) -> bool:
        """Whether an object with this UID is an answer from this queue."""
        with self._lock:
            return bool(self._db.execute("SELECT 1 FROM results WHERE uid = ?", (uid,)).fetchone())

    def results(self, row: Row) -> list[Result]:
        """What answers an image, in a fixed order."""
        with self._lock:
            uids = self._db.execute(
                "SELECT uid FROM results WHERE image = ? ORDER BY uid", (row.uid,)
            ).fetchall()
        return [Result(uid, row.study, self.result(row.uid, uid)) for (uid,) in uids]

    # Files; UIDs come from outside, so no file is named after one

    def incoming(self, uid: str) -> Path:
        """Where an image waits to be answered."""
        return self.folder / "incoming" / f"{hashed(uid)}.dcm"

    def result(self, uid: str, result: str) -> Path:
        """Where a result of an image waits to be sent."""
        return self.folder / "results" / hashed(uid) / f"{hashed(result)}.dcm"

    def _rows(self, rest: str, *values: Any) -> list[Row]:
        with self._lock:
            return [Row(*row) for row in self._db.execute(f"SELECT {_COLUMNS} FROM images {rest}", values)]


def connect(file: Path) -> sqlite3.Connection:
    """A connection whose commits are on the disk when they return. Raises sqlite3.Error."""
    db = sqlite3.connect(file, timeout=30, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")  # a commit is on the disk, not on its way there
    except sqlite3.Error:
        db.close()
        raise
    return db


def unusable(folder: Path, error: sqlite3.Error) -> MultimixError:
    """What to tell where SQLite cannot work with the file."""
    return MultimixError(
        f"{folder / 'queue.db'}: not a usable queue ({error}). Choose another --queue, or remove this one: what is in "
        "the archive already is not sent again."
    )


def hashed(uid: str) -> str:
    """A file name for a UID, which comes from outside and may be no UID at all."""
    return hashlib.blake2b(uid.encode(), digest_size=16).hexdigest()
