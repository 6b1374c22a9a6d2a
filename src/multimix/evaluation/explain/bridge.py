"""Bridge use: what becomes of the masks when the decoder is given another map than the network's own.

Where nothing becomes of them, the bridge carries nothing: class and mask are joined on paper only.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float

from multimix.evaluation.explain.images import Sample
from multimix.evaluation.explain.maps import AT_ONCE, Maps, Progress, device_of
from multimix.evaluation.explain.references import edges
from multimix.networks.model import MultiMix

ZEROS, ANOTHER, EDGES, NOISE = "zeros", "another_patient", "edges", "noise"
EXCHANGES = (ZEROS, ANOTHER, EDGES, NOISE)
"""What is given in place of the own map: none at all, that of another patient, edges as bright as it, noise of its
spectrum."""


def exchanged_masks(
    model: MultiMix, images: Sample, own: Maps, seed: int, progress: Progress | None = None
) -> Mapping[str, Float[np.ndarray, " N"]]:
    """'bridge_dice_X': Dice of the masks with map X and those with the own map, mean over structures; and
    'bridge_change_X': by how much Dice with the reference changes, nan where there is none.
    """
    others = exchanges(images.pixels, own, images.patients, seed)
    device, channels = device_of(model), images.pixels.shape[1]
    columns = {
        f"bridge_{what}_{name}": np.full(len(own), np.nan) for what in ("dice", "change") for name in others
    }
    for start in range(0, len(own), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        given = [
            torch.from_numpy(maps[rows, None].repeat(channels, axis=1)).to(device)
            for maps in (own, *others.values())
        ]
        with torch.inference_mode():
            logits = model.guided(torch.from_numpy(images.pixels[rows]).to(device), given)
        mine, *theirs = ((one > 0).cpu().numpy() for one in logits)
        reference = np.where(images.has_masks[rows], _dice(mine, images.masks[rows]), np.nan)
        for name, masks in zip(others, theirs, strict=True):
            columns[f"bridge_dice_{name}"][rows] = _dice(masks, mine)
            columns[f"bridge_change_{name}"][rows] = _dice(masks, images.masks[rows]) - reference
        if progress is not None:
            progress(min(rows.stop, len(own)), len(own))
    return columns


def exchanges(
    pixels: Float[np.ndarray, "N C H W"], own: Maps, patients: Sequence[str], seed: int
) -> Mapping[str, Maps]:
    """The maps of EXCHANGES; without that of another patient where there is one patient only."""
    bright = own.mean(axis=(1, 2), keepdims=True)
    lines = edges(pixels)
    lines = lines * (bright / np.maximum(lines.mean(axis=(1, 2), keepdims=True), 1e-12))
    found = {ZEROS: np.zeros_like(own), EDGES: lines.astype(np.float32), NOISE: same_spectrum(own, seed)}
    if (partner := another_patient(patients)) is not None:
        found[ANOTHER] = own[partner]
    return {name: found[name] for name in EXCHANGES if name in found}


def another_patient(patients: Sequence[str]) -> np.ndarray | None:
    """For each image the next one that is of another patient; None where all are of one."""
    count = len(patients)
    if len(set(patients)) < 2:
        return None
    following = (
        next(row for step in range(1, count) if patients[row := (i + step) % count] != patients[i])
        for i in range(count)
    )
    return np.array(list(following))


def same_spectrum(maps: Maps, seed: int) -> Maps:
    """Noise with the Fourier amplitudes, and so the mean and variance, of each map, and the phases of white noise.

    Not cut at zero: that would change the spectrum.
    """
    rng = np.random.default_rng((seed, 2))
    white = np.fft.rfft2(rng.standard_normal(maps.shape))
    phases = white / np.maximum(np.abs(white), 1e-12)
    phases[:, 0, 0] = 1  # the mean stays as it is
    return np.fft.irfft2(np.abs(np.fft.rfft2(maps)) * phases, s=maps.shape[1:]).astype(np.float32)


def _dice(first: Bool[np.ndarray, "B S H W"], second: Bool[np.ndarray, "B S H W"]) -> Float[np.ndarray, " B"]:
    """Mean over structures; two empty masks are alike."""
    overlap = 2 * (first & second).sum(axis=(2, 3))
    total = first.sum(axis=(2, 3)) + second.sum(axis=(2, 3))
    return np.where(total > 0, overlap / np.maximum(total, 1), 1.0).mean(axis=1)
