"""Views of images: randomness is drawn first, then applied to a whole batch, image and mask alike.

Shapes: B images, C channels, S structures. Images are float in [0, 1] and stay there. Draws come from a CPU
generator whatever the device, so that a seed means the same views everywhere; only the grain of the noise is
drawn on the device, from a seed drawn with the rest.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import kornia.enhance
import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def sent(values: Tensor, device: torch.device) -> Tensor:
    """`values` on the device, without waiting for what a CUDA device has still to do."""
    # Memory that is not pinned is copied before the call returns, so the values may go out of scope.
    return values.to(device, non_blocking=device.type == "cuda")


def _uniform(count: int, low: float, high: float, rng: Generator) -> Tensor:
    return torch.rand(count, generator=rng) * (high - low) + low


@dataclass(frozen=True)
class Affine:
    """One affine map per image, from output to input coordinates in [-1, 1]."""

    matrix: Tensor
    """(B 2 3)."""
    framed: Tensor | None = None
    """(B,) bool: outside the image it is black; else, and where None, the image's edge is repeated."""

    @classmethod
    def build(
        cls,
        degrees: Tensor,
        scale_x: Tensor,
        scale_y: Tensor,
        shear_x: Tensor,
        shear_y: Tensor,
        shift_x: Tensor,
        shift_y: Tensor,
    ) -> "Affine":
        """Each argument (B,); scales multiply the field of view, shifts are shares of the image's side."""
        angle = degrees * (math.pi / 180)
        cos, sin = angle.cos(), angle.sin()
        row_x = torch.stack([scale_x * cos, shear_x - sin, 2 * shift_x], dim=1)
        row_y = torch.stack([shear_y + sin, scale_y * cos, 2 * shift_y], dim=1)
        return cls(torch.stack([row_x, row_y], dim=1))

    @classmethod
    def draw_paper(cls, count: int, rng: Generator) -> "Affine":
        """Horizontal flip half the time, and a crop shifted by up to 32 of 256 pixels.

        Paper: supplement, weak augmentation.
        """
        zero, one = torch.zeros(count), torch.ones(count)
        flip = 1 - 2 * (torch.rand(count, generator=rng) < 0.5).float()
        shift_x, shift_y = _uniform(count, -1 / 8, 1 / 8, rng), _uniform(count, -1 / 8, 1 / 8, rng)
        return cls.build(zero, one, one, zero, zero, shift_x, shift_y).mirrored(flip)

    @classmethod
    def draw_radiograph(cls, count: int, rng: Generator) -> "Affine":
        """What positioning, patient size and a resize to a square vary: flip, rotation, zoom, aspect and shift.

        The aspect ratio of the file must not tell the class, as it does where the sick are filmed wider: it
        varies by a third either way.
        """
        zero = torch.zeros(count)
        flip = 1 - 2 * (torch.rand(count, generator=rng) < 0.5).float()
        zoom, aspect = _uniform(count, -0.15, 0.15, rng).exp(), _uniform(count, -0.15, 0.15, rng).exp()
        return cls.build(
            _uniform(count, -12.0, 12.0, rng),
            zoom * aspect,
            zoom / aspect,
            zero,
            zero,
            _uniform(count, -0.05, 0.05, rng),
            _uniform(count, -0.05, 0.05, rng),
        ).mirrored(flip)

    def mirrored(self, sign: Tensor) -> "Affine":
        """The map with its input's left and right exchanged where `sign` (B,) is -1."""
        flip = torch.stack([sign, torch.ones_like(sign)], dim=1)[:, :, None]
        return Affine(self.matrix * flip, self.framed)

    def reframed(self, rng: Generator) -> "Affine":
        """Half of the images up to 1.5 times narrower, 1.5 times lower and off the middle, in a black frame.

        Collimators, film formats and the air beside a child are black, and no lung.
        """
        count = len(self.matrix)
        framed = torch.rand(count, generator=rng) < 0.5
        zoom = _uniform(2 * count, 0.0, 0.4, rng).exp().view(count, 2, 1)
        away = _uniform(2 * count, -0.3, 0.3, rng).view(count, 2, 1)
        scaled = self.matrix * zoom + F.pad(away, (2, 0))
        return Affine(torch.where(framed[:, None, None], scaled, self.matrix), framed)

    def apply(self, images: Tensor) -> Tensor:
        """(B C H W) -> the same shape, bilinear."""
        grid = F.affine_grid(
            sent(self.matrix.to(images.dtype), images.device), list(images.shape), align_corners=False
        )
        # A black frame would tell the classifier of a shift that no radiograph has.
        views = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
        if self.framed is None:
            return views
        inside = (grid.abs().amax(dim=3) <= 1)[:, None]
        return views * (inside | ~sent(self.framed, images.device).view(-1, 1, 1, 1))

    def apply_to_masks(self, masks: Tensor) -> Tensor:
        """(B S H W) of 0 and 1 -> the same."""
        return (self.apply(masks) >= 0.5).to(masks.dtype)


