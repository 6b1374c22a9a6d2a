"""The chest behind a phantom: attenuation maps of its parts, for a batch of patients at once.

Thorax coordinates: x = 0 at the midline and 1 at the inner chest wall at the lung base (positive on the
image's right, the patient's left); y = 0 at the lung apex and 1 at the mean height of the diaphragm. Maps
are (B H W) float32; attenuation is in units in which a lung takes away about 1 from the soft tissue around
it. Numbers were set by eye against public radiographs; nothing is derived from any image.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32
from scipy.ndimage import gaussian_filter1d

Maps = Float32[np.ndarray, "B H W"]
Column = Float32[np.ndarray, "B 1 1"]
Points = Float[np.ndarray, "B P"]


@dataclass(frozen=True)
class Domain:
    """A hospital: its patients' proportions and its machine. Lengths in thorax units unless noted."""

    name: str
    heart: float = 0.44
    """Mean cardiothoracic ratio."""
    mediastinum: float = 0.19
    """Mean half width of the upper mediastinum."""
    aspect: float = 1.75
    """Mean height of the lungs over half the width of the chest."""
    width: float = 0.79
    """Half the width of the chest over half the width of the image: the crop."""
    top: float = 0.1
    """Mean height of the image above the lung apex, in image heights."""
    arms: float = 0.0
    """0 hanging, 1 raised beside the head."""
    rib_spacing: float = 0.125
    """Mean distance of neighbouring ribs, in lung heights."""
    rib_slope: float = 0.16
    """Fall of the posterior ribs from the spine to the chest wall, in lung heights."""
    bone: float = 1.0
    """Contrast of bone."""
    contrast: float = 2.9
    """Slope of the film curve."""
    black: float = 0.02
    """Grey value of unexposed film, in [0, 1]."""
    white: float = 0.98
    """Grey value of saturated film, in [0, 1]."""
    blur: float = 0.004
    """Standard deviation of the point spread, in image widths."""
    noise: float = 0.018
    """Standard deviation of the noise, in [0, 1] grey values."""
    lines: float = 0.12
    """Probability of leads and tubes."""


