"""Train a run without a break, then one that is killed again and again; a process of its own, since it forks.

    python killed_runs.py KILLS WHOLE BROKEN [argument of `multimix train` ...]

Prints the steps of the last checkpoint after each kill as JSON.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import rich.progress  # noqa: F401  imported once, before forking
import scipy.optimize  # noqa: F401  likewise
import torch

from multimix import cli
from multimix.training import trainer
from multimix.training.state import load_state
from multimix.weights.file import LAST


def start(arguments: list[str], out: Path) -> int:
    """Fork a child that runs the command line; returns its number."""
    child = os.fork()
    if child == 0:
        sys.argv = ["multimix", "train", *arguments, "--out", str(out), "--resume"]
        try:
            cli.main()
        except SystemExit as leave:
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
    begin = time.monotonic()
    child = start(arguments, whole)
    while not (whole / LAST).is_file():
        time.sleep(0.002)
        if os.waitpid(child, os.WNOHANG) != (0, 0):
            sys.exit("the run that nobody kills ended before its first checkpoint")
    first = time.monotonic() - begin
    if status := finish(child):
        sys.exit(f"the run that nobody kills ended with {status}")
    training = time.monotonic() - begin - first
    rng, steps = random.Random(0), []
    for _ in range(kills):
        child = start(arguments, broken)
        time.sleep(rng.uniform(0, first + training / 5))
        os.kill(child, signal.SIGKILL)
        finish(child)
        steps.append(load_state(broken / LAST).step if (broken / LAST).is_file() else 0)
    if status := finish(start(arguments, broken)):
        sys.exit(f"the last resume ended with {status}")
    print(json.dumps(steps))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
