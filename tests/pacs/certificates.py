"""Certificates of a moment, made by the program openssl."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from orthanc import tool


@dataclass(frozen=True)
class Pair:
    """A certificate that is its own authority, and its key."""

    certificate: Path
    key: Path


def pair(folder: Path, name: str) -> Pair:
    """One for 127.0.0.1."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    command = (
        *(tool("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
        *("-keyout", made.key, "-out", made.certificate, "-subj", f"/CN={name}"),
        *("-addext", "subjectAltName=IP:127.0.0.1"),
    )
    subprocess.run(list(map(str, command)), check=True, capture_output=True, timeout=60)
    return made
