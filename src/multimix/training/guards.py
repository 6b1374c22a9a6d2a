"""What a long run is guarded against from outside: Ctrl-C within a step, and memory that ends."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from multimix.config import RunConfig
from multimix.errors import TrainingError


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Yield whether Ctrl-C was pressed, which else would tear a step in two; pressed again, it does not wait."""
    pressed: list[int] = []

    def press(number: int, frame: FrameType | None) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    if threading.current_thread() is not threading.main_thread():  # which alone is told of signals
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def enough_memory(config: RunConfig) -> Iterator[None]:
    """TrainingError, with what to lower, where memory ends."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise TrainingError(_out_of_memory(config)) from error


def _is_out_of_memory(error: BaseException) -> bool:
    # On a CPU, torch reports it as a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)


def _out_of_memory(config: RunConfig) -> str:
    return (
        f"Out of memory at --size {config.data.size} with {config.streams.classes} class and "
        f"{config.streams.masks} mask images per step. The last checkpoint is kept. Lower --size, or --set "
        "streams.masks, streams.classes, streams.unlabelled_classes or model.widths."
    )
