"""What each ingredient of a method costs: seconds per training step, all rows of METHODS in turns on the same images.

    python benchmarks/ingredients.py --size 128 --rounds 10 --precision bf16-mixed --json ingredients.json

Images are phantoms, streams as large as by default. A round takes one step of every method, so that what else the
machine does meets all alike; printed are medians over rounds, and the median difference from MultiMix+.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from multimix.config import RunConfig
from multimix.data.phantom import write_dataset
from multimix.recipes import METHODS, OURS, ours
from multimix.training.prepare import prepare
from multimix.training.trainer import Trainer


def measure(size: int, rounds: int, precision: str) -> dict[str, dict[str, float]]:
    """Name of a method -> median seconds of a step, and how much longer it takes than MultiMix+'s."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_dataset(folder, size=size, test=0, other=0)
        trainers = {key: _trainer(folder, key, size, precision) for key in METHODS}
        for trainer in trainers.values():  # threads and buffers
            trainer.one_step()
        seconds: dict[str, list[float]] = {key: [] for key in trainers}
        for _ in range(rounds):
            for key, trainer in trainers.items():
                trainer.step += 1
                begun = time.perf_counter()
                trainer.one_step()
                seconds[key].append(time.perf_counter() - begun)
        for trainer in trainers.values():
            trainer.log.close()
    reference = next(seconds[key] for key, row in METHODS.items() if row is OURS)
    return {
        METHODS[key].name: {
            "seconds": statistics.median(values),
            "more": statistics.median(a - b for a, b in zip(values, reference, strict=True)),
        }
        for key, values in seconds.items()
    }


def _trainer(folder: Path, key: str, size: int, precision: str) -> Trainer:
    data = {
        "manifest": str(folder / "manifest.csv"),
        "class_source": "phantom_a",
        "mask_source": "phantom_a",
        "class_labels": 100,
        "mask_labels": 10,
        "size": size,
    }
    config = RunConfig.from_mapping({"method": key, "precision": precision, "data": data}, ours())
    return Trainer(config, prepare(config), folder / key)


def main() -> None:
    """Measure, print as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = measure(given.size, given.rounds, given.precision)
    print("| method | seconds a step | more than MultiMix+ |\n| --- | ---: | ---: |")
    for name, row in found.items():
        print(f"| {name} | {row['seconds']:.3f} | {row['more']:+.3f} |")
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
