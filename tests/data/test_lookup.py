"""Files found by the end of their paths."""

from pathlib import Path

import pytest

from multimix.data.index.lookup import Lookup

FILES = [Path("/d/a/1.png"), Path("/d/b/1.png"), Path("/d/b/images/2.PNG"), Path("/d/c/images/2.png")]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("1", [0, 1]),
        ("A/1.png", [0]),
        ("elsewhere/b/1.png", [1]),
        ("elsewhere/1.png", [0, 1]),
        ("c/images/2", [3]),
        ("c/2.png", [2, 3]),  # a gap between the file and its folder
        ("3.png", []),
        ("", []),
    ],
)
def test_of_several_files_those_whose_folders_agree_furthest(path: str, found: list[int]) -> None:
    assert Lookup(FILES).find(path) == [FILES[i] for i in found]


def test_folders_that_say_what_kind_a_file_is_are_not_compared() -> None:
    assert Lookup(FILES, ignored=("images", "labels")).find("labels/c/2.png") == [FILES[3]]
