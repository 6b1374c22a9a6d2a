"""An archive that speaks DICOMweb: QIDO finds images, WADO brings them, STOW stores the results (PS3.18 10).

What goes wrong is told apart by asking a small question afterwards: an archive that does not answer that one
either is down (Unavailable); one that does has refused this image (Refused). No answer may be larger, after
decompression, or take longer than is allowed: `wire`.
"""

import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email.message import Message
from functools import partial
from io import BytesIO
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pydicom
import requests
from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset

from multimix.errors import UsageError
from multimix.io.dicom.header import is_ours
from multimix.io.dicom.read import read_header
from multimix.pacs.config import RESULTS, Credentials, DicomWebConfig, is_loopback
from multimix.pacs.outcomes import Image, Refused, Result, Skipped, Unavailable, is_uid, too_large, too_slow
from multimix.pacs.results import as_enhanced, is_report, not_taken, sent_as
from multimix.pacs.wire import TooLarge, TooSlow, Wire

PAGE = 500
"""Answers to one question of a search."""
TIMEOUT = (5.0, 60.0)
"""Seconds to wait for a connection, and for the next bytes of an answer."""
RESCAN_SECONDS = 3600.0
"""How long a study whose number of instances stays the same is taken to hold no new image."""
MAX_SEARCH_BYTES = 32_000_000
"""Largest answer to one question of a search; what is made of it takes ten times as much memory."""
PROBE_SECONDS = 15.0
"""Longest time for the small question."""

_DOUBTFUL = {401, 403, 407, 408, 425, 429, 502, 503, 504, 507}
"""Status codes that may say nothing about the image: credentials, too many requests, gateways, no space."""
_UNKNOWN_CLASS = 0x0122
"""Failure Reason: SOP class not supported."""
_ANY_SYNTAX = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
_FRAME = 65536
"""Bytes of an answer beside those of the object in it."""
_IMAGES = (
    "1.2.840.10008.5.1.4.1.1.1",  # CR, DX, mammography, intra-oral
    "1.2.840.10008.5.1.4.1.1.7",  # secondary capture, one frame or several
)

log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")


