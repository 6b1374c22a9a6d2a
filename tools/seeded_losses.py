"""Losses and weights after 20 steps of every method at a fixed seed, as hashes: a refactoring leaves them as they are.

    python tools/seeded_losses.py > before.json      # on the commit before
    python tools/seeded_losses.py --against before.json

Hashes are comparable on one machine only: processor, library versions and threads decide the last digits. They cover
the loss terms in the log and the tensors of the network, so that names in files may change.
"""

import argparse
import hashlib
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors.numpy import load_file

METHODS = (
    *("u-net", "enc", "enc-ssl", "umtl", "umtl-s", "umtl-ssl", "umtl-s-ssl", "multimix"),
    *("u-net-style", "enc-style", "umtl-s-style"),
    *("multimix-plus", "multimix-plus-no-style", "multimix-plus-class-style", "multimix-plus-no-locate"),
    *("multimix-plus-no-bridge", "multimix-plus-no-pseudo-labels", "multimix-t", "multimix-t-mask-teacher"),
)
NOT_LOSSES = ("seconds", "images_per_second", "memory", "time")


def run(*words: str) -> None:
    """`multimix` with these words; its output is shown where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "multimix", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"multimix {' '.join(words)}\n{done.stdout}{done.stderr}")


def hashes(method: str, manifest: Path, folder: Path) -> dict[str, str]:
    """Hashes of the losses and of the network after 20 steps of `method`."""
    words = ["train", str(manifest), "--method", method, "--recipe", "tuned", "--size", "64", "--steps", "20"]
    if method not in ("u-net", "u-net-style"):
        words += ["--class-source", "phantom_a", "--class-labels", "8"]
    if not method.startswith("enc"):
        words += ["--mask-source", "phantom_a", "--mask-labels", "4"]
    words += ["--set", "model.dropout=0.25", "--set", "objective.threshold=0.5"]
    words += ["--set", "validate_every=5", "--seed", "7", "--device", "cpu", "--out", str(folder)]
    run(*words)
    losses = hashlib.sha256()
    for line in (folder / "log.jsonl").read_text("utf-8").splitlines():
        row = {name: value for name, value in json.loads(line).items() if name not in NOT_LOSSES}
        losses.update(json.dumps(row, sort_keys=True).encode())
    weights = hashlib.sha256()
    for name, tensor in sorted(load_file(folder / "last.safetensors").items()):
        if name.startswith("model."):
            weights.update(name.encode() + tensor.tobytes())
    return {"losses": losses.hexdigest(), "weights": weights.hexdigest()}


def main() -> int:
    """Print the hashes, or what differs; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, metavar="FILE", help="what an earlier call printed")
    given = parser.parse_args()
    from multimix.data.phantom import write_dataset

    with tempfile.TemporaryDirectory() as folder:
        manifest = write_dataset(
            Path(folder) / "phantoms", seed=1, size=64, train=60, val=20, test=0, other=0
        )
        found = {method: hashes(method, manifest, Path(folder) / method) for method in METHODS}
    if given.against is None:
        print(json.dumps({"machine": platform.processor() or platform.machine(), "hashes": found}, indent=1))
        return 0
    before = json.loads(given.against.read_text("utf-8"))["hashes"]
    differing = [method for method in METHODS if before.get(method) != found[method]]
    print(
        f"{len(METHODS) - len(differing)} of {len(METHODS)} methods are equal to the bit",
        *differing,
        sep="\n",
    )
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
