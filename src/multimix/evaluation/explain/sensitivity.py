"""Sensitivity: a map must change with the network that it explains, and not with what is no change.

cascade          weights are replaced by fresh ones from the head down; the map must go with them
                 [Adebayo et al., NeurIPS 2018, arXiv:1810.03292]
shuffled labels  a network that was trained on shuffled labels must give another map [the same]
noise            under noise that people do not see the map must stay
seeds            networks that differ in their seed alone should give the same map

All are SSIM with the own map: 1 where nothing changes.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float
from torch import nn

from multimix.evaluation.explain.maps import Maps, Pixels, Progress, device_of, likeness, own_map
from multimix.evaluation.explain.references import fresh_network
from multimix.networks.model import MultiMix

NOISE = 0.01
"""Standard deviation of the noise, of a range of 1: two and a half grey levels of 256."""
DRAWS = 2

Likeness = Float[np.ndarray, " N"]


def stages(model: MultiMix) -> Iterator[tuple[str, nn.Module]]:
    """What has to do with the class, from the head down to the first block, with its name."""
    yield "head", model.head
    if model.locate is not None:
        yield "location", model.locate
    for number in range(len(model.encoder.blocks), 0, -1):
        yield f"block{number}", model.encoder.blocks[number - 1]


def cascade(
    model: MultiMix,
    build: Callable[[], MultiMix],
    pixels: Pixels,
    own: Maps,
    seed: int,
    progress: Progress | None = None,
) -> Mapping[str, Likeness]:
    """'cascade_head' to 'cascade_block1': after each stage, all before it fresh too."""
    device = device_of(model)
    fresh, changed = fresh_network(build, seed, device), copy.deepcopy(model)
    pairs = list(zip(stages(changed), stages(fresh), strict=True))
    columns = {}
    for done, ((name, old), (_, new)) in enumerate(pairs, start=1):
        old.load_state_dict(new.state_dict())
        columns[f"cascade_{name}"] = likeness(own, own_map(changed, pixels))
        if progress is not None:
            progress(done, len(pairs))
    return columns


def under_noise(
    model: MultiMix, pixels: Pixels, own: Maps, seed: int, progress: Progress | None = None
) -> Mapping[str, Likeness]:
    """'noise': mean over DRAWS."""
    rng = np.random.default_rng((seed, 3))
    found = []
    for done in range(1, DRAWS + 1):
        noise = NOISE * rng.standard_normal(pixels.shape, dtype=np.float32)
        found.append(likeness(own, own_map(model, (pixels + noise).clip(0, 1))))
        if progress is not None:
            progress(done, DRAWS)
    return {"noise": np.mean(found, axis=0)}


def of_others(name: str, models: Sequence[MultiMix], pixels: Pixels, own: Maps) -> Mapping[str, Likeness]:
    """`name`: mean likeness to the maps of other networks; nothing where there are none."""
    if not models:
        return {}
    return {name: np.mean([likeness(own, own_map(model, pixels)) for model in models], axis=0)}
