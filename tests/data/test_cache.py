"""The cache: the file's own pixels, decoded once, never stale, never half."""

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multimix.data import cache
from multimix.data.cache import ImageCache, open_cache
from multimix.errors import ImageError, ManifestError, MultimixError
from multimix.types import Record

SIDE = 16


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MULTIMIX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images decoded so far."""
    names: list[str] = []
    decode = cache.decode_record

    def counting(record: Record, *more: object) -> tuple[np.ndarray, np.ndarray]:
        names.append(record.image.name)
        return decode(record, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(cache, "decode_record", counting)
    return names


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def records(root: Path, count: int = 3, *, masks: bool = True) -> list[Record]:
    """Images of the cache's size, so that nothing is resized, every one but the last with a mask."""
    made = []
    for i in range(count):
        image = write(root / f"{i}.png", noise(i, SIDE, SIDE))
        files = {}
        if masks and i < count - 1:
            half = np.zeros((SIDE, SIDE), np.uint8)
            half[: i + 1] = 255
            files = {"lungs": (write(root / "masks" / f"{i}.png", half),)}
        made.append(Record(image, files))
    return made


def opened(made: list[Record], **changes: object) -> ImageCache:
    arguments: dict[str, object] = {"size": SIDE, "channels": 1, "structures": ("lungs",)}
    return open_cache(made, **(arguments | changes))  # type: ignore[arg-type]


def test_holds_the_pixels_of_the_files(tmp_path: Path) -> None:
    found = opened(records(tmp_path))
    assert found.images.dtype == found.masks.dtype == np.uint8
    for i in range(3):
        np.testing.assert_array_equal(found.images[i, 0], noise(i, SIDE, SIDE))
    # The first i + 1 rows are inside; the last record has no mask.
    np.testing.assert_array_equal(found.masks.sum(axis=(1, 2, 3)), [SIDE, 2 * SIDE, 0])
    np.testing.assert_array_equal(found.masks[1, 0, :, 0], [1, 1] + [0] * (SIDE - 2))


