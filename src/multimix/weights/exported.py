"""An exported model's file (.onnx), read without a library of ONNX: what it is and whether its certificate names it.

`multimix export` writes what a weights file's header holds as metadata of the model, and last of all, so that it can
name the rest of the file by its SHA-256, the certificate: how far the answers are from those of torch.

The file is a protocol buffer: fields one after the other, each with a key (number << 3 | kind). Only entries of
metadata (field 14 of ModelProto, of key and value) are looked at.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from multimix.errors import CheckpointError
from multimix.reliability.calibration import Reliability
from multimix.reliability.map_verdict import MapVerdict
from multimix.weights.file import UNFIT, Arrays, ModelSpec, part, short, spec_of

SUFFIX = ".onnx"
CERTIFICATE = "certificate"
"""The entry that names the rest of the file."""
RUNTIME = "onnxruntime"
"""The runtime in which multimix computes such a file."""

VERDICT = "map_verdict_figures"
"""The entry of the verdict on the map; what it says in words is another."""

_METADATA, _KEY, _VALUE = 14, 1, 2
_BYTES = {1: 8, 5: 4}
"""Kind of a field of fixed width -> bytes."""


@dataclass(frozen=True)
class ExportedFile:
    """Everything in an exported model's file but the graph."""

    path: Path
    spec: ModelSpec
    trivial_masks: Arrays
    """Structure -> mean of the labelled training masks, (size size) float32 in [0, 1]; may be empty."""
    reliability: Reliability | None
    verdict: MapVerdict | None
    """What tests of its heat map said; None where they were not made."""
    metadata: Mapping[str, str]
    """All entries, as they are."""
    content: bytes
    """The file, as it was when the certificate was compared with it."""

    @property
    def digest(self) -> str:
        """SHA-256 of the network's weights, as `WeightsFile.digest`."""
        return self.metadata["weights_sha256"]

    @property
    def pixels(self) -> str:
        """Kind of the pixels that the graph takes."""
        return self.metadata["pixels"]


def is_exported(path: Path) -> bool:
    """Whether a path is that of an exported model."""
    return path.suffix.lower() == SUFFIX


def read_exported(path: Path, *, uncertified: bool = False) -> ExportedFile:
    """Read an exported model; CheckpointError where there is none, or one of another maker.

    So is one whose certificate does not name it, since nobody knows what it answers, unless `uncertified`.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror}). Give a file that `multimix export` wrote."
        ) from error
    try:
        metadata = read_metadata(content)
        if not uncertified:
            _check_certificate(path, content, metadata)
        spec = spec_of(json.loads(metadata["spec"]))
        arrays = load(base64.b64decode(metadata["arrays"]))
        reliability = None
        if "reliability" in metadata:
            reliability = Reliability.unpack(
                json.loads(metadata["reliability"]), part(arrays, "reliability.")
            )
            reliability.check(len(spec.classes))
        verdict = MapVerdict.unpack(json.loads(metadata[VERDICT])) if VERDICT in metadata else None
        made = ExportedFile(path, spec, part(arrays, "trivial."), reliability, verdict, metadata, content)
        made.digest, made.pixels  # noqa: B018  missing ones are said now
    except (*UNFIT, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: not a model that multimix exported ({short(error)}). Use a file of `multimix export`."
        ) from error
    return made


def header(
    spec: Mapping[str, Any],
    reliability: Reliability | None,
    trivial_masks: Arrays,
    verdict: MapVerdict | None,
) -> dict[str, str]:
    """The entries from which `read_exported` has a model's spec, reliability, trivial masks and verdict."""
    arrays = {f"trivial.{name}": values for name, values in trivial_masks.items()}
    entries = {"spec": json.dumps(spec)}
    if reliability is not None:
        numbers, tensors = reliability.pack()
        entries["reliability"] = json.dumps(numbers)
        arrays |= {f"reliability.{name}": values for name, values in tensors.items()}
    if verdict is not None:
        entries[VERDICT] = json.dumps(verdict.pack())
    packed = save({name: np.ascontiguousarray(values) for name, values in arrays.items()})
    return entries | {"arrays": base64.b64encode(packed).decode()}


def certified(content: bytes, certificate: Mapping[str, Any]) -> bytes:
    """The file with a certificate at its end that names the rest of it."""
    named = {"sha256": hashlib.sha256(content).hexdigest(), **certificate}
    return content + _entry(CERTIFICATE, json.dumps(named))


def _check_certificate(path: Path, content: bytes, metadata: Mapping[str, str]) -> None:
    if CERTIFICATE in metadata:
        rest = content.removesuffix(_entry(CERTIFICATE, metadata[CERTIFICATE]))
        named = json.loads(metadata[CERTIFICATE])
        if len(rest) == len(content) or hashlib.sha256(rest).hexdigest() != named["sha256"]:
            why = "its certificate is of another file: it was changed after it was exported"
        elif RUNTIME not in named["runtimes"]:
            why = f"its certificate does not name {RUNTIME}, in which nobody tried it"
        else:
            return
    else:
        why = "it has no certificate that its answers are those of the model"
    raise CheckpointError(
        f"{path}: {why}. Export it again with `multimix export`, or, to use it all the same, "
        "multimix.load(FILE, uncertified=True)."
    )


def read_metadata(content: bytes) -> dict[str, str]:
    """Entries of an ONNX file's metadata; ValueError or LookupError where it is none."""
    entries = {}
    for number, value in _fields(content):
        if number == _METADATA:
            fields = dict(_fields(value))
            entries[fields[_KEY].decode()] = fields.get(_VALUE, b"").decode()
    return entries


def _fields(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of every field that has bytes; ValueError where the content is no protocol buffer."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        kind = key & 7
        if kind == 0:
            _, at = _varint(content, at)
        elif kind in _BYTES:
            at += _BYTES[kind]
        elif kind == 2:
            length, at = _varint(content, at)
            yield key >> 3, content[at : at + length]
            at += length
        else:
            raise ValueError(f"a field of kind {kind}")
    if at > len(content):
        raise ValueError("it ends in the middle")


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """The number at a place, seven bits a byte from the lowest on, and the place after it."""
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _as_varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])


def _entry(key: str, value: str) -> bytes:
    """One entry of metadata, as a field of the file."""
    parts = b"".join(
        _as_varint(number << 3 | 2) + _as_varint(len(text)) + text
        for number, text in ((_KEY, key.encode()), (_VALUE, value.encode()))
    )
    return _as_varint(_METADATA << 3 | 2) + _as_varint(len(parts)) + parts
