"""What is tried again, after what pause, and when it is given up."""

import random
from collections import Counter
from dataclasses import dataclass, field

from multimix.pacs.config import RetryConfig
from multimix.pacs.outcomes import Refused
from multimix.pacs.rows import Row


@dataclass
class Backoff:
    """The pause after the n-th failure in a row: first · 2ⁿ up to the cap, times a draw from [1/2, 1]."""

    config: RetryConfig
    rng: random.Random
    failures: int = 0

    def next(self) -> float:
        """Count a failure; seconds to wait."""
        pause = self.after(self.failures)
        self.failures += 1
        return pause

    def after(self, failures: int) -> float:
        """Seconds to wait after so many failures before."""
        full = min(self.config.cap_seconds, self.config.first_seconds * 2.0 ** min(failures, 60))
        return full * self.rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """It worked."""
        self.failures = 0


@dataclass
class _Doubt:
    """An image that is refused for what may be no fault of its own."""

    passes: int
    """How many images had passed the same step when it was refused first."""
    tries: int = 0


@dataclass
class Attempts:
    """Counts the attempts of images.

    Of a refusal that is doubtful one counts only where other images passed the same step since the first: an archive
    that is out of order in part must not cost an image, an image that is locked must not be tried for ever.
    """

    backoff: Backoff
    _passes: Counter[str] = field(default_factory=Counter)
    """Step, by the state it begins with -> images that passed it."""
    _doubts: dict[str, _Doubt] = field(default_factory=dict)

    def passed(self, row: Row) -> None:
        """An image went through the step that begins in the state of `row`."""
        self._passes[row.state] += 1
        self._doubts.pop(row.uid, None)

    def refused(self, row: Row, refusal: Refused) -> tuple[int, float | None]:
        """Attempts of this step that now count, and seconds to the next; None where it is given up."""
        attempts, pause = row.attempts + 1, self.backoff.after(row.attempts)
        if refusal.doubtful:
            doubt = self._doubts.setdefault(row.uid, _Doubt(self._passes[row.state]))
            attempts = row.attempts + (self._passes[row.state] > doubt.passes)
            pause = max(self.backoff.after(doubt.tries), min(refusal.after, self.backoff.config.cap_seconds))
            doubt.tries += 1
        if refusal.final or attempts >= self.backoff.config.attempts:
            self._doubts.pop(row.uid, None)
            return attempts, None
        return attempts, pause
