"""The node that results go to: C-FIND asks what is there, C-STORE sends the rest (PS3.4 B and C)."""

import logging
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID, EnhancedSRStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, Association, build_context, evt
from pynetdicom.dul import DULServiceProvider

from multimix.pacs.commitment import INSTANCE, PUSH_MODEL, REQUEST, Reports
from multimix.pacs.config import PeerConfig
from multimix.pacs.outcomes import Refused, Result, Stopped, Unavailable
from multimix.pacs.results import KINDS, as_enhanced, as_sent, is_report, not_taken, sent_as, taken
from multimix.pacs.tls import client_context

TIMEOUT = 60.0
"""Seconds to wait for an answer, and for all answers to one C-FIND."""
MAX_ANSWERS = 1000
"""To a C-FIND for one instance; a peer that ignores the query has more."""

log = logging.getLogger(__name__)

_BUSY = {0x0124, *range(0xA700, 0xA800)}
"""Not authorised, out of resources: the image's fault or the peer's (PS3.4 B.2.3)."""
_STORED = {0x0000, 0x0111, 0xB000, 0xB006, 0xB007}
"""Success, a duplicate of what is there, and success with a warning."""

_ECHO = UID("1.2.840.10008.1.1")
_FIND = UID("1.2.840.10008.5.1.4.1.2.2.1")  # study root


