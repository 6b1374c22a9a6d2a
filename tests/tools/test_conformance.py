"""docs/conformance.md is what the code does: its tables are current, and a foreign program negotiates what they say."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from pynetdicom import AE, StoragePresentationContexts, build_role

from multimix.pacs.config import NodeConfig
from multimix.pacs.node import Node
from multimix.pacs.queue import Queue

ROOT = Path(__file__).resolve().parents[2]
VERIFICATION = "1.2.840.10008.1.1"
COMMITMENT = "1.2.840.10008.1.20.1"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module("conformance")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    queue = Queue(tmp_path / "queue")
    node = Node(NodeConfig(port=0, accept=("SCANNER@127.0.0.1",)), queue, 1000)
    yield node
    node.close()
    queue.close()


def stated(table: str) -> list[str]:
    """The UIDs of a table in the document."""
    text = (ROOT / "docs" / "conformance.md").read_text("utf-8")
    (found,) = re.findall(f"<!-- {table}:begin -->(.*?)<!-- {table}:end -->", text, re.DOTALL)
    return re.findall(r"\| (1\.2\.840\.[0-9.]+) \|", found)


def accepted(node: Node, kinds: list[str], syntaxes: list[str] | None = None) -> set[tuple[str, str]]:
    """SOP class and transfer syntax of each context that is accepted, asked for one by one."""
    found = set()
    for first in range(0, len(kinds), 100):
        ae = AE("SCANNER")
        for kind in kinds[first : first + 100]:
            ae.add_requested_context(kind, syntaxes)
        roles = [build_role(COMMITMENT, scp_role=True)] if COMMITMENT in kinds else []
        association = ae.associate("127.0.0.1", node.port, ae_title="MULTIMIX", ext_neg=roles)
        found |= {
            (str(one.abstract_syntax), str(one.transfer_syntax[0])) for one in association.accepted_contexts
        }
        if association.is_established:  # it is not where nothing was accepted
            association.release()
    return found


def test_the_tables_are_those_of_the_code(tool: ModuleType):
    text = (ROOT / "docs" / "conformance.md").read_text("utf-8")
    assert tool.written(text) == text
    assert tool.written(text.replace("| SCP |", "| SCU |")) == text  # the check can fail
    with pytest.raises(ValueError, match="limits:begin"):
        tool.written(text.replace("<!-- limits:begin -->", ""))


def test_the_node_accepts_what_is_stated_and_nothing_else(node: Node):
    listed = stated("accepted")
    assert {kind for kind, _ in accepted(node, listed)} == set(listed)
    others = sorted({str(one.abstract_syntax) for one in StoragePresentationContexts} - set(listed))
    assert len(others) > 50
    assert accepted(node, [VERIFICATION, *others[:90]]) == {(VERIFICATION, "1.2.840.10008.1.2")}


def test_every_transfer_syntax_that_is_stated_is_accepted(node: Node):
    for syntax in stated("accepted_syntaxes"):
        assert accepted(node, ["1.2.840.10008.5.1.4.1.1.1"], [syntax]) == {
            ("1.2.840.10008.5.1.4.1.1.1", syntax)
        }
    assert accepted(node, ["1.2.840.10008.5.1.4.1.1.1"], ["1.2.840.10008.1.2.4.100"]) == set()
