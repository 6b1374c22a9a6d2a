"""Dynamic batching: one thread takes what is waiting and works on it together."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Batcher(Generic[_In, _Out]):
    """Calls `work` on lists of up to `size` items, in order of arrival, in a thread of its own.

    A batch is whatever came in while the one before was worked on. It waits up to `patience` seconds more,
    but only while items have been announced by `coming`, so a single client never waits.
    """

    def __init__(
        self, work: Callable[[list[_In]], Sequence[_Out]], *, size: int = 16, patience: float = 0.01
    ) -> None:
        self._work = work
        self._size = size
        self._patience = patience
        self._waiting: deque[tuple[_In, Future[_Out]]] = deque()
        self._coming = 0
        self._open = True
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="multimix-model", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether submitted items will be worked on."""
        return self._open and self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Items not yet taken."""
        return len(self._waiting)

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Announce one item: `submit` follows before the block ends, or nothing does."""
        with self._changed:
            self._coming += 1
        try:
            yield
        finally:
            with self._changed:
                self._coming -= 1
                self._changed.notify()

    def submit(self, item: _In) -> Future[_Out]:
        """Queue one item; the future has the result or the exception of `work`. RuntimeError once closed."""
        future: Future[_Out] = Future()
        with self._changed:
            if not self._open:
                raise RuntimeError("the batcher is closed")
            self._waiting.append((item, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Finish what was submitted, then end the thread."""
        with self._changed:
            self._open = False
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            batch = [(item, future) for item, future in batch if future.set_running_or_notify_cancel()]
            if batch:
                self._answer(batch)

    def _next(self) -> list[tuple[_In, Future[_Out]]]:
        """The next batch; empty where the batcher is closed and nothing is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._open)
            end = time.monotonic() + self._patience
            while self._open and self._coming and len(self._waiting) < self._size:
                if not self._changed.wait(end - time.monotonic()):
                    break
            return [self._waiting.popleft() for _ in range(min(self._size, len(self._waiting)))]

    def _answer(self, batch: list[tuple[_In, Future[_Out]]]) -> None:
        try:
            results = self._work([item for item, _ in batch])
            for (_, future), result in zip(batch, results, strict=True):
                future.set_result(result)
        except Exception as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            for one in batch:  # one bad item must not fail the others
                if not one[1].done():
                    self._answer([one])
