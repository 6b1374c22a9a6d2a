"""The systemd unit and the container image: their files name what is there, and their commands are ours."""

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import click
import pytest

from multimix.cli import commands

ROOT = Path(__file__).resolve().parents[1]
UNIT = ROOT / "deploy" / "multimix-pacs.service"


def parses(words: list[str]) -> click.Context:
    """Whether `multimix` takes these words; raises where it does not."""
    context, command = click.Context(commands), commands
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(context, words)
        assert found is not None, name
        command = found
    return command.make_context("multimix", words)


def instructions() -> list[tuple[str, str]]:
    """Instruction and arguments of every line of the Dockerfile."""
    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    return [
        (word, rest.strip())
        for line in lines
        if line and not line.startswith("#")
        for word, _, rest in [line.partition(" ")]
    ]


def of(kind: str) -> list[str]:
    return [rest for word, rest in instructions() if word == kind]


def test_the_command_of_the_unit_is_ours():
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(UNIT)
    program, *words = shlex.split(unit["Service"]["ExecStart"])
    assert Path(program).name == "multimix"
    context = parses(words)
    assert context.params["queue"].startswith("/var/lib/" + unit["Service"]["StateDirectory"])


def test_systemd_has_nothing_against_the_unit(tmp_path: Path):
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    # The program lies elsewhere here, and systemd looks for it.
    text = UNIT.read_text("utf-8").replace("/opt/multimix/bin/multimix", sys.executable)
    copy = tmp_path / UNIT.name
    copy.write_text(text)
    done = subprocess.run([verify, "verify", copy], capture_output=True, text=True, timeout=60, check=False)
    said = [line for line in (done.stdout + done.stderr).splitlines() if UNIT.name in line]
    assert said == []


def test_what_the_image_copies_is_there_and_not_ignored():
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert ignored[0] == "*"
    kept = [line[1:] for line in ignored if line.startswith("!")]
    for line in of("COPY"):
        *sources, target = shlex.split(line)
        assert target.startswith("/build/")
        for source in sources:
            assert (ROOT / source).exists(), source
            assert any(fnmatch(source, pattern) for pattern in kept), source


def test_the_build_has_all_that_the_package_is_made_of():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (copied, *_) = of("COPY")
    assert project["readme"] in copied
    extras = re.search(r'"/build\[(.*?)\]"', of("RUN")[0])
    assert extras is not None
    assert set(extras[1].split(",")) <= project["optional-dependencies"].keys()


def test_the_image_runs_a_command_of_ours_as_nobody_special():
    assert json.loads(of("ENTRYPOINT")[0]) == ["multimix"]
    parses(json.loads(of("CMD")[0]))
    assert of("USER") == ["10001"]
    (image,) = of("FROM")
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]
    version = re.search(r"python:3\.(\d+)", image)
    least = re.search(r">=3\.(\d+)", wanted)
    assert version is not None
    assert least is not None
    assert int(version[1]) >= int(least[1])


def test_the_health_check_asks_the_port_that_is_exposed():
    (check,) = of("HEALTHCHECK")
    command = json.loads(check[check.index("CMD") + 3 :])
    compile(command[2], "HEALTHCHECK", "exec")
    port = re.search(r"127\.0\.0\.1:(\d+)/health", command[2])
    assert port is not None
    assert port[1] in of("EXPOSE")[0].split()
