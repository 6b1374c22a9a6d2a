"""A DIMSE node (PS3.7, PS3.8): C-ECHO and C-STORE come in, from listed senders only.

An association is rejected unless calling AE title and address are one listed pair and the called AE title is
ours. C-STORE of an image is answered with success only when it is on the disk and in the queue. Reports, Segmentations
and other documents, which a router sends along, are answered with success and dropped.
"""

import io
import logging
import threading
from collections.abc import Callable
from typing import cast
from weakref import WeakKeyDictionary

import pydicom
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameSingleBitSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from multimix.errors import MultimixError, UsageError
from multimix.pacs.commitment import PUSH_MODEL, Reports
from multimix.pacs.config import NodeConfig
from multimix.pacs.events import Event as Told
from multimix.pacs.events import Kind, Tell, nobody
from multimix.pacs.listener import ASSOCIATIONS, HANDSHAKE_SECONDS, IDLE_SECONDS, Listener, plain
from multimix.pacs.outcomes import Image, is_uid, too_large
from multimix.pacs.queue import Queue
from multimix.pacs.tls import server_context

VERIFICATION = UID("1.2.840.10008.1.1")
SUCCESS, OUT_OF_RESOURCES, MISMATCH, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000
"""Status of a C-STORE (PS3.4 B.2.3)."""

KINDS = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
    MultiFrameSingleBitSecondaryCaptureImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
)
"""Images that are received."""

_DOCUMENTS = tuple(
    f"1.2.840.10008.5.1.4.1.1.{branch}."
    for branch in (
        "11",  # presentation states
        "66",  # raw data, registrations, Segmentations
        "88",  # structured reports, key objects, dose
        "104",  # encapsulated PDF, CDA
    )
)
DOCUMENTS = tuple(
    context.abstract_syntax
    for context in AllStoragePresentationContexts
    if context.abstract_syntax is not None and context.abstract_syntax.startswith(_DOCUMENTS)
)
"""What is received and dropped; anything else is declined when the association is negotiated."""

SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    HTJ2K,
    RLELossless,
]

log = logging.getLogger(__name__)


