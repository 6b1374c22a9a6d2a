"""The worker with a sink and a source that fail as told."""

import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

import studies
from bright import picky
from multimix.io.limits import MAX_PIXELS
from multimix.io.writers import atomic_write
from multimix.pacs import answerer as answering
from multimix.pacs import worker as working
from multimix.pacs.answerer import Answerer
from multimix.pacs.archive import Archive
from multimix.pacs.config import RESULTS, Credentials, DicomWebConfig, PacsConfig, RetryConfig
from multimix.pacs.events import Event
from multimix.pacs.outcomes import Image, Refused, Result, Unavailable
from multimix.pacs.patience import Backoff
from multimix.pacs.queue import Queue
from multimix.pacs.worker import Worker


def encoded(data: Dataset) -> bytes:
    buffer = BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def image(data: Dataset) -> Image:
    return Image(data.SOPInstanceUID, data.StudyInstanceUID, data.SeriesInstanceUID)


@dataclass
class Shelf:
    """A sink that keeps what it is sent, after it has failed in the given ways."""

    failures: list[Exception] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    forgets: bool = False
    """Confirm nothing."""
    refuses: str = ""
    """Study whose results are refused."""
    locked: str = ""
    """Study whose results are refused for what may be the archive's fault."""

    taken: frozenset[str] = frozenset(RESULTS)
    name: str = "SHELF@here"

    def takes(self) -> frozenset[str]:
        return self.taken

    def present(self, results: Sequence[Result]) -> set[str]:
        if self.failures:
            raise self.failures.pop(0)
        return {result.uid for result in results} & set(self.held)

    def store(self, results: Sequence[Result]) -> set[str]:
        if results[0].study == self.refuses:
            raise Refused("HTTP 400")
        if results[0].study == self.locked:
            raise Refused("HTTP 403", doubtful=True)
        assert all(pydicom.dcmread(result.path).SOPInstanceUID == result.uid for result in results)
        self.held += [result.uid for result in results]
        return set() if self.forgets else {result.uid for result in results}


class Source(Archive):
    """An archive of these images."""

    def __init__(self, *datasets: Dataset, fail: Exception | None = None) -> None:
        super().__init__(DicomWebConfig(url="http://127.0.0.1:1"), Credentials(), 1000)
        self.datasets, self.fail = {data.SOPInstanceUID: data for data in datasets}, fail

    def look(self) -> Iterator[list[Image]]:
        yield [image(data) for data in self.datasets.values()]

    def retrieve(self, image: Image) -> bytes:
        if self.fail is not None:
            raise self.fail
        return encoded(self.datasets[image.uid])


@pytest.fixture
def worker(queue: Queue, model: Path) -> Worker:
    retry = RetryConfig(first_seconds=0.01, cap_seconds=0.05, attempts=3)
    return Worker(queue, Answerer.load(model, "cpu"), Shelf(), None, Backoff(retry, random.Random(0)), 0.01)


def shelf(worker: Worker) -> Shelf:
    assert isinstance(worker.sink, Shelf)
    return worker.sink


def state(queue: Queue, data: Dataset) -> str:
    row = queue.row(data.SOPInstanceUID)
    assert row is not None
    return row.state


def reason(queue: Queue, data: Dataset) -> str:
    row = queue.row(data.SOPInstanceUID)
    assert row is not None
    return row.reason


def slow(worker: Worker) -> None:
    """Put off for longer than the test takes."""
    worker.backoff = Backoff(
        RetryConfig(first_seconds=1000.0, cap_seconds=1000.0, attempts=3), random.Random(0)
    )


def receive(queue: Queue, *datasets: Dataset) -> None:
    for data in datasets:
        queue.receive(image(data), encoded(data))


def test_images_are_answered_and_sent(worker: Worker, queue: Queue):
    receive(queue, studies.dx(), studies.cr(), studies.capture())
    told: list[tuple[int, int]] = []
    worker.report = lambda done, total: told.append((done, total))
    assert worker.run_once(60.0)
    assert len(shelf(worker).held) == len(set(shelf(worker).held)) == 9
    assert told[-1] == (3, 3)
    assert [row.state for row in queue.rows()] == ["sent"] * 3
    assert not any(
        path.is_file() for kind in ("incoming", "results") for path in (queue.folder / kind).rglob("*")
    )


