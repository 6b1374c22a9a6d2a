"""Every test of one network's map on one sample of images: a column of numbers each, a row per image."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import pandas as pd

from multimix.evaluation.explain import bridge, containment, pointing, references, sensitivity
from multimix.evaluation.explain.faithfulness import faithfulness
from multimix.evaluation.explain.images import BORDER, REGIONS, Sample
from multimix.evaluation.explain.maps import Maps, carried, device_of, gradients
from multimix.inference.attribution import attribution
from multimix.networks.model import MultiMix
from multimix.types import UNKNOWN, Report

FAITHFUL = 60
"""Images, the first of the sample, of the tests of faithfulness, which ask the network some seventy times an image."""

Bar = Callable[[str, str], AbstractContextManager[Report]]
"""Opens a progress bar of a title and a unit."""


def quiet(title: str, unit: str) -> AbstractContextManager[Report]:
    """No progress bar."""
    return nullcontext(lambda done, total, values={}: None)


@dataclass(frozen=True)
class Network:
    """What is tested, and what it is compared with."""

    model: MultiMix
    """In evaluation mode, with a trained class head."""
    build: Callable[[], MultiMix]
    """The same network with initial weights from torch's global generator."""
    segments: bool = True
    """Whether its decoder was trained."""
    multi_label: bool = False
    seeds: Sequence[MultiMix] = ()
    """Networks of the same training with other seeds."""
    shuffled: Sequence[MultiMix] = ()
    """Networks of the same training on shuffled labels."""


def measure(network: Network, images: Sample, *, seed: int = 0, bar: Bar = quiet) -> pd.DataFrame:
    """A row per image: the columns of where the map lies, of the bridge, of faithfulness and of sensitivity.

    A number that an image does not have, for want of a mask, is nan.
    """
    model, pixels = network.model, images.pixels
    with bar("Map", "images") as report:
        gradient = gradients(model, pixels, report)
    own, given_to_bridge = attribution(pixels, gradient), carried(gradient)
    with bar("Randomised networks", "networks") as report:
        fresh = references.random_networks(network.build, pixels, seed, device_of(model), report)
    columns = places(images, own, given_to_bridge, fresh)
    if model.bridge is not None and network.segments:
        with bar("Bridge", "images") as report:
            columns |= bridge.exchanged_masks(model, images, given_to_bridge, seed, report)
    few = slice(0, FAITHFUL)
    given = known_maps(images, own, given_to_bridge, fresh[0]) | {
        references.RANDOM: references.noise(pixels, seed)
    }
    with bar("Faithfulness", "images") as report:
        asked = faithfulness(
            model,
            pixels[few],
            {name: maps[few] for name, maps in given.items()},
            multi_label=network.multi_label,
            seed=seed,
            progress=report,
        )
    columns |= {name: _padded(values, len(pixels)) for name, values in asked.items()}
    with bar("Cascading randomisation", "stages") as report:
        columns |= sensitivity.cascade(model, network.build, pixels, own, seed, report)
    with bar("Noise", "draws") as report:
        columns |= sensitivity.under_noise(model, pixels, own, seed, report)
    columns |= sensitivity.of_others("other_seeds", network.seeds, pixels, own)
    columns |= sensitivity.of_others("shuffled_labels", network.shuffled, pixels, own)
    return pd.DataFrame(columns)


def known_maps(images: Sample, own: Maps, gradient: Maps, fresh: Maps) -> dict[str, Maps]:
    """The map and those whose place it is compared with, by name."""
    return {
        references.OWN: own,
        references.GRADIENT: gradient,
        references.EDGES: references.edges(images.pixels),
        references.GAUSSIAN: references.gaussian(images.pixels),
        references.RANDOM_NETWORK: fresh,
    }


def places(images: Sample, own: Maps, gradient: Maps, fresh: np.ndarray) -> dict[str, np.ndarray]:
    """'area_R', 'inside_R_X' and 'pointing_R_X' of every region R and map X; fresh networks (R N H W) are averaged."""
    given = {name: [maps] for name, maps in known_maps(images, own, gradient, fresh[0]).items()}
    given[references.RANDOM_NETWORK] = list(fresh)
    columns: dict[str, np.ndarray] = {}
    for name in REGIONS:
        region, known = images.region(name)
        if not known.any():
            continue
        columns[f"area_{name}"] = np.where(known, region.mean(axis=(1, 2)), np.nan)
        for kind, several in given.items():
            inside = np.mean([containment.share_inside(maps, region) for maps in several], axis=0)
            columns[f"inside_{name}_{kind}"] = np.where(known, inside, np.nan)
            if name != BORDER:
                hit = np.mean([pointing.hits(maps, region) for maps in several], axis=0)
                columns[f"pointing_{name}_{kind}"] = np.where(known, hit, np.nan)
    return columns


def _padded(values: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate([values, np.full(count - len(values), np.nan)])


def described(images: Sample, table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The table with its images' `names`, source, split, patient and label in front."""
    records: Mapping[str, Sequence[str]] = {
        "image": list(names),
        "source": [record.source for record in images.records],
        "split": [record.split for record in images.records],
        "patient": [record.patient or UNKNOWN + record.image.stem for record in images.records],
        "label": [record.label or "" for record in images.records],
    }
    return pd.concat([pd.DataFrame(records), table], axis=1)
