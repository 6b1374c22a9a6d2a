"""Small copies of official layouts: files with the right names and encodings, a few pixels each."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multimix.data.sources import layout
from multimix.types import Record


@pytest.fixture
def touch(tmp_path: Path) -> Callable[..., None]:
    """Make files of the given content below tmp_path, with the folders that they need."""

    def make(*names: str, content: bytes = b"") -> None:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    return make


@pytest.fixture
def draw(touch: Callable[..., None], tmp_path: Path) -> Callable[..., None]:
    """Write an image of one mode and size (width, height), all at one level but for a black left half."""

    def make(name: str, mode: str = "L", size: tuple[int, int] = (20, 16), level: int = 255) -> None:
        touch(name)
        levels = np.full(size[::-1], level, np.uint8)
        levels[:, : size[0] // 2] = 0
        Image.fromarray(levels).convert(mode).save(tmp_path / name)

    return make


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[Record]]:
    """Read tmp_path/folder in a layout, and see that the reading leaves no file behind and changes none."""

    def state() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def call(name: str, folder: str = ".") -> list[Record]:
        before = state()
        found = layout(name)(tmp_path / folder)
        assert state() == before
        return found

    return call


@pytest.fixture
def read_unsplit(read: Callable[..., list[Record]]) -> Callable[..., list[Record]]:
    """As `read`, for sets without an official split: what a handful of images draw says nothing."""

    def call(name: str, folder: str = ".") -> list[Record]:
        found = read(name, folder)
        assert {record.split for record in found} <= {"train", "val", "test"}
        return [replace(record, split="train") for record in found]

    return call
