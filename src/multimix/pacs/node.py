"""A DIMSE node (PS3.7, PS3.8): C-ECHO and C-STORE come in, from listed senders only.

An association is rejected unless calling AE title and address are one listed pair and the called AE title is
ours. C-STORE is answered with success only when the image is on the disk and in the queue.
"""

import io
import ipaddress
import logging
from collections.abc import Callable

import pydicom
from pydicom.uid import (
    JPEG2000,
    UID,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
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
from pynetdicom import AE, evt
from pynetdicom.events import Event

from multimix.errors import MultimixError, UsageError
from multimix.pacs.config import NodeConfig
from multimix.pacs.outcomes import Image, is_uid, too_large
from multimix.pacs.queue import Queue

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
"""What is received; anything else is declined when the association is negotiated."""

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
    RLELossless,
]

log = logging.getLogger(__name__)


class Node:
    """Listens in threads of its own until it is closed."""

    def __init__(
        self, config: NodeConfig, queue: Queue, max_bytes: int, arrived: Callable[[], None] = lambda: None
    ) -> None:
        """Listen at once; `arrived` is called after each new image. UsageError where the port cannot be had."""
        self._queue, self._max_bytes, self._arrived = queue, max_bytes, arrived
        self._senders = config.senders()
        ae = AE(config.ae_title)
        ae.require_called_aet = True
        ae.add_supported_context(VERIFICATION)
        for kind in KINDS:
            ae.add_supported_context(kind, SYNTAXES)
        try:
            server = ae.start_server(
                (config.address, config.port or 0),
                block=False,
                evt_handlers=[(evt.EVT_REQUESTED, self._admit), (evt.EVT_C_STORE, self._keep)],
            )
        except OSError as error:
            raise UsageError(
                f"node.port: cannot listen on {config.address}:{config.port} ({error.strerror}). Choose another port "
                "or address."
            ) from error
        assert server is not None  # it is None only where the call blocks
        self._ae, self._server = ae, server
        self.port: int = server.server_address[1]
        """The port that is listened on."""

    def close(self) -> None:
        """Stop listening and end the associations."""
        self._ae.shutdown()

    def _admit(self, event: Event) -> None:
        requestor = event.assoc.requestor
        address = ipaddress.ip_address(requestor.address)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        title = requestor.primitive.calling_ae_title.strip() if requestor.primitive else ""
        if (title, str(address)) not in self._senders:
            log.warning("association rejected: %s@%s is not listed in node.accept", title, address)
            event.assoc.acse.send_reject(0x01, 0x01, 0x03)  # permanent, user, calling AE title not recognised
            event.assoc.kill()

    def _keep(self, event: Event) -> int:
        """C-STORE: the status that the sender is told."""
        uid = str(getattr(event.request, "AffectedSOPInstanceUID", ""))
        try:
            data = event.encoded_dataset()
            header = pydicom.dcmread(
                io.BytesIO(data),
                stop_before_pixels=True,
                specific_tags=["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"],
            )
            uids = [str(header.get(f"{level}InstanceUID", "")) for level in ("SOP", "Study", "Series")]
        except Exception as error:  # on a damaged object pydicom raises nearly anything
            log.warning("an object was refused: it cannot be read (%s)", type(error).__name__)
            return CANNOT_UNDERSTAND
        if not all(is_uid(one) for one in uids):
            log.warning("an object was refused: a UID is missing or malformed")
            return CANNOT_UNDERSTAND
        if uids[0] != uid:
            log.warning("image %s was refused: the object names itself %s", uid, uids[0])
            return MISMATCH
        return self._queued(Image(uid, uids[1], uids[2]), data)

    def _queued(self, image: Image, data: bytes) -> int:
        if len(data) > self._max_bytes:
            self._queue.add([image])
            self._queue.fail(image.uid, too_large(len(data), self._max_bytes))
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
