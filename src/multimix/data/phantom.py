"""Phantoms: procedural chest radiographs with lung masks and a finding, the data that comes with multimix.

A phantom is a sum of attenuation maps (`anatomy.py`, and the contents of the lungs below) sent through a
film curve, with noise. PNEUMONIA is one to four opacities inside the lungs. They are drawn for every image
and shown where the label is 1, so equal seeds with another prevalence give the same patients. Everything
else (breast shadows, vessels, exposure, scatter, leads, letters) is drawn without regard to the label. The
mask is the lungs without heart and mediastinum, as in JSRT, and keeps the lung that an opacity hides.

Figures: docs/data/phantom.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64, UInt8
from PIL import Image

from multimix.data import anatomy
from multimix.data.anatomy import Chest, Domain, Draws, Frame, Maps, Points, blur, bump, step
from multimix.data.manifest import FINDING, LUNGS, write_manifest
from multimix.errors import MultimixError, UsageError
from multimix.types import Record

CLASSES = ("NORMAL", "PNEUMONIA")

ADULT = Domain("hospital_a")
CHILD = Domain(
    "hospital_b",
    heart=0.5,
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

VISIBLE = 0.1
"""Attenuation from which an opacity belongs to the finding's mask; the faintest opacities peak at 0.15. Less is lost in
the noise."""

_BATCH = 16  # a float32 map of 16 images at 128 x 128 is 1 MiB and stays in the cache
_LETTERS = ("11110 10001 10001 11110 10100 10010 10001", "10000 10000 10000 10000 10000 10000 11111")


@dataclass(frozen=True)
class Phantoms:
    """Images, lung masks (without heart and mediastinum), labels (0 NORMAL, 1 PNEUMONIA) and where the finding is."""

    images: UInt8[np.ndarray, "N H W"]
    masks: Bool[np.ndarray, "N H W"]
    labels: Int64[np.ndarray, " N"]
    findings: Bool[np.ndarray, "N H W"]
    """Where an opacity attenuates by at least VISIBLE; nothing where NORMAL."""


def generate(
    count: int, size: int = 128, *, seed: int = 0, domain: Domain = ADULT, prevalence: float = 0.5
) -> Phantoms:
    """`count` radiographs of `size` x `size` pixels, round(count * prevalence) of them PNEUMONIA.

    The same arguments give the same pixels; another prevalence alone gives the same patients. Raises
    UsageError where an argument is out of range.
    """
    if count < 1 or size < 32 or seed < 0 or not 0 <= prevalence <= 1:
        raise UsageError(
            f"phantoms: expected count >= 1, size >= 32, seed >= 0 and prevalence in [0, 1], got {count}, "
            f"{size}, {seed} and {prevalence}; change the one out of range"
        )
    labels = np.zeros(count, np.int64)
    labels[np.random.default_rng((seed, 0)).permutation(count)[: round(count * prevalence)]] = 1
    images = np.empty((count, size, size), np.uint8)
    masks, findings = (np.empty((count, size, size), bool) for _ in range(2))
    for number, start in enumerate(range(0, count, _BATCH), start=1):
        part = slice(start, min(count, start + _BATCH))
        draws = Draws((seed, number), part.stop - start)
        images[part], masks[part], findings[part] = _radiographs(draws, domain, size, labels[part])
    return Phantoms(images, masks, labels, findings)


def _radiographs(
    draws: Draws, domain: Domain, size: int, labels: Int64[np.ndarray, " B"]
) -> tuple[UInt8[np.ndarray, "B H W"], Bool[np.ndarray, "B H W"], Bool[np.ndarray, "B H W"]]:
    frame = anatomy.draw_frame(draws, domain, size)
    chest = anatomy.draw_chest(draws, domain, frame)
    air, tree = anatomy.air(draws, chest), vessels(draws, frame)
    fill = anatomy.soft_tissue(draws, domain, chest) - draws.between(0.75, 1.0) * air
    fill += anatomy.bones(draws, domain, chest) + leads(draws, domain, chest)
    fill += np.minimum(air, 1) * (
        draws.between(0.12, 0.34) * tree + draws.between(0.01, 0.05) * draws.field(size, 24)
    )
    fill += draws.between(0.05, 0.17) * draws.field(size, 4)  # scatter and uneven exposure
    # Opacities come after the blur, which would carry them beyond the lungs; they are smooth already.
    sick = labels[:, None, None].astype(np.float32)
    opacity = sick * opacities(draws, domain, chest, tree)
    fill = blur(fill, domain.blur * size) + opacity
    exposed = _exposed(draws, size)
    image = _film(draws, domain, fill, exposed)
    return image, (chest.depth > 0) & exposed, (opacity >= VISIBLE) & exposed


def _exposed(draws: Draws, size: int) -> Bool[np.ndarray, "B H W"]:
    """Where the collimator lets rays through: everywhere but for a border in a quarter of the images."""
    across = np.abs(np.linspace(-1, 1, size, dtype=np.float32))
    opening = 1.01 - draws.chance(0.25) * draws.between(0.02, 0.1)
    return np.maximum(across[:, None], across)[None] < opening


def _film(
    draws: Draws, domain: Domain, fill: Maps, exposed: Bool[np.ndarray, "B H W"]
) -> UInt8[np.ndarray, "B H W"]:
    """Attenuation to grey values: S-shaped film curve, exposure, letter, noise."""
    size = fill.shape[-1]
    slope, centre = domain.contrast * draws.around(1.0, 0.12), draws.around(0.85, 0.09)
    curve = 1 / (1 + np.exp(slope * (centre - fill)))
    dark, bright = (1 / (1 + np.exp(slope * (centre - end))) for end in (0.0, 2.0))
    grey = np.clip((curve - dark) / (bright - dark), 0, 1) ** draws.between(0.8, 1.25)
    grey = np.maximum(grey * exposed, draws.between(0.7, 1.0) * _letter(draws, size))
    grey = domain.black + (domain.white - domain.black) * grey
    noise = domain.noise * draws.between(0.6, 1.4) * draws.white(size)
    return np.rint(np.clip(grey + noise, 0, 1) * 255).astype(np.uint8)


def _letter(draws: Draws, size: int) -> Maps:
    """R or L in an upper corner of most images: the patient's right is on the image's left."""
    across = np.linspace(-1, 1, size, dtype=np.float32)
    down = across[:, None]
    left = draws.chance(0.5)
    fonts = np.array([[list(row) for row in letter.split()] for letter in _LETTERS]) == "1"
    height = draws.between(0.07, 0.12)
    column = np.floor((across - (2 * left - 1) * draws.between(0.8, 0.9) + 0.3 * height) / (0.6 * height) * 5)
    row = np.floor((down + draws.between(0.7, 0.95)) / height * 7)
    inside = (column >= 0) & (column < 5) & (row >= 0) & (row < 7) & (draws.chance(0.7) > 0)
    glyph = fonts[left.astype(int), np.clip(row, 0, 6).astype(int), np.clip(column, 0, 4).astype(int)]
    return (inside & glyph).astype(np.float32)


def leads(draws: Draws, domain: Domain, chest: Chest) -> Maps:
    """Two cables or tubes that wind down the chest, in some patients."""
    total = np.zeros_like(chest.x)
    for _ in range(2):
        path = draws.around(0.0, 0.45) + draws.around(0.0, 0.3) * chest.y
        path = path + draws.between(0.02, 0.15) * np.sin(
            draws.between(2.0, 6.0) * chest.y + draws.between(0.0, 6.0)
        )
        line = bump(chest.x - path, draws.between(0.012, 0.02)) * step(
            draws.between(0.3, 1.3) - chest.y, 0.02
        )
        total += draws.chance(domain.lines) * draws.between(0.15, 0.45) * line
    return total


def _splat(columns: Points, rows: Points, weights: Points, size: int) -> Maps:
    """Sum of weighted points in pixel coordinates, shared among the four nearest pixels."""
    batch = len(columns)
    total = np.zeros(batch * size * size)
    left, above = np.floor(columns).astype(np.int64), np.floor(rows).astype(np.int64)
    across, down = columns - left, rows - above
    offset = np.arange(batch)[:, None] * size * size
    for right in (0, 1):
        for below in (0, 1):
            c, r = left + right, above + below
            share = weights * np.abs(1 - right - across) * np.abs(1 - below - down)
            share = share * ((c >= 0) & (c < size) & (r >= 0) & (r < size))
            index = offset + np.clip(r, 0, size - 1) * size + np.clip(c, 0, size - 1)
            total += np.bincount(index.ravel(), share.ravel(), total.size)
    return total.reshape(batch, size, size).astype(np.float32)


def vessels(draws: Draws, frame: Frame) -> Maps:
    """Two trees that branch from the hila; a trunk has a value near .8, the last twigs near .2."""
    rng, batch, steps, size = draws.rng, draws.batch, 14, frame.size
    trunks = 8
    side = np.repeat([-1.0, 1.0], trunks)[None].repeat(batch, 0)
    fan = np.tile(np.linspace(-1.5, 1.5, trunks), 2)[None] + rng.normal(0, 0.15, (batch, 2 * trunks))
    x = side * (0.24 + 0.03 * rng.standard_normal(side.shape))
    y = 0.43 - 0.03 * (side > 0) + 0.03 * rng.standard_normal(side.shape) + 0.03 * fan
    length = rng.uniform(0.12, 0.26, side.shape)
    time = np.arange(1, steps + 1) / steps
    maps = []
    for strength, sigma, generations in ((0.8, 0.008, 2), (0.4, 0.005, 3)):
        points: list[tuple[np.ndarray, ...]] = []
        for generation in range(generations):
            angle = fan[..., None] + rng.normal(0, 0.5, side.shape)[..., None] * time
            run_x = x[..., None] + np.cumsum(np.cos(angle), -1) * length[..., None] / steps * side[..., None]
            run_y = y[..., None] + np.cumsum(np.sin(angle), -1) * length[..., None] / steps * 0.6
            weight = (length / steps)[..., None] * strength * 0.75**generation * np.ones(steps)
            points.append(tuple(a.reshape(batch, -1) for a in (run_x, run_y, weight)))
            x, y, fan = run_x[..., -1], run_y[..., -1], angle[..., -1]
            spread = rng.uniform(0.2, 0.6, side.shape)
            fan = np.concatenate([fan + spread, fan - 0.6 * spread], 1)
            x, y, side = (np.concatenate([a, a], 1) for a in (x, y, side))
            length = np.concatenate([length, length], 1) * rng.uniform(0.6, 0.95, side.shape)
        across, down, weights = (np.concatenate(a, 1) for a in zip(*points, strict=True))
        columns, rows = frame.to_pixels(across, down)
        # A line of w per pixel, blurred by sigma, is w / (sqrt(2 pi) sigma) high: make that `strength`.
        pixels = frame.half[:, :, 0] * (size / 2) * np.sqrt(2 * np.pi) * sigma * size
        maps.append(blur(_splat(columns, rows, weights * pixels, size), sigma * size))
    return np.minimum(maps[0] + maps[1], 1.2)


def _inside(draws: Draws, chest: Chest, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Thorax coordinates (B count) of random points well inside the lungs."""
    batch, height, width = chest.depth.shape
    tries = draws.rng.random((batch, count, 256))
    index = (tries * height * width).astype(np.int64)
    patient = np.arange(batch)[:, None]
    flat = chest.depth.reshape(batch, -1)
    found = (flat[patient[..., None], index] > 0.05).argmax(axis=2)
    index = np.take_along_axis(index, found[..., None], 2)[..., 0]
    return chest.x.reshape(batch, -1)[patient, index], chest.y.reshape(batch, -1)[patient, index]


