"""DICOMweb: against Orthanc, and against a server that answers as badly as told."""

import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from orthanc import Orthanc, tool
from pydicom.uid import Comprehensive3DSRStorage, EnhancedSRStorage, SegmentationStorage

import studies
from multimix.errors import UsageError
from multimix.pacs.archive import Archive
from multimix.pacs.config import Credentials, DicomWebConfig
from multimix.pacs.outcomes import Image, Refused, Result, Unavailable

Answer = tuple[int, dict[str, str], bytes]
NOTHING: Answer = (200, {"Content-Type": "application/dicom+json"}, b"[]")
NO_CREDENTIALS = Credentials()
IMAGE = Image("1.2.3", "1.2", "1.2.1")


class Server(ThreadingHTTPServer):
    """Answers each path by the first rule whose words are in it; remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.rules: list[tuple[str, Answer]] = []
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.scheme = "http"

        self.unknown_classes: set[str] = set()
        """SOP classes that are not stored; where there are any, all others are."""
        self.held: list[tuple[str, str]] = []
        """SOP class and instance UID of what was stored."""

    def store(self, body: bytes) -> Answer:
        """The answer to a STOW request."""
        answer: dict[str, dict[str, object]] = {}
        status = 409
        for part in body.split(b"application/dicom\r\n\r\n")[1:]:
            data = pydicom.dcmread(BytesIO(part))
            item = {
                "00081150": {"vr": "UI", "Value": [data.SOPClassUID]},
                "00081155": {"vr": "UI", "Value": [data.SOPInstanceUID]},
            }
            if data.SOPClassUID in self.unknown_classes:
                item["00081197"] = {"vr": "US", "Value": [0x0122]}
                answer.setdefault("00081198", {"vr": "SQ", "Value": []})["Value"].append(item)  # type: ignore[attr-defined]
            else:
                status = 200
                self.held.append((data.SOPClassUID, data.SOPInstanceUID))
                answer.setdefault("00081199", {"vr": "SQ", "Value": []})["Value"].append(item)  # type: ignore[attr-defined]
        return (status, {"Content-Type": "application/dicom+json"}, json.dumps(answer).encode())

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}/dicom-web"

    def answer(self, path: str, otherwise: Answer = NOTHING) -> Answer:
        return next((answer for words, answer in self.rules if words in path), otherwise)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.asked.append((self.path, dict(self.headers)))
        self._say(*self.server.answer(self.path))

    def do_POST(self) -> None:
        assert isinstance(self.server, Server)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.unknown_classes:
            self._say(*self.server.store(body))
            return
        self._say(*self.server.answer(f"POST {self.path}", (200, {}, b"")))

    def _say(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not on the terminal."""


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def connect() -> Iterator[Callable[..., Archive]]:
    opened: list[Archive] = []

    def connect(
        url: str, credentials: Credentials = NO_CREDENTIALS, max_bytes: int = 10_000_000, **fields: object
    ) -> Archive:
        opened.append(Archive(DicomWebConfig(url=url, **fields), credentials, max_bytes))  # type: ignore[arg-type]
        return opened[-1]

    yield connect
    for archive in opened:
        archive.close()


def found(**values: object) -> bytes:
    """A QIDO answer with one item."""
    tags = {
        "study": "0020000D",
        "series": "0020000E",
        "uid": "00080018",
        "kind": "00080016",
        "modality": "00080060",
    }
    return json.dumps(
        [{tags[name]: {"vr": "UI", "Value": [value]} for name, value in values.items()}]
    ).encode()


def test_orthanc_as_source_and_sink(archive: Orthanc, connect: Callable[..., Archive], tmp_path: Path):
    files = studies.study(tmp_path / "study")
    datasets = [pydicom.dcmread(file) for file in files]
    archive.store(*files[:2])
    ours = connect(archive.dicomweb)
    (images,) = ours.look()
    assert {image.uid for image in images} == {data.SOPInstanceUID for data in datasets[:2]}
    assert {image.pixels for image in images} == {128 * 128, 150 * 110}
    for image, data in [(i, d) for i in images for d in datasets if i.uid == d.SOPInstanceUID]:
        (tmp_path / "back.dcm").write_bytes(ours.retrieve(image))
        assert pydicom.dcmread(tmp_path / "back.dcm") == data
    assert list(ours.look()) == []  # nothing has changed

    capture = datasets[2]
    result = Result(capture.SOPInstanceUID, capture.StudyInstanceUID, files[2])
    assert ours.present([result]) == set()
    assert ours.store([result]) == {capture.SOPInstanceUID}
    assert ours.present([result]) == {capture.SOPInstanceUID}
    assert ours.store([result]) == {capture.SOPInstanceUID}
    assert len(archive.instances(capture.StudyInstanceUID)) == 3
    (images,) = ours.look()  # the study has changed
    assert len(images) == 3


