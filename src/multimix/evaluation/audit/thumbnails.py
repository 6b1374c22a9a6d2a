"""Small copies of decoded images: cheap to compare, and all that a shortcut needs."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float

_AT_ONCE = 256


def thumbnails(images: np.ndarray, side: int) -> Float[np.ndarray, "N {side} {side}"]:
    """Decoded images (N C H W) uint8 as grey thumbnails in [0, 1], each pixel the mean of what it covers."""
    small = np.empty((len(images), side, side), np.float32)
    for start in range(0, len(images), _AT_ONCE):
        chunk = torch.from_numpy(np.array(images[start : start + _AT_ONCE])).float().mean(dim=1, keepdim=True)
        small[start : start + _AT_ONCE] = F.adaptive_avg_pool2d(chunk, side)[:, 0].numpy() / 255
    return small
