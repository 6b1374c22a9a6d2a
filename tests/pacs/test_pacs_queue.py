"""Rows and files of the queue, and what a kill between two of them leaves."""

import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from multimix.errors import MultimixError, UsageError
from multimix.pacs.outcomes import Image
from multimix.pacs.queue import Queue
from multimix.pacs.rows import QueueView

ONE, TWO = Image("1.2.1", "1.2", "1.3"), Image("1.2.2", "1.2", "1.3")


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(tmp_path / "queue")
    yield queue
    queue.close()


def state(queue: QueueView, image: Image) -> str:
    row = queue.row(image.uid)
    assert row is not None
    return row.state


def answer(queue: Queue, image: Image, *uids: str) -> None:
    for uid in uids:
        path = queue.result(image.uid, uid)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"result")
    queue.answered(image.uid, uids)


def files(queue: Queue) -> int:
    return sum(
        path.is_file() for kind in ("incoming", "results") for path in (queue.folder / kind).rglob("*")
    )


def test_the_way_of_an_image(queue: Queue):
    assert queue.add([ONE, TWO]) == 2
    assert queue.add([ONE]) == 0
    assert [row.uid for row in queue.due("found", 9)] == [ONE.uid, TWO.uid]
    assert queue.receive(ONE, b"image")
    assert queue.incoming(ONE.uid).read_bytes() == b"image"
    answer(queue, ONE, "2.1", "2.2")
    assert not queue.incoming(ONE.uid).exists()
    row = queue.row(ONE.uid)
    assert row is not None
    assert [(r.uid, r.study, r.path.read_bytes()) for r in queue.results(row)] == [
        ("2.1", "1.2", b"result"),
        ("2.2", "1.2", b"result"),
    ]
    queue.sent(ONE.uid)
    assert files(queue) == 0
    assert queue.counts() == {
        "found": 1,
        "received": 0,
        "answered": 0,
        "sent": 1,
        "skipped": 0,
        "ignored": 0,
        "failed": 0,
    }


def test_an_image_comes_again(queue: Queue):
    assert queue.receive(ONE, b"image")
    assert not queue.receive(ONE, b"another")
    assert queue.incoming(ONE.uid).read_bytes() == b"image"
    answer(queue, ONE, "2.1")
    queue.sent(ONE.uid)
    assert not queue.receive(ONE, b"image")
    assert queue.add([ONE]) == 0
    assert (state(queue, ONE), files(queue)) == ("sent", 0)


def test_results_that_come_back_are_no_images(queue: Queue):
    queue.receive(ONE, b"image")
    answer(queue, ONE, TWO.uid)
    assert queue.add([TWO]) == 0
    assert not queue.receive(TWO, b"result")
    assert queue.row(TWO.uid) is None


def test_failures_keep_a_reason_and_get_another_chance(queue: Queue):
    queue.receive(ONE, b"image")
    queue.fail(ONE.uid, "a lateral view")
    row = queue.row(ONE.uid)
    assert row is not None
    assert (row.state, row.reason, files(queue)) == ("failed", "a lateral view", 0)
    assert queue.add([ONE]) == 0  # a search that finds it again is no reason to try again
    assert queue.receive(ONE, b"image")  # a sender who sends it again is one
    queue.fail(ONE.uid, "again")
    assert queue.retry("failed") == 1
    assert state(queue, ONE) == "found"


def test_a_put_off_row_is_not_due(queue: Queue):
    queue.add([ONE, TWO])
    queue.put_off(ONE.uid, "HTTP 500", 1000.0, 1)
    assert [row.uid for row in queue.due("found", 9)] == [TWO.uid]
    row = queue.row(ONE.uid)
    assert row is not None
    assert (row.attempts, row.reason) == (1, "HTTP 500")
    assert queue.next_due("found") == 0.0
    queue.fail(TWO.uid, "")
    assert queue.next_due("found") == row.due
    assert queue.next_due("answered") is None


def test_attempts_are_counted_and_taken_back(queue: Queue):
    queue.receive(ONE, b"image")
    queue.try_on(ONE.uid)
    (row,) = queue.due("received", 1)
    queue.try_on(ONE.uid)
    queue.take_back(row)
    assert queue.due("received", 1)[0].attempts == 1
    answer(queue, ONE, "2.1")
    queue.take_back(row)
    assert queue.due("answered", 1)[0].attempts == 0


def test_what_a_kill_leaves_is_swept_and_what_waits_is_kept(tmp_path: Path):
    queue = Queue(tmp_path)
    queue.receive(ONE, b"image")
    queue.receive(TWO, b"image")
    answer(queue, TWO, "2.1")
    kept = {queue.incoming(ONE.uid), queue.result(TWO.uid, "2.1")}
    for name in ("3.1", "3.2"):  # a file without a row; results without a row
        queue.incoming(name).write_bytes(b"x")
        answer(queue, Image(name, "", ""), "4.1")
    (tmp_path / "incoming" / ".multimix-0.dcm").write_bytes(b"half")
    queue.incoming(TWO.uid).write_bytes(b"the row moved on before the file was removed")
    queue.close()
    queue = Queue(tmp_path)
    found = {p for kind in ("incoming", "results") for p in (tmp_path / kind).rglob("*") if p.is_file()}
    queue.close()
    assert found == kept


def test_one_worker_at_a_time(queue: Queue):
    with pytest.raises(MultimixError, match="another"):
        Queue(queue.folder)
    view = QueueView(queue.folder)
    assert view.rows() == []
    view.close()


def test_one_model_for_a_queue(queue: Queue):
    queue.claim("a" * 64)
    queue.claim("a" * 64)
    with pytest.raises(UsageError, match="other weights"):
        queue.claim("b" * 64)


def test_only_the_owner_may_look(queue: Queue):
    assert stat.S_IMODE(queue.folder.stat().st_mode) == 0o700


def test_hostile_names_stay_in_the_folder(queue: Queue):
    for uid in ("../../x", "/etc/passwd", "1" * 5000, "a\0b"):
        assert queue.incoming(uid).parent == queue.folder / "incoming"
        assert queue.result(uid, uid).parent.parent == queue.folder / "results"


def test_places_that_hold_no_queue(tmp_path: Path):
    with pytest.raises(UsageError, match="no queue"):
        QueueView(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot hold"):
        Queue(tmp_path / "file")
    (tmp_path / "queue.db").write_bytes(os.urandom(9000))
    with pytest.raises(MultimixError, match="not a usable queue"):
        Queue(tmp_path)


def test_commits_are_on_the_disk(queue: Queue):
    assert queue._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert queue._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_change_that_fails_leaves_nothing(queue: Queue):
    queue.add([ONE])

    def breaks() -> None:
        with queue._change() as db:
            db.execute("UPDATE images SET state = 'sent'")
            db.execute("UPDATE nowhere SET state = 'sent'")

    with pytest.raises(sqlite3.Error):
        breaks()
    assert state(queue, ONE) == "found"