def test_compressed_images_come_as_they_are_stored(
    archive: Orthanc, connect: Callable[..., Archive], tmp_path: Path
):
    data = studies.dx()
    data.compress("1.2.840.10008.1.2.5")  # RLE
    file = studies.save(data, tmp_path / "rle.dcm")
    done = subprocess.run(
        [tool("storescu"), "-xr", "-aec", "ORTHANC", "127.0.0.1", str(archive.dicom), str(file)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ours = connect(archive.dicomweb)
    ((image,),) = ours.look()
    (tmp_path / "back.dcm").write_bytes(ours.retrieve(image))
    back = pydicom.dcmread(tmp_path / "back.dcm")
    assert (back.pixel_array == studies.dx().pixel_array).all()


def test_basic_authentication(tmp_path: Path, connect: Callable[..., Archive]):
    archive = Orthanc(tmp_path / "orthanc", {"me": "secret"}).start()
    try:
        with pytest.raises(Unavailable, match="refuses the credentials"):
            list(connect(archive.dicomweb, Credentials("", "me", "wrong")).look())
        assert list(connect(archive.dicomweb, Credentials("", "me", "secret")).look()) == []
    finally:
        archive.kill()


def test_a_token_and_nothing_of_the_users_files(
    server: Server, connect: Callable[..., Archive], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login other password files\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert list(connect(server.url, Credentials(token="t0ken")).look()) == []
    assert list(connect(server.url).look()) == []
    sent = [headers.get("Authorization") for _, headers in server.asked]
    assert set(sent[:4]) == {"Bearer t0ken"}
    assert set(sent[4:]) == {None}


def test_credentials_do_not_travel_in_the_clear():
    for url in ("http://archive.example/dicom-web", "http://10.0.0.1/x"):
        with pytest.raises(UsageError, match="in the clear"):
            Archive(DicomWebConfig(url=url), Credentials(token="t"), 1000)
    for config in (
        DicomWebConfig(url="https://archive.example/dicom-web"),
        DicomWebConfig(url="http://archive.example/dicom-web", plain_http=True),
    ):
        Archive(config, Credentials(token="t"), 1000).close()


def test_tls_is_verified(server: Server, connect: Callable[..., Archive], tmp_path: Path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *(
                tool("openssl"),
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-keyout",
                str(key),
            ),
            *("-out", str(certificate), "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        capture_output=True,
        check=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.scheme = "https"
    with pytest.raises(Unavailable, match="SSLError"):
        list(connect(server.url).look())
    assert server.asked == []
    assert list(connect(server.url, ca_file=str(certificate)).look()) == []


@pytest.mark.parametrize("status", [401, 403, 408, 429, 502, 503, 504, 507])
def test_statuses_that_may_be_the_archives(server: Server, connect: Callable[..., Archive], status: int):
    headers = {"Retry-After": "20"}
    server.rules = [("instances/1.2.3", (status, headers, b"Phantom^Pia"))]
    with pytest.raises(Refused) as caught:
        connect(server.url).retrieve(IMAGE)
    assert (caught.value.doubtful, caught.value.final, caught.value.after) == (True, False, 20.0)
    assert str(status) in str(caught.value)
    assert "Pia" not in str(caught.value)
    server.rules = [("", (status, headers, b"Phantom^Pia"))]
    with pytest.raises(Unavailable, match=str(status)):
        connect(server.url).retrieve(IMAGE)


@pytest.mark.parametrize(
    ("status", "final"), [(400, False), (404, True), (409, False), (410, True), (500, False)]
)
def test_statuses_of_one_image(server: Server, connect: Callable[..., Archive], status: int, final: bool):
    server.rules = [("instances/1.2.3", (status, {}, b"Phantom^Pia"))]
    with pytest.raises(Refused) as caught:
        connect(server.url).retrieve(IMAGE)
    assert str(caught.value) == f"HTTP {status}"
    assert caught.value.final is final


def test_an_error_while_nothing_else_works_is_the_archives(server: Server, connect: Callable[..., Archive]):
    server.rules = [("", (500, {}, b""))]
    with pytest.raises(Unavailable, match="500"):
        connect(server.url).retrieve(IMAGE)


@pytest.mark.parametrize(
    "answer",
    [
        (200, {"Content-Type": "multipart/related; boundary=b"}, b"nothing of the kind"),
        (200, {"Content-Type": "application/dicom+json"}, b"[]"),
        (
            200,
            {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'},
            b"--b\r\n\r\nDICM\r\n--b--",
        ),
        (200, {}, b""),
        (200, {"Content-Length": "100000"}, b"cut off"),
    ],
)
def test_answers_that_cannot_be_read(server: Server, connect: Callable[..., Archive], answer: Answer):
    server.rules = [("instances/1.2.3", answer)]
    with pytest.raises(Refused):
        connect(server.url).retrieve(IMAGE)


def test_an_answer_that_is_too_large_is_not_read(server: Server, connect: Callable[..., Archive]):
    server.rules = [("instances/1.2.3", (200, {"Content-Length": "2100001"}, b""))]
    with pytest.raises(Refused, match=r"too large: 2\.1 MB, at most 2 MB") as caught:
        connect(server.url, max_bytes=2_000_000).retrieve(IMAGE)
    assert caught.value.final


def test_another_image_than_was_asked_for(archive: Orthanc, connect: Callable[..., Archive], tmp_path: Path):
    data = studies.dx()
    archive.store(studies.save(data, tmp_path / "a.dcm"))
    ours = connect(archive.dicomweb)
    ((image,),) = ours.look()
    body = b"--b\r\n\r\n" + studies.save(studies.cr(), tmp_path / "b.dcm").read_bytes() + b"\r\n--b--"
    kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
    other = Server()
    thread = threading.Thread(target=other.serve_forever, args=(0.02,))
    thread.start()
    try:
        other.rules = [("instances/", (200, kind, body))]
        with pytest.raises(Refused, match="another object"):
            connect(other.url).retrieve(image)
    finally:
        other.shutdown()
        thread.join()
        other.server_close()


def test_searches_of_odd_archives(server: Server, connect: Callable[..., Archive]):
    """It ignores the offset, gives no counts and no modality, and names a study like a path."""
    server.rules = [
        (
            "/studies/1.2/instances",
            (200, {}, found(uid="1.2.3", series="1.2.1", kind="1.2.840.10008.5.1.4.1.1.1.1")),
        ),
        (
            "/studies/1.3/instances",
            (200, {}, found(uid="1.3.3", series="1.3.1", kind="1.2.840.10008.5.1.4.1.1.12.1")),
        ),
        ("ModalitiesInStudy=CR", (200, {}, found(study="1.2"))),
        ("ModalitiesInStudy=DX", (200, {}, found(study="1.3"))),
        ("ModalitiesInStudy=SC", (200, {}, found(study="../../system"))),
        ("ModalitiesInStudy=OT", (204, {}, b"")),
    ]
    archive = connect(server.url)
    assert list(archive.look()) == [[Image("1.2.3", "1.2", "1.2.1")], []]
    assert not any("system" in path for path, _ in server.asked)
    assert len(list(archive.look())) == 2  # without counts nothing is skipped


def test_a_success_without_a_body_is_checked(server: Server, connect: Callable[..., Archive], tmp_path: Path):
    data = studies.dx()
    file = studies.save(data, tmp_path / "a.dcm")
    result = Result(data.SOPInstanceUID, "1.2", file)
    archive = connect(server.url)
    assert archive.store([result]) == set()
    server.rules = [("/studies/1.2/instances", (200, {}, found(uid=data.SOPInstanceUID)))]
    assert archive.store([result]) == {data.SOPInstanceUID}


def test_an_archive_without_space(server: Server, connect: Callable[..., Archive], tmp_path: Path):
    data = studies.dx()
    result = Result(data.SOPInstanceUID, "1.2", studies.save(data, tmp_path / "a.dcm"))
    item = {
        "00081155": {"vr": "UI", "Value": [data.SOPInstanceUID]},
        "00081197": {"vr": "US", "Value": [0xA700]},
    }
    body = json.dumps({"00081198": {"vr": "SQ", "Value": [item]}}).encode()
    server.rules = [("/studies/1.2", (202, {"Content-Type": "application/dicom+json"}, body))]
    with pytest.raises(Refused, match="A700") as caught:
        connect(server.url).store([result])
    assert caught.value.doubtful


def test_an_archive_that_takes_no_segmentation_and_no_3d_report(
    server: Server, connect: Callable[..., Archive], tmp_path: Path
):
    """The body of a 409 names what was not stored and why, PS3.18 10.5.3."""
    segmentation = studies.capture(seed=1, SOPClassUID=SegmentationStorage)
    report = studies.capture(seed=2, SOPClassUID=Comprehensive3DSRStorage)
    results = [
        Result(
            one.SOPInstanceUID,
            one.StudyInstanceUID,
            studies.save(one, tmp_path / f"{one.SOPInstanceUID}.dcm"),
        )
        for one in (segmentation, report)
    ]
    server.unknown_classes = {SegmentationStorage, Comprehensive3DSRStorage}
    with pytest.raises(Refused, match=r"Segmentation Storage; leave seg out of `results`") as caught:
        connect(server.url).store(results)
    assert caught.value.final
    assert connect(server.url).store(results[1:]) == {results[1].uid}
    assert {kind for kind, _ in server.held} == {EnhancedSRStorage}
    server.rules = [(uid, _found(uid)) for _, uid in server.held]
    assert connect(server.url).present(results) == {results[1].uid}


def _found(uid: str) -> Answer:
    item = {"00080018": {"vr": "UI", "Value": [uid]}}
    return (200, {"Content-Type": "application/dicom+json"}, json.dumps([item]).encode())
