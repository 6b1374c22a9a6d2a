"""Who may ask: Host, Origin, token, headers, and what is said of failures."""

import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import services
from services import client_of, encoded

from multimix.inference.predictor import Predictor
from multimix.serve.about import about
from multimix.serve.app import create_app
from multimix.serve.settings import Limits, Settings

TOKEN = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def locked(run: Path, predictor: Predictor) -> Iterator[httpx.Client]:
    """A service that wants a token."""
    with client_of(create_app(predictor, about(run, predictor), Settings(TOKEN, None))) as client:
        yield client


def post(client: httpx.Client, **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/v1/predict", files={"files": encoded("PNG")}, headers=sent)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8000", "[::1", "169.254.169.254", "a b"]
)
def test_another_host_is_refused(client: httpx.Client, host: str):
    response = client.get("/v1/model", headers={"Host": host})
    assert response.status_code == 421
    assert "Host" in response.json()["detail"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:8000"])
def test_own_hosts_are_answered(client: httpx.Client, host: str):
    assert client.get("/v1/model", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[::1"},
        {"Origin": "http://localhost:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Origin": "https://evil.example"},
    ],
)
def test_pages_of_other_sites_are_refused(client: httpx.Client, headers: dict[str, str]):
    response = post(client, **headers)
    assert response.status_code == 403
    assert "\n" not in response.json()["detail"]
    assert "access-control-allow-origin" not in response.headers


def test_the_own_page_and_a_link_to_it_are_answered(client: httpx.Client):
    origin = str(client.base_url).rstrip("/")
    assert post(client, Origin=origin, Sec_Fetch_Site="same-origin").status_code == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200


@pytest.mark.parametrize(
    "given",
    [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", TOKEN, "Bearer \xff\xfe"],
)
def test_no_or_a_wrong_token(locked: httpx.Client, given: str | None):
    headers = {} if given is None else {"Authorization": given.encode("latin-1")}
    for method, path in (
        ("POST", "/v1/predict"),
        ("GET", "/v1/model"),
        ("GET", "/metrics"),
        ("GET", "/v1/none"),
    ):
        response = locked.request(method, path, headers=headers)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in response.text


def test_the_right_token_and_what_needs_none(locked: httpx.Client):
    assert post(locked, Authorization=f"Bearer {TOKEN}").status_code == 200
    assert post(locked, Authorization=f"bearer  {TOKEN}").status_code == 200
    for path in ("/", "/health", "/ready", "/static/main.js", "/openapi.json"):
        assert locked.get(path).status_code == 200
    described = locked.get("/openapi.json").json()
    assert described["paths"]["/v1/predict"]["post"]["security"] == [{"token": []}]


def test_every_answer_has_the_headers(client: httpx.Client):
    for response in (
        client.get("/"),
        client.get("/none"),
        post(client),
        post(client, Origin="https://x.example"),
    ):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]


def test_large_headers_are_refused(client: httpx.Client):
    response = client.get("/health", headers={"X-Padding": "x" * 40_000})
    assert response.status_code == 431
    assert client.get("/health").status_code == 200


def test_a_failure_is_logged_without_its_words(
    run: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def broken(*_: Any) -> None:
        raise RuntimeError("patient Jane Doe")

    app = create_app(predictor, about(run, predictor), Settings())
    with client_of(app) as client, caplog.at_level(logging.DEBUG):
        with monkeypatch.context() as patch:
            patch.setattr("multimix.serve.service.build", broken)
            response = client.post("/v1/predict", files={"files": ("Doe_Jane.png", encoded("PNG"))})
        assert response.status_code == 500
        assert "RuntimeError in broken" in caplog.text
        assert "Jane" not in caplog.text + response.text
        assert post(client).status_code == 200


def test_names_and_images_are_not_logged(
    client: httpx.Client, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    with caplog.at_level(logging.DEBUG, logger="multimix"):
        for data in (encoded("PNG"), b"no image", encoded("PNG")[:60]):
            client.post("/v1/predict", files={"files": ("Doe_Jane.png", data)})
    printed = capfd.readouterr()
    assert "Jane" not in caplog.text + printed.out + printed.err


def test_no_upload_touches_the_disk(client: httpx.Client, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a temporary file")

    for name in ("SpooledTemporaryFile", "TemporaryFile", "NamedTemporaryFile", "mkstemp"):
        monkeypatch.setattr(f"tempfile.{name}", refuse)
    data = encoded("PNG", services.pixels(480, 500))
    response = client.post("/v1/predict", files=[("files", data), ("files", data)])
    assert response.status_code == 200


def test_a_body_that_stops_coming_is_refused_in_time(run: Path, predictor: Predictor):
    head = (
        "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    )
    impatient = Settings(limits=Limits(body_seconds=0.2))
    with client_of(create_app(predictor, about(run, predictor), impatient)) as client:
        with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as connection:
            connection.sendall(head.encode())
            answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 408")
        assert client.get("/health").status_code == 200


def test_a_client_that_goes_away_harms_nobody(client: httpx.Client):
    head = (
        "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    )
    for _ in range(5):
        with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as connection:
            connection.sendall(head.encode())
    assert post(client).status_code == 200
