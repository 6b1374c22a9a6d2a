"""What `pacs.yaml` and the flags of `multimix pacs run` may say.

Credentials are never in it: they come from the environment, MULTIMIX_PACS_TOKEN, or MULTIMIX_PACS_USER and
MULTIMIX_PACS_PASSWORD.
"""

import datetime
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from multimix.config import build, read_mapping, require
from multimix.errors import UsageError
from multimix.io.dicom.header import OBJECTIONS
from multimix.io.dicom.objects import RESULTS

REASONS = (*OBJECTIONS, "unlike", "capture")
"""Why an image is skipped: its header, unlike the training images, a capture that does not say what it shows."""

USER, PASSWORD, TOKEN = "MULTIMIX_PACS_USER", "MULTIMIX_PACS_PASSWORD", "MULTIMIX_PACS_TOKEN"

_AE_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e]([\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")
"""1 to 16 printable characters without backslash, no space at the ends (PS3.5 6.2)."""


@dataclass(frozen=True)
class DicomWebConfig:
    """An archive that speaks DICOMweb (PS3.18)."""

    url: str = ""
    """Base of QIDO, WADO and STOW, such as https://archive.example/dicom-web; empty where there is none."""
    modalities: tuple[str, ...] = ("CR", "DX", "SC", "OT")
    """Modality of the images to answer; of OT, which secondary captures carry as a rule, captures alone."""
    since: str = ""
    """Only studies of this day or later, YYYY-MM-DD; empty means all."""
    poll_seconds: float = 30.0
    """Pause between two looks for new images."""
    ca_file: str = ""
    """PEM file of the authorities to trust; empty means those of the system's `certifi`."""
    plain_http: bool = False
    """Send credentials over http:// to another machine; for a network that is encrypted by other means."""

    def __post_init__(self) -> None:
        if self.url:
            _check_url(self.url)
        require(bool(self.modalities), "dicomweb.modalities", "at least one, such as DX", self.modalities)
        for name in self.modalities:
            require(bool(re.fullmatch(r"[A-Z0-9_]{1,16}", name)), "dicomweb.modalities", "such as DX", name)
        if self.since:
            try:
                datetime.datetime.strptime(self.since, "%Y-%m-%d")
            except ValueError:
                require(False, "dicomweb.since", "a day as YYYY-MM-DD", self.since)
        require(self.poll_seconds > 0, "dicomweb.poll_seconds", "seconds > 0", self.poll_seconds)
        if self.ca_file:
            require(Path(self.ca_file).is_file(), "dicomweb.ca_file", "a PEM file", self.ca_file)


@dataclass(frozen=True)
class TlsConfig:
    """Files in PEM for DICOM over TLS."""

    certificate: str = ""
    """Own certificate, with those of the authorities between."""
    key: str = ""
    """Its key, without a password."""
    ca_file: str = ""
    """The authority that has signed the other side's certificate."""

    def __post_init__(self) -> None:
        for name in ("certificate", "key", "ca_file"):
            file = getattr(self, name)
            require(not file or Path(file).is_file(), f"tls.{name}", "a PEM file", file)
        require(bool(self.certificate) == bool(self.key), "tls.key", "certificate and key, or none", self.key)


@dataclass(frozen=True)
class NodeConfig:
    """The DIMSE node that receives images."""

    port: int | None = None
    """TCP port to listen on, 0 for any free one; None where it does not listen."""
    address: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all."""
    ae_title: str = "MULTIMIX"
    """Own AE title; an association that calls another is rejected."""
    accept: tuple[str, ...] = ()
    """Who may connect: AE_TITLE@ADDRESS, both must match; nobody else is let in."""
    tls: TlsConfig = field(default_factory=TlsConfig)
    """With a certificate only TLS is spoken, with ca_file to those alone that have a certificate too."""

    def __post_init__(self) -> None:
        if self.port is not None:
            require(0 <= self.port <= 65535, "node.port", "0 to 65535", self.port)
            require(bool(self.accept), "node.accept", "AE_TITLE@ADDRESS of each sender", self.accept)
        tls = self.tls
        require(
            bool(tls.certificate) or not tls.ca_file, "node.tls", "a certificate and its key", tls.ca_file
        )
        _ae_title("node.ae_title", self.ae_title)
        self.senders()

    def senders(self) -> frozenset[tuple[str, str]]:
        """Pairs of AE title and address in its canonical form. Raises UsageError where one is malformed."""
        pairs = set()
        for entry in self.accept:
            title, _, address = entry.rpartition("@")
            _ae_title("node.accept", title)
            try:
                pairs.add((title, str(ipaddress.ip_address(address))))
            except ValueError:
                require(
                    False, "node.accept", "AE_TITLE@ADDRESS with an IP address, such as CT1@10.0.0.5", entry
                )
        return frozenset(pairs)


@dataclass(frozen=True)
class PeerConfig:
    """The node that results are sent to by C-STORE."""

    host: str = ""
    """Name or address; empty where there is none."""
    port: int = 104
    ae_title: str = "ANY-SCP"
    """AE title of the peer."""
    tls: TlsConfig = field(default_factory=TlsConfig)
    """With ca_file only TLS is spoken; a certificate is shown where the peer asks for one."""
    commitment_seconds: float = 0.0
    """Ask for storage commitment and wait so long for the report; 0 does not ask."""
    also: tuple[str, ...] = ()
    """Further peers that get the same, TITLE@HOST:PORT each."""

    def __post_init__(self) -> None:
        require(1 <= self.port <= 65535, "peer.port", "1 to 65535", self.port)
        tls = self.tls
        require(bool(tls.ca_file) or not tls.certificate, "peer.tls", "ca_file", tls.ca_file)
        _ae_title("peer.ae_title", self.ae_title)
        require(
            self.commitment_seconds >= 0, "peer.commitment_seconds", "seconds >= 0", self.commitment_seconds
        )
        require(not self.also or bool(self.host), "peer.also", "peer.host, of the first peer", self.also)
        self.all()

    def all(self) -> list["PeerConfig"]:
        """Each peer by itself; none where there is no host. Raises UsageError where one is malformed."""
        if not self.host:
            return []
        others = (replace(self, also=(), **peer_address("peer.also", text)) for text in self.also)
        return [replace(self, also=()) if self.also else self, *others]


@dataclass(frozen=True)
class MetricsConfig:
    """Where /metrics, /health and /ready are answered over HTTP."""

    port: int | None = None
    """TCP port, 0 for any free one; None where nothing is answered."""
    address: str = "127.0.0.1"
    """Address to listen on; anybody who reaches it is answered."""

    def __post_init__(self) -> None:
        require(self.port is None or 0 <= self.port <= 65535, "metrics.port", "0 to 65535", self.port)


@dataclass(frozen=True)
class RetryConfig:
    """How patient the worker is."""

    first_seconds: float = 1.0
    """Pause after the first failure; it doubles with each further one."""
    cap_seconds: float = 300.0
    """The longest pause."""
    attempts: int = 8
    """For an image that the archive refuses, or on which the worker died; an archive that is down has no limit."""

    def __post_init__(self) -> None:
        require(self.first_seconds > 0, "retry.first_seconds", "seconds > 0", self.first_seconds)
        require(
            self.cap_seconds >= self.first_seconds,
            "retry.cap_seconds",
            "at least first_seconds",
            self.cap_seconds,
        )
        require(self.attempts >= 1, "retry.attempts", "at least 1", self.attempts)


@dataclass(frozen=True)
class PacsConfig:
    """Where images come from and where results go.

    With `node.port` images are received by C-STORE, else they are looked for in the archive at `dicomweb.url`.
    With `peer.host` results go there by C-STORE, else to the archive by STOW.
    """

    queue: str = "pacs-queue"
    """Folder of the queue and of what waits in it."""
    max_megabytes: int = 256
    """Size of the largest image object that is taken; an answer of the archive is not read further."""
    max_seconds: float = 60.0
    """Longest time for one exchange with the archive, such as the retrieval of an image."""
    audit_log: str = ""
    """File that DICOM audit messages are appended to; empty means none."""
    results: tuple[str, ...] = RESULTS
    """What is stored of each answer."""
    body_parts: tuple[str, ...] = ()
    """Further names of the chest in Body Part Examined or Anatomic Region; upper and lower case are the same."""
    force: tuple[str, ...] = ()
    """Reasons for which no image is skipped."""
    dicomweb: DicomWebConfig = field(default_factory=DicomWebConfig)
    node: NodeConfig = field(default_factory=NodeConfig)
    peer: PeerConfig = field(default_factory=PeerConfig)
    retry: RetryConfig = field(default_factory=RetryConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)

    def __post_init__(self) -> None:
        require(bool(self.queue), "queue", "a folder", self.queue)
        require(self.max_megabytes >= 1, "max_megabytes", "at least 1", self.max_megabytes)
        require(self.max_seconds > 0, "max_seconds", "seconds > 0", self.max_seconds)
        require(bool(self.results), "results", f"some of {', '.join(RESULTS)}", self.results)
        for name in self.results:
            require(name in RESULTS, "results", f"some of {', '.join(RESULTS)}", name)
        for name in self.force:
            require(name in REASONS, "force", f"some of {', '.join(REASONS)}", name)
        for name in self.body_parts:
            require(bool(name.strip()), "body_parts", "names such as TRUNK", name)

    @property
    def chest(self) -> frozenset[str]:
        """`body_parts` as `header.objections` compares them."""
        return frozenset(" ".join(name.upper().split()) for name in self.body_parts)

    def check(self) -> None:
        """Raise UsageError unless images can come in and results go out."""
        if not self.dicomweb.url and self.node.port is None:
            raise UsageError(
                "No place to take images from. Give --dicomweb URL, or --port and --accept, or a --config with one "
                "of them."
            )
        if not self.dicomweb.url and not self.peer.host:
            raise UsageError("No place to send results to. Give --peer AE_TITLE@HOST:PORT or --dicomweb URL.")

    @classmethod
    def from_mapping(cls, mapping: Mapping[Any, Any], base: "PacsConfig | None" = None) -> "PacsConfig":
        """`base` (or the defaults) with the values of a nested mapping; unknown names are refused."""
        return build(cls, mapping, base if base is not None else cls(), "")

    @classmethod
    def read(cls, path: Path) -> "PacsConfig":
        """The configuration in a YAML file; UsageError names the file and the field."""
        mapping = read_mapping(path)
        archive = mapping.get("dicomweb")
        if isinstance(archive, dict) and isinstance(archive.get("since"), datetime.date):  # YAML knows days
            archive["since"] = archive["since"].isoformat()
        try:
            return cls.from_mapping(mapping)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error


@dataclass(frozen=True)
class Credentials:
    """What the archive asks for; all empty where it asks for nothing."""

    token: str = field(default="", repr=False)
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def from_environment(cls) -> "Credentials":
        """From MULTIMIX_PACS_TOKEN, or MULTIMIX_PACS_USER and MULTIMIX_PACS_PASSWORD."""
        token, user, password = (os.environ.get(name, "") for name in (TOKEN, USER, PASSWORD))
        if token and user:
            raise UsageError(f"Both {TOKEN} and {USER} are set, expected one of them; unset the other.")
        if bool(user) != bool(password):
            raise UsageError(
                f"Only one of {USER} and {PASSWORD} is set, expected both or none; set the other too."
            )
        return cls(token, user, password)

    def __bool__(self) -> bool:
        return bool(self.token or self.user)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def peer_address(name: str, text: str) -> dict[str, Any]:
    """TITLE@HOST:PORT as fields of PeerConfig; UsageError, calling it `name`, where it is none."""
    title, at, place = text.rpartition("@")
    host, colon, port = place.rpartition(":")
    good = bool(at and colon and title and host and port.isdecimal())
    require(good, name, "TITLE@HOST:PORT, such as ARCHIVE@10.0.0.9:104", text)
    return {"ae_title": title, "host": host.strip("[]"), "port": int(port)}


def _ae_title(name: str, title: str) -> None:
    require(bool(_AE_TITLE.fullmatch(title)), name, "an AE title of 1 to 16 characters", title)


def _check_url(url: str) -> None:
    if "@" in url:
        raise UsageError(
            f"dicomweb.url: holds a user or password, which logs and process lists would show. Put them into "
            f"{USER} and {PASSWORD}."
        )
    try:
        parts = urlsplit(url)
        ok = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        ok = False
    require(ok, "dicomweb.url", "a URL such as https://archive.example/dicom-web", url)
    require("?" not in url and "#" not in url, "dicomweb.url", "a URL without '?' and '#'", url)
