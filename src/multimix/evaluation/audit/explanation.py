"""Checks of what a run says of itself in pictures: whether its bridge carries anything, and where its heat map lies.

On validation images with masks, by the tests of `multimix.evaluation.explain`, which measures more.
"""

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
import pandas as pd

from multimix.errors import CheckpointError
from multimix.evaluation.audit.findings import Finding, Unchecked
from multimix.evaluation.audit.run_folder import RunFolder
from multimix.evaluation.explain import bridge, references
from multimix.evaluation.explain.columns import described, places
from multimix.evaluation.explain.images import STRUCTURES, Sample, choose, decode
from multimix.evaluation.explain.maps import device_of, own_map
from multimix.evaluation.explain.summary import summarise
from multimix.evaluation.explain.verdict import FEWEST, localises, outcomes
from multimix.networks.model import MultiMix
from multimix.reliability.map_verdict import BRIDGE, UNMOVED
from multimix.types import patients_known

MOST = 60
"""Validation images that are looked at."""
SEED = 0


def bridge_unused(material: RunFolder) -> Iterator[Finding | Unchecked]:
    """A decoder that makes the same masks whatever map the bridge gives it."""
    loaded = material.loaded
    if loaded.model.bridge is None or not (loaded.spec.classify and loaded.spec.segment):
        return
    images = _images(material)
    own = own_map(loaded.model, images.pixels)
    table = _table(images, bridge.exchanged_masks(loaded.model, images, own, SEED))
    figures = summarise(table)
    if outcomes(table, figures)[BRIDGE] is False:
        kinds = {name: figures[f"bridge_dice_{name}"].value for name in bridge.EXCHANGES}
        yield Finding(
            "bridge-unused",
            "doubtful",
            "saliency bridge",
            "When the decoder is given another patient's map, the interval of the Dice with the own masks does not lie "
            f"below {UNMOVED}. It is not shown that the bridge carries anything.",
            "Do not say that saliency guides these masks. Compare with the same method without a bridge.",
            {f"Dice, given {name.replace('_', ' ')}": value for name, value in kinds.items()}
            | {"images": len(table)},
        )


def map_elsewhere(material: RunFolder) -> Iterator[Finding | Unchecked]:
    """A heat map that lies in the structures no more than maps that know nothing."""
    loaded = material.loaded
    if not (loaded.spec.classify and loaded.spec.segment):
        return
    images = _images(material)
    own = own_map(loaded.model, images.pixels)
    fresh = references.random_networks(
        partial(MultiMix.from_spec, loaded.spec), images.pixels, SEED, device_of(loaded.model)
    )
    table = _table(images, places(images, own, fresh))
    figures = summarise(table)
    if localises(table, figures, STRUCTURES) is False:
        named = {
            f"{title}{of}": figures[f"{what}_{STRUCTURES}_{kind}"].value
            for what, title in (("lift", "lift"), ("pointing", "brightest point inside"))
            for kind, of in (
                (references.OWN, ""),
                *((k, f", {k.replace('_', ' ')}") for k in references.REFERENCES),
            )
        }
        yield Finding(
            "map-elsewhere",
            "doubtful",
            "heat map",
            "The heat map lies in the structures no more than edges, a centred Gaussian or the map of a randomised "
            "network: it does not show what decides.",
            "Do not show the map as an explanation. `multimix explain` tests it in full.",
            named | {"area": figures[f"area_{STRUCTURES}"].value, "images": len(table)},
        )


def _images(material: RunFolder) -> Sample:
    """Validation images with masks; CheckpointError where they are too few to tell."""
    spec = material.loaded.spec
    chosen = choose(material.sets.val_masks, spec.structures, MOST, SEED) if material.sets.val_masks else ()
    if not patients_known(record.patient for record in chosen):
        raise CheckpointError(
            "the manifest does not say of which patients its images are, so there is no interval."
        )
    patients = len({(record.source, record.patient) for record in chosen})
    if patients < FEWEST:
        raise CheckpointError(
            f"masks of {patients} validation patients are too few to tell where a map lies; {FEWEST} would do. Test "
            "images do as well: `multimix explain RUN`."
        )
    return decode(chosen, spec.structures, size=spec.size, channels=spec.channels)


def _table(images: Sample, columns: Mapping[str, np.ndarray]) -> pd.DataFrame:
    return described(images, pd.DataFrame(columns), [record.image.name for record in images.records])