@dataclass(frozen=True)
class Exposure:
    """Gamma, contrast, brightness and noise per image: what exposure and detector vary."""

    gamma: Tensor
    contrast: Tensor
    brightness: Tensor
    noise: Tensor
    noise_seed: int

    @classmethod
    def draw(cls, count: int, rng: Generator) -> "Exposure":
        """Each field (B,); gamma in [0.61, 1.65], contrast in [0.75, 1.33], brightness +-0.1, noise up to 0.05."""
        return cls(
            _uniform(count, -0.5, 0.5, rng).exp(),
            _uniform(count, -0.29, 0.29, rng).exp(),
            _uniform(count, -0.1, 0.1, rng),
            _uniform(count, 0.0, 0.05, rng),
            int(torch.randint(2**62, (), generator=rng)),
        )

    def apply(self, images: Tensor) -> Tensor:
        """(B C H W) in [0, 1] -> the same."""
        gamma, contrast, brightness, noise = (
            sent(value, images.device).view(-1, 1, 1, 1)
            for value in (self.gamma, self.contrast, self.brightness, self.noise)
        )
        grain = torch.empty_like(images).normal_(
            generator=Generator(device=images.device).manual_seed(self.noise_seed)
        )
        images = (images.clamp(0, 1) ** gamma - 0.5) * contrast + 0.5 + brightness
        return (images + noise * grain).clamp_(0, 1)


def _autocontrast(x: Tensor, level: Tensor) -> Tensor:
    low, high = x.amin(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
    flat = high - low < 1e-6
    return torch.where(flat, x, (x - low) / (high - low).clamp_min(1e-6))


def _contrast(x: Tensor, level: Tensor) -> Tensor:
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (x - mean) * (0.05 + 0.9 * level).view(-1, 1, 1, 1)


RENDERINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "autocontrast": _autocontrast,
    "brightness": lambda x, level: x * (0.05 + 0.9 * level.abs()).view(-1, 1, 1, 1),
    "contrast": lambda x, level: _contrast(x, level.abs()),
    "equalize": lambda x, level: kornia.enhance.equalize(x),
    "posterize": lambda x, level: kornia.enhance.posterize(x, 8 - (4 * level.abs()).round().int()),
    "sharpness": lambda x, level: kornia.enhance.sharpness(x, 0.05 + 0.9 * level.abs()),
    "solarize": lambda x, level: kornia.enhance.solarize(x, 1 - level.abs()),
}
"""Images (B C H W) and signed levels (B,) in [-1, 1] -> images."""

MOVES = {
    "rotate": ("degrees", 30.0),
    "shear_x": ("shear_x", 0.3),
    "shear_y": ("shear_y", 0.3),
    "translate_x": ("shift_x", 0.3),
    "translate_y": ("shift_y", 0.3),
}
"""What of `Affine.build` an operation changes, and by how much at level 1."""