def opacities(draws: Draws, domain: Domain, chest: Chest, vessel: Maps) -> Maps:
    """One to four consolidations or infiltrates of any density; 0 outside the lungs."""
    size, most = chest.depth.shape[-1], 4
    x, y = _inside(draws, chest, most)
    count = draws.rng.choice(np.arange(1, most + 1), (draws.batch, 1, 1), p=[0.25, 0.3, 0.25, 0.2])
    ragged = 0.3 * draws.field(size, 12) + 0.2 * draws.field(size, 26)
    total = np.zeros_like(chest.depth)
    for k in range(most):
        radius, stretch = draws.between(0.24, 0.55), draws.between(0.75, 1.35)
        tilt, density = draws.between(0.0, np.pi), draws.between(0.38 if k == 0 else 0.15, 0.85)
        across = chest.x - x[:, k, None, None]
        down = (chest.y - y[:, k, None, None]) * np.float32(domain.aspect)
        along = np.cos(tilt) * across + np.sin(tilt) * down
        over = np.cos(tilt) * down - np.sin(tilt) * across
        q = np.square(along / (radius * stretch)) + np.square(over * stretch / radius)
        # A fissure ends one in four with a straight border, as in a lobar pneumonia.
        fissure = np.maximum(1 - draws.chance(0.25), step(down + 0.2 * across + 0.05, 0.06))
        blob = step(1.4 - q + ragged, 0.9) * fissure
        total = np.maximum(total, blob * density * (k < count))
    grain = draws.between(0.0, 1.0)
    texture = np.clip(1 + grain * 0.4 * draws.field(size, 34), 0.2, 1.8)
    # Airways stay dark inside a consolidation, where vessels are no longer seen.
    bronchogram = 1 - np.minimum(0.7 * vessel, 0.4)
    return total * texture * bronchogram * np.where(chest.depth > 0, 1 - np.exp(-chest.depth / 0.05), 0)


