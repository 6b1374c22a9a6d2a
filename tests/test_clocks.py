"""Nothing in the tests reads a clock to decide: what takes how long is for `benchmarks`."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
CLOCK = re.compile(r"\b(monotonic|perf_counter|process_time|thread_time|clock_gettime|times|time)(_ns)?\(\)")


def test_no_test_reads_a_clock() -> None:
    lines = [
        f"{file.relative_to(TESTS)}: {line.strip()}"
        for file in sorted(TESTS.rglob("*.py"))
        for line in file.read_text("utf-8").splitlines()
        # A file may be given an age.
        if CLOCK.search(line) and "os.utime(" not in line
    ]
    assert lines == []