class Draws:
    """Random numbers for a batch, one (B 1 1) column per call."""

    def __init__(self, seed: tuple[int, ...], batch: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.batch = batch

    def between(self, low: float, high: float) -> Column:
        """Uniform."""
        return self.rng.uniform(low, high, (self.batch, 1, 1)).astype(np.float32)

    def around(self, mean: float, spread: float) -> Column:
        """Normal with `spread` of standard deviation, cut at two of them."""
        return np.float32(mean) + np.float32(spread) * self._normal((self.batch, 1, 1)).clip(-2, 2)

    def chance(self, probability: float) -> Column:
        """1 with this probability, else 0."""
        return (self.rng.random((self.batch, 1, 1)) < probability).astype(np.float32)

    def field(self, size: int, cells: int) -> Maps:
        """Smooth noise of unit variance with about `cells` features across the image."""
        rows = _smoothing(size, cells)
        return rows @ self._normal((self.batch, cells, cells)) @ rows.T

    def white(self, size: int) -> Maps:
        """Independent unit normals."""
        return self._normal((self.batch, size, size))

    def _normal(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.rng.standard_normal(shape, dtype=np.float32)


def _smoothing(size: int, cells: int) -> Float32[np.ndarray, "H N"]:
    """Rows that turn `cells` unit normals into `size` smooth ones of unit variance."""
    positions = np.linspace(-0.5, cells - 0.5, size)[:, None] - np.arange(cells)[None]
    rows = np.exp(-(positions**2) / 1.1)
    return (rows / np.sqrt((rows**2).sum(axis=1, keepdims=True))).astype(np.float32)


def blur(maps: Maps, sigma: float) -> Maps:
    """Gaussian blur with `sigma` pixels of standard deviation."""
    down = gaussian_filter1d(maps, sigma, axis=1, mode="nearest")
    return gaussian_filter1d(down, sigma, axis=2, mode="nearest")


def step(values: Maps, width: float | Column) -> Maps:
    """0 below zero, 1 above `width`, smooth between."""
    t = np.clip(values / width, 0, 1)
    return t * t * (3 - 2 * t)


def bump(values: Maps, width: float | Column) -> Maps:
    """1 at zero, 1/e at a distance of `width`."""
    return np.exp(-np.minimum(np.square(values / width), 30))


def _smooth_min(a: Maps, b: Maps, rounding: float) -> Maps:
    h = np.maximum(rounding - np.abs(a - b), 0) / np.float32(rounding)
    return np.minimum(a, b) - h * h * np.float32(rounding / 4)


@dataclass(frozen=True)
class Frame:
    """Where the thorax lies in the image, whose axes run from -1 to 1."""

    size: int
    shift: Column
    top: Column
    angle: Column
    half: Column
    """Half the chest's width, in half image widths."""
    height: Column
    """The lungs' height, in half image widths."""

    def to_thorax(self, draws: Draws) -> tuple[Maps, Maps]:
        """Thorax coordinates of every pixel, gently bent: no two chests have the same outline."""
        axis = np.linspace(-1, 1, self.size, dtype=np.float32)
        x, y = axis[None, None, :] - self.shift, axis[None, :, None] - self.top
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        bend_x, bend_y = draws.field(self.size, 5), draws.field(self.size, 5)
        return (
            (cos * x + sin * y) / self.half + 0.025 * bend_x,
            (cos * y - sin * x) / self.height + 0.015 * bend_y,
        )

    def to_pixels(self, x: Points, y: Points) -> tuple[Points, Points]:
        """Column and row of points in thorax coordinates, without the bending."""
        shift, top, angle, half, height = (
            c[:, :, 0] for c in (self.shift, self.top, self.angle, self.half, self.height)
        )
        across, down = x * half, y * height
        cos, sin = np.cos(angle), np.sin(angle)
        scale = (self.size - 1) / 2
        return (cos * across - sin * down + shift + 1) * scale, (sin * across + cos * down + top + 1) * scale


def draw_frame(draws: Draws, domain: Domain, size: int) -> Frame:
    """Position, tilt and proportions of each patient before the detector."""
    half = domain.width * draws.around(1.0, 0.05)
    return Frame(
        size=size,
        shift=draws.around(0.0, 0.04),
        top=2 * (domain.top + draws.around(0.0, 0.025)) - 1,
        angle=draws.around(0.0, 0.035),
        half=half,
        height=half * domain.aspect * draws.around(1.0, 0.07),
    )


@dataclass(frozen=True)
class Chest:
    """The outlines that every part refers to."""

    x: Maps
    y: Maps
    side: Maps
    """|x|."""
    left: Maps
    """1 on the patient's left (the image's right), else 0."""
    wall: Maps
    """Half width of the rib cage at this height."""
    dome: Maps
    """Height of the diaphragm at this |x| and side."""
    heart: Maps
    """1 at the heart's centre, 0 at its border, negative outside."""
    depth: Maps
    """Distance to the nearest lung border, positive inside the lungs, in thorax units."""


def _heart(draws: Draws, domain: Domain, x: Maps, y: Maps) -> Maps:
    """1 - q, with q = 1 on a tilted ellipse whose apex points to the patient's left."""
    ratio = draws.around(domain.heart, 0.035)
    centre_x, centre_y = 0.3 * ratio + draws.around(0.0, 0.02), draws.around(0.79, 0.03)
    tilt = draws.around(0.55, 0.12)
    across, down = x - centre_x, (y - centre_y) * np.float32(domain.aspect)
    down = np.where(down > 0, 0.5 * down, down)  # the heart rests on the diaphragm
    along = np.cos(tilt) * across + np.sin(tilt) * down
    over = np.cos(tilt) * down - np.sin(tilt) * across
    long, short = ratio * draws.around(1.08, 0.05), ratio * draws.around(0.8, 0.05)
    return 1 - np.square(along / long) - np.square(over / short)


def draw_chest(draws: Draws, domain: Domain, frame: Frame) -> Chest:
    """Rib cage, diaphragm, heart and lungs of each patient."""
    x, y = frame.to_thorax(draws)
    side, left = np.abs(x), (x > 0).astype(np.float32)
    low = np.maximum(y, 0)
    cap = draws.around(0.43, 0.04)
    wall = (
        draws.around(0.30, 0.02)
        + draws.around(0.40, 0.03) * np.sqrt(np.maximum(1 - np.square(np.maximum(1 - low / cap, 0)), 0))
        + draws.around(0.27, 0.03) * low
    )
    lower = left * draws.around(0.03, 0.03)  # the liver holds the right dome higher
    arch = draws.between(0.12, 0.42)
    fall = side - draws.around(0.52, 0.05)
    dome = 0.96 + lower + arch * np.square(np.where(fall > 0, 1.35 * fall, fall))
    heart = _heart(draws, domain, x, y)
    neck = draws.around(domain.mediastinum, 0.025)
    knob = draws.around(0.09, 0.03) * bump(y - draws.around(0.30, 0.03), 0.085)
    atrium = draws.around(0.06, 0.03) * bump(y - 0.75, 0.2)
    medial = side - neck - left * knob - (1 - left) * atrium - 0.05 * step(y - 0.3, 0.3)
    lateral = wall - side - 4 * np.maximum(-y, 0)
    depth = _smooth_min(lateral, medial, 0.22)
    depth = _smooth_min(depth, -0.22 * heart / np.sqrt(np.maximum(1 - heart, 0.2)), 0.16)
    depth = _smooth_min(depth, (dome - y) * np.float32(domain.aspect), 0.035)
    return Chest(x, y, side, left, wall, dome, heart, depth)


def air(draws: Draws, chest: Chest) -> Maps:
    """Thickness of air in the lungs, 0 outside: one side may be darker, apex and base differ."""
    profile = np.where(chest.depth > 0, 1 - np.exp(-chest.depth / 0.05), 0).astype(np.float32)
    uneven = 1 + draws.around(0.0, 0.11) * chest.x + draws.around(0.0, 0.15) * (chest.y - 0.5)
    return profile * uneven


def soft_tissue(draws: Draws, domain: Domain, chest: Chest) -> Maps:
    """Trunk, shoulders, arms, neck, abdomen, heart, breasts, airway and gastric bubble."""
    x, y, side = chest.x, chest.y, chest.side
    girth = draws.around(0.16, 0.04)
    trunk = 1.0 + girth + 0.05 * y - side
    raised = np.float32(domain.arms)
    out = np.maximum(side - 0.3, 0)
    shoulder = y + draws.around(0.28, 0.03) - (0.2 - 0.5 * raised) * out * out - 0.05 * out
    arm_at = 1.12 + girth + draws.around(0.2, 0.05) + draws.between(0.0, 0.2) * y * (1 - 2 * raised)
    arm = 0.24 - np.abs(side - arm_at) - raised * 4 * np.maximum(y - 0.1, 0)
    armpit = draws.around(0.3, 0.06) - y
    neck = draws.around(0.34, 0.03) - side
    flesh = np.maximum(np.maximum(trunk, arm), np.minimum(armpit, 1.8 - side))
    flesh = np.maximum(np.minimum(flesh, shoulder), np.minimum(neck, 0.3 - y))
    body = 1 - np.exp(-np.maximum(flesh, 0) / 0.07)
    middle = 0.22 * bump(x, 0.35) + 0.3 * np.maximum(1.0 - side / 1.3, 0)
    belly = draws.around(0.45, 0.1) * step(y - chest.dome + 0.02, 0.25) * step(1.3 - side, 0.4)
    heart = 0.3 * np.sqrt(np.maximum(chest.heart, 0))
    tissue = body * (1.0 + middle + belly + heart)
    bubble_x, bubble_y = draws.around(0.5, 0.08), draws.around(1.13, 0.04)
    bubble = 1 - np.square((x - bubble_x) / draws.between(0.1, 0.26)) - np.square((y - bubble_y) / 0.09)
    gas = draws.chance(0.6) * draws.between(0.15, 0.45)
    tissue -= gas * step(bubble, 0.6) * step(y - chest.dome - 0.01, 0.03)
    airway = bump(x + draws.around(0.0, 0.015), 0.055) * step(0.42 - y, 0.08)
    fork = bump(side - 0.7 * (y - 0.36), 0.045) * step(y - 0.36, 0.03) * step(0.52 - y, 0.06)
    hilum = draws.between(0.05, 0.2) * bump(side - 0.25, 0.09) * bump(y - 0.44, 0.1)
    return tissue + hilum - 0.2 * body * np.maximum(airway, fork) + _breasts(draws, chest) * body


def _breasts(draws: Draws, chest: Chest) -> Maps:
    """Two half discs with a sharp lower and a fading upper border, in half of the patients."""
    centre, radius = draws.around(0.72, 0.06), draws.around(0.36, 0.05)
    inside = 1 - np.square((chest.side - 0.55) / radius) - np.square((chest.y - centre) / (radius * 0.75))
    fade = np.clip((chest.y - centre) / (radius * 0.75) * 0.6 + 0.55, 0, 1)
    return draws.chance(0.5) * draws.between(0.05, 0.32) * step(inside, 0.25) * fade


def _tube(distance: Maps, half_width: float, soft: float) -> Maps:
    """A hollow bone seen from the side: bright cortex at both borders, marrow between."""
    inside = step(half_width - np.abs(distance), soft)
    cortex = bump(np.abs(distance) - 0.85 * half_width, 1.2 * soft)
    return inside * (0.6 + 0.5 * cortex)


def bones(draws: Draws, domain: Domain, chest: Chest) -> Maps:
    """Ribs, spine, clavicles, shoulder blades and humeral heads."""
    x, y, side = chest.x, chest.y, chest.side
    spacing = domain.rib_spacing * draws.around(1.0, 0.06)
    start, slope = draws.between(0.0, 1.0), domain.rib_slope + draws.around(0.0, 0.03)
    cage = step(chest.wall + 0.07 - side, 0.06) * step(1.25 - y, 0.2) * step(y + 0.02, 0.06)
    turn = np.square(np.square(side / np.maximum(chest.wall, 0.3)))
    phase = (y * (1 + 0.12 * y) - slope * side - 0.07 * turn) / spacing + start
    behind = _tube(phase - np.round(phase), 0.23, 0.07) * step(side - 0.06, 0.06)
    rise = draws.around(0.34, 0.05)
    phase = (y * (1 + 0.1 * y) + rise * np.square(side - 0.15) - 0.22 * turn) / (1.15 * spacing) + start + 0.5
    front = _tube(phase - np.round(phase), 0.25, 0.08) * step(side - draws.around(0.42, 0.04), 0.12)
    rim = bump(side - chest.wall - 0.045, 0.045)
    ribs = cage * (0.24 * behind + 0.12 * front + 0.12 * rim)
    column = step(0.13 + 0.03 * y - np.abs(x + draws.around(0.0, 0.01)), 0.04)
    segment = y * (1.12 - 0.1 * y) / np.float32(0.1) + draws.between(0.0, 1.0)
    disc = bump(segment - np.round(segment), 0.17)
    spine = column * (0.3 - 0.12 * disc) * (1 + 0.3 * bump(np.abs(x) - 0.1, 0.03))
    return np.float32(domain.bone) * (ribs + spine + _girdle(draws, domain, chest))


def _girdle(draws: Draws, domain: Domain, chest: Chest) -> Maps:
    """Clavicles, shoulder blades and humeral heads."""
    y, side = chest.y, chest.side
    lift = np.float32(domain.arms)
    inner, outer = draws.around(0.13, 0.03), draws.around(-0.03, 0.03) - 0.1 * lift
    along = np.clip((side - 0.1) / 1.05, 0, 1)
    line = inner + (outer - inner) * along + draws.around(0.025, 0.01) * np.sin(2 * np.pi * along)
    ends = step(side - 0.1, 0.04) * step(1.18 - side, 0.06)
    clavicle = 0.32 * ends * _tube(y - line, 0.034, 0.012)
    border = side - draws.around(0.78, 0.06) - (0.35 - 0.1 * lift) * (y - 0.1) - 0.25 * lift
    blade = 0.16 * step(border, 0.03) * step(y - 0.02, 0.05) * step(0.55 - y - 0.2 * side, 0.12)
    blade *= step(1.25 - side, 0.2) * (1 + 0.8 * bump(border - 0.03, 0.025))
    radius = np.square((side - 1.28) / 0.17) + np.square((y + 0.02 + 0.1 * lift) * 1.75 / 0.17)
    return clavicle + blade + 0.25 * step(1 - radius, 0.3)
