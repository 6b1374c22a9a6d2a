"""The weights that come with the package, found by name.

    NAME.safetensors   the weights, in 16-bit floats
    NAME.txt           what they learned from, terms and attribution

`tools/ship_weights.py` puts weights here. Images of people under terms that forbid passing them on are not behind any.
"""

from pathlib import Path

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
