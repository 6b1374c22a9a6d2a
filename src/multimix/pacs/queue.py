"""The queue on disk: one row per radiograph, so that a kill at any moment loses nothing.

    found ─ received ─ answered ─ sent        the way of an image that can be answered
    skipped                                   no image to answer, such as a lateral view; with the reason
    ignored                                   an answer of this program that came back as if it were an image
    failed                                    with the reason; the others go on

Files    queue.db (SQLite, write-ahead log), incoming/*.dcm, results/*/*.dcm, .lock
Order    A file is complete on the disk before the row says so, and is removed after the row no longer needs
         it; what a kill leaves between the two is removed when the queue is opened again.
Patients Rows hold UIDs only. The images wait in a folder that only its owner can enter, until they are done.
"""

import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from multimix.errors import UsageError
from multimix.io.locks import folder_lock
from multimix.io.writers import atomic_write
from multimix.pacs.outcomes import Image
from multimix.pacs.rows import QueueView, Row, connect, hashed, unusable

_SCHEMA = """
CREATE TABLE IF NOT EXISTS images (
    uid TEXT PRIMARY KEY, study TEXT NOT NULL, series TEXT NOT NULL, state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '', attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL DEFAULT 0, added REAL NOT NULL, changed REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_state ON images (state, due, added);
CREATE TABLE IF NOT EXISTS results (uid TEXT PRIMARY KEY, image TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_image ON results (image);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
AGAIN = ("found", "failed", "skipped")
"""States of an image whose bytes are taken in."""
BUSY = "another `multimix pacs run` works on this queue. Stop it, or give this one its own --queue."


class Queue(QueueView):
    """The rows and files of one folder, for the one process that works on them."""

    def __init__(self, folder: Path) -> None:
        """Open or begin the queue in `folder`; UsageError where another process uses it."""
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise UsageError(
                f"{folder}: cannot hold a queue ({error.strerror}). Choose another --queue."
            ) from error
        self._held = ExitStack()
        self._held.enter_context(folder_lock(folder, BUSY, patience=0.0))
        try:
            if not (folder / "queue.db").exists():
                _begin(folder)
            super().__init__(folder)
            self._sweep()
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.Error):
                raise unusable(folder, error) from error
            raise

    def close(self) -> None:
        """Let another process have the queue."""
        if hasattr(self, "_db"):
            super().close()
        self._held.close()

    def claim(self, weights: str) -> None:
        """Tie the queue to the weights (a digest) that answer it; UsageError where it is tied to others."""
        with self._change() as db:
            db.execute("INSERT OR IGNORE INTO facts VALUES ('weights', ?)", (weights,))
        if (known := self.fact("weights")) != weights:
            raise UsageError(
                f"{self.folder}: this queue is of a model with other weights ({known[:12]}, now {weights[:12]}). Give "
                "each model its own --queue."
            )

    def note(self, name: str, value: str) -> None:
        """Store a word about the whole queue."""
        with self._change() as db:
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    # Into the queue

    def add(self, images: Iterable[Image]) -> int:
        """Add those that are neither known nor results of ours as found; returns how many were new."""
        now = time.time()
        with self._change() as db:
            return sum(
                db.execute(
                    "INSERT OR IGNORE INTO images (uid, study, series, state, added, changed) "
                    "SELECT ?, ?, ?, 'found', ?, ? WHERE NOT EXISTS (SELECT 1 FROM results WHERE uid = ?)",
                    (image.uid, image.study, image.series, now, now, image.uid),
                ).rowcount
                for image in images
            )

    def receive(self, image: Image, data: bytes) -> bool:
        """Keep the bytes of an image as received; False where it is further than that already.

        When this returns the image is on the disk. A failed or skipped one gets another chance. Raises MultimixError
        where it cannot be written.
        """
        with self._lock:
            if (row := self.row(image.uid)) is not None and row.state not in AGAIN:
                return False
            if self.is_result(image.uid):
                return False
            with atomic_write(self.incoming(image.uid)) as temporary:
                temporary.write_bytes(data)
            now = time.time()
            with self._change() as db:
                db.execute(
                    "INSERT INTO images (uid, study, series, state, added, changed) VALUES (?, ?, ?, 'received', ?, ?)"
                    " ON CONFLICT (uid) DO UPDATE SET state = 'received', reason = '', attempts = 0, due = 0,"
                    " changed = excluded.changed",
                    (image.uid, image.study, image.series, now, now),
                )
            return True

    # Along the queue

    def due(self, state: str, limit: int, before: float | None = None) -> list[Row]:
        """Rows in `state` whose time has come, the ones that wait longest first.

        `before`: when it must have come, seconds since 1970; now where it is left out.
        """
        moment = time.time() if before is None else before
        return self._rows("WHERE state = ? AND due <= ? ORDER BY due, added LIMIT ?", state, moment, limit)

    def try_on(self, uid: str) -> None:
        """Count an attempt before it begins, for steps that could take the whole process down."""
        with self._change() as db:
            db.execute("UPDATE images SET attempts = attempts + 1 WHERE uid = ?", (uid,))

    def take_back(self, row: Row) -> None:
        """The attempt that `try_on` counted ended for a reason that is not the image's; it is where `row` was."""
        with self._change() as db:
            db.execute(
                "UPDATE images SET attempts = ? WHERE uid = ? AND state = ?",
                (row.attempts, row.uid, row.state),
            )

    def answered(self, uid: str, results: Sequence[str]) -> None:
        """The results, whose UIDs are given, are complete on the disk; the image itself is removed."""
        with self._change() as db:
            db.executemany(
                "INSERT OR IGNORE INTO results VALUES (?, ?)", [(result, uid) for result in results]
            )
            self._move(db, uid, "answered")
        self.incoming(uid).unlink(missing_ok=True)

    def sent(self, uid: str) -> None:
        """The archive has confirmed every result; their files are removed."""
        self._finish(uid, "sent", "")

    def fail(self, uid: str, reason: str) -> None:
        """Give an image up; its files are removed."""
        self._finish(uid, "failed", reason)

    def skip(self, uid: str, reason: str) -> None:
        """Leave an image that nobody wants an answer to."""
        self._finish(uid, "skipped", reason)

    def ignore(self, uid: str, reason: str) -> None:
        """Leave an image that is an answer itself."""
        self._finish(uid, "ignored", reason)

    def put_off(self, uid: str, reason: str, seconds: float, attempts: int) -> None:
        """So many attempts have failed; the next is due in so many seconds."""
        now = time.time()
        with self._change() as db:
            db.execute(
                "UPDATE images SET attempts = ?, reason = ?, due = ?, changed = ? WHERE uid = ?",
                (attempts, reason, now + seconds, now, uid),
            )

    def retry(self, *states: str) -> int:
        """Images in these states, failed or skipped, become found, to be fetched again; returns how many."""
        marks = ", ".join("?" * len(states))
        with self._change() as db:
            return db.execute(
                f"UPDATE images SET state = 'found', reason = '', attempts = 0, due = 0 WHERE state IN ({marks})",
                states,
            ).rowcount

    # Inside

    def _finish(self, uid: str, state: str, reason: str) -> None:
        with self._change() as db:
            self._move(db, uid, state, reason)
        self._remove(uid)

    def _remove(self, uid: str) -> None:
        self.incoming(uid).unlink(missing_ok=True)
        shutil.rmtree(self.folder / "results" / hashed(uid), ignore_errors=True)

    def _move(self, db: sqlite3.Connection, uid: str, state: str, reason: str = "") -> None:
        db.execute(
            "UPDATE images SET state = ?, reason = ?, attempts = 0, due = 0, changed = ? WHERE uid = ?",
            (state, reason, time.time(), uid),
        )

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on the disk when the block ends."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.rollback()
                raise
            self._db.commit()

    def _sweep(self) -> None:
        """Remove files that no row waits for: a kill came after the row and before the removal, or before the row."""
        images = {hashed(row.uid) for row in self.rows("received")}
        answers = {hashed(row.uid) for row in self.rows("answered")}
        for kind, needed in (("incoming", images), ("results", answers)):
            (self.folder / kind).mkdir(exist_ok=True)
            for path in (self.folder / kind).iterdir():
                if path.name.startswith(".") or path.stem not in needed:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _begin(folder: Path) -> None:
    """An empty queue.db, which is there whole or not at all."""
    with atomic_write(folder / "queue.db") as temporary:
        temporary.touch(mode=0o600)
        db = connect(temporary)
        try:
            db.executescript(_SCHEMA)
        finally:
            db.close()
