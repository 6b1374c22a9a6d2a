"""Small generated data sets and runs on disk, for the tests of training and of the command line.

Source `wards` has classes: NORMAL is striped upright, PNEUMONIA across. Source `lungs` has masks: a bright disc
on a dark, noisy ground is inside.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from multimix.cli import main
from multimix.config import RunConfig
from multimix.data.manifest import write_manifest
from multimix.types import Record

COUNTS = {"train": 6, "val": 3, "test": 3}
"""Images of each class, and images with a mask, in each split."""

OPTIONS = (
    *("--class-source", "wards", "--mask-source", "lungs", "--class-labels", "6", "--mask-labels", "3"),
    *("--size", "16", "--steps", "4", "--device", "cpu", "--set", "model.widths=[2,2,2,2,2]"),
    *("--set", "streams.classes=2", "--set", "streams.unlabelled_classes=2", "--set", "streams.masks=2"),
)
"""Arguments of `multimix train` for a run of a moment."""


def striped(rng: np.random.Generator, label: str, side: int = 32) -> np.ndarray:
    """(side side) uint8 with stripes of random width and place, upright for NORMAL."""
    wave = np.sin(np.arange(side) * rng.uniform(1.2, 2.0) + rng.uniform(0, 6))
    pattern = np.tile(wave, (side, 1)) if label == "NORMAL" else np.tile(wave[:, None], (1, side))
    return (128 + 60 * pattern + rng.normal(0, 12, (side, side))).clip(0, 255).astype(np.uint8)


def disc(rng: np.random.Generator, side: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """(side side) uint8 and the disc as bool."""
    row, column = np.mgrid[:side, :side]
    centre = rng.uniform(0.4 * side, 0.6 * side, 2)
    inside = (row - centre[0]) ** 2 + (column - centre[1]) ** 2 < rng.uniform(0.2 * side, 0.35 * side) ** 2
    grey = 60 + 110 * inside + rng.normal(0, 12, (side, side))
    return grey.clip(0, 255).astype(np.uint8), inside


def write_xrays(folder: Path, seed: int = 0) -> Path:
    """Write both sources and their manifest below `folder`; returns the manifest."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    records = []
    for split, count in COUNTS.items():
        for number in range(count):
            for label in ("NORMAL", "PNEUMONIA"):
                path = folder / "images" / f"{split}_{label}_{number}.png"
                Image.fromarray(striped(rng, label)).save(path)
                records.append(Record(path, {}, label, split, path.stem, "wards"))
            path, mask = (folder / kind / f"{split}_{number}.png" for kind in ("images", "masks"))
            grey, inside = disc(rng)
            Image.fromarray(grey).save(path)
            Image.fromarray(inside.astype(np.uint8) * 255).save(mask)
            records.append(Record(path, {"lungs": (mask,)}, None, split, path.stem, "lungs"))
    write_manifest(folder / "manifest.csv", records)
    return folder / "manifest.csv"


def run_config(manifest: Path, **changes: Any) -> RunConfig:
    """The configuration that OPTIONS gives, with `changes` such as `optim={"steps": 2}`."""
    base = RunConfig.from_mapping(
        {
            "device": "cpu",
            "data": {
                "manifest": str(manifest),
                "class_source": ["wards"],
                "mask_source": ["lungs"],
                "class_labels": 6,
                "mask_labels": 3,
                "size": 16,
                "channels": 1,
            },
            "model": {"widths": [2, 2, 2, 2, 2]},
            "streams": {"classes": 2, "unlabelled_classes": 2, "masks": 2},
            "optim": {"steps": 4},
        }
    )
    return RunConfig.from_mapping(changes, base)


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The error lines."""
        return [line for line in self.err.splitlines() if line.startswith("Error: ")]


def multimix(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Answer:
    """Run the command line in this process."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["multimix", *map(str, arguments)])
        with pytest.raises(SystemExit) as leave:
            main()
    out, err = capsys.readouterr()
    code = leave.value.code
    return Answer(code if isinstance(code, int) else int(bool(code)), out, err)
