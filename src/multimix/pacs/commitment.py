"""Storage commitment, PS3.4 J: an archive is asked to say that it keeps the results, and says so later.

The question goes out on an association of the peer. The report comes on the same one, or on one that the archive opens
to the node; both are delivered here.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid
from pynetdicom.events import Event

PUSH_MODEL = UID("1.2.840.10008.1.20.1")
INSTANCE = UID("1.2.840.10008.1.20.1.1")
"""The one instance that all questions are asked of."""
REQUEST = 1
"""Action Type ID of a question."""


@dataclass
class Reports:
    """Questions that wait for their report, by Transaction UID."""

    _changed: threading.Condition = field(default_factory=threading.Condition)
    _waiting: set[str] = field(default_factory=set)
    _come: dict[str, Dataset] = field(default_factory=dict)

    def question(self, objects: Iterable[tuple[str, str]]) -> Dataset:
        """The information of an N-ACTION about objects, SOP class and instance UID of each."""
        asked = Dataset()
        asked.TransactionUID = generate_uid()
        asked.ReferencedSOPSequence = []
        for sop_class, uid in objects:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
            asked.ReferencedSOPSequence.append(item)
        with self._changed:
            self._waiting.add(asked.TransactionUID)
        return asked

    def deliver(self, event: Event) -> tuple[int, None]:
        """A handler of N-EVENT-REPORT; a report that nobody waits for is answered all the same."""
        report = event.event_information
        transaction = str(report.get("TransactionUID", ""))
        with self._changed:
            if transaction in self._waiting:
                self._come[transaction] = report
                self._changed.notify_all()
        return 0x0000, None

    def wait(self, asked: Dataset, seconds: float) -> dict[str, int] | None:
        """UID of each object -> 0 where it is kept, else the Failure Reason; None where no report comes in time."""
        transaction = str(asked.TransactionUID)
        with self._changed:
            self._changed.wait_for(lambda: transaction in self._come, seconds)
            self._waiting.discard(transaction)
            report = self._come.pop(transaction, None)
        if report is None:
            return None
        told = {str(item.ReferencedSOPInstanceUID): 0 for item in report.get("ReferencedSOPSequence", [])}
        for item in report.get("FailedSOPSequence", []):
            told[str(item.ReferencedSOPInstanceUID)] = int(item.get("FailureReason") or 0x0110)
        return told
