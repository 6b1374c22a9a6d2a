"""The cache: the file's own pixels, decoded once, never stale, never half."""

import errno
import gc
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from PIL import Image

from multimix.data import cache
from multimix.data.cache import ImageCache, open_cache
from multimix.errors import ImageError, ManifestError, MultimixError, UsageError
from multimix.types import Record

SIDE = 16


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MULTIMIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MULTIMIX_CACHE_GB", raising=False)
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


def bitmap(path: Path, seed: int) -> Path:
    """A BMP, whose size says nothing of its pixels, of a time that an archive without dates gives."""
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(noise(seed, SIDE, SIDE)).save(path)
    os.utime(path, (315532800, 315532800))
    return path


def grey(path: Path) -> np.ndarray:
    """The one image at `path`, by way of the cache."""
    return open_cache([Record(path)], size=SIDE, channels=1, structures=[]).images[0, 0]


def test_a_replaced_file_of_the_same_size_and_time_is_a_change(tmp_path: Path) -> None:
    image, other = bitmap(tmp_path / "x.bmp", 0), bitmap(tmp_path / "y.bmp", 1)
    np.testing.assert_array_equal(grey(image), noise(0, SIDE, SIDE))
    other.replace(image)
    np.testing.assert_array_equal(grey(image), noise(1, SIDE, SIDE))


def test_pixels_written_into_a_file_that_keeps_its_time_are_a_change(tmp_path: Path) -> None:
    image = bitmap(tmp_path / "x.bmp", 0)
    before = os.stat(image)
    np.testing.assert_array_equal(grey(image), noise(0, SIDE, SIDE))
    while os.stat(image).st_ctime_ns == before.st_ctime_ns:  # the clock of file systems is coarse
        bitmap(image, 1)
    assert os.stat(image).st_ino == before.st_ino
    np.testing.assert_array_equal(grey(image), noise(1, SIDE, SIDE))


def test_a_link_to_another_folder_is_a_change(tmp_path: Path) -> None:
    link = tmp_path / "data"
    for version in (0, 1):
        bitmap(tmp_path / f"v{version}/x.bmp", version)
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / f"v{version}")
        np.testing.assert_array_equal(grey(link / "x.bmp"), noise(version, SIDE, SIDE))


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


def test_a_cache_that_another_process_moves_into_place_meanwhile(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    Image.fromarray(np.zeros((SIDE, SIDE), np.uint8)).save(tmp_path / "a.png")
    glob = Path.glob

    def gone(self: Path, pattern: str) -> list[Path]:
        return [*glob(self, pattern), *([self / "building-moved"] if pattern == "building-*" else [])]

    monkeypatch.setattr(Path, "glob", gone)
    assert len(open_cache([Record(tmp_path / "a.png")], size=SIDE, channels=1, structures=()).images) == 1


def one_of(root: Path, name: str) -> ImageCache:
    """A cache of its own: 2 x 128 bytes of header, 3 images and 3 masks of 256 pixels, and some 130 bytes of index."""
    (root / name).mkdir(exist_ok=True)
    return opened(records(root / name))


def used(cached: Path, hours_ago: float) -> Path:
    os.utime(cached / "index.json", (time.time() - 3600 * hours_ago,) * 2)
    return cached


def test_what_was_not_used_for_longest_makes_room(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, c = (used(one_of(tmp_path, name).folder, hours) for name, hours in (("a", 1), ("b", 3), ("c", 2)))
    (folder / "building-elsewhere").mkdir()
    (folder / "building-elsewhere" / "images.npy").write_bytes(bytes(1000))
    gc.collect()
    # Caches take 1922 bytes or little more, of which the pixels' 1536 are known beforehand: three and the half-built
    # one fit, four do not.
    monkeypatch.setenv("MULTIMIX_CACHE_GB", "7e-6")
    d = one_of(tmp_path, "d").folder
    assert {place.name for place in folder.iterdir()} == {a.name, c.name, d.name, "building-elsewhere"}
    assert not b.exists()


def test_opening_is_use(tmp_path: Path) -> None:
    made = records(tmp_path)
    index = used(opened(made).folder, 100) / "index.json"
    before = index.stat().st_mtime
    opened(made)
    assert index.stat().st_mtime > before


def test_a_cache_in_use_stays_and_the_newest_is_built_however_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MULTIMIX_CACHE_GB", "0")
    first = one_of(tmp_path, "a")
    second = one_of(tmp_path, "b")
    assert first.folder.is_dir()
    gone = first.folder
    del first
    gc.collect()
    one_of(tmp_path, "c")
    assert not gone.exists()
    assert second.folder.is_dir()


def test_a_cache_in_use_by_another_process_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys; from pathlib import Path; from multimix.data.cache import open_cache;"
        "from multimix.types import Record;"
        "found = open_cache([Record(Path(sys.argv[1]))], size=16, channels=1, structures=());"
        "print(found.folder, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(write(tmp_path / "x.png", noise(0, SIDE, SIDE)))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        monkeypatch.setenv("MULTIMIX_CACHE_GB", "0")
        one_of(tmp_path, "a")
        assert theirs.is_dir()
        other.communicate()
    one_of(tmp_path, "b")
    assert not theirs.exists()


def test_nothing_but_caches_is_removed(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "photos").mkdir(parents=True)
    (folder / "photos" / "index.json").write_text("mine")
    (folder / ("0" * 32)).mkdir()
    (folder / ("1" * 32)).write_text("a file")
    monkeypatch.setenv("MULTIMIX_CACHE_GB", "0")
    one_of(tmp_path, "a")
    assert (folder / "photos" / "index.json").read_text() == "mine"
    assert (folder / ("0" * 32)).is_dir()
    assert (folder / ("1" * 32)).is_file()


@pytest.mark.parametrize("limit", ["", "inf", "1"])
def test_below_the_limit_all_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setenv("MULTIMIX_CACHE_GB", limit)
    first = used(one_of(tmp_path, "a").folder, 10000)
    gc.collect()
    one_of(tmp_path, "b")
    assert first.is_dir()


@pytest.mark.parametrize("limit", ["much", "-1", "nan"])
def test_a_limit_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setenv("MULTIMIX_CACHE_GB", limit)
    with pytest.raises(UsageError, match=rf"^MULTIMIX_CACHE_GB: expected gigabytes.*got '{limit}'"):
        one_of(tmp_path, "a")


def test_a_cache_removed_while_it_is_opened_is_built_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    made = records(tmp_path)
    first = opened(made).folder
    gc.collect()
    lock = cache.lock_shared
    late: list[bool] = []

    def removed_first(file: IO[bytes]) -> None:
        if not late:
            late.append(cache._removed(first))
        lock(file)

    monkeypatch.setattr(cache, "lock_shared", removed_first)
    found = opened(made)
    assert late == [True]
    assert len(decoded) == 6
    assert found.folder == first
    assert found.images.shape == (3, 1, SIDE, SIDE)
