"""Print what a trained model rejects, and how its probabilities and prediction sets hold on every source.

    python tools/reliability_study.py DATA RUN|NAME [--split val] [--most 200]

Three tables in Markdown. Images of each source as they are, turned, turned over, inverted and cut out; pictures of
other things (photographs of scikit-image and scikit-learn, noise, pages of text); and, for sources with the model's
classes, calibration, decisions and prediction sets. The first two need no network: an image is rejected by its looks.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import skimage.data
import sklearn.datasets
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from multimix.data.manifest import read_manifest
from multimix.errors import MultimixError, UsageError
from multimix.inference.load import load
from multimix.inference.predictor import Predictor
from multimix.io.arrays import as_radiograph
from multimix.io.readers import read_image
from multimix.io.resize import to_model_size
from multimix.metrics.classification import calibration_error, covered
from multimix.reliability.calibration import Reliability
from multimix.reliability.ood import Detector
from multimix.training.seeds import generator
from multimix.types import Record

PHOTOGRAPHS = (
    *(
        "astronaut",
        "brick",
        "camera",
        "cat",
        "cell",
        "clock",
        "coffee",
        "coins",
        "colorwheel",
        "grass",
        "gravel",
    ),
    *("horse", "hubble_deep_field", "immunohistochemistry", "microaneurysms", "moon", "retina", "rocket"),
)
"""What scikit-image carries; from scikit-learn come two more."""


def cut(low: float, high: float) -> Callable[[Tensor, torch.Generator], Tensor]:
    """A box anywhere in an image (C H W), its sides between these shares of the image's."""

    def box(image: Tensor, rng: torch.Generator) -> Tensor:
        for dim, (length, start) in enumerate(torch.rand(2, 2, generator=rng).tolist(), start=1):
            side = image.shape[dim]
            size = max(8, round(side * (low + (high - low) * length)))
            image = image.narrow(dim, int(start * (side - size + 1)), size)
        return image

    return box


CHANGES: Mapping[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "as it is": lambda x, _: x,
    "mirrored": lambda x, _: x.flip(2),
    "turned 90°": lambda x, _: x.rot90(1, (1, 2)),
    "turned 270°": lambda x, _: x.rot90(3, (1, 2)),
    "turned 180°": lambda x, _: x.rot90(2, (1, 2)),
    "top to bottom": lambda x, _: x.flip(1),
    "inverted": lambda x, _: 1 - x,
    "cut out 80 to 95 %": cut(0.8, 0.95),
    "cut out 60 to 75 %": cut(0.6, 0.75),
    "cut out 25 to 60 %": cut(0.25, 0.6),
}


