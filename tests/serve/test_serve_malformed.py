"""Uploads that are wrong in every way we could think of: 4xx with one line, and the next good one is answered."""

import socket
import struct
import zlib
from collections.abc import Callable
from io import BytesIO

import httpx
import numpy as np
import pydicom
import pytest
import services
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit
from services import encoded, file_of

import studies
from multimix.serve.uploads import display_name

BOUNDARY = "limit"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, data: bytes, *, extra: bytes = b"", depth: int = 8, colour: int = 0
) -> bytes:
    """A PNG of any header and content."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bomb_png() -> bytes:
    """A header of 25 gigapixels."""
    return png(160_000, 160_000, zlib.compress(bytes(500_000)))


def inner_bomb_png() -> bytes:
    """A small picture with a text chunk that inflates to 100 MB."""
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000), 6))
    return png(32, 32, b"", extra=text)


def jpeg_with_size(width: int, height: int) -> bytes:
    """A JPEG whose frame header (SOF0) lies about the size."""
    data = bytearray(encoded("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def dicom(**elements: object) -> bytes:
    return file_of(studies.cr(**elements))


def compressed_dicom(syntax: str, frame: bytes, **elements: object) -> bytes:
    """A DICOM whose compressed frame is not what the header says."""
    data = studies.capture(**elements)
    data.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    data.PixelData = encapsulate([frame])
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    return file_of(data)


def jpeg2000(width: int, height: int) -> bytes:
    """A JPEG 2000 code stream whose SIZ marker says width x height."""
    buffer = BytesIO()
    Image.fromarray(services.pixels()).save(buffer, "JPEG2000", no_jp2=True)
    data = bytearray(buffer.getvalue())
    at = data.index(b"\xff\x51")
    data[at + 6 : at + 14] = struct.pack(">II", width, height)
    return bytes(data)


def deflated_bomb() -> bytes:
    """A deflated DICOM of 0.4 MB that inflates to 400 MB."""
    data = studies.capture()
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    whole = file_of(data)
    end = whole.index(b"\x02\x00\x10\x00") + 8
    length = struct.unpack("<H", whole[end - 2 : end])[0]
    squeeze = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = b"".join(squeeze.compress(bytes(10_000_000)) for _ in range(40)) + squeeze.flush()
    return whole[: end + length] + body


def tiff_in_disguise() -> bytes:
    return encoded("TIFF")


FILES: dict[str, Callable[[], bytes]] = {
    # wrong types
    "empty": lambda: b"",
    "text": lambda: b"The patient is well.\n",
    "one byte": lambda: b"\x89",
    "zeros": lambda: bytes(5000),
    "noise": lambda: np.random.default_rng(0).bytes(5000),
    "pdf": lambda: b"%PDF-1.7\n" + bytes(300),
    "zip": lambda: b"PK\x03\x04" + bytes(300),
    "gif": lambda: encoded("GIF"),
    "bmp": lambda: encoded("BMP"),
    "tiff": tiff_in_disguise,
    "svg": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "html": lambda: b"<!doctype html><script>alert(1)</script>",
    "pickle": lambda: b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    "json": lambda: b'{"image": "x"}',
    # truncations and damage
    "png signature only": lambda: b"\x89PNG\r\n\x1a\n",
    "png up to its header": lambda: encoded("PNG")[:20],
    "png header only": lambda: encoded("PNG")[:33],
    "png half": lambda: encoded("PNG")[: len(encoded("PNG")) // 2],
    "png without data": lambda: png(64, 64, b""),
    "png with a wrong checksum": lambda: encoded("PNG")[:29] + b"\0\0\0\0" + encoded("PNG")[33:],
    "png of nonsense": lambda: png(64, 64, b"no deflate stream"),
    "png with too little data": lambda: png(64, 64, zlib.compress(bytes(100))),
    "png of an unknown colour type": lambda: png(64, 64, zlib.compress(bytes(64 * 65)), colour=5),
    "png of 3 bits": lambda: png(64, 64, zlib.compress(bytes(64 * 65)), depth=3),
    "jpeg signature only": lambda: b"\xff\xd8\xff",
    "jpeg of two markers": lambda: b"\xff\xd8\xff\xd9",
    "jpeg half": lambda: encoded("JPEG")[:300],
    "jpeg without tables": lambda: b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x40\x00\x40\x01\x01\x11\x00\xff\xd9",
    "dicom preamble only": lambda: bytes(128) + b"DICM",
    "dicom half": lambda: dicom()[: len(dicom()) // 2],
    "dicom header cut": lambda: dicom()[:400],
    "dicom of noise": lambda: bytes(128) + b"DICM" + np.random.default_rng(1).bytes(3000),
    # sizes that lie, bombs
    "png bomb": bomb_png,
    "png text bomb": inner_bomb_png,
    "png of 2^31": lambda: png(2**31 - 1, 2**31 - 1, zlib.compress(b"")),
    "png without width": lambda: png(0, 64, zlib.compress(bytes(64))),
    "png of one pixel": lambda: png(1, 1, zlib.compress(b"\0\0")),
    "png of one row": lambda: png(4000, 1, zlib.compress(bytes(4001))),
    "png above the service's limit": lambda: encoded("PNG", np.zeros((501, 500), np.uint8)),
    "jpeg of 65500 squared": lambda: jpeg_with_size(65500, 65500),
    "jpeg without height": lambda: jpeg_with_size(64, 0),
    "dicom with more rows than pixels": lambda: dicom(Rows=400),
    "dicom of 60000 squared": lambda: dicom(Rows=60000, Columns=60000),
    "dicom without rows": lambda: dicom(Rows=None),
    "dicom with no columns": lambda: dicom(Columns=0),
    "dicom without pixels": lambda: dicom(PixelData=None),
    "dicom with empty pixels": lambda: dicom(PixelData=b""),
    "dicom of many frames": lambda: dicom(NumberOfFrames=2),
    "dicom of a million frames": lambda: dicom(NumberOfFrames=1_000_000),
    "dicom deflate bomb": deflated_bomb,
    "dicom with a jpeg of another size": lambda: compressed_dicom(
        JPEGBaseline8Bit, jpeg_with_size(60000, 60000)
    ),
    "dicom with a jpeg 2000 bomb": lambda: compressed_dicom(JPEG2000Lossless, jpeg2000(60000, 60000)),
    "dicom with noise as jpeg": lambda: compressed_dicom(JPEGBaseline8Bit, b"no jpeg at all"),
    # values that make no sense
    "dicom of 7 bits allocated": lambda: dicom(BitsAllocated=7),
    "dicom with more bits stored than allocated": lambda: dicom(BitsStored=99),
    "dicom of five samples": lambda: dicom(SamplesPerPixel=5),
    "dicom in unknown colours": lambda: dicom(PhotometricInterpretation="ULTRAVIOLET"),
    "dicom without photometric interpretation": lambda: dicom(PhotometricInterpretation=None),
    "dicom of a hand": lambda: dicom(BodyPartExamined="HAND"),
    "dicom of a CT": lambda: dicom(Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2"),
}


def good(client: httpx.Client) -> None:
    response = client.post("/v1/predict", files={"files": ("good.png", encoded("PNG"))})
    assert response.status_code == 200
    assert response.json()["files"][0]["status"] == "ok"


def refused(response: httpx.Response) -> str:
    assert 400 <= response.status_code < 500, response.text
    reason = response.json()["detail"]
    assert isinstance(reason, str)
    assert 10 < len(reason) < 400
    assert "\n" not in reason
    assert "Traceback" not in reason
    assert "0x" not in reason
    return reason


@pytest.mark.parametrize("case", FILES)
def test_a_malformed_file(client: httpx.Client, case: str):
    data = FILES[case]()
    assert len(data) < 2**20
    response = client.post("/v1/predict", files={"files": ("chest.png", data)})
    assert response.status_code == 422, response.text
    refused(response)
    assert response.json()["files"][0]["error"] == response.json()["detail"]
    good(client)


def test_a_malformed_file_has_no_answer_as_dicom_or_picture_either(client: httpx.Client):
    for kind in ("mask", "overlay", "saliency", "dicom"):
        response = client.post("/v1/predict", params={"format": kind}, files={"files": b"text"})
        assert refused(response).startswith("Is not a PNG")


NAMES = [
    "../../../etc/passwd",
    "..\\..\\windows\\system32\\config",
    "a\tb\x07c.png",
    "\u202egnp.exe",
    "<img src=x onerror=alert(1)>.png",
    "'; DROP TABLE images; --.png",
    "x" * 3000 + ".png",
    "%00%0a%0d.png",
    "日本語.png",
    ".",
    " ",
    "CON",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_name_is_only_shown_and_made_harmless(client: httpx.Client, name: str):
    response = client.post("/v1/predict", files={"files": (name, b"no image")})
    refused(response)
    shown = response.json()["files"][0]["name"]
    assert 1 <= len(shown) <= 120
    assert shown.isprintable()
    assert not set(shown) & set("/\\")
    good(client)


def test_display_name():
    assert display_name("C:\\films\\chest 1.png", 0) == "chest 1.png"
    assert display_name("a\nb\u200bc", 0) == "abc"
    assert display_name("films/", 4) == "image 5"


def multipart(*parts: bytes, end: bytes = b"--limit--\r\n") -> bytes:
    return b"".join(b"--limit\r\n" + part + b"\r\n" for part in parts) + end


PART = b'Content-Disposition: form-data; name="files"; filename="x.png"\r\n\r\n'
FORM = f"multipart/form-data; boundary={BOUNDARY}"

BODIES: dict[str, tuple[int, str | None, Callable[[], bytes]]] = {
    "no type": (415, None, lambda: encoded("PNG")),
    "raw image": (415, "image/png", lambda: encoded("PNG")),
    "json": (415, "application/json", lambda: b"{}"),
    "form without files": (415, "application/x-www-form-urlencoded", lambda: b"files=x"),
    "other multipart": (415, "multipart/mixed; boundary=limit", lambda: multipart(PART)),
    "no boundary": (400, "multipart/form-data", lambda: multipart(PART)),
    "empty boundary": (400, 'multipart/form-data; boundary=""', lambda: multipart(PART)),
    "wrong boundary": (400, "multipart/form-data; boundary=other", lambda: multipart(PART)),
    "long boundary": (400, "multipart/form-data; boundary=" + "b" * 3000, lambda: multipart(PART)),
    "empty body": (400, FORM, lambda: b""),
    "no end": (400, FORM, lambda: multipart(PART + encoded("PNG"), end=b"")),
    "cut in a header": (400, FORM, lambda: b"--limit\r\nContent-Dispo"),
    "no parts": (422, FORM, lambda: b"--limit--\r\n"),
    "no blank line": (400, FORM, lambda: b"--limit\r\nxx\r\n--limit--\r\n"),
    "binary in a header": (400, FORM, lambda: b"--limit\r\n\x00\xff\x80: x\r\n\r\n--limit--\r\n"),
    "many headers": (400, FORM, lambda: multipart(b"A: b\r\n" * 5000 + PART)),
    "part without name": (422, FORM, lambda: multipart(b"Content-Type: image/png\r\n\r\nx")),
    "text field": (422, FORM, lambda: multipart(b'Content-Disposition: form-data; name="x"\r\n\r\n1')),
    "empty file": (422, FORM, lambda: multipart(PART)),
    "odd charset": (
        422,
        FORM + "; charset=unicode_escape",
        lambda: multipart(PART.replace(b"x.", b"\\ud800.")),
    ),
    "too many files": (413, FORM, lambda: multipart(*[PART + encoded("PNG")] * 5)),
    "too large": (413, FORM, lambda: multipart(PART + bytes(2**20))),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_malformed_body(client: httpx.Client, case: str):
    status, kind, body = BODIES[case]
    headers = {} if kind is None else {"Content-Type": kind}
    response = client.post("/v1/predict", content=body(), headers=headers)
    refused(response)
    assert response.status_code == status
    good(client)


def test_a_file_field_without_a_file_name_is_taken(client: httpx.Client):
    part = b'Content-Disposition: form-data; name="files"\r\n\r\n' + encoded("PNG")
    response = client.post("/v1/predict", content=multipart(part), headers={"Content-Type": FORM})
    assert response.json()["files"][0]["name"] == "image 1"


@pytest.mark.parametrize(
    "query",
    [
        "format=tiff",
        "format=",
        "mask=maybe",
        "stability=2",
        "force=%00",
        "format=json&format=png",
        "image=" + "x" * 500,
    ],
)
def test_a_wrong_parameter(client: httpx.Client, query: str):
    response = client.post(f"/v1/predict?{query}", files={"files": encoded("PNG")})
    assert response.status_code == 422
    refused(response)
    good(client)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/predict", 405),
        ("PUT", "/v1/predict", 405),
        ("DELETE", "/", 405),
        ("POST", "/v1/model", 405),
        ("POST", "/static/main.js", 405),
        ("GET", "/v1/none", 404),
        ("GET", "/static/none.js", 404),
        ("GET", "/static/..%2f..%2fapp.py", 404),
        ("GET", "/%00", 404),
        ("GET", "/docs", 404),
    ],
)
def test_a_wrong_method_or_address(client: httpx.Client, method: str, path: str, status: int):
    response = client.request(method, path)
    assert response.status_code == status
    refused(response)


def raw(client: httpx.Client, request: bytes) -> bytes:
    """What the server says to bytes that no HTTP library would send."""
    with socket.create_connection(
        (client.base_url.host, client.base_url.port or 0), timeout=60
    ) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


START = (
    b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=limit\r\n"
)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS greeting
        b"GET / HTTP/9.9\r\n\r\n",
        START + b"Content-Length: -5\r\n\r\n",
        START + b"Content-Length: 9\r\nContent-Length: 12\r\n\r\n",
        START + b"Content-Length: ten\r\n\r\n",
        START + b"Transfer-Encoding: chunked\r\n\r\nnot hex\r\n",
        START + b"X: " + b"y" * 300_000 + b"\r\n\r\n",
        START + b"Content-Length: 99999999999999\r\nExpect: 100-continue\r\n\r\n",
    ],
)
def test_broken_http(client: httpx.Client, request_bytes: bytes):
    try:
        answer = raw(client, request_bytes)
    except OSError:
        answer = b""  # hung up on while still sending
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    good(client)


def test_who_hangs_up_is_no_fault_of_the_server(client: httpx.Client):
    raw(client, START + b"Content-Length: 1000\r\n\r\n--lim")
    assert 'multimix_requests_total{status="500"}' not in client.get("/metrics").text


def test_an_endless_chunked_body_is_stopped(client: httpx.Client):
    sent = 0

    def endless():
        nonlocal sent
        yield multipart(PART, end=b"")[:-2]
        while sent < 100 * 2**20:
            sent += 2**16
            yield bytes(2**16)

    try:
        response = client.post("/v1/predict", content=endless(), headers={"Content-Type": FORM})
        assert response.status_code == 413
        refused(response)
    except httpx.TransportError:
        pass  # the server hung up, which is as well
    assert sent < 60 * 2**20
    good(client)


def test_a_compressed_body_is_not_inflated(client: httpx.Client):
    body = zlib.compress(multipart(PART + encoded("PNG")))
    headers = {"Content-Type": FORM, "Content-Encoding": "deflate"}
    response = client.post("/v1/predict", content=body, headers=headers)
    assert response.status_code == 400
    refused(response)


def test_all_files_bad_lists_each_reason(client: httpx.Client):
    parts = [("files", ("a.txt", b"text")), ("files", ("b.png", encoded("PNG")[:40]))]
    response = client.post("/v1/predict", files=parts)
    assert refused(response).startswith("None of the 2 files can be used. The first: Is not a PNG")
    assert [line["name"] for line in response.json()["files"]] == ["a.txt", "b.png"]
