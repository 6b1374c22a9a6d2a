"""The door: who may ask, and what every answer carries. A plain ASGI middleware around the whole application.

Host      only the names the service knows, against DNS rebinding
Origin    only the service's own page, since a browser sends multipart forms across sites unasked
Token     in constant time, for everything but the page, its files, health and the API's description
Headers   a content security policy without inline script, no sniffing, no framing, nothing cached
Errors    whatever slips through becomes a plain 500, and the log gets its place, not its words: a message
          may quote a file name or a patient
"""

import hmac
import logging
import traceback
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multimix.serve.settings import Settings

log = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/", "/health", "/ready", "/openapi.json"})
"""Answered without a token; so is everything below /static/."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Refused(Exception):
    """A request that is not served: an HTTP status and why, in one line."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers

    def response(self) -> JSONResponse:
        """`{"detail": reason}`."""
        return JSONResponse({"detail": self.reason}, self.status, self.headers)


class Guard:
    """ASGI middleware that answers refused requests itself and never reads their body."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of any ASGI type; only HTTP is looked at."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        refused = self._refusal(scope)
        if refused is not None:
            await refused.response()(scope, receive, send_with_headers)
            return
        try:
            await self.app(scope, receive, send_with_headers)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            log.error("%s in %s line %s", type(error).__name__, last.name, last.lineno)
            if not started:
                reason = "The service failed on this request; the next ones are not affected."
                await Refused(500, reason).response()(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Refused | None:
        headers = Headers(scope=scope)
        size = sum(len(name) + len(value) for name, value in scope["headers"])
        if size > self.settings.limits.header_bytes:
            return Refused(
                431, f"The headers have {size} bytes, more than {self.settings.limits.header_bytes}."
            )
        host = headers.get("host", "")
        if self.settings.hosts is not None and _name(host) not in self.settings.hosts:
            return Refused(
                421, "The Host header names another service; use the address that `multimix serve` printed."
            )
        if not _own_origin(headers, host):
            return Refused(
                403, "The request comes from a page of another site; only the service's own page may."
            )
        path = scope["path"]
        if self.settings.token is None or path in OPEN_PATHS or path.startswith("/static/"):
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self.settings.token.encode())
        if scheme.lower() == "bearer" and right:
            return None
        return Refused(
            401,
            "A token is needed: send the header `Authorization: Bearer TOKEN`.",
            {"WWW-Authenticate": "Bearer"},
        )


def _name(host: str) -> str:
    """'[::1]:8000' -> '::1', 'Localhost:8000' -> 'localhost'; '' where it is no host."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _own_origin(headers: Headers, host: str) -> bool:
    """Whether the request is not one that a browser sends for a page of another site."""
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        # A link to the page from elsewhere is harmless, and all that a navigation can do is GET.
        return headers.get("sec-fetch-mode") == "navigate" and "origin" not in headers
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == host.lower() != ""
    except ValueError:
        return False
