"""Moves every image of the queue on, from found to sent, and waits where it has to.

    found ─ retrieve → received ─ answer → answered ─ send what the archive lacks → sent

An archive that is down stops what needs it and nothing else; it is tried again without end, each pause twice
the last up to a cap, with jitter so that several workers do not come at once. An image that the archive refuses,
or on which the process died, is tried a few times with others going on, then fails. One signal ends a wait.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from multimix.errors import MultimixError
from multimix.io.limits import MAX_PIXELS
from multimix.pacs.answerer import Answerer
from multimix.pacs.archive import Archive
from multimix.pacs.config import RESULTS
from multimix.pacs.events import Event, Tell, nobody, patient_of
from multimix.pacs.outcomes import Image, Refused, Sink, Skipped, Stopped, Unavailable
from multimix.pacs.patience import Attempts, Backoff
from multimix.pacs.queue import Queue
from multimix.pacs.rows import DONE, WAITING, Row

BATCH = 4
"""Images that are retrieved, decoded and answered together."""

_LOCAL = (MultimixError, OSError, sqlite3.OperationalError)
"""What a full disk or a folder that is gone raises: no fault of an image."""

log = logging.getLogger(__name__)


@dataclass
class Worker:
    """One queue, one model, one place for results, and one for images unless they are sent to a node."""

    queue: Queue
    answerer: Answerer
    sink: Sink
    source: Archive | None
    backoff: Backoff
    poll_seconds: float
    results: Sequence[str] = RESULTS
    """What is wanted of each answer."""
    stop: threading.Event = field(default_factory=threading.Event)
    wake: threading.Event = field(default_factory=threading.Event)
    """Set where something new may be there: an image came in."""
    tell: Tell = nobody
    """Told what came from the archive and what went there."""
    alive: Callable[[], None] = lambda: None
    """Called now and then, as long as it goes on."""
    report: Callable[[int, int], None] = lambda done, total: None
    """Told the images done and all, in this queue."""
    _down_until: float = 0.0
    _look_at: float = 0.0
    _waits: bool = False
    _said: bool = False

    def __post_init__(self) -> None:
        self._attempts = Attempts(self.backoff)

    def run(self) -> None:
        """Work until `stop` is set."""
        with suppress(Stopped):
            while not self.stop.is_set():
                self.cycle()
                self._rest(self._pause())

    def run_once(self, patience: float) -> bool:
        """Work until nothing waits; False where something still does after `patience` seconds without progress."""
        moved, deadline = -1, 0.0
        with suppress(Stopped):
            while not self.stop.is_set():
                self.cycle()
                done, waiting = self._progress()
                if not waiting and not self._down_until and self._look_at:
                    return True
                if done != moved:
                    moved, deadline = done, time.monotonic() + patience
                pause = self._pause(polls=False)
                if time.monotonic() + pause > deadline:
                    return False
                self._rest(pause)
        return False

    def end(self) -> None:
        """Stop soon, for a signal handler in the thread that works: what is waited for is given up at once.

        Raises Stopped there.
        """
        self.stop.set()
        if self._waits:
            raise Stopped

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """A wait for somebody else, an archive above all, that `end` breaks off."""
        self._waits = True
        self.alive()
        try:
            if self.stop.is_set():  # set just before, when nobody waited
                raise Stopped
            yield
        finally:
            self._waits = False

    def _rest(self, seconds: float) -> None:
        with self._waiting():
            self.wake.wait(seconds)
        self.wake.clear()

    def cycle(self) -> None:
        """One round: all that can be done now, each image once."""
        begun = time.time()
        try:
            self._answer()
            if time.monotonic() < self._down_until:
                return
            self._send(begun)
            self._look()
            begun = time.time()
            while not self.stop.is_set() and self._retrieve(begun):
                self._answer()
                self._send(begun)
        except Unavailable as error:
            self._wait_for_better(f"the archive is not available: {error}")
        except _LOCAL as error:
            self._wait_for_better(f"cannot go on: {error}")
        else:
            self._works()

    def _works(self) -> None:
        """The archive did what it was asked for."""
        if self.backoff.failures:
            log.info("the archive is back")
        if self.queue.fact("trouble"):
            self.queue.note("trouble", "")
        self.backoff.reset()
        self._down_until = 0.0

    def _wait_for_better(self, reason: str) -> None:
        pause = self.backoff.next()
        log.warning("%s; next try in %.1f s", reason, pause)
        self._down_until = time.monotonic() + pause
        with suppress(sqlite3.Error):  # where the disk is full, this is not kept either
            self.queue.note("trouble", reason)

    def _pause(self, polls: bool = True) -> float:
        """Seconds until there is something to do."""
        if self._down_until:
            return max(0.0, self._down_until - time.monotonic())
        due = self.queue.next_due(*(WAITING if self.source else WAITING[1:]))
        pauses = [] if due is None else [max(0.05, due - time.time())]
        if polls or not pauses:
            pauses.append(max(0.0, self._look_at - time.monotonic()) if self.source else self.poll_seconds)
        return min(pauses)

    def _look(self) -> None:
        """Ask the archive for new images."""
        if self.source is None or time.monotonic() < self._look_at:
            self._look_at = self._look_at or time.monotonic()
            return
        self.tell(Event("searched", self.source.name, query=self.source.question))
        looks = iter(self.source.look())
        while images := self._next(looks):
            if new := self.queue.add(images):
                log.info("study %s: %d new", images[0].study, new)
            for image in images:
                if image.pixels > MAX_PIXELS and (row := self.queue.row(image.uid)) and row.state == "found":
                    self.queue.fail(
                        image.uid, f"too large: {image.pixels} pixels, at most {MAX_PIXELS} are taken"
                    )
            if self.stop.is_set():
                return
        self._look_at = time.monotonic() + self.poll_seconds

    def _next(self, looks: Iterator[list[Image]]) -> list[Image]:
        """The images of the next study that has any; none at the end."""
        with self._waiting():
            return next(filter(None, looks), [])

    def _retrieve(self, before: float) -> bool:
        """Bring a few of the found images that were due `before`; whether there were any."""
        rows = self.queue.due("found", BATCH, before) if self.source is not None else []
        for row in rows:
            if self.source is None or self.stop.is_set():
                break
            if row.attempts >= self.backoff.config.attempts:
                last = row.reason or "the worker ended under way"
                self.queue.fail(
                    row.uid, f"{row.attempts} attempts to fetch it came to nothing; the last: {last}"
                )
                continue
            self._retrieve_one(self.source, row)
        return bool(rows)

    def _retrieve_one(self, source: Archive, row: Row) -> None:
        self.queue.try_on(row.uid)
        try:
            with self._waiting():
                data = source.retrieve(row.image)
            # Told before it is done, so that nothing is done untold.
            self.tell(Event("retrieved", source.name, True, row.study, (row.uid,), patient=patient_of(data)))
            self.queue.receive(row.image, data)
        except Refused as refusal:
            self._refused(row, refusal)
        except Unavailable as error:  # others first, lest it be this image that brings the archive down
            self._refused(row, Refused(str(error), doubtful=True), down=True)
            raise
        except Skipped as skipped:
            log.info("image %s skipped: %s", row.uid, skipped)
            self.queue.skip(row.uid, str(skipped))
            self._attempts.passed(row)
        except BaseException:  # the disk is full, the worker is told to end
            self.queue.take_back(row)
            raise
        else:
            self._attempts.passed(row)

    def _answer(self) -> None:
        """Answer all received images, those that were begun before by themselves."""
        while not self.stop.is_set() and (rows := self.queue.due("received", BATCH)):
            results = self._deliverable()
            begun = [row for row in rows if row.attempts]
            rows = begun[:1] or rows
            if rows[0].attempts >= self.backoff.config.attempts:
                reason = f"the worker ended {rows[0].attempts} times while it answered this image"
                self.queue.fail(rows[0].uid, reason)
                continue
            for row in rows:
                self.queue.try_on(row.uid)
            try:
                self.answerer.answer(self.queue, rows, results)
            except BaseException:
                for row in rows:
                    self.queue.take_back(row)
                raise
            self._tell()

    def _deliverable(self) -> Sequence[str]:
        """The results that are wanted and taken; all that are wanted while nobody can be asked."""
        if time.monotonic() < self._down_until:
            return self.results
        try:
            with self._waiting():
                taken = self.sink.takes()
        except Unavailable:  # that is said when they are sent
            return self.results
        left = [name for name in self.results if name in taken]
        if not left:  # which is said of the first image that is sent
            return self.results
        if len(left) < len(self.results) and not self._said:
            missing = ", ".join(name for name in self.results if name not in taken)
            log.warning("answers are without %s: the peer does not take it", missing)
            self._said = True
        return left

    def _send(self, before: float) -> None:
        """Send the results of all answered images that were due `before`."""
        while not self.stop.is_set() and (rows := self.queue.due("answered", BATCH, before)):
            for row in rows:
                if self.stop.is_set():
                    break
                self._send_one(row)
                self._tell()

    def _send_one(self, row: Row) -> None:
        results = self.queue.results(row)
        try:
            with self._waiting():
                there = self.sink.present(results)
                if missing := [result for result in results if result.uid not in there]:
                    confirmed = self.sink.store(missing)
                    if lost := [result.uid for result in missing if result.uid not in confirmed]:
                        raise Refused(f"the archive did not confirm {len(lost)} of {len(results)} results")
        except Refused as refusal:
            self._refused(row, refusal)
        except Unavailable as error:
            self._refused(row, Refused(str(error), doubtful=True), down=True)
            raise
        else:
            instances = tuple(result.uid for result in results)
            patient = patient_of(results[0].path.read_bytes()) if results else ""
            self.tell(Event("sent", self.sink.name, True, row.study, instances, patient=patient))
            self.queue.sent(row.uid)
            self._attempts.passed(row)
            self._works()
            log.info("image %s done: %d results, %d were there", row.uid, len(results), len(there))

    def _refused(self, row: Row, refusal: Refused, down: bool = False) -> None:
        """Put an image off, only behind the others where the archive is `down`; give it up after its last attempt."""
        attempts, pause = self._attempts.refused(row, refusal)
        if pause is None:
            log.warning("image %s failed: %s", row.uid, refusal)
            self.queue.fail(row.uid, str(refusal))
        else:
            log.info("image %s put off for %.1f s: %s", row.uid, 0.0 if down else pause, refusal)
            self.queue.put_off(row.uid, str(refusal), 0.0 if down else pause, attempts)

    def _progress(self) -> tuple[int, int]:
        counts = self.queue.counts()
        return sum(counts[state] for state in DONE), sum(counts[state] for state in WAITING)

    def _tell(self) -> None:
        done, waiting = self._progress()
        self.report(done, done + waiting)
