"""The weights that come with the package, found by name.

    NAME.safetensors   the weights, in 16-bit floats
    NAME.txt           what they learned from, terms and attribution
    NAME.json          the same for the service's card, with their scores

`tools/ship_weights.py` puts weights here, `tools/model_card.py` their scores. Images of people under terms that forbid
passing them on are not behind any.
"""

import json
from pathlib import Path
from typing import Any

from multimix.errors import UsageError

FOLDER = Path(__file__).parent
"""Where they lie."""


def shipped_names() -> tuple[str, ...]:
    """The names, in alphabetical order."""
    return tuple(sorted(file.stem for file in FOLDER.glob("[!.]*.safetensors")))


def shipped_file(name: str) -> Path:
    """The weights file of that name. UsageError, with the names there are, where there is none."""
    if name not in shipped_names():
        raise UsageError(
            f"--weights {name}: no weights of that name come with multimix. Choose from: "
            f"{', '.join(shipped_names()) or 'none'}; your own run folder or weights file is given as RUN, without "
            "--weights."
        )
    return FOLDER / f"{name}.safetensors"


def shipped_card(path: Path) -> dict[str, Any]:
    """What is known about shipped weights, given by name or file: 'input', what one image is, 'trained_on', 'scores'.

    Empty for other weights, and where nothing is known.
    """
    card = _beside(path, ".json")
    if card is None:
        return {}
    known: dict[str, Any] = json.loads(card.read_text("utf-8"))
    return known


def shipped_terms(path: Path) -> str:
    """Terms and attribution of shipped weights, given by name or file; empty for other weights."""
    terms = _beside(path, ".txt")
    return "" if terms is None else terms.read_text("utf-8")


def _beside(path: Path, suffix: str) -> Path | None:
    """The file of that suffix beside shipped weights, given by name or file; None where there is none."""
    shipped = FOLDER / f"{path}.safetensors" if str(path) in shipped_names() and not path.exists() else path
    file = shipped.resolve().with_suffix(suffix)
    return file if file.parent == FOLDER.resolve() and file.is_file() else None
