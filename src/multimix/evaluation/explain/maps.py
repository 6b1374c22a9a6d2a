"""The map that people are shown and the one that the bridge carries, (N H W), at least 0; and how one is shown."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor

from multimix.inference.attribution import BLUR, attribution
from multimix.networks.model import MultiMix
from multimix.networks.saliency import input_gradient

Pixels = Float[np.ndarray, "N C H W"]
Maps = Float[np.ndarray, "N H W"]
Progress = Callable[[int, int], None]

AT_ONCE = 8
"""Images in one pass of the network."""


def batches(pixels: Pixels, device: torch.device, at_once: int = AT_ONCE) -> Iterator[tuple[slice, Tensor]]:
    """Rows and their images on `device`."""
    for start in range(0, len(pixels), at_once):
        rows = slice(start, start + at_once)
        yield rows, torch.from_numpy(pixels[rows]).to(device)


def own_map(model: MultiMix, pixels: Pixels, progress: Progress | None = None) -> Maps:
    """What people are shown, see `inference.attribution`."""
    return attribution(pixels, gradients(model, pixels, progress))


def carried(gradient: Pixels) -> Maps:
    """What the bridge is given: the absolute gradient, the largest of the channels."""
    return np.abs(gradient).max(axis=1)


def gradients(model: MultiMix, pixels: Pixels, progress: Progress | None = None) -> Pixels:
    """Of the largest class logit with respect to the image, a few images at a time."""
    found = np.empty(pixels.shape, np.float32)
    for rows, images in batches(pixels, device_of(model)):
        with torch.enable_grad():
            leaf = images.requires_grad_()
            found[rows] = input_gradient(model.classify(leaf), leaf).cpu().numpy()
        if progress is not None:
            progress(min(rows.stop, len(pixels)), len(pixels))
    return found


def device_of(model: MultiMix) -> torch.device:
    """Where the network computes."""
    return next(model.parameters()).device


def smoothed(maps: Maps) -> Maps:
    """As people see them: blurred, as in `io.overlay`. Beyond the picture there is nothing."""
    sigma = BLUR * max(maps.shape[1:])
    return np.stack([ndimage.gaussian_filter(one, sigma, mode="constant") for one in maps])


def scaled(maps: Maps) -> Maps:
    """Each scaled to [0, 1] by its 99.5th percentile, as the predictor does; one without any is zero."""
    peak = np.percentile(maps, 99.5, axis=(1, 2), keepdims=True)
    peak = np.where(peak > 0, peak, maps.max(axis=(1, 2), keepdims=True))
    return np.minimum(maps / np.where(peak > 0, peak, 1), 1).astype(np.float32)


def likeness(first: Maps, second: Maps) -> Float[np.ndarray, " N"]:
    """SSIM of two maps of each image [Wang et al., IEEE TIP 13 (2004) 600-612]; 1 where they are equal."""
    from skimage.metrics import structural_similarity

    pairs = zip(scaled(first), scaled(second), strict=True)
    return np.array([float(structural_similarity(a, b, data_range=1.0)) for a, b in pairs])
