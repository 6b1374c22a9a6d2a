"""How cost grows with the number of images: indexing, caching, a training step and evaluation.

    python benchmarks/growth.py --images 1000 10000 100000 --out growth.json --plot docs/pictures/growth.png

Images are 64 x 64 noise in a temporary folder (about 4 kB each), written before the clock starts. Each number of images
is measured in a process of its own, so that its memory peak is its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

STEPS = 20


def write_images(folder: Path, count: int) -> None:
    """`count` images and a manifest: half training, half test; two classes; every 25th with a mask."""
    rng, rows = np.random.default_rng(0), []
    (folder / "images").mkdir()
    half = np.zeros((64, 64), np.uint8)
    half[:, 32:] = 255
    Image.fromarray(half).save(folder / "half.png")
    for i in range(count):
        name = f"images/{i}.png"
        Image.fromarray(rng.integers(0, 256, (64, 64), np.uint8)).save(folder / name, compress_level=0)
        mask = "half.png" if i % 50 < 2 else ""
        rows.append((name, mask, "ab"[i // 2 % 2], ("train", "test")[i % 2], str(i), "noise"))
    columns = ["image", "mask", "label", "split", "patient", "source"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "manifest.csv", index=False)


def measure(folder: Path) -> dict[str, float]:
    """Seconds of each part, and this process's memory peak in MB."""
    import os

    os.environ["MULTIMIX_CACHE"] = str(folder / "cache")
    from multimix.config import RunConfig
    from multimix.data.check import check_manifest
    from multimix.data.manifest import read_manifest
    from multimix.data.splits import select
    from multimix.evaluation.evaluate import evaluate_source
    from multimix.inference.load import load
    from multimix.training.prepare import prepare
    from multimix.training.trainer import Trainer

    config = RunConfig.from_mapping(
        {
            "device": "cpu",
            "validate_every": 10**6,
            "data": {
                "manifest": str(folder / "manifest.csv"),
                "class_source": "noise",
                "mask_source": "noise",
                "size": 64,
                "mask_labels": 4,
                "class_labels": 16,
            },
            "model": {"widths": [4, 4, 8, 8, 16]},
            "streams": {"classes": 4, "unlabelled_classes": 4, "masks": 4},
            "optim": {"steps": STEPS},
        }
    )
    found, clock = {}, time.perf_counter()

    def lap(name: str) -> None:
        nonlocal clock
        found[name] = time.perf_counter() - clock
        clock = time.perf_counter()

    records = read_manifest(folder / "manifest.csv")
    lap("read manifest")
    check_manifest(folder / "manifest.csv")
    lap("check")
    prepare(config)
    lap("decode to cache")
    prepared = prepare(config)
    lap("open cache")
    trainer = Trainer(config, prepared, folder / "run")
    trainer.one_step()
    lap("first step")
    for _ in range(STEPS - 1):
        trainer.step += 1
        trainer.one_step()
    found["step"] = (time.perf_counter() - clock) / (STEPS - 1)
    trainer._save_best()
    clock = time.perf_counter()
    evaluate_source(load(folder / "run"), select(records, ("noise",), "test"))
    lap("evaluate")
    unit = 1024 if sys.platform == "darwin" else 1
    return found | {"memory MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit / 1024}


def plot(results: dict[str, dict[str, float]], file: Path) -> None:
    """Seconds and memory against the number of images, both axes logarithmic."""
    import matplotlib.pyplot as plt

    counts = [int(n) for n in results]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name in next(iter(results.values())):
        axes = right if name == "memory MB" else left
        axes.loglog(counts, [r[name] for r in results.values()], "o-", label=name)
    left.set(xlabel="images", ylabel="seconds", title="Time")
    right.set(xlabel="images", ylabel="MB", title="Memory peak", ylim=(100, 10_000))
    left.legend(frameon=False)
    figure.savefig(file, dpi=110)


def main() -> None:
    """Measure, print, plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.folder:
        print(json.dumps(measure(given.folder)))
        return
    results = {}
    for count in given.images:
        with tempfile.TemporaryDirectory() as folder:
            write_images(Path(folder), count)
            command = [sys.executable, __file__, "--folder", folder]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        results[str(count)] = json.loads(done.stdout.splitlines()[-1])
        print(count, {name: round(value, 3) for name, value in results[str(count)].items()}, flush=True)
    if given.out:
        given.out.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    if given.plot:
        plot(results, given.plot)


if __name__ == "__main__":
    main()
