"""Maps that know nothing of the network, or of anything: what a true map must be better than.

edges           Sobel magnitude of the image
gaussian        the middle of the picture, where chests are
random network  the same map of networks with fresh weights
random          blurred noise: a random order of places
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage

from multimix.evaluation.explain.maps import Maps, Pixels, Progress, own_map, smoothed
from multimix.networks.model import MultiMix

OWN, EDGES, GAUSSIAN, RANDOM_NETWORK, RANDOM = "own", "edges", "gaussian", "random_network", "random"
GRADIENT = "gradient"
"""What the bridge carries: no bar to pass, but told beside the map that is shown."""
REFERENCES = (EDGES, GAUSSIAN, RANDOM_NETWORK)
"""What the map's place is compared with."""
NETWORKS = 3
"""Fresh networks: where the brightest point of one lies depends on its weights."""


def edges(pixels: Pixels) -> Maps:
    """Sobel magnitude of the brightness, (N H W)."""
    grey = pixels.mean(axis=1)
    return np.hypot(*(ndimage.sobel(grey, axis=axis) for axis in (1, 2))).astype(np.float32)


def gaussian(pixels: Pixels) -> Maps:
    """A Gaussian about the centre, its standard deviation a quarter of each side, (N H W)."""
    down, across = (
        np.exp(-(((np.arange(side) - (side - 1) / 2) / (side / 4)) ** 2) / 2) for side in pixels.shape[2:]
    )
    return np.tile((down[:, None] * across).astype(np.float32), (len(pixels), 1, 1))


def noise(pixels: Pixels, seed: int) -> Maps:
    """Blurred uniform noise, another for each image, (N H W)."""
    rng = np.random.default_rng((seed, 1))
    return smoothed(rng.random((len(pixels), *pixels.shape[2:]), dtype=np.float32))


def fresh_network(build: Callable[[], MultiMix], seed: int, device: torch.device) -> MultiMix:
    """A network with initial weights that depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().eval().requires_grad_(False).to(device)


def random_networks(
    build: Callable[[], MultiMix],
    pixels: Pixels,
    seed: int,
    device: torch.device,
    progress: Progress | None = None,
) -> Float[np.ndarray, "R N H W"]:
    """The maps of NETWORKS fresh networks."""
    found = []
    for number in range(NETWORKS):
        if progress is not None:
            progress(number, NETWORKS)
        found.append(own_map(fresh_network(build, NETWORKS * seed + number, device), pixels))
    if progress is not None:
        progress(NETWORKS, NETWORKS)
    return np.stack(found)
