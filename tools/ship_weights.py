"""Put the best weights of a run into the package, in half the bits, and a text on their terms beside them.

    python tools/ship_weights.py RUN chest-xray

Writes src/multimix/weights/NAME.safetensors and NAME.txt, and results/weights/training.json, from which
`tools/model_card.py` says what the weights learned from. Refused are a run that learned from a source whose terms do
not allow it, and a file over 8 MB.
"""

import argparse
import csv
import hashlib
import json
import re
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from multimix.config import RunConfig
from multimix.errors import CheckpointError, MultimixError, UsageError
from multimix.io.writers import atomic_write, write_json
from multimix.networks.load import load_model
from multimix.weights import FOLDER
from multimix.weights.file import BEST, WeightsFile, read_tensors, read_weights, write_tensors

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "weights"

LARGEST = 8_000_000
"""Bytes of a weights file that ships."""

ATTRIBUTION = {
    "kermany": "Kermany D., Zhang K., Goldbaum M.: Labeled Optical Coherence Tomography (OCT) and Chest X-Ray Images\n"
    "  for Classification. Mendeley Data, doi:10.17632/rscbjbr9sj. CC BY 4.0. Images and labels.",
    "kermany_v7": "V7 Labs, annotated with CloudFactory: COVID-19 X-ray dataset, 2020. CC BY 4.0. Lung masks of\n"
    "  images of Kermany et al., as above.",
    "nih": "NIH Clinical Center: ChestX-ray14, https://nihcc.app.box.com/v/ChestXray-NIHCC. No restriction on use.\n"
    "  Wang X. et al., CVPR 2017, doi:10.1109/CVPR.2017.369. Images and labels.",
}
"""Source -> whom to name. Weights that learned from anything else are not given out."""


def ship(run: Path, name: str, folder: Path = FOLDER, results: Path = RESULTS) -> Path:
    """Write the weights file, its text and training.json; returns the weights file.

    CheckpointError where the run is incomplete, or its weights are too large or do not fit into 16 bits; UsageError
    where its sources or the name are not allowed.
    """
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise UsageError(
            f"{name!r}: expected a name of small letters, digits and hyphens, such as chest-xray."
        )
    config = _config(run)
    images = _images(run)
    sources = {*config.data.class_source, *config.data.mask_source, *(s for _, s in images)}
    if unknown := sorted(sources - set(ATTRIBUTION)):
        raise UsageError(
            f"{run}: learned from {', '.join(unknown)}, whose terms do not allow the weights to be given out. Train on "
            f"{', '.join(ATTRIBUTION)} alone."
        )
    target = folder / f"{name}.safetensors"
    with tempfile.TemporaryDirectory() as temporary:
        half = Path(temporary) / target.name
        _halve(run / BEST, half)
        if half.stat().st_size > LARGEST:
            raise CheckpointError(
                f"{run / BEST}: {half.stat().st_size:,} bytes in half the bits, at most {LARGEST:,} ship. Train a "
                "smaller network."
            )
        facts = _facts(run, name, config, images, half)
        with atomic_write(target) as place:
            shutil.copyfile(half, place)
    with atomic_write(target.with_suffix(".txt")) as place:
        place.write_text(_terms(name, config, sorted(sources)), "utf-8")
    write_json(results / "training.json", facts)
    return target


def _config(run: Path) -> RunConfig:
    if not (run / "config.yaml").is_file():
        raise CheckpointError(
            f"{run}: expected a run folder with config.yaml, which says what was learned from."
        )
    return RunConfig.read(run / "config.yaml")


def _images(run: Path) -> Counter[tuple[str, str]]:
    """(role, source) -> images, of every image that training or validation saw."""
    file = run / "split.csv"
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            return Counter((row["role"], row["source"]) for row in csv.DictReader(stream))
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{file}: cannot be read ({error}); it says which images were learned from."
        ) from error


def _halve(best: Path, target: Path) -> None:
    """The weights in 16 bits under the same header; what else the file holds stays as it is."""
    tensors, header = read_tensors(best)
    for name, tensor in tensors.items():
        if name.startswith(("model.", "trivial.")) and tensor.dtype == np.float32:
            with np.errstate(over="ignore"):  # told below
                tensors[name] = tensor.astype(np.float16)
            if not np.isfinite(tensors[name]).all():
                raise CheckpointError(
                    f"{best}: {name} does not fit into 16 bits; ship it in 32, or train again."
                )
    write_tensors(target, tensors, header)
    load_model(target)  # as users will; a file that is none is refused here


def _facts(
    run: Path, name: str, config: RunConfig, images: Counter[tuple[str, str]], file: Path
) -> dict[str, Any]:
    """What the model card says about the training: no paths, no times."""
    loaded = read_weights(file)
    spec = loaded.spec
    try:
        described = json.loads((run / "run.json").read_text("utf-8"))
        versions = {key: described["versions"][key] for key in ("multimix", "torch", "python")}
    except (OSError, ValueError, LookupError) as error:
        raise CheckpointError(f"{run / 'run.json'}: cannot be read ({error}); training writes it.") from error
    return {
        "name": name,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "bytes": file.stat().st_size,
        "parameters": sum(values.size for values in loaded.network.values()),
        "classes": spec.classes,
        "structures": spec.structures,
        "size": spec.size,
        "method": config.method,
        "seed": config.seed,
        "steps": config.optim.steps,
        "precision": config.precision,
        "reliability": _reliability(loaded),
        "images": [{"role": r, "source": s, "images": n} for (r, s), n in sorted(images.items())],
        "versions": versions,
    }


def _reliability(loaded: WeightsFile) -> dict[str, Any] | None:
    if (known := loaded.reliability) is None:
        return None
    return {"temperature": known.temperature, "thresholds": known.thresholds, "coverage": known.coverage}


def _terms(name: str, config: RunConfig, sources: list[str]) -> str:
    listed = "\n".join(f"- {ATTRIBUTION[source]}" for source in sources)
    return (
        f"{name}.safetensors: weights of a network of multimix, stored as 16-bit floats. NOT FOR CLINICAL USE.\n\n"
        "Apache-2.0, as multimix itself. If you pass them on, name those whose data they learned from:\n\n"
        f"{listed}\n\n"
        f"Changes: the images were resized to {config.data.size} x {config.data.size} pixels and augmented. None of "
        "them is in this package.\n"
        "The model card, docs/model_card.md in the repository, says how good the weights are and where they fail.\n"
    )


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    given = parser.parse_args()
    try:
        file = ship(given.run, given.name)
    except MultimixError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{file}: {file.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