class Archive:
    """One archive; source of images and sink of results. Not for several threads."""

    def __init__(
        self,
        config: DicomWebConfig,
        credentials: Credentials,
        max_bytes: int,
        max_seconds: float = 60.0,
        captures: bool = False,
    ) -> None:
        """Nothing is sent yet. `max_bytes` of one object, `max_seconds` of one exchange; `captures` takes those of
        anything.

        UsageError where credentials would travel in the clear.
        """
        parts = urlsplit(config.url)
        local = is_loopback(parts.hostname or "")
        if credentials and parts.scheme == "http" and not local and not config.plain_http:
            raise UsageError(
                f"dicomweb.url: {config.url} would carry the credentials in the clear, expected https://. Use TLS, or "
                "set dicomweb.plain_http: true where the network is encrypted by other means."
            )
        self._config, self._max_bytes, self._captures = config, max_bytes, captures
        self._wire = Wire(max_bytes + _FRAME, max_seconds)
        self._session = requests.Session()
        self._session.mount("https://", self._wire)
        self._session.mount("http://", self._wire)
        self._session.max_redirects = 3
        self._session.auth = _Auth(credentials)
        self._session.verify = config.ca_file or True
        self._session.trust_env = not local  # a proxy of the environment is no way to this machine
        self._url = config.url.rstrip("/")
        self._client = DICOMwebClient(self._url, session=self._session, timeout=TIMEOUT, permissive_uid=True)
        self._client.set_http_retry_params(retry=False)  # the queue retries, and survives a kill
        self._seen: dict[str, tuple[int, float]] = {}

    @property
    def name(self) -> str:
        """Its URL."""
        return self._config.url

    @property
    def question(self) -> str:
        """What a search asks for, as the query of an address."""
        since = f"&StudyDate={self._config.since.replace('-', '')}-" if self._config.since else ""
        return f"ModalitiesInStudy={','.join(self._config.modalities)}{since}"

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    # Source

    def look(self) -> Iterator[list[Image]]:
        """Images of the wanted modalities, study by study. Raises Unavailable.

        A study whose number of instances is as it was at the last look is skipped, for an hour at most.
        """
        for study, instances in self._studies().items():
            known, when = self._seen.get(study, (0, 0.0))
            if instances and known == instances and time.monotonic() - when < RESCAN_SECONDS:
                continue
            try:
                yield list(self._images(study))
            except Refused as refusal:
                log.warning("study %s: cannot be searched (%s)", study, refusal)
                continue
            self._seen[study] = (instances, time.monotonic())

    def retrieve(self, image: Image) -> bytes:
        """The image as a DICOM file, byte for byte as the archive hands it out.

        Raises Unavailable, Refused, or Skipped where it says too little to be taken.
        """
        url = f"{self._url}/studies/{image.study}/series/{image.series}/instances/{image.uid}"
        with self._explained():
            response = self._session.get(url, headers=_ANY_SYNTAX, timeout=TIMEOUT)
            response.raise_for_status()
            data = _only_part(response.headers.get("Content-Type", ""), response.content)
            if len(data) > self._max_bytes:
                raise Refused(too_large(len(data), self._max_bytes), final=True)
            header = read_header(BytesIO(data), image.uid)
            if header.get("SOPInstanceUID") != image.uid or header.get("StudyInstanceUID") != image.study:
                raise Refused("the archive handed out another object than was asked for", final=True)
            if not self._captures and _could_be_anything(header):
                raise Skipped(
                    "a secondary capture that does not say which part of the body it shows; use --force=capture"
                )
        return data

    # Sink

    def takes(self) -> frozenset[str]:
        """All: DICOMweb has no question for it. An archive that takes no such object says so when it is stored."""
        return frozenset(RESULTS)

    def present(self, results: Sequence[Result]) -> set[str]:
        """UIDs of those that the archive holds, asked by QIDO. Raises Unavailable or Refused."""
        return {
            result.uid for result in results if any(self._holds(result.study, uid) for uid in sent_as(result))
        }

    def store(self, results: Sequence[Result]) -> set[str]:
        """Send by STOW, all in one request; returns the UIDs that the archive says it stored.

        A report that is not taken for its SOP class is sent as an Enhanced SR.
        """
        study, objects = results[0].study, {r.uid: pydicom.dcmread(r.path) for r in results}
        stored, failures = self._stow(study, list(objects.values()))
        if not (stored or failures):  # some archives answer a success with no body
            return self.present(results)
        foreign = [uid for uid, reason in failures.items() if reason == _UNKNOWN_CLASS and uid in objects]
        for uid in [uid for uid in foreign if is_report(objects[uid])]:
            enhanced = as_enhanced(objects[uid])
            if enhanced.SOPInstanceUID in self._stow(study, [enhanced])[0]:
                stored.add(uid)
                foreign.remove(uid)
        for reason in failures.values():
            if reason == 0x0124 or 0xA700 <= reason <= 0xA7FF:  # PS3.4 B.2.3: no rights, out of resources
                raise Refused(f"the archive gives failure reason {reason:04X}", doubtful=True)
        if foreign:
            raise Refused(not_taken("the archive", [objects[uid].SOPClassUID for uid in foreign]), final=True)
        return stored

    def _stow(self, study: str, objects: list[Dataset]) -> tuple[set[str], dict[str, int]]:
        """UIDs of objects that were stored, and of those that were not with the Failure Reason, PS3.18 I.2."""
        with self._explained():
            try:
                answer = self._client.store_instances(objects, study)
            except requests.HTTPError as error:
                if (
                    error.response is None or error.response.status_code != 409
                ):  # none stored, and it says why
                    raise
                answer = Dataset.from_json(error.response.json())
        stored = {str(item.ReferencedSOPInstanceUID) for item in answer.get("ReferencedSOPSequence", [])}
        failures = {
            str(item.get("ReferencedSOPInstanceUID", "")): int(item.get("FailureReason") or 0)
            for item in answer.get("FailedSOPSequence", [])
        }
        return stored, failures

    def _holds(self, study: str, uid: str) -> bool:
        search = partial(self._client.search_for_instances, study, limit=2)
        found = self._ask(partial(search, search_filters={"SOPInstanceUID": uid}))
        return any(_value(item, "00080018") == uid for item in found)  # some ignore a filter

    # Searching

    def _studies(self) -> dict[str, int]:
        """Study -> number of instances, 0 where the archive does not say."""
        since = {"StudyDate": f"{self._config.since.replace('-', '')}-"} if self._config.since else {}
        studies: dict[str, int] = {}
        for modality in self._config.modalities:
            search = partial(
                self._client.search_for_studies,
                fields=["NumberOfStudyRelatedInstances"],
                search_filters=since | {"ModalitiesInStudy": modality},
            )
            try:
                for item in self._pages(search, "0020000D"):
                    studies[_value(item, "0020000D")] = int(_value(item, "00201208") or 0)
            except Refused as refusal:
                raise Unavailable(
                    f"{self._config.url}: the search for studies is refused ({refusal}); check the path of the URL, "
                    "which must be that of the DICOMweb service"
                ) from refusal
        return studies

    def _images(self, study: str) -> Iterator[Image]:
        """Images of the wanted modalities and kinds in one study."""
        fields = ["Modality", "SOPClassUID", "Rows", "Columns"]
        search = partial(self._client.search_for_instances, study, fields=fields)
        for item in self._pages(search, "00080018"):
            uid, series = _value(item, "00080018"), _value(item, "0020000E")
            if not is_uid(series):
                continue
            modality, kind = _value(item, "00080060"), _value(item, "00080016")
            if modality and modality not in self._config.modalities:
                continue
            if kind and not any(kind == root or kind.startswith(f"{root}.") for root in _IMAGES):
                continue
            pixels = int(_value(item, "00280010") or 0) * int(_value(item, "00280011") or 0)
            yield Image(uid, study, series, pixels)

    def _pages(self, search: Callable[..., list[dict[str, Any]]], tag: str) -> Iterator[dict[str, Any]]:
        """Every answer of a search once, whatever page size the archive chooses, known by the UID at `tag`."""
        seen: set[str] = set()
        offset = 0
        while True:
            page = self._ask(partial(search, limit=PAGE, offset=offset))
            new = [item for item in page if _value(item, tag) not in seen]
            seen.update(_value(item, tag) for item in new)
            named = [item for item in new if is_uid(_value(item, tag))]
            if len(named) < len(new):
                log.warning("%d answers to a search were skipped: they have no UID", len(new) - len(named))
            yield from named
            if not new:  # the end, or an archive that ignores the offset
                return
            offset += len(page)

    # Trouble

    def _ask(self, question: Callable[[], _Answer]) -> _Answer:
        with self._explained(), self._wire.limited(MAX_SEARCH_BYTES, self._wire.seconds):
            return question()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn whatever a request raises into Unavailable or Refused, without a word of the answer's body."""
        try:
            yield
        except (Unavailable, Refused, Skipped):
            raise
        except requests.HTTPError as error:
            answer = error.response
            code = 0 if answer is None else answer.status_code
            reason = f"HTTP {code}"
            if code in (401, 403):
                reason += ", the archive refuses the credentials"
            doubtful = code in _DOUBTFUL
            if doubtful or code >= 500:
                self._probe(reason)
            after = 0.0 if answer is None else _seconds(answer.headers.get("Retry-After", ""))
            raise Refused(reason, final=code in (404, 410), doubtful=doubtful, after=after) from error
        except TooLarge as error:
            raise Refused(too_large(error.size, error.limit), final=True) from error
        except TooSlow as error:
            self._probe(_kind(error))
            raise Refused(too_slow(error.seconds), doubtful=True) from error
        except requests.RequestException as error:
            self._probe(_kind(error))
            raise Refused(f"the connection broke ({_kind(error)})", doubtful=True) from error
        except Exception as error:  # the parsers of answers raise anything on a damaged one
            self._probe(_kind(error))
            raise Refused(f"the answer cannot be read ({_kind(error)})") from error

    def _probe(self, reason: str) -> None:
        """Raise Unavailable unless the archive answers a small question."""
        try:
            with self._wire.limited(MAX_SEARCH_BYTES, PROBE_SECONDS):
                self._client.search_for_studies(limit=1)
        except TooLarge:  # it ignores the limit, but it answers
            return
        except Exception as error:
            raise Unavailable(
                f"{self._config.url}: {reason}; check the address, and that the archive runs"
            ) from error


