"""A file is there whole, or the old one is."""

import csv
import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multimix.errors import MultimixError
from multimix.io.writers import atomic_write, write_csv, write_json, write_png


def _fail_halfway(target: Path, error: BaseException) -> None:
    with atomic_write(target) as temporary:
        temporary.write_text("half")
        raise error


def test_atomic_write_makes_folders_and_leaves_only_the_file(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "é t.txt"
    with atomic_write(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".txt"
        assert not target.exists()
        temporary.write_text("new")
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
def test_atomic_write_keeps_the_old_file_on_any_exception(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "old.txt"
    target.write_text("old")
    with pytest.raises(type(error)):
        _fail_halfway(target, error)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_full_disk_is_one_line_with_a_remedy(tmp_path: Path, error: Exception) -> None:
    target = tmp_path / "weights.bin"
    target.write_bytes(b"old")
    with pytest.raises(MultimixError, match=r"weights\.bin: no space left.*Free some space") as caught:
        _fail_halfway(target, error)
    assert "\n" not in str(caught.value)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full")
def test_a_truly_full_device_is_reported(tmp_path: Path) -> None:
    def fill() -> None:
        with atomic_write(tmp_path / "out.csv") as temporary:
            temporary.symlink_to("/dev/full")
            temporary.write_text("x" * 100_000)

    with pytest.raises(MultimixError, match="no space left"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MultimixError, match=r"cannot be written.*another folder"):
        write_json(tmp_path / "file" / "below.json", {})
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(MultimixError, match=r"folder\.json: cannot be written"):
        write_json(tmp_path / "folder.json", {})


def test_an_error_about_something_read_inside_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "out.txt"):
        (tmp_path / "absent.txt").read_text()
    with pytest.raises(OSError, match="image file is truncated"), atomic_write(tmp_path / "out.txt"):
        raise OSError("image file is truncated")


def test_permissions_are_those_of_a_plain_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_json(tmp_path / "ours.json", 1)
    assert os.stat(tmp_path / "ours.json").st_mode == os.stat(tmp_path / "plain").st_mode


@dataclass(frozen=True)
class _Pair:
    value: float
    path: Path


def test_json_of_everything_we_write(tmp_path: Path) -> None:
    obj = {
        "pair": _Pair(float("nan"), Path("a/b")),
        "array": np.array([1.0, np.inf]),
        "scalar": np.float32(0.5),
        "names": ("é", {2, 1}),
    }
    write_json(tmp_path / "a.json", obj)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {
        "pair": {"value": None, "path": "a/b"},
        "array": [1.0, None],
        "scalar": 0.5,
        "names": ["é", [1, 2]],
    }
    assert "é" in text
    assert text.endswith("}\n")


def test_csv_quotes_and_fills(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"path": "a, b.png", "p": 0.1},
        {"path": 'é "x".png', "error": "one\ntwo"},
        {"path": "bad\udcff.png", "p": 0.25},  # how Python holds a file name that is not UTF-8
    ]
    write_csv(tmp_path / "t.csv", rows)
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"path": "a, b.png", "p": "0.1", "error": ""},
            {"path": 'é "x".png', "p": "", "error": "one\ntwo"},
            {"path": "bad\\udcff.png", "p": "0.25", "error": ""},
        ]


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3)])
def test_png_comes_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    write_png(tmp_path / "a.png", pixels)
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), pixels)
