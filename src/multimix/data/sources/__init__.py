"""Official layouts of public chest X-ray sets, each turned into manifest records.

One module per set, each opening with its card. Nothing is downloaded and nothing is written: a user unpacks
the set as its authors give it out, and `layout(name)(ROOT)` lists it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from multimix.errors import UsageError

if TYPE_CHECKING:  # types.py imports torch, and `multimix data index --help` needs only the names below
    from multimix.types import Record

LAYOUTS: dict[str, str] = {
    "covid": "multimix.data.sources.covid:records",
    "jsrt": "multimix.data.sources.jsrt:records",
    "kermany": "multimix.data.sources.kermany:records",
    "montgomery": "multimix.data.sources.montgomery:records",
    "nih": "multimix.data.sources.nih:records",
    "nih-pneumonia": "multimix.data.sources.nih:pneumonia_records",
    "rsna": "multimix.data.sources.rsna:records",
    "rsna-pneumonia": "multimix.data.sources.rsna:pneumonia_records",
    "shenzhen": "multimix.data.sources.shenzhen:records",
}
"""Layout name -> 'module:function'."""


def layout(name: str) -> Callable[[Path], list[Record]]:
    """The function that turns a folder in layout `name` into records.

    Raises UsageError where no layout has that name.
    """
    if name not in LAYOUTS:
        raise UsageError(f"--layout: expected one of {', '.join(LAYOUTS)}, got {name!r}")
    module, function = LAYOUTS[name].split(":")
    found: Callable[[Path], list[Record]] = getattr(import_module(module), function)
    return found
