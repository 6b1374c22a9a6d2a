"""Look-up tables of a DICOM header: Modality LUT (PS3.3 C.11.1) and VOI LUT (C.11.2).

Entries have 8 to 16 bits. They lie in files as 16-bit words, or, where an entry has 8 bits, two to a word; which
of the two is told by how many bytes there are, since headers contradict themselves.
"""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from multimix.errors import ImageError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def looked_up(values: np.ndarray, sequence: str, dataset: "Dataset", name: str) -> Int[np.ndarray, " N"]:
    """The entry of the first LUT in `sequence` for every one of `values`; what lies beyond its ends gets the end's.

    Values are rounded to whole numbers. Raises ImageError, calling the file `name`, where the LUT has fewer entries
    than its descriptor says.
    """
    item = dataset[sequence].value[0]
    first, entries = _table(item, dataset, name)
    if first > 0x7FFF and values.size and values.min() < 0:  # signed, but written as unsigned
        first -= 0x10000
    at = np.clip(np.rint(values).astype(np.int64) - first, 0, len(entries) - 1)
    return entries[at].astype(np.int64)


def _table(item: "Dataset", dataset: "Dataset", name: str) -> tuple[int, np.ndarray]:
    """The value that the first entry is for, and the entries."""
    try:
        count, first, _ = (int(number) for number in item.LUTDescriptor)
        count %= 0x10000  # read as signed where the pixels are
        count = count or 0x10000
        data = _bytes(item.LUTData, dataset)
    except (AttributeError, TypeError, ValueError) as error:
        raise ImageError(
            f"{name}: DICOM has a look-up table without descriptor or data (PS3.3 C.11.1.1); export the image as PNG"
        ) from error
    if len(data) >= 2 * count:
        return first, np.frombuffer(data, "<u2", count)
    if len(data) >= count:
        return first, np.frombuffer(data, np.uint8, count)
    raise ImageError(
        f"{name}: DICOM has a look-up table of {len(data)} bytes, expected {count} entries; export the image as PNG"
    )


def _bytes(data: object, dataset: "Dataset") -> bytes:
    """LUT Data in little-endian order, whatever its VR."""
    if isinstance(data, (bytes, bytearray)):
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        swapped = syntax is not None and not syntax.is_little_endian
        return np.frombuffer(data, ">u2").astype("<u2").tobytes() if swapped else bytes(data)
    words = np.atleast_1d(np.asarray(data, dtype=np.int64))
    return (words & 0xFFFF).astype("<u2").tobytes()
