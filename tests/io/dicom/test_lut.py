"""Look-up tables of every width, against what their entries say."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from films import columns, levels
from multimix.errors import ImageError
from multimix.io.readers import read_image


def lut(
    entries: object, bits: int, first: int = 0, vr: str = "US", count: int | None = None
) -> list[Dataset]:
    """A sequence with one LUT; `vr` is that of the data, and the descriptor is signed where `first` is negative."""
    item = Dataset()
    count = len(entries) if count is None else count  # type: ignore[arg-type]
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [count, first, bits])
    item.add_new("LUTData", vr, entries)
    return [item]


FALLING = [255 - value // 16 for value in range(4096)]
"""8-bit entries for 12-bit values: a negative."""


@pytest.mark.parametrize(
    "voi",
    [
        lut(FALLING, 8),
        lut(FALLING, 12),
        lut(bytes(FALLING), 8, vr="OW", count=4096),
        lut([a | b << 8 for a, b in zip(FALLING[::2], FALLING[1::2], strict=True)], 8, count=4096),
        lut([257 * value for value in FALLING], 16),
    ],
    ids=["8 bits in words", "12 bits", "8 bits packed", "8 bits packed as words", "16 bits"],
)
def test_a_voi_lut_of_any_width(film: Callable[..., Path], voi: list[Dataset]) -> None:
    row = levels(film(columns(0, 1360, 4095), VOILUTSequence=voi))
    # 255, 170 and 0, stretched from the least to the most.
    np.testing.assert_allclose(row[[0, 6, 12]], [1, 170 / 255, 0], atol=1e-6)


def test_a_voi_lut_of_signed_values(film: Callable[..., Path]) -> None:
    pixels = columns(-2048, 0, 2047, dtype=np.int16)
    voi = lut([value // 16 for value in range(4096)], 8, first=-2048)
    np.testing.assert_allclose(
        levels(film(pixels, VOILUTSequence=voi))[[0, 6, 12]], [0, 128 / 255, 1], atol=1e-6
    )
    # The same beginning written as an unsigned number, as some devices do.
    voi = lut([value // 16 for value in range(4096)], 8, first=0x10000 - 2048)
    np.testing.assert_allclose(
        levels(film(pixels, VOILUTSequence=voi))[[0, 6, 12]], [0, 128 / 255, 1], atol=1e-6
    )


def test_a_voi_lut_of_65536_entries_counts_them_as_0(film: Callable[..., Path]) -> None:
    entries = np.arange(65536, dtype=np.uint16)[::-1].tobytes()
    row = levels(film(columns(0, 32768, 65535), bits=16, VOILUTSequence=lut(entries, 16, vr="OW", count=0)))
    np.testing.assert_allclose(row[[0, 6, 12]], [1, 32767 / 65535, 0], atol=1e-6)


def test_a_modality_lut_of_12_bits(film: Callable[..., Path]) -> None:
    modality = lut(list(range(4095, -1, -1)), 12)
    modality[0].ModalityLUTType = "US"
    file = film(columns(0, 4095), ModalityLUTSequence=modality, WindowCenter=2048, WindowWidth=4096)
    assert levels(file)[[0, 8]].tolist() == [1, 0]


def test_what_lies_beyond_the_ends_gets_the_end(film: Callable[..., Path]) -> None:
    row = levels(film(columns(0, 100, 101, 102, 4000), VOILUTSequence=lut([7, 9, 8], 8, first=100)))
    np.testing.assert_allclose(row[[0, 4, 8, 12, 16]], [0, 0, 1, 0.5, 0.5], atol=1e-6)


@pytest.mark.parametrize("data", [[1, 2], None])
def test_a_lut_with_too_few_entries_is_told_for_what_it_is(
    film: Callable[..., Path], data: list[int] | None
) -> None:
    voi = lut([0, 1], 16, count=4096)
    if data is None:
        del voi[0].LUTData
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = film(columns(0, 1), VOILUTSequence=voi)
    with pytest.raises(
        ImageError, match=r"look-up table (of 4 bytes, expected 4096|without descriptor).*as PNG"
    ) as caught:
        read_image(file)
    assert "damaged" not in str(caught.value)
