"""How a channels-last map is cut among programs: tiles of whole pixels."""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def tile(number, pixels, channels, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Pixels (ROWS) and channels (CHANNELS) of tile `number`, and which of their pairs exist."""
    pixel = number * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, CHANNELS)
    return pixel, channel, (pixel[:, None] < pixels) & (channel[None, :] < channels)


def cut(pixels: int, channels: int, elements: int) -> tuple[int, dict[str, int]]:
    """Tiles of about `elements` that cover so many pixels, and the constants of their kernels."""
    wide = triton.next_power_of_2(channels)
    tall = max(1, min(elements // wide, triton.next_power_of_2(pixels)))
    return triton.cdiv(pixels, tall), {"ROWS": tall, "CHANNELS": wide}
