"""A bound on memory: what is held at once of something that is counted, in order of arrival."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Budget:
    """At most `total` units out at once; who asks for more waits, first come first served.

    Belongs to one event loop.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.left = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, amount: int) -> AsyncIterator[None]:
        """Hold `amount` units, or all of them where it is more than there are, while the block runs."""
        amount = min(amount, self.total)
        if self._waiting or amount > self.left:
            ready = asyncio.get_running_loop().create_future()
            self._waiting.append((amount, ready))
            try:
                await ready
            except asyncio.CancelledError:
                self._give_back(0 if ready.cancelled() else amount)
                raise
        else:
            self.left -= amount
        try:
            yield
        finally:
            self._give_back(amount)

    def _give_back(self, amount: int) -> None:
        self.left += amount
        while self._waiting:
            wanted, ready = self._waiting[0]
            # Who holds and who waits may be cancelled at once, as when a request that did both runs out of time.
            if not ready.cancelled():
                if wanted > self.left:
                    break
                self.left -= wanted
                ready.set_result(None)
            self._waiting.popleft()