def sources_of(records: Sequence[Record], split: str, most: int) -> dict[str, list[Record]]:
    """Source -> at most `most` records, evenly spread."""
    found: dict[str, list[Record]] = {}
    for record in records:
        if record.split == split:
            found.setdefault(record.source, []).append(record)
    return {source: mine[:: -(-len(mine) // most)] for source, mine in found.items()}


def refused(detector: Detector, images: Sequence[Tensor], size: int) -> int:
    """How many of the images (C H W each) are rejected."""
    small = [to_model_size(np.ascontiguousarray(image.numpy()), size)[None] for image in images]
    return sum(bool(detector.rejections(one)[0]) for one in small)


def pictures(channels: int) -> Iterator[tuple[str, list[Tensor]]]:
    """Kinds of pictures that no radiograph is."""
    rng = np.random.default_rng(0)
    photographs = [getattr(skimage.data, name)() for name in PHOTOGRAPHS]
    photographs += [sklearn.datasets.load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    tensors = [torch.from_numpy(as_radiograph(_bytes(p), channels, "photograph").pixels) for p in photographs]
    random = generator(0, "boxes")
    yield "photographs", tensors
    yield "cut-outs of photographs", [cut(0.4, 0.8)(one, random) for one in tensors for _ in range(5)]
    shape = (channels, 128, 128)
    yield "noise, uniform", [torch.from_numpy(rng.random(shape, np.float32)) for _ in range(50)]
    yield "noise, 1/f to 1/f²", [_clouds(rng, power, channels) for power in np.linspace(0.5, 2, 100)]
    yield "one grey level", [torch.full(shape, level) for level in np.linspace(0, 1, 11).tolist()]
    yield "pages of text", [_page(rng, channels) for _ in range(50)]
    yield "white text on black", [1 - _page(rng, channels) for _ in range(50)]


def _bytes(picture: np.ndarray) -> np.ndarray:
    """(H W) or (H W 3) uint8."""
    levels = picture.astype(np.uint8) * 255 if picture.dtype == bool else picture
    return np.ascontiguousarray(levels[..., :3] if levels.ndim == 3 else levels)


def _clouds(rng: np.random.Generator, power: float, channels: int) -> Tensor:
    """(channels 128 128) noise with the spectrum 1 / f^power."""
    frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.rfftfreq(128))
    frequency[0, 0] = 1
    waves = (rng.normal(size=frequency.shape) + 1j * rng.normal(size=frequency.shape)) / frequency**power
    clouds = np.fft.irfft2(waves, (128, 128))
    levels = (clouds - clouds.min()) / np.ptp(clouds)
    return torch.from_numpy(levels).float().expand(channels, -1, -1)


def _page(rng: np.random.Generator, channels: int) -> Tensor:
    """(channels 640 512) lines of random letters."""
    page = Image.new("L", (512, 640), 255)
    draw, step = ImageDraw.Draw(page), int(rng.integers(12, 30))
    for top in range(30, 600, int(step * 1.4)):
        words = "".join(
            rng.choice(list("abcdefghijklmnopqrstuvwxyz   "), int(rng.uniform(0.3, 1) * 800 / step))
        )
        draw.text((30, top), words, fill=0, font_size=step)
    return torch.from_numpy(np.asarray(page, np.float32) / 255).expand(channels, -1, -1)


def print_sources(predictor: Predictor, detector: Detector, sources: Mapping[str, list[Record]]) -> None:
    """The share of each source's images that are rejected, by what was done to them."""
    print("| source | images |", " | ".join(CHANGES), "|")
    print("| --- | ---: |", " | ".join(["---:"] * len(CHANGES)), "|")
    for source, records in sources.items():
        images = [
            torch.from_numpy(read_image(r.image, predictor.spec.channels, force=True).pixels) for r in records
        ]
        random = generator(0, "boxes", source)
        shares = []
        for change in CHANGES.values():
            count = refused(detector, [change(image, random) for image in images], predictor.spec.size)
            shares.append(f"{100 * count / len(images):.1f} %")
        print(f"| {source} | {len(images)} |", " | ".join(shares), "|", flush=True)


def print_pictures(predictor: Predictor, detector: Detector) -> None:
    """The share of other pictures that is rejected."""
    print("\n| picture | number | rejected |\n| --- | ---: | ---: |")
    for kind, images in pictures(predictor.spec.channels):
        count = refused(detector, images, predictor.spec.size)
        print(f"| {kind} | {len(images)} | {100 * count / len(images):.1f} % |", flush=True)


def print_classes(predictor: Predictor, sources: Mapping[str, list[Record]]) -> None:
    """Calibration, decisions and prediction sets, beside what they would be without."""
    print(
        "\n| source | images | ECE | without | balanced accuracy | without | coverage | of each class | set size |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: |")
    known, classes = predictor.reliability, predictor.spec.classes
    for source, records in sources.items():
        judged = [r for r in records if r.label in classes]
        if predictor.spec.multi_label or not judged:
            continue
        labels = np.array([classes.index(r.label or "") for r in judged])
        member, logits = np.eye(len(classes), dtype=int)[labels], class_logits(predictor, judged)
        cells = []
        for kind in (known, Reliability()):
            p = kind.probabilities(logits, False)
            cells.append(f"{calibration_error(labels, p):.3f}")
            cells.append(f"{_balanced(kind.decide(p, False), member):.3f}")
        inside = known.sets(known.probabilities(logits, False), False)
        share = covered(inside, member)
        each = ", ".join(
            f"{name} {share[labels == k].mean():.3f}" for k, name in enumerate(classes) if (labels == k).any()
        )
        order = (cells[0], cells[2], cells[1], cells[3], f"{share.mean():.3f}", each)
        size = f"{inside.sum(axis=1).mean():.2f}"
        print(f"| {source} | {len(judged)} |", " | ".join((*order, size)), "|", flush=True)


def class_logits(predictor: Predictor, records: Sequence[Record]) -> np.ndarray:
    """(N K)."""
    answers = []
    with torch.inference_mode():
        for record in records:
            pixels = read_image(record.image, predictor.spec.channels, force=True).pixels
            image = torch.from_numpy(to_model_size(pixels, predictor.spec.size))[None]
            answers.append(predictor.model.classify(image))
    return torch.cat(answers).double().cpu().numpy()


def _balanced(decided: np.ndarray, member: np.ndarray) -> float:
    """Mean over the classes that occur of the share that is decided rightly."""
    count = member.sum(axis=0)
    return float(((decided & (member > 0)).sum(axis=0)[count > 0] / count[count > 0]).mean())


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--split", default="val", help="[default: val]")
    parser.add_argument("--most", type=int, default=200, help="images of a source [default: 200]")
    given = parser.parse_args()
    try:
        predictor, records = load(given.run), read_manifest(given.data)
        detector = predictor.reliability.detector
        if detector is None:
            raise UsageError(
                f"{given.run}: does not know which images it can answer. Run `multimix train` with --resume on it, "
                "which adds that where there are enough validation images."
            )
        sources = sources_of(records, given.split, given.most)
        print_sources(predictor, detector, sources)
        print_pictures(predictor, detector)
        if predictor.spec.classify:
            print_classes(predictor, sources_of(records, given.split, sys.maxsize))
    except MultimixError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
