"""A document as one HTML file that needs nothing else: pictures inside, no script, no request."""

import base64
import re

import jinja2
from markupsafe import Markup, escape

from multimix.report.document import Block, Document, Panel, picture_bytes
from multimix.report.figures.style import darkened

_INTERVAL = re.compile(r"^(\S+) (\[[^\]]+\])(.*)$")


def html(document: Document) -> str:
    """The page. It follows the reader's light or dark setting, fits a phone, and prints in light."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("multimix.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"kind": _kind, "light": _light, "dark": _dark, "cell": _cell}
    return environment.get_template("report.html").render(document=document)


def _kind(block: Block) -> str:
    return type(block).__name__


def _light(panel: Panel) -> str:
    """The picture as a data URI."""
    return _uri(picture_bytes(panel), "image/png" if panel.png is not None else "image/svg+xml")


def _dark(panel: Panel) -> str:
    """The same for a dark page; '' where it stays as it is."""
    return _uri(darkened(panel.svg).encode(), "image/svg+xml") if panel.svg else ""


def _uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _cell(text: str) -> Markup:
    """A number above its interval, which is smaller; other cells as they are."""
    found = _INTERVAL.match(text)
    if found is None:
        return escape(text)
    value, interval, rest = found.groups()
    return Markup("{}{}<small>{}</small>").format(value, rest, interval)
