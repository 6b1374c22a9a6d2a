"""An Orthanc of our own: its own configuration and storage below a folder, loopback, ports the system chose."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import requests

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
LOOKS = 6000
"""How often one looks, 0.02 s apart, for what a healthy process does after a few; then it is given up."""


def require() -> str:
    """The command, or a skip that says why."""
    command = shutil.which("Orthanc")
    if command is None:
        pytest.skip("Orthanc is not installed: apt-get install orthanc orthanc-dicomweb")
    if not PLUGIN.exists():
        pytest.skip(
            f"Orthanc's DICOMweb plugin is not installed ({PLUGIN}): apt-get install orthanc-dicomweb"
        )
    return command


def tool(name: str) -> str:
    """A foreign program, or a skip that says why."""
    command = shutil.which(name)
    if command is None:
        pytest.skip(f"{name} is not installed: apt-get install dcmtk dicom3tools")
    return command


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Orthanc:
    """One archive; it may be killed and started again."""

    def __init__(
        self,
        folder: Path,
        users: dict[str, str] | None = None,
        verbose: bool = False,
        modalities: dict[str, list[object]] | None = None,
    ) -> None:
        self.command = [require(), *(["--verbose"] if verbose else [])]
        self.folder = folder
        self.http, self.dicom = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http}"
        self.dicomweb = f"{self.url}/dicom-web"
        self.users = users or {}
        folder.mkdir(parents=True)
        settings = {
            "Name": "multimix tests",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [str(PLUGIN)],
            "HttpPort": self.http,
            "DicomPort": self.dicom,
            "DicomAet": "ORTHANC",
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowFind": True,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": bool(self.users),
            "RegisteredUsers": self.users,
            "OverwriteInstances": False,
            "SyncStorageArea": True,
            "HttpThreadsCount": 4,
            "DicomModalities": modalities or {},
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Start the process without waiting until it answers."""
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, str(self.folder / "orthanc.json")],
                stdout=log,
                stderr=log,
                env={**os.environ, "LANG": "C"},
            )

    def start(self) -> "Orthanc":
        """Start, and wait until it answers."""
        self.launch()
        assert self.process is not None
        for _ in range(LOOKS):
            if self.answers():
                return self
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"Orthanc did not start:\n{(self.folder / 'log.txt').read_text()[-3000:]}")

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            return self.get("/system") is not None
        except requests.RequestException:
            return False

    def get(self, path: str, **params: str) -> object:
        """A GET of Orthanc's own interface or of DICOMweb."""
        auth = next(iter(self.users.items()), None)
        with requests.Session() as session:
            session.trust_env = False
            response = session.get(f"{self.url}{path}", params=params, auth=auth, timeout=20)
            response.raise_for_status()
            return response.json()

    def kill(self) -> None:
        """SIGKILL, by the process that we started."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def store(self, *paths: Path) -> None:
        """C-STORE by dcmtk's storescu."""
        command = [
            tool("storescu"),
            "-aec",
            "ORTHANC",
            "127.0.0.1",
            str(self.dicom),
            "+sd",
            "+r",
            *map(str, paths),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr

    def instances(self, study: str) -> list[dict[str, str]]:
        """What QIDO finds in a study: uid, series, modality and SOP class of each instance."""
        found = self.get(f"/dicom-web/studies/{study}/instances", includefield="00080060")
        assert isinstance(found, list)
        names = {"uid": "00080018", "series": "0020000E", "modality": "00080060", "kind": "00080016"}
        return [{name: item[tag]["Value"][0] for name, tag in names.items()} for item in found]

    def file(self, uid: str) -> bytes:
        """An instance as Orthanc stores it, through its own interface."""
        with requests.Session() as session:
            session.trust_env = False
            auth = next(iter(self.users.items()), None)
            found = session.post(f"{self.url}/tools/lookup", data=uid, auth=auth, timeout=20).json()
            return session.get(f"{self.url}{found[0]['Path']}/file", auth=auth, timeout=20).content
