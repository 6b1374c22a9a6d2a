"""What an operator's programs are told."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

import studies
from multimix.errors import UsageError
from multimix.pacs import metrics as module
from multimix.pacs.config import MetricsConfig
from multimix.pacs.events import Event
from multimix.pacs.metrics import Metrics, MetricsServer
from multimix.pacs.outcomes import Image
from multimix.pacs.queue import Queue


@pytest.fixture
def metrics(queue: Queue) -> Metrics:
    return Metrics(queue, lambda: 3)


@pytest.fixture
def url(metrics: Metrics) -> Iterator[str]:
    server = MetricsServer(MetricsConfig(port=0), metrics)
    yield f"http://127.0.0.1:{server.port}"
    server.close()


def samples(url: str) -> dict[tuple[str, ...], float]:
    """Name and values of labels -> value, by Prometheus's own parser."""
    answer = requests.get(f"{url}/metrics", timeout=20)
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def test_states_events_and_associations_are_counted(queue: Queue, metrics: Metrics, url: str):
    queue.add([Image(f"1.2.{number}", "1.2", "1.2") for number in range(3)])
    queue.fail("1.2.0", "damaged")
    for kind, ok in (("received", True), ("received", True), ("rejected", False)):
        metrics.tell(Event(kind, "A@10.0.0.1", ok, patient="PH0000"))  # type: ignore[arg-type]
    found = samples(url)
    assert found["multimix_pacs_images", "found"] == 2
    assert found["multimix_pacs_images", "failed"] == 1
    assert found["multimix_pacs_events_total", "received", "true"] == 2
    assert found["multimix_pacs_events_total", "rejected", "false"] == 1
    assert found["multimix_pacs_associations",] == 3
    assert found["multimix_pacs_trouble",] == 0
    assert found["multimix_pacs_oldest_waiting_seconds",] >= 0


def test_nothing_of_a_patient_is_told(queue: Queue, metrics: Metrics, url: str):
    queue.add([Image(studies.dx().SOPInstanceUID, studies.dx().StudyInstanceUID, "1.2")])
    metrics.tell(Event("received", "A@10.0.0.1", True, "1.2", ("1.2.3",), patient="PH0000"))
    answer = requests.get(f"{url}/metrics", timeout=20).text
    assert not any(secret in answer for secret in ("PH0000", "10.0.0.1", studies.dx().SOPInstanceUID))


def test_trouble_is_not_ready_but_healthy(queue: Queue, url: str):
    assert requests.get(f"{url}/ready", timeout=20).status_code == 200
    queue.note("trouble", "the archive is not available: HTTP 503")
    answer = requests.get(f"{url}/ready", timeout=20)
    assert (answer.status_code, answer.json()) == (503, {"status": "the archive is not available: HTTP 503"})
    assert requests.get(f"{url}/health", timeout=20).status_code == 200
    assert samples(url)["multimix_pacs_trouble",] == 1


def test_a_worker_without_a_sign_of_life_is_not_healthy(
    metrics: Metrics, url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.0)
    assert requests.get(f"{url}/health", timeout=20).status_code == 503
    assert requests.get(f"{url}/ready", timeout=20).json() == {"status": "no sign of life"}
    monkeypatch.setattr(module, "SILENCE_SECONDS", 900.0)
    metrics.alive()
    assert requests.get(f"{url}/health", timeout=20).status_code == 200


def test_other_addresses_are_not_found(url: str):
    assert requests.get(f"{url}/queue.db", timeout=20).status_code == 404
    assert requests.post(f"{url}/metrics", timeout=20).status_code == 501


def test_connections_that_say_nothing_end(metrics: Metrics, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "CLIENT_SECONDS", 0.3)
    server = MetricsServer(MetricsConfig(port=0), metrics)
    with ExitStack() as lines:
        opened = [
            lines.enter_context(closing(socket.create_connection(("127.0.0.1", server.port), timeout=20)))
            for _ in range(40)
        ]
        assert all(line.recv(1) == b"" for line in opened)
        url = f"http://127.0.0.1:{server.port}/health"
        assert requests.get(url, timeout=20).status_code == 200
    server.close()


def test_a_port_that_is_taken(metrics: Metrics, url: str):
    port = int(url.rpartition(":")[2])
    with pytest.raises(UsageError, match=r"metrics\.port"):
        MetricsServer(MetricsConfig(port=port), metrics)