STRONG_OPERATIONS = tuple(sorted((*RENDERINGS, *MOVES, "identity")))
"""Names; a level's sign is a direction. Ranges: FixMatch, arXiv:2001.07685, Table 12."""


def _moved(images: Tensor, names: Sequence[str], levels: Tensor) -> Tensor:
    """(B C H W), each by its own one of MOVES and its level (B,)."""
    values = {field: torch.zeros_like(levels) for field, _ in MOVES.values()}
    for name, (field, limit) in MOVES.items():
        values[field] += levels * limit * torch.tensor([own == name for own in names])
    one = torch.ones_like(levels)
    return Affine.build(scale_x=one, scale_y=one, **values).apply(images)


@dataclass(frozen=True)
class StrongOperations:
    """Two operations per image, each with a magnitude from 1 to 9 of 10, each skipped half the time.

    Paper: supplement, strong augmentation.
    """

    operations: Tensor
    """(2 B) indices into STRONG_OPERATIONS."""
    levels: Tensor
    """(2 B) in [-0.9, 0.9]; 0 skips the operation."""

    @classmethod
    def draw(cls, count: int, rng: Generator) -> "StrongOperations":
        """Random operations for `count` images."""
        shape = (2, count)
        magnitudes = torch.randint(1, 10, shape, generator=rng) / 10
        signs = torch.randint(0, 2, shape, generator=rng) * 2 - 1
        applied = torch.randint(0, 2, shape, generator=rng)
        return cls(torch.randint(len(STRONG_OPERATIONS), shape, generator=rng), magnitudes * signs * applied)

    def apply(self, images: Tensor) -> Tensor:
        """(B C H W) in [0, 1] -> the same."""
        for operations, levels in zip(self.operations.tolist(), self.levels, strict=True):
            names, applied = [STRONG_OPERATIONS[index] for index in operations], (levels != 0).tolist()
            result = images.clone()
            for group in (*({name} for name in RENDERINGS), set(MOVES)):
                # Rows are found on the CPU, where operations were drawn: the device is not waited for.
                rows = [row for row, name in enumerate(names) if name in group and applied[row]]
                if not rows:
                    continue
                where, own = sent(torch.tensor(rows), images.device), [names[row] for row in rows]
                if own[0] in MOVES:
                    result[where] = _moved(images[where], own, levels[rows])
                else:
                    result[where] = RENDERINGS[own[0]](images[where], sent(levels[rows], images.device))
            images = result.clamp_(0, 1)
        return images


@dataclass(frozen=True)
class WeakView:
    """What may happen to a radiograph without a change of class: one draw for images and their masks."""

    affine: Affine
    exposure: Exposure | None

    @classmethod
    def draw(cls, count: int, augmentation: str, rng: Generator) -> "WeakView":
        """`augmentation` as in `StreamConfig`."""
        if augmentation == "paper":
            return cls(Affine.draw_paper(count, rng), None)
        return cls(Affine.draw_radiograph(count, rng), Exposure.draw(count, rng))

    def reframed(self, rng: Generator) -> "WeakView":
        """Half of the images in a black frame, see `Affine.reframed`."""
        return replace(self, affine=self.affine.reframed(rng))

    def apply(self, images: Tensor) -> Tensor:
        """(B C H W) -> the same shape."""
        views = self.affine.apply(images)
        return views if self.exposure is None else self.exposure.apply(views)

    def apply_to_masks(self, masks: Tensor) -> Tensor:
        """(B S H W) of 0 and 1 -> the same; exposure does not move a mask."""
        return self.affine.apply_to_masks(masks)