class Node:
    """Listens in threads of its own until it is closed."""

    def __init__(
        self,
        config: NodeConfig,
        queue: Queue,
        max_bytes: int,
        arrived: Callable[[], None] = lambda: None,
        tell: Tell = nobody,
        reports: Reports | None = None,
    ) -> None:
        """Listen at once; `arrived` is called after each new image, `reports` get those of storage commitment.

        UsageError where the port cannot be had.
        """
        self._queue, self._max_bytes, self._arrived, self._tell = queue, max_bytes, arrived, tell
        self._senders = config.senders()
        self._sizes: WeakKeyDictionary[Association, int] = WeakKeyDictionary()
        ae = AE(config.ae_title)
        ae.require_called_aet = True
        # Our own limits come first; of the library's the connections without association take their share.
        ae.maximum_associations = 8 * ASSOCIATIONS
        ae.acse_timeout, ae.network_timeout = HANDSHAKE_SECONDS, IDLE_SECONDS
        ae.add_supported_context(VERIFICATION)
        for kind in (*KINDS, *DOCUMENTS):
            ae.add_supported_context(kind, SYNTAXES)
        reports = reports or Reports()
        ae.add_supported_context(
            PUSH_MODEL, scu_role=True, scp_role=True
        )  # the archive that reports is the SCP
        try:
            server = cast(
                Listener,
                ae.make_server(
                    (config.address, config.port or 0),
                    ssl_context=server_context(config.tls),
                    evt_handlers=[
                        (evt.EVT_REQUESTED, self._admit),
                        (evt.EVT_PDU_RECV, self._measure),
                        (evt.EVT_C_STORE, self._keep),
                        (evt.EVT_N_EVENT_REPORT, reports.deliver),
                    ],
                    server_class=Listener,
                    allowed={address for _, address in self._senders},
                ),
            )
        except OSError as error:
            raise UsageError(
                f"node.port: cannot listen on {config.address}:{config.port} ({error.strerror}). Choose another port "
                "or address."
            ) from error
        self._server = server
        ae._servers.append(server)  # as start_server does, which knows no other class
        self._thread = threading.Thread(target=server.serve_forever, daemon=True)
        self._thread.start()
        self.port: int = server.server_address[1]
        """The port that is listened on."""

    @property
    def associations(self) -> int:
        """How many there are now."""
        return self._server.associations

    def close(self) -> None:
        """Stop listening and end the associations."""
        self._server.shutdown()
        self._server.hang_up_unfinished()
        for association in self._server.active_associations:
            if association.is_established:
                association.abort()
            association.join(HANDSHAKE_SECONDS)
        self._thread.join()

    def _admit(self, event: Event) -> None:
        title, address = _sender(event)
        if (title, address) not in self._senders:
            log.warning("association rejected: %s@%s is not listed in node.accept", title, address)
            reason = (0x01, 0x01, 0x03)  # permanent, user, calling AE title not recognised
        elif self._server.associations >= ASSOCIATIONS:
            log.warning("association rejected: there are %d already", ASSOCIATIONS)
            reason = (0x02, 0x03, 0x02)  # transient, presentation, local limit exceeded
        else:
            return
        self._tell(Told("rejected", f"{title}@{address}", ok=False))
        event.assoc.acse.send_reject(*reason)
        event.assoc.kill()

    def _measure(self, event: Event) -> None:
        """Throw away what comes of an object beyond the limit, before it is held."""
        for item in getattr(event.pdu, "presentation_data_value_items", ()):
            data = item.presentation_data_value
            if data[0] & 1:  # of a command, with which another object begins
                self._sizes[event.assoc] = 0
                continue
            self._sizes[event.assoc] = size = self._sizes.get(event.assoc, 0) + len(data) - 1
            if size > self._max_bytes:
                item.presentation_data_value = data[:1]

    def _keep(self, event: Event) -> int:
        """C-STORE: the status that the sender is told."""
        status, kind, image, patient = self._taken(event)
        title, address = _sender(event)
        sop_class = str(getattr(event.request, "AffectedSOPClassUID", ""))
        instances = (image.uid,) if image else ()
        told = Told(
            kind,
            f"{title}@{address}",
            status == SUCCESS,
            image.study if image else "",
            instances,
            sop_class,
            patient,
        )
        self._tell(told)
        return status

    def _taken(self, event: Event) -> tuple[int, Kind, Image | None, str]:
        """Status, what becomes of the object, where it belongs, and its Patient ID."""
        uid = str(getattr(event.request, "AffectedSOPInstanceUID", ""))
        try:
            data = event.encoded_dataset()
            header = pydicom.dcmread(
                io.BytesIO(data),
                stop_before_pixels=True,
                specific_tags=["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID"],
            )
            patient = str(header.get("PatientID") or "")[:64]
            uids = [str(header.get(f"{level}InstanceUID", "")) for level in ("SOP", "Study", "Series")]
        except Exception as error:  # on a damaged object pydicom raises nearly anything
            log.warning("an object was refused: it cannot be read (%s)", type(error).__name__)
            return CANNOT_UNDERSTAND, "refused", None, ""
        if not all(is_uid(one) for one in uids):
            log.warning("an object was refused: a UID is missing or malformed")
            return CANNOT_UNDERSTAND, "refused", None, ""
        if uids[0] != uid:
            log.warning("image %s was refused: the object names itself %s", uid, uids[0])
            return MISMATCH, "refused", None, ""
        image = Image(uid, uids[1], uids[2])
        if event.request.AffectedSOPClassUID in DOCUMENTS:
            log.info("object %s dropped: it is no image", uid)
            return SUCCESS, "dropped", image, patient
        status = self._queued(image, data, max(len(data), self._sizes.get(event.assoc, 0)))
        return status, "received" if status == SUCCESS else "refused", image, patient

    def _queued(self, image: Image, data: bytes, size: int) -> int:
        if size > self._max_bytes:
            self._queue.add([image])
            self._queue.fail(image.uid, too_large(size, self._max_bytes))
            return OUT_OF_RESOURCES
        try:
            new = self._queue.receive(image, data)
        except (MultimixError, OSError) as error:
            log.error("image %s was refused: it cannot be kept (%s)", image.uid, error)
            return OUT_OF_RESOURCES
        log.info("image %s received%s", image.uid, "" if new else " again, nothing to do")
        if new:
            self._arrived()
        return SUCCESS


def _sender(event: Event) -> tuple[str, str]:
    """Calling AE title and address."""
    requestor = event.assoc.requestor
    title = requestor.primitive.calling_ae_title.strip() if requestor.primitive else ""
    return title, plain(requestor.address)