def test_is_memory_mapped_and_read_only(tmp_path: Path) -> None:
    found = opened(records(tmp_path))
    assert isinstance(found.images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        found.images[0] = 0


def test_resizes_to_the_size_of_the_model(tmp_path: Path) -> None:
    # Left half 0, right half 200, twice as large: halving keeps both halves but for the two middle columns.
    pixels = np.zeros((2 * SIDE, 2 * SIDE), np.uint8)
    pixels[:, SIDE:] = 200
    mask = write(tmp_path / "masks" / "x.png", (pixels > 0).astype(np.uint8) * 255)
    found = opened([Record(write(tmp_path / "x.png", pixels), {"lungs": (mask,)})])
    assert found.images.shape == found.masks.shape == (1, 1, SIDE, SIDE)
    assert np.unique(found.images[0, 0, :, : SIDE // 2 - 1]) == [0]
    assert np.unique(found.images[0, 0, :, SIDE // 2 + 1 :]) == [200]
    assert found.masks.sum() == SIDE * SIDE // 2


def test_three_channels(tmp_path: Path) -> None:
    colour = noise(0, SIDE, SIDE, 3)
    found = opened([Record(write(tmp_path / "x.png", colour))], channels=3, structures=())
    np.testing.assert_array_equal(found.images[0], colour.transpose(2, 0, 1))


def test_the_second_opening_decodes_nothing(tmp_path: Path, decoded: list[str]) -> None:
    made = records(tmp_path)
    first = opened(made)
    assert sorted(decoded) == ["0.png", "1.png", "2.png"]
    second = opened(made)
    assert len(decoded) == 3
    np.testing.assert_array_equal(first.images, second.images)
    assert first.digests == second.digests
    assert first.folder == second.folder


def test_reports_while_decoding_and_only_then(tmp_path: Path) -> None:
    made, seen = records(tmp_path), []
    opened(made, progress=lambda done, total: seen.append((done, total)))
    opened(made, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_changed_file_makes_a_new_cache(tmp_path: Path) -> None:
    made = records(tmp_path)
    before = opened(made)
    write(made[1].image, 255 - noise(1, SIDE, SIDE))
    after = opened(made)
    np.testing.assert_array_equal(after.images[1, 0], 255 - noise(1, SIDE, SIDE))
    np.testing.assert_array_equal(before.images[1, 0], noise(1, SIDE, SIDE))
    assert after.folder != before.folder


def test_the_same_size_and_another_time_is_a_change(tmp_path: Path) -> None:
    made = records(tmp_path)
    before = opened(made)
    stat = made[0].image.stat()
    os.utime(made[0].image, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert opened(made).folder != before.folder


def test_a_changed_mask_makes_a_new_cache(tmp_path: Path) -> None:
    made = records(tmp_path)
    before = opened(made)
    write(made[0].masks["lungs"][0], np.full((SIDE, SIDE), 255, np.uint8))
    after = opened(made)
    assert after.masks[0].all()
    assert after.digests[0] != before.digests[0]
    assert after.digests[1:] == before.digests[1:]


@pytest.mark.parametrize("change", [{"size": 32}, {"channels": 3}, {"structures": ()}])
def test_everything_asked_for_is_part_of_the_key(tmp_path: Path, change: dict[str, object]) -> None:
    made = records(tmp_path)
    assert opened(made, **change).folder != opened(made).folder


def test_which_structure_a_file_belongs_to_is_part_of_the_key(tmp_path: Path) -> None:
    files = []
    for i in range(3):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[i] = 255
        files.append(write(tmp_path / "masks" / f"{i}.png", mask))
    image = write(tmp_path / "x.png", noise(0, SIDE, SIDE))
    areas = []
    for first in (1, 2):
        masks = {"heart": tuple(files[:first]), "lungs": tuple(files[first:])}
        found = opened([Record(image, masks)], structures=("heart", "lungs"))
        areas.append(found.masks[0].sum(axis=(1, 2)).tolist())
    assert areas == [[SIDE, 2 * SIDE], [2 * SIDE, SIDE]]


def test_equal_digests_are_equal_pictures(tmp_path: Path) -> None:
    pixels = noise(0, SIDE, SIDE)
    made = [Record(write(tmp_path / f"{i}.png", p)) for i, p in enumerate([pixels, pixels, pixels + 1])]
    a, b, c = opened(made, structures=()).digests
    assert a == b != c


def test_nothing_to_decode(tmp_path: Path) -> None:
    found = opened([])
    assert found.images.shape == found.masks.shape == (0, 1, SIDE, SIDE)
    assert found.digests == ()


def test_two_threads_build_the_same(tmp_path: Path, folder: Path) -> None:
    made, found, gate = records(tmp_path), [], threading.Barrier(2)

    def build() -> None:
        gate.wait()
        found.append(opened(made))

    threads = [threading.Thread(target=build) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    np.testing.assert_array_equal(found[0].images, found[1].images)
    assert [path.name for path in folder.iterdir()] == [found[0].folder.name]


def test_another_process_that_was_faster_wins(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, rival = records(tmp_path), []
    decode = cache.decode_record

    def slow(record: Record, *more: object) -> tuple[np.ndarray, np.ndarray]:
        # While the first image is being decoded, a rival builds the whole cache.
        if not rival:
            rival.append(None)
            rival.append(opened(made))
        return decode(record, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(cache, "decode_record", slow)
    found = opened(made)
    assert found.folder == rival[1].folder
    assert len(list(folder.iterdir())) == 1


def test_a_process_and_this_one_share_a_cache(tmp_path: Path, decoded: list[str]) -> None:
    made = records(tmp_path, masks=False)
    code = (
        "import sys; from pathlib import Path; from multimix.data.cache import open_cache;"
        "from multimix.types import Record;"
        "print(open_cache([Record(Path(p)) for p in sys.argv[1:]], size=16, channels=1, structures=()).folder)"
    )
    paths = [str(record.image) for record in made]
    other = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str(opened(made, structures=()).folder)
    assert decoded == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    made = records(tmp_path)
    made[1].masks["lungs"][0].unlink()
    with pytest.raises(ManifestError, match=r"masks/1\.png: No such file.*multimix data check"):
        opened(made)
    made[0].image.unlink()
    with pytest.raises(ManifestError, match=r"0\.png: No such file"):
        opened(made)


def test_a_mask_of_another_size_is_refused_and_nothing_left(tmp_path: Path, folder: Path) -> None:
    made = records(tmp_path)
    write(made[1].masks["lungs"][0], np.zeros((SIDE, SIDE + 1), np.uint8))
    with pytest.raises(ImageError, match=r"masks/1\.png.*17 x 16.*16 x 16"):
        opened(made)
    assert list(folder.iterdir()) == []


def test_a_broken_image_is_named_and_nothing_left(tmp_path: Path, folder: Path) -> None:
    made = records(tmp_path)
    made[2].image.write_bytes(made[2].image.read_bytes()[:60])
    with pytest.raises(ImageError, match=r"2\.png"):
        opened(made)
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    monkeypatch.setenv("MULTIMIX_CACHE", str(file / "cache"))
    with pytest.raises(MultimixError, match=r"file/cache: the cache cannot be written.*MULTIMIX_CACHE"):
        opened(records(tmp_path))


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve space in a file")
def test_a_full_disk_is_an_error_before_anything_is_decoded(
    tmp_path: Path, folder: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, offset: int, length: int) -> None:
        assert length > 3 * SIDE * SIDE
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(MultimixError, match=r"No space left on device.*MULTIMIX_CACHE"):
        opened(records(tmp_path))
    assert decoded == []
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["index.json", "images.npy", "masks.npy"])
def test_a_damaged_cache_says_what_to_delete(tmp_path: Path, name: str) -> None:
    made = records(tmp_path)
    folder = opened(made).folder
    (folder / name).write_bytes(b"")
    with pytest.raises(MultimixError, match=rf"{folder}: a damaged cache.*Delete this folder"):
        opened(made)


def test_the_folder_of_the_system_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MULTIMIX_CACHE")
    assert cache.cache_folder().name == "multimix"


def test_what_a_kill_left_half_built_is_removed_after_a_day(tmp_path: Path, folder: Path):
    Image.fromarray(np.zeros((SIDE, SIDE), np.uint8)).save(tmp_path / "a.png")
    for name, age in (("building-old", 2 * 24 * 3600), ("building-now", 0)):
        (folder / name).mkdir(parents=True)
        os.utime(folder / name, (time.time() - age,) * 2)
    open_cache([Record(tmp_path / "a.png")], size=SIDE, channels=1, structures=())
    assert not (folder / "building-old").exists()
    assert (folder / "building-now").exists()
