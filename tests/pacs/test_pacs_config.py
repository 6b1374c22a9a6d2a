"""What pacs.yaml and the flags may say."""

from pathlib import Path

import pytest

from multimix.errors import UsageError
from multimix.pacs.config import Credentials, DicomWebConfig, NodeConfig, PacsConfig, is_loopback

WHOLE = """
queue: waiting
max_megabytes: 64
dicomweb:
  url: https://archive.example/dicom-web
  modalities: [DX]
  since: 2026-01-31
node:
  port: 0
  accept: [SCANNER@10.0.0.5, CR 2@::1]
peer: {ae_title: ARCHIVE, host: 10.0.0.9, port: 4242}
retry: {first_seconds: 2, cap_seconds: 60, attempts: 3}
"""


def test_a_whole_file(tmp_path: Path):
    (tmp_path / "pacs.yaml").write_text(WHOLE)
    config = PacsConfig.read(tmp_path / "pacs.yaml")
    config.check()
    assert (config.queue, config.max_megabytes) == ("waiting", 64)
    assert (config.dicomweb.modalities, config.dicomweb.since) == (("DX",), "2026-01-31")
    assert config.node.senders() == {("SCANNER", "10.0.0.5"), ("CR 2", "::1")}
    assert (config.peer.host, config.peer.port) == ("10.0.0.9", 4242)
    assert (config.retry.first_seconds, config.retry.attempts) == (2.0, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dicomweb: {url: archive}", "dicomweb.url"),
        ("dicomweb: {url: 'http://a:99999/x'}", "dicomweb.url"),
        ("dicomweb: {url: 'ftp://a/x'}", "dicomweb.url"),
        ("dicomweb: {url: 'http://me:secret@a/x'}", "MULTIMIX_PACS_USER"),
        ("dicomweb: {url: 'http://a/x?limit=1'}", "dicomweb.url"),
        ("dicomweb: {since: yesterday}", "dicomweb.since"),
        ("dicomweb: {since: 2026-02-30}", "YAML"),
        ("dicomweb: {modalities: []}", "dicomweb.modalities"),
        ("dicomweb: {modalities: [dx]}", "dicomweb.modalities"),
        ("dicomweb: {ca_file: nowhere.pem}", "dicomweb.ca_file"),
        ("node: {port: 104}", "node.accept"),
        ("node: {port: 70000, accept: [A@10.0.0.1]}", "node.port"),
        ("node: {accept: [SCANNER]}", "node.accept"),
        ("node: {accept: [SCANNER@somewhere]}", "node.accept"),
        ("node: {ae_title: A title of seventeen}", "node.ae_title"),
        ("peer: {host: a, port: 0}", "peer.port"),
        ("retry: {attempts: 0}", "retry.attempts"),
        ("retry: {first_seconds: 9, cap_seconds: 1}", "retry.cap_seconds"),
        ("results: [seg, pdf]", "results"),
        ("results: []", "results"),
        ("force: [lateral]", "force"),
        ("body_parts: ['']", "body_parts"),
        ("dicomwep: {}", "dicomwep"),
        ("- a", "mapping"),
        ("a: [", "YAML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, words: str):
    file = tmp_path / "pacs.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        PacsConfig.read(file)
    assert words in str(caught.value)
    assert str(file) in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (PacsConfig(), "take images from"),
        (PacsConfig(node=NodeConfig(port=0, accept=("A@10.0.0.1",))), "send results to"),
    ],
)
def test_both_ends_are_needed(config: PacsConfig, words: str):
    with pytest.raises(UsageError, match=words):
        config.check()
    PacsConfig(dicomweb=DicomWebConfig(url="http://127.0.0.1/dicom-web")).check()


def test_credentials_come_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    for name in ("TOKEN", "USER", "PASSWORD"):
        monkeypatch.delenv(f"MULTIMIX_PACS_{name}", raising=False)
    assert not Credentials.from_environment()
    monkeypatch.setenv("MULTIMIX_PACS_USER", "me")
    with pytest.raises(UsageError, match="Only one"):
        Credentials.from_environment()
    monkeypatch.setenv("MULTIMIX_PACS_PASSWORD", "secret")
    assert Credentials.from_environment() == Credentials("", "me", "secret")
    assert "secret" not in repr(Credentials.from_environment())
    monkeypatch.setenv("MULTIMIX_PACS_TOKEN", "t")
    with pytest.raises(UsageError, match="Both"):
        Credentials.from_environment()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("a", False),
    ],
)
def test_loopback(host: str, expected: bool):
    assert is_loopback(host) is expected
