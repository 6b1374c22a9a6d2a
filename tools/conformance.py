"""The tables of docs/conformance.md, written from the code that keeps to them.

python tools/conformance.py            write them
python tools/conformance.py --check    exit status 1 where they are not what the code does
"""

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from multimix.io.dicom.header import OBJECTIONS
from multimix.pacs import archive, listener, node, peer
from multimix.pacs.audit import MESSAGES
from multimix.pacs.commitment import PUSH_MODEL
from multimix.pacs.config import REASONS, PacsConfig
from multimix.pacs.events import KINDS as EVENTS
from multimix.pacs.results import KINDS as RESULTS

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "conformance.md"
MEANING = {
    "seg": "Segmentation",
    "sr": "report; the second where the first is not taken",
    "overlay": "overlay",
}


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _named(uids: Iterable[str]) -> list[tuple[str, str]]:
    return [(UID(uid).name, str(uid)) for uid in uids]


def accepted() -> str:
    """Abstract syntaxes of the node as acceptor."""
    kinds = [
        *((name, uid, "SCP", "answered") for name, uid in _named([node.VERIFICATION])),
        *((name, uid, "SCP", "kept and answered") for name, uid in _named(node.KINDS)),
        *((name, uid, "SCP", "success, dropped") for name, uid in _named(node.DOCUMENTS)),
        *((name, uid, "SCU", "reports of an archive") for name, uid in _named([PUSH_MODEL])),
    ]
    return _table(["SOP class", "UID", "role", "what becomes of it"], kinds)


def accepted_syntaxes() -> str:
    """Transfer syntaxes of the node."""
    return _table(["transfer syntax", "UID"], _named(node.SYNTAXES))


def proposed() -> str:
    """Abstract syntaxes that are proposed to a peer."""
    rows = [
        *((name, uid, "is it there, does it work") for name, uid in _named([peer._ECHO])),
        *((name, uid, "is the result there") for name, uid in _named([peer._FIND])),
        *((name, uid, MEANING[result]) for result, kinds in RESULTS.items() for name, uid in _named(kinds)),
        *((name, uid, "where commitment_seconds is set") for name, uid in _named([PUSH_MODEL])),
    ]
    return _table(["SOP class", "UID", "for"], rows)


def proposed_syntaxes() -> str:
    """Transfer syntaxes that are proposed to a peer."""
    return _table(["transfer syntax", "UID"], _named([ExplicitVRLittleEndian, ImplicitVRLittleEndian]))


def statuses() -> str:
    """What C-STORE is answered with, and what is made of a peer's answers."""
    stored = ", ".join(f"{status:04X}" for status in sorted(peer._STORED))
    rows = [
        ("answered", f"{node.SUCCESS:04X}", "on the disk and in the queue, or dropped"),
        ("answered", f"{node.OUT_OF_RESOURCES:04X}", "larger than max_megabytes, or it cannot be written"),
        ("answered", f"{node.MISMATCH:04X}", "the object names itself otherwise than the request"),
        ("answered", f"{node.CANNOT_UNDERSTAND:04X}", "it cannot be read, or a UID is missing"),
        ("understood", stored, "stored"),
        ("understood", f"{min(peer._BUSY):04X}, A7xx", "put off, where C-ECHO is answered"),
        ("understood", "any other", "tried again `retry.attempts` times, then failed"),
    ]
    return _table(["C-STORE status", "code", "meaning"], rows)


def limits() -> str:
    """Limits that are not settings."""
    rows = [
        ("node", "associations at a time", listener.ASSOCIATIONS),
        ("node", "connections without an association, of one address", listener.UNFINISHED),
        ("node", "seconds until an association", f"{listener.HANDSHAKE_SECONDS:g}"),
        ("node", "seconds between two PDUs", f"{listener.IDLE_SECONDS:g}"),
        ("node", "bytes of a PDU", listener.MAX_PDU),
        ("peer", "seconds for an answer, and for all answers to a C-FIND", f"{peer.TIMEOUT:g}"),
        ("peer", "answers to one C-FIND", peer.MAX_ANSWERS),
        ("DICOMweb", "seconds for a connection", f"{archive.TIMEOUT[0]:g}"),
        ("DICOMweb", "bytes of an answer to a search", archive.MAX_SEARCH_BYTES),
        ("DICOMweb", "answers that a search asks for at once", archive.PAGE),
    ]
    return _table(["side", "limit", "value"], rows)


def configuration() -> str:
    """Settings with their defaults."""
    config = PacsConfig()
    rows = [
        ("node.ae_title", config.node.ae_title),
        ("node.address", config.node.address),
        ("node.port", config.node.port),
        ("peer.port", config.peer.port),
        ("peer.ae_title", config.peer.ae_title),
        ("peer.commitment_seconds", f"{config.peer.commitment_seconds:g}"),
        ("max_megabytes", config.max_megabytes),
        ("max_seconds", f"{config.max_seconds:g}"),
        ("retry.attempts", config.retry.attempts),
        ("dicomweb.modalities", ", ".join(config.dicomweb.modalities)),
    ]
    return _table(["setting", "default"], rows)


def audited() -> str:
    """Audit messages."""
    rows = []
    for kind, form in MESSAGES.items():
        of = f", {form.kind[1]} ({form.kind[0]})" if form.kind else ""
        rows.append((EVENTS[kind], f"{form.event[1]} ({form.event[0]}){of}", form.action))
    return _table(["when", "Event ID, Event Type Code (DCM)", "Event Action Code"], rows)


def reasons() -> str:
    """Why an image is not answered."""
    where = dict.fromkeys(OBJECTIONS, "header") | {"unlike": "pixels", "capture": "header, DICOMweb alone"}
    return _table(["reason", "told by"], [(name, where[name]) for name in REASONS])


TABLES = (
    accepted,
    accepted_syntaxes,
    proposed,
    proposed_syntaxes,
    statuses,
    limits,
    configuration,
    audited,
    reasons,
)


def written(text: str) -> str:
    """`text` with the tables of now between their marks. Raises ValueError where a mark is missing."""
    for table in TABLES:
        begin, end = f"<!-- {table.__name__}:begin -->", f"<!-- {table.__name__}:end -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"{DOCUMENT.name}: expected {begin} and {end} once each")
        new = f"{begin}\n{table()}\n{end}"
        text = re.sub(f"{re.escape(begin)}.*{re.escape(end)}", lambda _, new=new: new, text, flags=re.DOTALL)
    return text


def main() -> int:
    """Write or check; the exit status."""
    text = DOCUMENT.read_text("utf-8")
    new = written(text)
    if "--check" in sys.argv[1:]:
        if new != text:
            print(f"{DOCUMENT.name}: the tables are not what the code does; run python tools/conformance.py")
        return int(new != text)
    DOCUMENT.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
