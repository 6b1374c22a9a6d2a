"""Print what a trained model rejects: pictures that no chest radiograph is, and every chest radiograph of DATA.

    python tools/rejection_study.py DATA RUN|NAME [--most 1000]

Two tables in Markdown. Pictures come from packages that are installed for the tests: scikit-image, scikit-learn,
matplotlib and pydicom; nothing is downloaded. Colour gives most photographs away, so they are shown again in grey, and
in quarters. No network is run: an image is rejected by its file and its looks.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pydicom
import skimage.data
import sklearn.datasets

from multimix.data.manifest import read_manifest
from multimix.errors import ImageError, MultimixError
from multimix.inference.load import load
from multimix.inference.predictor import Predictor
from multimix.io.arrays import as_radiograph
from multimix.io.readers import RASTER_SUFFIXES, read_image
from multimix.io.resize import to_model_size
from multimix.types import Radiograph

LEAST_QUARTERED = 128
"""Photographs with a shorter side are not quartered."""


def pictures() -> Iterator[tuple[str, str, Radiograph]]:
    """Kind, name and one channel of every picture; of DICOM also what the header alone would reject."""
    for name, colour in photographs():
        radiograph = as_radiograph(np.ascontiguousarray(colour.transpose(1, 2, 0)), 1, name)
        kind = (
            "photographs and drawings in colour" if radiograph.in_colour else "grey photographs and drawings"
        )
        yield kind, name, radiograph
        if radiograph.in_colour:
            yield "those in colour, made grey", name, Radiograph(radiograph.pixels)
        if min(radiograph.size) >= LEAST_QUARTERED:
            for number, quarter in enumerate(quarters(radiograph.pixels)):
                yield "quarters of all of them, in grey", f"{name} {number}", Radiograph(quarter)
    for file in sorted((Path(matplotlib.get_data_path()) / "images").glob("*.png")):
        yield "icons", file.name, read_image(file)
    for file in sorted((Path(pydicom.data.__file__).parent / "test_files").glob("*.dcm")):
        try:
            radiograph = read_image(file, force=True)
        except ImageError:  # a report, a plan, a damaged file: no picture
            continue
        yield (
            "DICOM (CT, MR, ultrasound, dose, captures), by looks",
            file.name,
            radiograph_without_header(radiograph),
        )
        yield "the same, by header and looks", file.name, radiograph


def photographs() -> Iterator[tuple[str, np.ndarray]]:
    """Name and RGB (3 H W) in [0, 1] of all pictures that scikit-image, matplotlib and scikit-learn carry."""
    folders = Path(skimage.data.__file__).parent, Path(matplotlib.get_data_path()) / "sample_data"
    for file in sorted(file for folder in folders for file in folder.iterdir()):
        if file.suffix.lower() in RASTER_SUFFIXES:
            try:
                yield file.name, read_image(file, 3).pixels
            except ImageError:  # too small
                continue
    for name in ("china.jpg", "flower.jpg"):
        levels = np.ascontiguousarray(sklearn.datasets.load_sample_image(name).transpose(2, 0, 1))
        yield name, levels.astype(np.float32) / 255


def quarters(pixels: np.ndarray) -> list[np.ndarray]:
    """The four quarters of (C H W)."""
    rows, columns = pixels.shape[1] // 2, pixels.shape[2] // 2
    halves = (pixels[:, :rows], pixels[:, rows:])
    return [
        np.ascontiguousarray(one) for half in halves for one in (half[..., :columns], half[..., columns:])
    ]


def radiograph_without_header(radiograph: Radiograph) -> Radiograph:
    """Its pixels alone."""
    return Radiograph(radiograph.pixels, in_colour=radiograph.in_colour)


def rejected(predictor: Predictor, radiographs: Sequence[Radiograph]) -> int:
    """How many are rejected."""
    images = np.stack([to_model_size(one.upright, predictor.spec.size) for one in radiographs])
    return sum(map(bool, predictor.rejections(radiographs, images)))


def print_shares(title: str, counts: dict[str, list[int]]) -> None:
    """A row per kind: how many, and the share that is rejected."""
    print(f"\n| {title} | number | rejected |\n| --- | ---: | ---: |")
    for kind, (number, out) in counts.items():
        print(f"| {kind} | {number} | {out / number:.1%} |".replace("%", " %"))


def main(words: list[str]) -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("run")
    parser.add_argument("--most", type=int, default=1_000_000, help="images of a source, evenly spread")
    options = parser.parse_args(words)
    try:
        predictor = load(options.run)
        records = read_manifest(options.data)
    except MultimixError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for kind, name, radiograph in pictures():
        out = rejected(predictor, [radiograph])
        if not out:
            print(f"answered: {kind}, {name}", file=sys.stderr)
        for row in (kind, *([] if kind.startswith("the same") else ["all, by looks"])):
            counts[row][0] += 1
            counts[row][1] += out
    counts["all, by looks"] = counts.pop("all, by looks")
    print_shares("picture", counts)
    by_source: dict[str, list[int]] = {}
    for source in sorted({record.source for record in records}):
        mine = [record for record in records if record.source == source]
        mine = mine[:: -(-len(mine) // options.most)]
        out = sum(rejected(predictor, [read_image(record.image, predictor.spec.channels)]) for record in mine)
        by_source[source] = [len(mine), out]
    print_shares("source of chest X-rays", by_source)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
