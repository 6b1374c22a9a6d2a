"""Who made an answer, and the UIDs that follow from it: the same image and weights, the same UIDs."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

from pydicom.dataset import Dataset

from multimix.io.dicom.codes import readable
from multimix.io.dicom.header import MANUFACTURER

WARNING = "not for diagnostic use"
"""What every object says of itself, in words that a person meets before the content."""

Kind = Literal["segmentation", "report", "overlay"]

_SERIES: Mapping[Kind, int] = {
    "segmentation": 9901,
    "report": 9902,
    "overlay": 9903,
}  # behind all that devices count
_ROOT = uuid.UUID("6b1f6c1e-5a57-4d6c-9d0d-7c1c4c5d2f10")


@dataclass(frozen=True)
class Algorithm:
    """What made an answer."""

    name: str
    version: str
    weights: str
    """SHA-256 of the weights, hexadecimal."""


def algorithm_of(weights: str) -> Algorithm:
    """Multimix at its own version with the weights of this SHA-256."""
    return Algorithm("multimix", version("multimix"), weights)


@dataclass(frozen=True)
class Identity:
    """How one object of an answer is named: what highdicom calls series, instance and equipment."""

    series_instance_uid: str
    series_number: int
    sop_instance_uid: str
    instance_number: int
    series_description: str
    manufacturer: str
    manufacturer_model_name: str
    software_versions: str
    device_serial_number: str


def identity(source: Dataset, algorithm: Algorithm, kind: Kind) -> Identity:
    """Name the object of `kind` about `source`; images of one series have their answers in one series."""
    return Identity(
        series_instance_uid=answer_uid(str(source.SeriesInstanceUID), algorithm, f"{kind} series"),
        series_number=_SERIES[kind],
        sop_instance_uid=answer_uid(str(source.SOPInstanceUID), algorithm, kind),
        instance_number=int(source.InstanceNumber),
        series_description=f"multimix {kind}, {WARNING}",
        manufacturer=MANUFACTURER,
        manufacturer_model_name=readable(algorithm.name, 64) or "multimix",
        software_versions=readable(algorithm.version, 64) or "0",
        device_serial_number=readable(algorithm.weights, 64) or "0",
    )


def answer_uid(source_uid: str, algorithm: Algorithm, part: str) -> str:
    """The UID of `part` of the answer to `source_uid`: a name-based UUID below 2.25, PS3.5 B.2."""
    words = "\n".join((source_uid, algorithm.name, algorithm.version, algorithm.weights, part))
    return f"2.25.{uuid.uuid5(_ROOT, words).int}"
