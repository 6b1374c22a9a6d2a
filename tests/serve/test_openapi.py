"""The service keeps the promises of its own OpenAPI description, as schemathesis reads them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import services

import studies
from multimix.inference.predictor import Predictor
from multimix.serve.about import about
from multimix.serve.app import create_app
from multimix.serve.schemas import ANSWERS_EXAMPLE, Answers
from multimix.serve.settings import Settings


@pytest.fixture(scope="module")
def base(run: Path, predictor: Predictor) -> Iterator[str]:
    """Address of a service."""
    with services.client_of(create_app(predictor, about(run, predictor), Settings())) as client:
        yield str(client.base_url)


# The picture of one pixel that schemathesis tries of itself is no radiograph.
CONFIG = """
[[operations]]
include-name = "POST /v1/predict"
checks.positive_data_acceptance.expected-statuses = ["2xx", "422"]
"""


def test_schemathesis_finds_nothing(base: str, tmp_path: Path):
    program = Path(sys.executable).with_name("schemathesis")
    if not program.is_file():
        pytest.skip("schemathesis is not installed beside this Python; the tests of the core leave it out")
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    here = Path(__file__).parent
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": "schemathesis_images",
        "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)]),
    }
    command = [program, "run", f"{base}/openapi.json", "--no-color"]
    done = subprocess.run(
        [*command, "--max-examples", "20", "--seed", "1"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "5 selected / 5 total" in done.stdout


def test_the_description_is_complete(base: str):
    described = httpx.get(f"{base}/openapi.json").json()
    operation = described["paths"]["/v1/predict"]["post"]
    assert set(operation["responses"]) >= {
        "200",
        "400",
        "401",
        "403",
        "408",
        "413",
        "415",
        "421",
        "422",
        "431",
        "503",
    }
    assert set(operation["responses"]["200"]["content"]) == {
        "application/json",
        "image/png",
        "application/zip",
    }
    assert "multipart/form-data" in operation["requestBody"]["content"]
    assert described["components"]["schemas"]["Answers"]["examples"] == [ANSWERS_EXAMPLE]
    assert Answers.model_validate(ANSWERS_EXAMPLE).files[0].status == "ok"


def test_answers_are_what_the_schema_says(base: str):
    everything = dict.fromkeys(
        ("mask", "saliency", "overlay", "image", "pixels", "header", "stability"), True
    )
    images = (services.encoded("PNG"), services.encoded("JPEG"), services.file_of(studies.cr()), b"none")
    files = [("files", data) for data in images]
    answer = httpx.post(f"{base}/v1/predict", params=everything, files=files, timeout=60).json()
    parsed = Answers.model_validate(answer, extra="forbid")
    assert [line.status for line in parsed.files] == ["ok", "ok", "ok", "failed"]
    assert parsed.model_dump(exclude_none=True, mode="json") == answer