def test_what_is_there_is_not_sent_again(worker: Worker, queue: Queue, tmp_path: Path):
    receive(queue, studies.dx())
    assert worker.run_once(60.0)
    held = list(shelf(worker).held)
    del shelf(worker).held[1]
    other = Queue(tmp_path / "other")  # as if the first one had been lost
    worker.queue = other
    receive(other, studies.dx())
    assert worker.run_once(60.0)
    other.close()
    assert sorted(shelf(worker).held) == sorted(held)


def test_an_archive_that_is_down_is_tried_without_end(
    worker: Worker, queue: Queue, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    shelf(worker).failures = [Unavailable("HTTP 503") for _ in range(20)]
    receive(queue, studies.dx())
    assert worker.run_once(60.0)
    row = queue.row(studies.dx().SOPInstanceUID)
    assert row is not None
    assert (row.state, row.attempts) == ("sent", 0)
    assert caplog.text.count("not available: HTTP 503") == 20
    assert "the archive is back" in caplog.text
    assert queue.fact("trouble") == ""


def test_patience_ends(worker: Worker, queue: Queue):
    shelf(worker).failures = [Unavailable("HTTP 503") for _ in range(10_000)]
    receive(queue, studies.dx())
    assert not worker.run_once(0.1)
    assert state(queue, studies.dx()) == "answered"
    assert "HTTP 503" in queue.fact("trouble")


def test_a_refused_image_fails_after_some_tries_and_others_go_on(worker: Worker, queue: Queue):
    bad, good = studies.dx(seed=1), studies.dx(seed=2)
    shelf(worker).refuses = bad.StudyInstanceUID
    receive(queue, bad, good)
    slow(worker)
    worker.cycle()
    assert (state(queue, bad), state(queue, good)) == ("answered", "sent")
    for _ in range(2):
        queue._db.execute("UPDATE images SET due = 0")
        worker.cycle()
    assert (state(queue, bad), reason(queue, bad)) == ("failed", "HTTP 400")


def test_a_locked_image_fails_where_others_go_through(worker: Worker, queue: Queue):
    locked, good = studies.dx(seed=1), studies.dx(seed=2)
    shelf(worker).locked = locked.StudyInstanceUID
    receive(queue, locked, good)
    assert worker.run_once(60.0)
    assert (state(queue, locked), reason(queue, locked)) == ("failed", "HTTP 403")
    assert state(queue, good) == "sent"


def test_a_part_of_the_archive_that_is_out_of_order_costs_no_image(worker: Worker, queue: Queue):
    only = studies.dx(seed=1)
    shelf(worker).locked = only.StudyInstanceUID
    receive(queue, only)
    assert not worker.run_once(0.3)
    assert (state(queue, only), reason(queue, only)) == ("answered", "HTTP 403")
    shelf(worker).locked = ""
    assert worker.run_once(60.0)
    assert state(queue, only) == "sent"


def test_three_ends_while_an_image_is_fetched_are_its_attempts(worker: Worker, queue: Queue):
    killer, other = studies.dx(seed=1), studies.dx(seed=2)
    worker.source = Source(killer, other)
    queue.add([image(killer), image(other)])
    for _ in range(3):  # as a process leaves it that is killed while it fetches
        queue.try_on(killer.SOPInstanceUID)
    assert worker.run_once(60.0)
    assert (state(queue, killer), state(queue, other)) == ("failed", "sent")
    assert reason(queue, killer).startswith("3 attempts to fetch it")
    worker.source.close()


def test_one_signal_ends_a_wait_and_takes_no_attempt(
    worker: Worker, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    worker.source = Source(studies.dx())
    monkeypatch.setattr(worker.source, "retrieve", lambda image: worker.end())  # as a signal handler would
    assert not worker.run_once(60.0)
    row = queue.row(studies.dx().SOPInstanceUID)
    assert row is not None
    assert (row.state, row.attempts, row.due) == ("found", 0, 0.0)
    worker.source.close()


def test_results_that_nobody_confirms_are_not_done(worker: Worker, queue: Queue):
    shelf(worker).forgets = True
    receive(queue, studies.dx())
    slow(worker)
    worker.cycle()
    assert state(queue, studies.dx()) == "answered"
    queue._db.execute("UPDATE images SET due = 0")
    worker.cycle()  # the next look finds them there
    assert state(queue, studies.dx()) == "sent"
    assert len(shelf(worker).held) == 3


def poison() -> dict[str, Dataset]:
    """Images that no worker can answer, and what their reason must say."""
    huge = studies.dx(seed=3)
    huge.Rows, huge.Columns = 65000, 65000
    cut = studies.dx(seed=4)
    cut.PixelData = cut.PixelData[:100]
    return {
        "lateral": studies.dx(seed=1, ViewPosition="LL", ViewCodeSequence=None),
        "body part": studies.cr(seed=2, BodyPartExamined="FOOT"),
        "megapixels": huge,
        "damaged": cut,
        "frames": studies.capture(seed=5, NumberOfFrames=3),
        "too small": studies.dx(np.zeros((8, 8), np.uint16), seed=6),
    }


def test_poison_fails_with_a_reason_and_others_go_on(worker: Worker, queue: Queue):
    bad = poison()
    good = [studies.dx(seed=20), studies.cr(seed=21)]
    receive(queue, *bad.values(), *good)
    queue.receive(Image("1.2.3", "1.2", "1.2"), b"\0" * 128 + b"DICM" + b"\xff" * 99)
    assert worker.run_once(60.0)
    for words, data in bad.items():
        expected = "skipped" if words in ("lateral", "body part", "frames") else "failed"
        assert (state(queue, data), words in reason(queue, data).lower()) == (expected, True), reason(
            queue, data
        )
        assert "Phant" not in reason(queue, data)
    assert [state(queue, data) for data in good] == ["sent", "sent"]
    row = queue.row("1.2.3")
    assert row is not None
    assert row.state == "failed"
    assert not list((queue.folder / "incoming").iterdir())


def test_force_answers_a_lateral_view(worker: Worker, queue: Queue):
    worker.answerer = Answerer(worker.answerer.predictor, worker.answerer.algorithm, force=("view",))
    receive(queue, poison()["lateral"])
    assert worker.run_once(60.0)
    assert queue.counts()["sent"] == 1


@pytest.mark.parametrize(
    ("forced", "expected"),
    [
        (("view",), ["sent", "skipped", "skipped"]),
        (("body-part", "raw"), ["skipped", "sent", "skipped"]),
        (("view", "body-part"), ["sent", "sent", "sent"]),
    ],
)
def test_force_answers_for_the_reasons_given_alone(
    worker: Worker, queue: Queue, forced: tuple[str, ...], expected: list[str]
):
    lateral, foot = poison()["lateral"], poison()["body part"]
    both = studies.cr(seed=7, BodyPartExamined="FOOT", ViewPosition="LL")
    worker.answerer = replace(worker.answerer, force=forced)
    receive(queue, lateral, foot, both)
    assert worker.run_once(60.0)
    assert [state(queue, data) for data in (lateral, foot, both)] == expected
    skipped = [data for data in (lateral, foot) if state(queue, data) == "skipped"]
    assert all("or use --force=" in reason(queue, data) for data in skipped)


def test_forced_for_its_header_an_image_unlike_the_others_is_still_skipped(worker: Worker, queue: Queue):
    model = replace(worker.answerer.predictor, reliability=picky())
    worker.answerer = replace(worker.answerer, predictor=model, force=("view",))
    flat = studies.dx(np.full((40, 40), 900, np.uint16), ViewPosition="LL", ViewCodeSequence=None)
    receive(queue, flat)
    assert worker.run_once(60.0)
    assert reason(queue, flat).startswith("rejected: is of one grey level")


def test_further_names_of_the_chest(worker: Worker, queue: Queue):
    upper = studies.cr(seed=1, BodyPartExamined="OBERKOERPER")
    region = [studies._code("X-1", "99LOCAL", "Trunk, upper")]
    coded = studies.dx(seed=2, BodyPartExamined=None, AnatomicRegionSequence=region)
    foot = studies.cr(seed=3, BodyPartExamined="FOOT")
    receive(queue, upper, coded, foot)
    assert worker.run_once(60.0)
    assert queue.counts()["skipped"] == 3
    chest = PacsConfig(body_parts=("Oberkoerper", " x-1 ")).chest
    worker.answerer = replace(worker.answerer, chest=chest)
    receive(queue, upper, coded, foot)
    assert worker.run_once(60.0)
    assert [state(queue, data) for data in (upper, coded, foot)] == ["sent", "sent", "skipped"]


def test_what_comes_and_goes_is_told(worker: Worker, queue: Queue):
    told: list[Event] = []
    lives: list[int] = []
    worker.source, worker.tell, worker.alive = Source(studies.dx()), told.append, lambda: lives.append(1)
    assert worker.run_once(60.0)
    worker.source.close()
    assert [one.kind for one in told] == ["searched", "retrieved", "sent"]
    searched, retrieved, sent = told
    assert searched.query == "ModalitiesInStudy=CR,DX,SC,OT"
    assert (retrieved.kind, retrieved.who, retrieved.study) == (
        "retrieved",
        "http://127.0.0.1:1",
        studies.dx().StudyInstanceUID,
    )
    assert (retrieved.instances, retrieved.patient) == ((studies.dx().SOPInstanceUID,), "PH0000")
    assert (sent.kind, sent.who, sorted(sent.instances)) == ("sent", "SHELF@here", sorted(shelf(worker).held))
    assert sent.patient == "PH0000"
    assert lives


@pytest.mark.parametrize("kind", ["retrieved", "sent"])
def test_what_cannot_be_written_to_the_audit_log_is_not_done(worker: Worker, queue: Queue, kind: str):
    full = [True]

    def tell(event: Event) -> None:
        if event.kind == kind and full:
            raise OSError(28, "No space left on device")

    worker.source, worker.tell = Source(studies.dx()), tell
    assert not worker.run_once(0.1)
    assert state(queue, studies.dx()) == {"retrieved": "found", "sent": "answered"}[kind]
    assert "No space left" in queue.fact("trouble")
    full.clear()
    assert worker.run_once(60.0)
    assert state(queue, studies.dx()) == "sent"
    worker.source.close()


def test_the_results_are_those_wanted(worker: Worker, queue: Queue):
    worker.results = ("sr",)
    receive(queue, studies.dx())
    assert worker.run_once(60.0)
    assert len(shelf(worker).held) == 1


def test_what_the_archive_does_not_take_is_not_made(
    worker: Worker, queue: Queue, caplog: pytest.LogCaptureFixture
):
    shelf(worker).taken = frozenset({"sr", "overlay"})
    receive(queue, studies.dx(seed=1), studies.dx(seed=2))
    assert worker.run_once(60.0)
    assert len(shelf(worker).held) == 4
    assert caplog.text.count("answers are without seg") == 1


def test_an_image_unlike_those_learned_from_fails_and_nothing_is_stored(worker: Worker, queue: Queue):
    model, algorithm = worker.answerer.predictor, worker.answerer.algorithm
    worker.answerer = Answerer(replace(model, reliability=picky()), algorithm)
    flat, good = studies.dx(np.full((40, 40), 900, np.uint16), seed=30), studies.dx(seed=31)
    receive(queue, flat, good)
    assert worker.run_once(60.0)
    assert (state(queue, flat), state(queue, good)) == ("skipped", "sent")
    assert reason(queue, flat).startswith("rejected: is of one grey level")
    row = queue.row(flat.SOPInstanceUID)
    assert row is not None
    assert queue.results(row) == []
    # Asked for by hand, it is answered.
    worker.answerer = replace(worker.answerer, force=("unlike",))
    receive(queue, flat)
    assert worker.run_once(60.0)
    assert state(queue, flat) == "sent"


def test_our_own_results_are_ignored(worker: Worker, queue: Queue, tmp_path: Path):
    receive(queue, studies.capture(Manufacturer="multimix"))
    assert worker.run_once(60.0)
    assert [row.state for row in queue.rows()] == ["ignored"]
    assert shelf(worker).held == []


def test_one_image_that_breaks_the_network_takes_no_other_with_it(
    worker: Worker, queue: Queue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    bad = studies.dx(seed=1)
    real = type(worker.answerer.predictor)._answer

    def breaks(self: object, batch: list) -> list:
        if any(one.path == bad.SOPInstanceUID for one in batch):
            raise RuntimeError(str(studies.dx().PatientName))
        return real(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(type(worker.answerer.predictor), "_answer", breaks)
    receive(queue, bad, studies.dx(seed=2), studies.dx(seed=3))
    assert worker.run_once(60.0)
    assert (queue.counts()["sent"], queue.counts()["failed"]) == (2, 1)
    assert "RuntimeError" in reason(queue, bad)
    assert "Pia" not in reason(queue, bad) + caplog.text


def test_an_image_that_kills_the_process_fails_in_the_end(worker: Worker, queue: Queue):
    killer, other = studies.dx(seed=1), studies.dx(seed=2)
    receive(queue, killer, other)
    for _ in range(3):  # as a process leaves it that is killed while it answers
        queue.try_on(killer.SOPInstanceUID)
    assert worker.run_once(60.0)
    assert (state(queue, killer), state(queue, other)) == ("failed", "sent")
    assert "3 times" in reason(queue, killer)


def test_a_full_disk_is_no_fault_of_the_image(worker: Worker, queue: Queue, monkeypatch: pytest.MonkeyPatch):
    tries = 0

    def full(path: Path) -> object:
        nonlocal tries
        tries += 1
        if tries <= 7:
            raise OSError(28, "No space left on device")
        return atomic_write(path)

    monkeypatch.setattr(answering, "atomic_write", full)
    receive(queue, studies.dx())
    assert worker.run_once(60.0)
    assert tries == 10
    assert state(queue, studies.dx()) == "sent"


def test_images_are_found_and_fetched(worker: Worker, queue: Queue):
    worker.source = Source(studies.dx(), studies.cr())
    assert worker.run_once(60.0)
    assert queue.counts()["sent"] == 2
    worker.source.close()


@pytest.mark.parametrize(
    ("failure", "attempts"), [(Refused("HTTP 404", final=True), 1), (Refused("HTTP 500"), 3)]
)
def test_images_that_cannot_be_fetched_fail(worker: Worker, queue: Queue, failure: Refused, attempts: int):
    worker.source = Source(studies.dx(), fail=failure)
    assert worker.run_once(60.0)
    assert (state(queue, studies.dx()), reason(queue, studies.dx())) == ("failed", str(failure))
    worker.source.close()


def test_an_image_that_says_it_is_too_large_is_not_fetched(
    worker: Worker, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    worker.source = Source(fail=AssertionError("fetched"))
    monkeypatch.setattr(worker.source, "look", lambda: iter([[Image("1.2.3", "1.2", "1.2", MAX_PIXELS + 1)]]))
    assert worker.run_once(60.0)
    row = queue.row("1.2.3")
    assert row is not None
    assert row.reason.startswith("too large")
    worker.source.close()


def test_stopping_leaves_the_rest_in_the_queue(worker: Worker, queue: Queue):
    receive(queue, *(studies.dx(seed=seed) for seed in range(working.BATCH + 1)))
    worker.report = lambda done, total: worker.stop.set()
    assert not worker.run_once(60.0)
    counts = queue.counts()
    assert (counts["answered"], counts["received"]) == (working.BATCH, 1)
    worker.stop.clear()
    worker.report = lambda done, total: None
    assert worker.run_once(60.0)
    assert queue.counts()["sent"] == working.BATCH + 1


def test_no_patient_in_the_log_or_the_queue(
    worker: Worker, queue: Queue, caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    caplog.set_level(logging.DEBUG)
    bad = poison()
    receive(queue, studies.dx(seed=20), *bad.values())
    assert worker.run_once(60.0)
    queue._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    kept = (queue.folder / "queue.db").read_bytes()
    for secret in ("Phant", "PH0020", "19700101", "A0020"):
        assert secret not in caplog.text
        assert secret.encode() not in kept
    assert studies.dx(seed=20).SOPInstanceUID in caplog.text


def test_back_off_doubles_up_to_the_cap():
    backoff = Backoff(RetryConfig(first_seconds=1.0, cap_seconds=10.0), random.Random(0))
    pauses = [backoff.next() for _ in range(2000)]
    for pause, full in zip(pauses, [1, 2, 4, 8, 10, 10], strict=False):
        assert full / 2 <= pause <= full
    assert max(pauses) <= 10
    assert len(set(pauses)) == 2000
    backoff.reset()
    assert backoff.next() <= 1
    again = Backoff(RetryConfig(first_seconds=1.0, cap_seconds=10.0), random.Random(0))
    assert [again.next() for _ in range(2000)] == pauses
