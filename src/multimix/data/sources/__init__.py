"""Official layouts of public chest X-ray sets, each turned into manifest records.

One module per set, each opening with its card. Nothing is downloaded and nothing is written: a user unpacks
the set as its authors give it out, and `layout(name)(ROOT)` lists it; `index_layout(name, ROOT)` also tells what was
left out.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multimix.errors import UsageError

if TYPE_CHECKING:  # types.py imports torch, and `multimix data index --help` needs only the names below
    from multimix.data.index import FolderIndex
    from multimix.types import Record

LAYOUTS: dict[str, str] = {
    "covid": "multimix.data.sources.covid:records",
    "jsrt": "multimix.data.sources.jsrt:records",
    "kermany": "multimix.data.sources.kermany:index",
    "montgomery": "multimix.data.sources.montgomery:records",
    "nih": "multimix.data.sources.nih:records",
    "nih-pneumonia": "multimix.data.sources.nih:pneumonia_records",
    "rsna": "multimix.data.sources.rsna:records",
    "rsna-pneumonia": "multimix.data.sources.rsna:pneumonia_records",
    "shenzhen": "multimix.data.sources.shenzhen:records",
}
"""Layout name -> 'module:function'; the function gives records, or a FolderIndex where it has more to tell."""


def layout(name: str) -> Callable[[Path], list[Record]]:
    """The function that turns a folder in layout `name` into records.

    Raises UsageError where no layout has that name.
    """
    _function(name)
    return lambda root: index_layout(name, root).records


def index_layout(name: str, root: Path) -> FolderIndex:
    """The records of the folder `root` in layout `name`, and what there is to tell about them.

    Raises UsageError where no layout has that name, ManifestError where `root` is not laid out so.
    """
    from multimix.data.index import FolderIndex

    found: list[Record] | FolderIndex = _function(name)(root)
    return found if isinstance(found, FolderIndex) else FolderIndex(found, [])


def _function(name: str) -> Callable[[Path], Any]:
    if name not in LAYOUTS:
        raise UsageError(f"--layout: expected one of {', '.join(LAYOUTS)}, got {name!r}")
    module, function = LAYOUTS[name].split(":")
    found: Callable[[Path], Any] = getattr(import_module(module), function)
    return found
