"""From a multipart body to files in memory, with every bound kept while it is read.

Starlette's own parser puts larger files on the disk, where no image of a patient should be left; this one
keeps them in memory, which the bound on the body makes safe.
"""

import asyncio
import dataclasses
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import Headers

from multimix.serve.guard import Refused
from multimix.serve.settings import Limits

FIELD = "files"
_PATIENCE = 8  # bodies of so many times the limit are read to their end, though not kept


@dataclass(frozen=True)
class Upload:
    """One file of a request."""

    name: str
    """As the client calls it: last part of the path, no control characters, at most 120 characters."""
    data: bytes = field(repr=False)


async def read_uploads(headers: Headers, stream: AsyncIterator[bytes], limits: Limits) -> list[Upload]:
    """The files of a request, in order: every part named 'files' or with a file name (`filename`, `filename*`).

    `stream` yields the body in pieces; no more than `limits.body_bytes` of it is kept. Raises Refused (400,
    408, 413, 415, 422) with the reason.
    """
    kind, options = parse_options_header(headers.get("content-type"))
    if kind != b"multipart/form-data":
        raise Refused(
            415,
            f"Expected multipart/form-data with images in the field '{FIELD}', as curl -F {FIELD}=@x.png sends.",
        )
    if not options.get(b"boundary"):
        raise Refused(400, "The Content-Type has no multipart boundary; let the HTTP library set the header.")
    check_length(headers, limits)
    parts = _Parts(limits.files)
    try:
        parser = MultipartParser(options[b"boundary"], parts.callbacks())
        async for piece in _bounded(stream, limits):
            parser.write(piece)
        parser.finalize()
    except FormParserError as error:
        raise Refused(400, "The multipart body is damaged; let the HTTP library write it.") from error
    if not parts.complete:
        raise Refused(400, "The multipart body ends too early; send it again.")
    if not parts.uploads:
        raise Refused(422, f"No image in the request; send one or more files in the field '{FIELD}'.")
    return parts.uploads


def check_length(headers: Headers, limits: Limits) -> int:
    """The most bytes the body can have, from its Content-Length; Refused where that is too large or no number."""
    length = headers.get("content-length")
    if length is None:
        return limits.body_bytes
    if not re.fullmatch(r"[0-9]{1,18}", length):
        raise Refused(400, "The Content-Length is not a number.")
    if int(length) > limits.body_bytes:
        raise _too_large(limits)
    return int(length)


async def drain(stream: AsyncIterator[bytes], limits: Limits) -> bool:
    """Throw away the rest of a body that is refused; whether its end was reached within bounds.

    A client that is still sending when the connection closes sees a broken connection, not the reason.
    """
    try:
        async for _ in _bounded(
            stream, dataclasses.replace(limits, body_bytes=_PATIENCE * limits.body_bytes)
        ):
            pass
    except Refused:
        return False
    return True


async def _bounded(stream: AsyncIterator[bytes], limits: Limits) -> AsyncIterator[bytes]:
    """The pieces of `stream`; Refused where they are too many or too slow."""
    total, end = 0, time.monotonic() + limits.body_seconds
    pieces = aiter(stream)
    while True:
        try:
            async with asyncio.timeout(end - time.monotonic()):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise Refused(
                408, f"The request did not arrive within {limits.body_seconds:g} seconds."
            ) from error
        total += len(piece)
        if total > limits.body_bytes:
            raise _too_large(limits)
        yield piece


def _too_large(limits: Limits) -> Refused:
    return Refused(
        413, f"The request is larger than {limits.body_bytes / 2**20:g} MiB; send fewer images at a time."
    )


class _Parts:
    """Callbacks of the multipart parser that gather the files."""

    def __init__(self, max_files: int) -> None:
        self.uploads: list[Upload] = []
        self.complete = False
        self.max_files = max_files
        self.header = (bytearray(), bytearray())
        self.disposition = b""
        self.data = bytearray()
        self.name = ""

    def callbacks(self) -> Any:
        """By the names that python-multipart gives them."""
        return {
            "on_part_begin": self.begin,
            "on_header_field": lambda data, start, end: self.header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self.header[1].extend(data[start:end]),
            "on_header_end": self.header_end,
            "on_headers_finished": self.headers_finished,
            "on_part_data": lambda data, start, end: self.data.extend(data[start:end]),
            "on_part_end": self.end,
            "on_end": self.finish,
        }

    def begin(self) -> None:
        self.disposition, self.data = b"", bytearray()

    def header_end(self) -> None:
        name, value = self.header
        if bytes(name).lower() == b"content-disposition":
            self.disposition = bytes(value)
        self.header = (bytearray(), bytearray())

    def headers_finished(self) -> None:
        _, options = parse_options_header(self.disposition)
        field_name = options.get(b"name", b"").decode("utf-8", "replace")
        plain = options.get(b"filename", b"").decode("utf-8", "replace")
        extended = _extended_name(self.disposition)
        if extended is None and b"filename" not in options and field_name != FIELD:
            raise Refused(
                422,
                f"The form has a field that is no file; send images in the field '{FIELD}' and nothing else.",
            )
        if len(self.uploads) == self.max_files:
            raise Refused(413, f"More than {self.max_files} files in one request; send fewer at a time.")
        self.name = display_name(extended or plain, len(self.uploads))

    def end(self) -> None:
        self.uploads.append(Upload(self.name, bytes(self.data)))
        self.data = bytearray()

    def finish(self) -> None:
        self.complete = True


def _extended_name(disposition: bytes) -> str | None:
    """The file name where it is written as `filename*` (RFC 5987) or in pieces (RFC 2231); None where it is not.

    RFC 7578 wants neither in a form; older HTTP libraries send nothing else for names that are not ASCII.
    """
    if not re.search(rb"filename\*", disposition, re.IGNORECASE):
        return None
    message = Message()
    message["Content-Disposition"] = " ".join(disposition.decode("utf-8", "replace").split())
    found = message.get_params([], header="content-disposition")
    names = [value for name, value in found if name.lower() == "filename" and isinstance(value, tuple)]
    # An encoding that there is none of is read as Latin-1.
    return collapse_rfc2231_value(names[0]).encode("utf-8", "replace").decode() if names else None


def display_name(given: str, index: int) -> str:
    """A client's file name made fit to be shown: no folders, no control or invisible characters, 120 at most."""
    last = re.split(r"[/\\]", given)[-1]
    shown = "".join(c for c in last if c.isprintable()).strip()
    return shown[:120] or f"image {index + 1}"