class Peer:
    """A sink of results."""

    def __init__(self, config: PeerConfig, own_title: str, reports: Reports | None = None) -> None:
        """Nothing is sent yet; `own_title` is the AE title that the peer sees, `reports` are those of the node."""
        self._reports = reports or Reports()
        self._config = config
        self._tls = client_context(config.tls)
        self._known: set[str] | None = None
        self._ae = AE(own_title)
        self._ae.connection_timeout = 5
        self._ae.acse_timeout = self._ae.dimse_timeout = self._ae.network_timeout = TIMEOUT

    def close(self) -> None:
        """Nothing stays open between two calls."""

    def takes(self) -> frozenset[str]:
        """What the peer accepts when an association is negotiated. Raises Unavailable."""
        return taken(self._classes())

    def _classes(self) -> set[str]:
        """SOP classes of results that the peer accepts. Raises Unavailable."""
        if self._known is None:
            kinds = [one for known in KINDS.values() for one in known]
            with self._association(kinds) as association:
                self._known = _accepted(association)
        return self._known

    def present(self, results: Sequence[Result]) -> set[str]:
        """UIDs of those that the peer holds; none where it does not answer C-FIND. Raises Unavailable.

        Where commitment is wanted, of those that it commits to.
        """
        held = self._held(results)
        return self._committed([result for result in results if result.uid in held])

    def _held(self, results: Sequence[Result]) -> set[str]:
        with self._association([_FIND]) as association:
            if _FIND not in _accepted(association):
                return set()
            return {result.uid for result in results if _found(association, result)}

    def store(self, results: Sequence[Result]) -> set[str]:
        """Send by C-STORE; returns the UIDs that the peer confirmed. Raises Unavailable or Refused.

        A report of a SOP class that is not accepted is sent as an Enhanced SR.
        """
        objects = {result.uid: pydicom.dcmread(result.path) for result in results}
        kinds = {dataset.SOPClassUID for dataset in objects.values()}
        if any(map(is_report, objects.values())):
            kinds.add(EnhancedSRStorage)
        confirmed: set[str] = set()
        foreign: list[str] = []
        with self._association(sorted(kinds)) as association:
            accepted = _accepted(association)
            for uid, dataset in objects.items():
                declined = dataset.SOPClassUID not in accepted
                if declined and is_report(dataset) and EnhancedSRStorage in accepted:
                    as_enhanced(dataset)
                if dataset.SOPClassUID not in accepted:
                    foreign.append(dataset.SOPClassUID)
                    continue
                status = self._send(association, dataset)
                if status in _BUSY:
                    self._probe(association, f"C-STORE status {status:04X}")
                    raise Refused(
                        f"C-STORE of {dataset.SOPClassUID.name}: status {status:04X}", doubtful=True
                    )
                if status not in _STORED:
                    raise Refused(f"C-STORE of {dataset.SOPClassUID.name} ended with status {status:04X}")
                confirmed.add(uid)
        if foreign:  # the others are there
            raise Refused(not_taken("the peer", foreign), final=True)
        return self._committed([result for result in results if result.uid in confirmed])

    def _committed(self, results: Sequence[Result]) -> set[str]:
        """UIDs of those that the peer commits to keep; of all where it is not asked. Raises Unavailable or Refused."""
        if not (results and self._config.commitment_seconds):
            return {result.uid for result in results}
        classes = self._classes()
        objects = {result.uid: as_sent(result, classes) for result in results}
        asked = self._reports.question(objects.values())
        with self._association([PUSH_MODEL]) as association:
            if PUSH_MODEL not in _accepted(association):
                raise Refused(
                    "the peer knows no storage commitment; set peer.commitment_seconds to 0", final=True
                )
            try:
                status, _ = association.send_n_action(asked, REQUEST, PUSH_MODEL, INSTANCE)
            except RuntimeError as error:
                raise Unavailable(f"{self.name}: the association was lost") from error
            if status.get("Status") != 0x0000:
                raise Refused("the peer does not take the question for storage commitment", doubtful=True)
            told = self._reports.wait(asked, self._config.commitment_seconds)
        if told is None:
            raise Refused("no report of storage commitment came in time", doubtful=True)
        return {result for result, (_, uid) in objects.items() if told.get(uid) == 0}

    @property
    def name(self) -> str:
        """TITLE@HOST:PORT."""
        return f"{self._config.ae_title}@{self._config.host}:{self._config.port}"

    def _send(self, association: Association, dataset: Dataset) -> int:
        try:
            status = association.send_c_store(dataset)
        except RuntimeError as error:  # the association ended under way
            raise Unavailable(f"{self.name}: the association was lost") from error
        if "Status" not in status:
            raise Unavailable(f"{self.name}: no answer to C-STORE")
        return int(status.Status)

    def _probe(self, association: Association, reason: str) -> None:
        """Raise Unavailable unless the peer answers C-ECHO."""
        try:
            answer = association.send_c_echo()
        except (RuntimeError, ValueError) as error:
            raise Unavailable(f"{self.name}: {reason}") from error
        if answer.get("Status") != 0x0000:
            raise Unavailable(f"{self.name}: {reason}")

    @contextmanager
    def _association(self, kinds: Sequence[str]) -> Iterator[Association]:
        # C-ECHO is taken by every node, so that a peer which takes none of the `kinds` can say so.
        contexts = [
            build_context(kind, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]) for kind in (_ECHO, *kinds)
        ]
        try:
            association = self._ae.associate(
                self._config.host,
                self._config.port,
                contexts=contexts,
                ae_title=self._config.ae_title,
                evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._reports.deliver)],
                tls_args=None if self._tls is None else (self._tls, self._config.host),
            )
            if not association.is_established:
                trouble = "rejects the association" if association.is_rejected else "cannot be reached"
                raise Unavailable(f"{self.name}: {trouble}")
            try:
                yield association
            except Exception:
                _release(association)
                raise
            _release(association)
        except Stopped:  # the worker is told to end; a peer that does not answer is not waited for
            self._hang_up()
            raise

    def _hang_up(self) -> None:
        """End the threads of pynetdicom that hold the process while a peer says nothing."""
        for thread in threading.enumerate():
            if isinstance(thread, DULServiceProvider) and thread.assoc.ae is self._ae:
                held = thread.socket.socket if thread.socket is not None else None
                if held is not None:
                    with suppress(OSError):
                        held.shutdown(socket.SHUT_RDWR)
                thread.kill_dul()


def _release(association: Association) -> None:
    if association.is_established:
        association.release()


def _found(association: Association, result: Result) -> bool:
    header = pydicom.dcmread(result.path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID, query.SeriesInstanceUID = result.study, header.SeriesInstanceUID
    for uid in sent_as(result):
        query.SOPInstanceUID = uid
        if _answers(association, query, uid):
            return True
    return False


def _answers(association: Association, query: Dataset, uid: str) -> bool:
    """Whether one of the answers to `query` is about `uid`; those of a peer that gives no end of them count no more."""
    deadline, there = time.monotonic() + TIMEOUT, False
    try:
        for number, (_, found) in enumerate(association.send_c_find(query, _FIND), start=1):
            there |= found is not None and found.get("SOPInstanceUID") == uid
            if number > MAX_ANSWERS or time.monotonic() > deadline:
                log.warning("the peer gives no end of answers to C-FIND")
                association.abort()  # what else comes would be taken for answers to the next question
                break
    except RuntimeError:  # the association ended under way; the next step will say so
        pass
    return there


def _accepted(association: Association) -> set[str]:
    """SOP classes that the peer accepts."""
    return {str(context.abstract_syntax) for context in association.accepted_contexts}
