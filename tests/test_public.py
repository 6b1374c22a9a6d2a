"""The stable interface: every name is there, is documented, and comes without torch where the document says so."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import multimix

PAGE = Path(__file__).resolve().parents[1] / "docs" / "python.md"
NEED_TORCH = {"MultiMix", "audit", "export", "load_released"}
"""On being looked up; `load` needs it when it is called."""


def test_the_document_lists_every_public_name_and_no_other() -> None:
    rows = re.findall(r"^\| (`.*?) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(multimix.__all__)


@pytest.mark.parametrize("name", sorted(set(multimix.__all__) - NEED_TORCH - {"__version__"}))
def test_every_name_is_there_and_says_what_it_is(name: str) -> None:
    assert inspect.getdoc(getattr(multimix, name))


def test_names_that_need_no_torch_import_none() -> None:
    names = sorted(set(multimix.__all__) - NEED_TORCH)
    code = f"import sys, multimix; [getattr(multimix, n) for n in {names}]; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_name_that_is_none() -> None:
    with pytest.raises(AttributeError, match="no attribute 'predict'"):
        multimix.predict  # noqa: B018
