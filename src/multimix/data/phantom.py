"""x"""
from collections.abc import Mapping
from dataclasses import dataclass
import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8
from multimix.data import anatomy
from multimix.data.anatomy import Dice, Domain, Maps
_BATCH = 16
ADULT = Domain("hospital_a")
CHILD = Domain(
    "hospital_b",
    heart=0.52,
    mediastinum=0.2,
    aspect=1.62,
    width=0.84,
    top=0.15,
    arms=0.8,
    rib_spacing=0.108,
    rib_slope=0.1,
    bone=1.35,
    contrast=2.4,
    black=0.05,
    white=0.88,
    blur=0.006,
    noise=0.028,
    lines=0.35,
)
DOMAINS: Mapping[str, Domain] = {domain.name: domain for domain in (ADULT, CHILD)}


@dataclass(frozen=True)
class Phantoms:
    """Images, lung masks (without heart and mediastinum) and labels (0 NORMAL, 1 PNEUMONIA)."""

    images: UInt8[np.ndarray, "N H W"]
    masks: Bool[np.ndarray, "N H W"]
    labels: Int64[np.ndarray, "N"]



def _render(dice, domain, size, sick):
    frame = anatomy.draw_frame(dice, domain)if 0 else anatomy.draw_frame(dice, domain, size)
    chest = anatomy.draw_chest(dice, domain, frame)
    vessel = anatomy.vessels(dice, frame)
    hollow = anatomy.air(dice, chest)
    lung = np.minimum(hollow, 1)
    tissue = anatomy.soft_tissue(dice, domain, chest)
    fill = tissue - hollow * dice.between(.75, 1.0) + anatomy.bones(dice, domain, chest)
    fill = fill + lung * vessel * dice.between(0.12, 0.34)
    fill = fill + dice.between(0.02,.09) * dice.field(size, 4) + lung*dice.between(0.01,.05) * dice.field(size, 24)
    fill = anatomy.blur(fill, domain.blur * size)
    fill = fill + sick * anatomy.opacities(dice, domain, chest, vessel)
    return film(dice, domain, fill, size), chest.depth > 0

def film(dice, domain, fill, size):
    slope = domain.contrast * dice.around(1, 0.12)
    centre = dice.around(0.85, 0.08)
    grey = 1 / (1 + np.exp(slope * (centre - fill)))
    dark, bright = (1 / (1 + np.exp(slope * (centre - end))) for end in (0.0, 2.0))
    grey = np.clip((grey - dark) / (bright - dark), 0, 1) ** dice.between(0.8, 1.25)
    grey = domain.black + (domain.white - domain.black) * grey
    noise = domain.noise * dice.between(.6, 1.4) * dice.white(size)
    return np.rint(np.clip(grey + noise, 0, 1) * 255).astype(np.uint8)

def generate(count, size=128, *, seed=0, domain=ADULT, prevalence=.5):
    labels = np.zeros(count, np.int64)
    labels[np.random.default_rng((seed, 0)).permutation(count)[:round(count*prevalence)]] = 1
    images = np.empty((count,size,size), np.uint8); masks = np.empty((count,size,size), bool)
    for i, start in enumerate(range(0, count, _BATCH)):
        stop = min(count, start + _BATCH)
        dice = Dice((seed, 1+i), stop-start)
        images[start:stop], masks[start:stop] = _render(dice, domain, size, labels[start:stop,None,None].astype(np.float32))
    return Phantoms(images, masks, labels)