def write_dataset(
    folder: Path | str,
    *,
    seed: int = 0,
    size: int = 128,
    train: int = 400,
    val: int = 60,
    test: int = 200,
    other: int = 200,
    findings: bool = False,
) -> Path:
    """Write images, masks and FOLDER/manifest.csv, and return the manifest's path.

    Source phantom_a (ADULT) has `train`, `val` and `test` images, phantom_b (CHILD) `other` test images;
    every image has a label and a mask, and is its own patient. With `findings` the manifest also names, in its
    column mask:finding, the mask of the opacities of every image that has some; all other files are the same. The
    manifest is written last. Raises UsageError for an argument out of range and MultimixError where the folder
    cannot be written to.
    """
    folder = Path(folder)
    parts = (
        ("phantom_a", "train", train, ADULT),
        ("phantom_a", "val", val, ADULT),
        ("phantom_a", "test", test, ADULT),
        ("phantom_b", "test", other, CHILD),
    )
    records: list[Record] = []
    for number, (source, split, count, domain) in enumerate(parts):
        if count:
            phantoms = generate(count, size, seed=len(parts) * seed + number, domain=domain)
            records += _write_part(folder, source, split, phantoms, findings)
    manifest = folder / "manifest.csv"
    write_manifest(manifest, records)
    return manifest


def _write_part(folder: Path, source: str, split: str, phantoms: Phantoms, findings: bool) -> list[Record]:
    """Write one source and split; the files count for nothing until the manifest names them."""
    records = []
    kinds = {"images": phantoms.images, "masks": phantoms.masks} | (
        {"findings": phantoms.findings} if findings else {}
    )
    try:
        for kind in kinds:
            (folder / source / kind).mkdir(parents=True, exist_ok=True)
        for i, label in enumerate(phantoms.labels):
            name = f"{split}_{i:04d}"
            files = {kind: (folder / source / kind / f"{name}.png").absolute() for kind in kinds}
            masks = {LUNGS: (files["masks"],)}
            if phantoms.findings[i].any() and findings:
                masks[FINDING] = (files["findings"],)
            elif findings:
                del files["findings"]
            for kind, path in files.items():
                pixels = kinds[kind][i]
                grey = pixels * np.uint8(255) if pixels.dtype == bool else pixels
                Image.fromarray(grey).save(path, compress_level=3)
            records.append(Record(files["images"], masks, CLASSES[label], split, name, source))
    except OSError as error:
        raise MultimixError(
            f"{folder}: cannot be written to ({error.strerror or error}); free some space or "
            "choose another folder"
        ) from error
    return records
