"""The node that results go to: C-FIND asks what is there, C-STORE sends the rest (PS3.4 B and C)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, Association, build_context

from multimix.pacs.config import PeerConfig
from multimix.pacs.outcomes import Refused, Result, Unavailable

TIMEOUT = 60.0
"""Seconds to wait for an answer."""

_BUSY = {0x0124, *range(0xA700, 0xA800)}
"""Not authorised, out of resources: the image's fault or the peer's (PS3.4 B.2.3)."""
_STORED = {0x0000, 0x0111, 0xB000, 0xB006, 0xB007}
"""Success, a duplicate of what is there, and success with a warning."""

_ECHO = UID("1.2.840.10008.1.1")
_FIND = UID("1.2.840.10008.5.1.4.1.2.2.1")  # study root


class Peer:
    """A sink of results."""

    def __init__(self, config: PeerConfig, own_title: str) -> None:
        """Nothing is sent yet; `own_title` is the AE title that the peer sees."""
        self._config = config
        self._ae = AE(own_title)
        self._ae.connection_timeout = 5
        self._ae.acse_timeout = self._ae.dimse_timeout = self._ae.network_timeout = TIMEOUT

    def close(self) -> None:
        """Nothing stays open between two calls."""

    def present(self, results: Sequence[Result]) -> set[str]:
        """UIDs of those that the peer holds; none where it does not answer C-FIND. Raises Unavailable."""
        with self._association([_FIND]) as association:
            if not any(context.abstract_syntax == _FIND for context in association.accepted_contexts):
                return set()
            return {result.uid for result in results if _found(association, result)}

    def store(self, results: Sequence[Result]) -> set[str]:
        """Send by C-STORE; returns the UIDs that the peer confirmed. Raises Unavailable or Refused."""
        objects = {result.uid: pydicom.dcmread(result.path) for result in results}
        confirmed: set[str] = set()
        with self._association(sorted({dataset.SOPClassUID for dataset in objects.values()})) as association:
            for uid, dataset in objects.items():
                status = self._send(association, dataset)
                if status in _BUSY:
                    self._probe(association, f"C-STORE status {status:04X}")
                    raise Refused(
                        f"C-STORE of {dataset.SOPClassUID.name}: status {status:04X}", doubtful=True
                    )
                if status not in _STORED:
                    raise Refused(f"C-STORE of {dataset.SOPClassUID.name} ended with status {status:04X}")
                confirmed.add(uid)
        return confirmed

    @property
    def _name(self) -> str:
        return f"{self._config.ae_title}@{self._config.host}:{self._config.port}"

    def _send(self, association: Association, dataset: Dataset) -> int:
        try:
            status = association.send_c_store(dataset)
        except ValueError as error:  # no accepted presentation context
            raise Refused(f"the peer does not take {dataset.SOPClassUID.name}") from error
        except RuntimeError as error:  # the association ended under way
            raise Unavailable(f"{self._name}: the association was lost") from error
        if "Status" not in status:
            raise Unavailable(f"{self._name}: no answer to C-STORE")
        return int(status.Status)

    def _probe(self, association: Association, reason: str) -> None:
        """Raise Unavailable unless the peer answers C-ECHO."""
        try:
            answer = association.send_c_echo()
        except (RuntimeError, ValueError) as error:
            raise Unavailable(f"{self._name}: {reason}") from error
        if answer.get("Status") != 0x0000:
            raise Unavailable(f"{self._name}: {reason}")

    @contextmanager
    def _association(self, kinds: Sequence[str]) -> Iterator[Association]:
        # C-ECHO is taken by every node, so that a peer which takes none of the `kinds` can say so.
        contexts = [
            build_context(kind, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]) for kind in (_ECHO, *kinds)
        ]
        association = self._ae.associate(
            self._config.host, self._config.port, contexts=contexts, ae_title=self._config.ae_title
        )
        if not association.is_established:
            trouble = "rejects the association" if association.is_rejected else "cannot be reached"
            raise Unavailable(f"{self._name}: {trouble}")
        try:
            yield association
        finally:
            if association.is_established:
                association.release()


def _found(association: Association, result: Result) -> bool:
    header = pydicom.dcmread(result.path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID, query.SeriesInstanceUID = result.study, header.SeriesInstanceUID
    query.SOPInstanceUID = result.uid
    try:
        answers = [found for _, found in association.send_c_find(query, _FIND) if found is not None]
    except RuntimeError:  # the association ended under way; the next step will say so
        return False
    return any(found.get("SOPInstanceUID") == result.uid for found in answers)
