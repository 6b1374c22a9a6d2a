"""Load on `multimix serve`: one client after another request, then many at once, and the memory meanwhile.

    python benchmarks/serve_load.py RUN --clients 16 --requests 500

Starts the service in a process of its own on a free port, sends generated chest X-rays (256 x 256, JPEG) and
prints requests per second one at a time and at once, the size of the batches, errors and the resident memory.
The clients run on the same cores as the service. Memory is read from /proc, so this needs Linux.
"""

import argparse
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import httpx
from PIL import Image

from multimix.data.phantom import generate


@dataclass(frozen=True)
class Load:
    """What was measured."""

    alone: float
    """Requests per second of one client that waits for each answer."""
    together: float
    """Requests per second of all clients."""
    errors: int
    """Requests not answered with 200."""
    batch: float
    """Images per batch, on average, under load."""
    memory: tuple[float, ...]
    """Resident MiB after a first round under load, and after each quarter of the requests."""

    @property
    def gain(self) -> float:
        """How many times more requests are answered with all clients at once."""
        return self.together / self.alone


def main() -> None:
    """Start the service, load it, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run folder or weights file")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--requests", type=int, default=500)
    options = parser.parse_args()
    command = [
        sys.executable,
        "-c",
        "from multimix.cli.serve import serve; serve()",
        str(options.run),
        "--port",
        "0",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split(" at ")[-1].split()[0]
        load = measure(address, process.pid, options.clients, options.requests)
    finally:
        process.terminate()
        process.communicate()
    print(f"one at a time  {load.alone:7.1f} requests/s")
    print(f"{options.clients:2d} clients     {load.together:7.1f} requests/s, {load.gain:.2f} times as many")
    print(f"batches        {load.batch:7.1f} images on average")
    print(f"errors         {load.errors:5d} of {options.requests}")
    print(
        f"memory         {', '.join(f'{mib:.0f}' for mib in load.memory)} MiB, at first and after each quarter"
    )


def measure(address: str, pid: int, clients: int, requests: int) -> Load:
    """Load the service at `address`, which is process `pid`."""
    files = images(16)
    with httpx.Client(base_url=address, timeout=120) as client:
        _send(client, files, 0, 5)
        _at_once(address, files, clients, 3 * clients)  # threads, buffers and caches come into being
        memory = [_memory(pid)]
        count = max(20, requests // 5)
        start = time.perf_counter()
        errors = _send(client, files, 0, count)
        alone = count / (time.perf_counter() - start)
        before = _batches(client)
        start = time.perf_counter()
        for quarter in range(4):
            errors += _at_once(address, files, clients, (requests + quarter) // 4)
            memory.append(_memory(pid))
        together = requests / (time.perf_counter() - start)
        after = _batches(client)
    batch = (after[0] - before[0]) / max(1.0, after[1] - before[1])
    return Load(alone, together, errors, batch, tuple(memory))


def images(count: int) -> list[bytes]:
    """Generated X-rays as JPEG files."""
    files = []
    for image in generate(count, 256, seed=0).images:
        buffer = BytesIO()
        Image.fromarray(image).save(buffer, "JPEG")
        files.append(buffer.getvalue())
    return files


def _at_once(address: str, files: list[bytes], clients: int, requests: int) -> int:
    """Share `requests` among `clients`; the number of errors."""
    shares = [requests // clients + (i < requests % clients) for i in range(clients)]

    def one(number: int) -> int:
        with httpx.Client(base_url=address, timeout=120) as client:
            return _send(client, files, number, shares[number])

    with ThreadPoolExecutor(clients) as pool:
        return sum(pool.map(one, range(clients)))


def _send(client: httpx.Client, files: list[bytes], first: int, requests: int) -> int:
    errors = 0
    for i in range(requests):
        file = files[(first + i) % len(files)]
        response = client.post("/v1/predict", files={"files": ("x.jpeg", file, "image/jpeg")})
        errors += response.status_code != 200
    return errors


def _batches(client: httpx.Client) -> tuple[float, float]:
    """Images and batches so far."""
    lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[0] != "#")
    return float(lines["multimix_batch_images_sum"]), float(lines["multimix_batch_images_count"])


def _memory(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("no VmRSS in /proc; this script needs Linux")


if __name__ == "__main__":
    main()