@dataclass(frozen=True)
class Style:
    """How a detector and its software render the same patient: tone curve, uneven field, sharpness.

    For domains never seen, after Zhou et al. (Models Genesis), arXiv:2004.07882, and Zhang et al. (BigAug),
    arXiv:1906.03347.
    """

    curve: Tensor
    """(B 6): output at the inputs 0, .2, .4, .6, .8, 1; rising from 0 to 1."""
    field: Tensor
    """(B 1 3 3): brightness added, coarse to fine."""
    sharpness: Tensor
    """(B,) in [-1, 1]: -1 is blurred, 1 has its edges enhanced."""

    @classmethod
    def draw(cls, count: int, rng: Generator) -> "Style":
        """A style per image; two thirds of a curve's slopes lie within a factor of 1.6 of each other."""
        slopes = (0.5 * torch.randn(count, 5, generator=rng)).exp()
        rises = slopes.cumsum(dim=1) / slopes.sum(dim=1, keepdim=True)
        field = _uniform(9 * count, -0.1, 0.1, rng).view(count, 1, 3, 3)
        return cls(F.pad(rises, (1, 0)), field, _uniform(count, -1.0, 1.0, rng))

    def apply(self, images: Tensor) -> Tensor:
        """(B C H W) in [0, 1] -> the same."""
        curve, field, sharpness = (
            sent(value, images.device) for value in (self.curve, self.field, self.sharpness)
        )
        cell = (images * 5).long().clamp_(0, 4)
        flat = cell.flatten(1)
        low = curve.gather(1, flat).view_as(images)
        high = curve.gather(1, flat + 1).view_as(images)
        images = low + (images * 5 - cell) * (high - low)
        images = images + F.interpolate(field, images.shape[-2:], mode="bicubic", align_corners=True)
        # The padding repeats edges: a zero frame would be blurred into the image.
        smooth = F.avg_pool2d(F.pad(images, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
        return (images + sharpness.view(-1, 1, 1, 1) * (images - smooth)).clamp_(0, 1)


def amplitude_mix(images: Tensor, others: Tensor, share: Tensor) -> Tensor:
    """(B C H W) twice and (B,) in [0, 1] -> images whose Fourier amplitude is mixed with that of others.

    The phase, which carries shapes, stays: masks and labels remain true. Xu et al. (FACT), arXiv:2105.11120,
    Eq. (2).
    """
    spectrum = torch.fft.rfft2(images)
    amplitude = spectrum.abs()
    mixed = amplitude.lerp(torch.fft.rfft2(others).abs(), sent(share, images.device).view(-1, 1, 1, 1))
    ratio = mixed / amplitude.clamp_min(1e-6)
    return torch.fft.irfft2(spectrum * ratio, images.shape[-2:]).clamp_(0, 1)


def boxes(count: int, size: tuple[int, int], rng: Generator) -> Tensor:
    """(B 1 H W) bool: for half of the images nothing, else a box of 2 to 40 % of the area anywhere.

    Yun et al. (CutMix), arXiv:1905.04899; sizes as in UniMatch, arXiv:2208.09910.
    """
    height, width = size
    share, aspect = _uniform(count, 0.02, 0.4, rng), _uniform(count, -1.0, 1.0, rng).exp()
    tall, wide = (share * aspect).sqrt().clamp(max=1), (share / aspect).sqrt().clamp(max=1)
    top, left = torch.rand(2, count, generator=rng)
    chosen = torch.rand(count, generator=rng) < 0.5
    y, x = torch.arange(height) / height, torch.arange(width) / width
    top, left = top * (1 - tall), left * (1 - wide)
    rows = (y >= top[:, None]) & (y < (top + tall)[:, None])
    columns = (x >= left[:, None]) & (x < (left + wide)[:, None])
    return (rows[:, :, None] & columns[:, None, :] & chosen[:, None, None])[:, None]


def weak_view(images: Tensor, augmentation: str, rng: Generator) -> Tensor:
    """(B C H W) -> a weak view of each."""
    return WeakView.draw(len(images), augmentation, rng).apply(images)


def strong_view(images: Tensor, augmentation: str, rng: Generator) -> Tensor:
    """(B C H W) -> a weak view of its own draw, then two strong operations."""
    return StrongOperations.draw(len(images), rng).apply(weak_view(images, augmentation, rng))
