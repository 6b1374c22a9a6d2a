"""Train a run without a break, then one that is killed again and again; a process of its own, since it forks.

    python killed_runs.py KILLS WHOLE BROKEN [argument of `multimix train` ...]

A kill falls on the n-th function call of its process, n drawn from a seed: before its first step in every third
process, within a tenth of the training else. So a busy machine is killed where an idle one is. Prints the steps of the
last checkpoint after each kill as JSON.
"""

import json
import os
import random
import signal
import sys
from pathlib import Path
from types import FrameType

import rich.progress  # noqa: F401  imported once, before forking
import scipy.optimize  # noqa: F401  likewise
import torch

from multimix import cli
from multimix.training import trainer
from multimix.training.state import load_state
from multimix.weights.file import LAST


class Calls:
    """Counts the function calls of this process, before its first step and since, and ends it at one of them."""

    def __init__(self, last: tuple[bool, int] | None) -> None:
        """`last` is whether training has begun, and the number of that call since then or since the start."""
        self.last, self.training, self.seen = last, False, [0, 0]

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """As `sys.setprofile` wants it."""
        if event not in ("call", "c_call"):
            return
        self.training = self.training or frame.f_code is trainer.Trainer.one_step.__code__
        self.seen[self.training] += 1
        if self.last == (self.training, self.seen[self.training]):
            os.kill(os.getpid(), signal.SIGKILL)


def start(arguments: list[str], out: Path, last: tuple[bool, int] | None = None) -> int:
    """Fork a child that runs the command line until its last call; returns its number."""
    child = os.fork()
    if child == 0:
        sys.argv = ["multimix", "train", *arguments, "--out", str(out), "--resume"]
        calls = Calls(last)
        try:
            sys.setprofile(calls)
            cli.main()
        except SystemExit as leave:
            sys.setprofile(None)
            (out.parent / "calls.json").write_text(json.dumps(calls.seen))
            os._exit(int(leave.code or 0))
        finally:
            os._exit(70)
    return child


def finish(child: int) -> int:
    """Wait for `child`; returns its exit status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(kills: int, whole: Path, broken: Path, arguments: list[str]) -> None:
    """The two runs."""
    torch.set_num_threads(1)
    assert trainer.LOG_EVERY > 1
    if status := finish(start(arguments, whole)):
        sys.exit(f"the run that nobody kills ended with {status}")
    before, training = json.loads((whole.parent / "calls.json").read_text())
    rng, steps = random.Random(0), []
    for number in range(kills):
        begun = number % 3 > 0
        child = start(arguments, broken, (begun, rng.randint(1, training // 10 if begun else before // 2)))
        if (status := finish(child)) != -signal.SIGKILL:
            sys.exit(f"a run that was to be killed ended with {status}")
        steps.append(load_state(broken / LAST).step if (broken / LAST).is_file() else 0)
    if status := finish(start(arguments, broken)):
        sys.exit(f"the last resume ended with {status}")
    print(json.dumps(steps))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