class _Auth(requests.auth.AuthBase):
    """Basic or bearer; as an object, so that requests does not look for others in ~/.netrc."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._credentials.token:
            request.headers["Authorization"] = f"Bearer {self._credentials.token}"
        elif self._credentials.user:
            user, password = self._credentials.user.encode(), self._credentials.password.encode()
            return requests.auth.HTTPBasicAuth(user, password)(request)
        return request


def _only_part(kind: str, body: bytes) -> bytes:
    """The first part of a multipart body (RFC 2046 5.1), or the body where some archives send it bare (CP 2040).

    ValueError where there is none.
    """
    message = Message()
    message["Content-Type"] = kind
    if message.get_content_maintype() != "multipart":
        return body
    marker = b"--" + str(message.get_boundary(failobj="")).encode("latin-1", "replace")
    begin = body.index(b"\r\n\r\n", body.index(marker)) + 4
    return body[begin : body.index(b"\r\n" + marker, begin)]


def _seconds(text: str) -> float:
    """Retry-After (RFC 9110 10.2.3) where it is a number of seconds, else 0."""
    return float(text) if re.fullmatch("[0-9]{1,6}", text.strip()) else 0.0


def _value(item: dict[str, Any], tag: str) -> str:
    """The first value of an attribute in DICOM JSON (PS3.18 F), as text; empty where it is absent."""
    values = item.get(tag, {}).get("Value") or [""]
    return str(values[0]) if values[0] is not None else ""


def _could_be_anything(dataset: Dataset) -> bool:
    """Whether it is a capture of modality 'other' without a body part: a screenshot or a scanned letter as a rule."""
    says = any(dataset.get(name) for name in ("BodyPartExamined", "AnatomicRegionSequence"))
    return (
        dataset.get("Modality") not in ("CR", "DX")
        and not says
        and not is_ours(dataset)
        and (str(dataset.get("SOPClassUID", "")).startswith(_IMAGES[1]))
    )


def _kind(error: BaseException) -> str:
    """What kind of error it is; its words could quote an address with parameters, or a patient."""
    return type(error).__name__
