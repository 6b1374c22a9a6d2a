"""A chained log: what is written is read, and every way of tampering is found."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from multimix.errors import SealError
from multimix.io.chain import append_line, line_hash, read_chain


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.jsonl"
    for name in ("a", "b", "c", "d"):
        append_line(path, {"name": name})
    return path


def test_what_is_written_is_read_and_linked(log: Path) -> None:
    lines = read_chain(log)
    assert [line["name"] for line in lines] == ["a", "b", "c", "d"]
    assert [line["number"] for line in lines] == [1, 2, 3, 4]
    assert [line["previous"] for line in lines] == ["", *(line["hash"] for line in lines[:3])]


def test_the_hash_by_hand() -> None:
    # sha256 of {"name":"a","number":1,"previous":""}, from coreutils.
    expected = "9c4a02e175a4b3bd5dc146eb9058fae609a0d587ab064229f55c02ece51a0fb8"
    assert line_hash({"number": 1, "previous": "", "name": "a", "hash": "whatever"}) == expected


def edit(lines: list[str]) -> list[str]:
    return [lines[0], lines[1].replace('"b"', '"x"'), *lines[2:]]


def edit_with_its_hash(lines: list[str]) -> list[str]:
    line = json.loads(lines[1]) | {"name": "x"}
    return [lines[0], json.dumps(line | {"hash": line_hash(line)}), *lines[2:]]


def drop(lines: list[str]) -> list[str]:
    return [lines[0], *lines[2:]]


def swap(lines: list[str]) -> list[str]:
    return [lines[0], lines[2], lines[1], lines[3]]


def repeat(lines: list[str]) -> list[str]:
    return [*lines, lines[3]]


def cut_within_a_line(lines: list[str]) -> list[str]:
    return [*lines[:3], lines[3][:20]]


def not_an_object(lines: list[str]) -> list[str]:
    return [*lines[:3], "[1]"]


@pytest.mark.parametrize(
    ("tamper", "where"),
    [
        (edit, "line 2: is not as it was written"),
        (edit_with_its_hash, "line 3: does not follow"),
        (drop, "line 2: does not follow"),
        (swap, "line 2: does not follow"),
        (repeat, "line 5: does not follow"),
        (cut_within_a_line, "line 4: is not as it was written"),
        (not_an_object, "line 4: is not as it was written"),
        (lambda lines: [], "is empty"),
    ],
)
def test_tampering_is_found(log: Path, tamper: Callable[[list[str]], list[str]], where: str) -> None:
    log.write_text("".join(line + "\n" for line in tamper(log.read_text().splitlines())))
    with pytest.raises(SealError, match=where):
        read_chain(log)
    before = log.read_bytes()
    if before:
        with pytest.raises(SealError, match=where):
            append_line(log, {"name": "e"})
    assert log.read_bytes() == before


def test_a_log_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\xff\xfe")
    with pytest.raises(SealError, match="cannot be read"):
        read_chain(tmp_path / "log")
