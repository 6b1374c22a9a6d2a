"""File names of uploads, as clients write them."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.datastructures import Headers

from multimix.serve.guard import Refused
from multimix.serve.settings import Limits
from multimix.serve.uploads import Upload, read_uploads


def uploaded(disposition: str) -> list[Upload]:
    """What a request with one part of this Content-Disposition holds."""
    body = f"--X\r\nContent-Disposition: {disposition}\r\n\r\nabc\r\n--X--\r\n".encode()

    async def stream() -> AsyncIterator[bytes]:
        yield body

    headers = Headers({"content-type": "multipart/form-data; boundary=X"})
    return asyncio.run(read_uploads(headers, stream(), Limits()))


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ('name="file"; filename="a.png"', "a.png"),
        ("name=\"file\"; filename*=utf-8''%D1%84.png", "ф.png"),
        ("name=\"files\"; filename*=UTF-8''%D1%84.png", "ф.png"),
        ('name="file"; filename="_.png"; filename*=UTF-8\'\'%D1%84.png', "ф.png"),
        ("name=\"file\"; FILENAME*=iso-8859-1'en'%E9.png", "é.png"),
        ('name="file"; filename*0*=utf-8\'\'%D1%84; filename*1="oto.png"', "фoto.png"),
        ("name=\"file\"; filename*=utf-8''..%2F..%2Fx%00.png", "x.png"),
        ("name=\"file\"; filename*=no-such-code''%D1.png", "Ñ.png"),
        ("name=\"file\"; filename*=utf-8''%ff%fe.png", "��.png"),
        ('name="files"', "image 1"),
    ],
)
def test_a_file_keeps_its_name(parameters: str, name: str) -> None:
    assert uploaded(f"form-data; {parameters}") == [Upload(name, b"abc")]


def test_a_field_without_a_file_name_is_no_file() -> None:
    with pytest.raises(Refused) as caught:
        uploaded('form-data; name="filename*"')
    assert caught.value.status == 422
