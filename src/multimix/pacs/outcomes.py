"""What can come of talking to an archive, and what an archive must be able to do."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable


class Unavailable(Exception):
    """The archive cannot be used now, whatever is asked of it; to be tried again without end.

    The message says why and holds no patient data.
    """


class Refused(Exception):
    """The archive works, but not for this one image; to be tried again a few times, unless it is `final`.

    The message says why and holds no patient data.
    """

    def __init__(
        self, reason: str, final: bool = False, *, doubtful: bool = False, after: float = 0.0
    ) -> None:
        """`doubtful`: a part of the archive may be at fault (no space, no rights, too busy) and not the image.

        `after`: seconds that the archive asked to be left alone with it.
        """
        super().__init__(reason)
        self.final, self.doubtful, self.after = final, doubtful, after


class Skipped(Exception):
    """An image that nobody wants an answer to, such as a lateral view; the message says why."""


class Stopped(BaseException):
    """The worker is told to end while it waits for somebody; what it waits for is asked for again next time."""


_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


def is_uid(text: str) -> bool:
    """Whether `text` is a UID, PS3.5 9.1, or one with leading zeros, as some devices write them."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


@dataclass(frozen=True)
class Image:
    """Where an image belongs, and what the archive says about it without handing it out."""

    uid: str
    """SOPInstanceUID."""
    study: str
    series: str
    pixels: int = 0
    """Rows times Columns; 0 where the archive does not say."""


@dataclass(frozen=True)
class Result:
    """One object that answers an image; it lies in a file until the archive has confirmed it."""

    uid: str
    """SOPInstanceUID; the same image and weights always give the same one."""
    study: str
    path: Path


@runtime_checkable
class Sink(Protocol):
    """Where results go."""

    @property
    def name(self) -> str:
        """As logs have it: a URL, or TITLE@HOST:PORT."""

    def takes(self) -> frozenset[str]:
        """Which of `config.RESULTS` are taken, as far as can be told before one is sent. Raises Unavailable."""

    def present(self, results: Sequence[Result]) -> set[str]:
        """UIDs of those that are there already. Raises Unavailable or Refused."""

    def store(self, results: Sequence[Result]) -> set[str]:
        """Send, and return the UIDs that were confirmed. Raises Unavailable or Refused."""


def too_large(found: int, limit: int) -> str:
    """The reason why an object of `found` bytes is not taken."""
    return f"too large: {found / 1e6:.1f} MB, at most {limit / 1e6:.0f} MB are taken; raise max_megabytes"


def too_slow(seconds: float) -> str:
    """The reason why an exchange was given up."""
    return f"too slow: not over after {seconds:g} s; raise max_seconds"
