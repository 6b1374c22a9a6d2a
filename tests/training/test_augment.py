"""Views: geometry by hand, tone operations against Pillow, and what is drawn."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Generator, Tensor

from multimix.training.augment import (
    STRONG_OPERATIONS,
    Affine,
    Exposure,
    StrongOperations,
    Style,
    WeakView,
    amplitude_mix,
    boxes,
    strong_view,
    weak_view,
)

pytestmark = pytest.mark.numeric

AUGMENTATIONS = ["paper", "radiograph"]
NAMES = list(STRONG_OPERATIONS)


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def affine(count: int = 1, **values: float) -> Affine:
    """The identity, but for `values`."""
    given = dict.fromkeys(("degrees", "shear_x", "shear_y", "shift_x", "shift_y"), 0.0)
    given |= {"scale_x": 1.0, "scale_y": 1.0} | values
    return Affine.build(**{name: torch.full((count,), value) for name, value in given.items()})


def blobs(count: int, size: int = 64) -> Tensor:
    """Masks (count 1 size size): a disc and, so that no symmetry hides a mistake, a bar."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    disc = (rows - 0.35 * size) ** 2 + (columns - 0.4 * size) ** 2 < (0.2 * size) ** 2
    bar = (rows > 0.6 * size) & (rows < 0.75 * size) & (columns > 0.3 * size) & (columns < 0.9 * size)
    return (disc | bar).float().expand(count, 1, size, size).clone()


# Geometry


def test_the_identity_leaves_image_and_mask_as_they_are():
    images = torch.rand(3, 2, 17, 16, generator=seeded())
    torch.testing.assert_close(affine(3).apply(images), images, atol=1e-5, rtol=0)
    assert torch.equal(affine(3).apply_to_masks((images > 0.5).float()), (images > 0.5).float())


def test_a_quarter_turn_by_hand():
    image = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])[None, None]
    turned = torch.tensor([[3.0, 6.0, 9.0], [2.0, 5.0, 8.0], [1.0, 4.0, 7.0]])[None, None]
    torch.testing.assert_close(affine(degrees=90).apply(image), turned, atol=1e-4, rtol=0)


def test_a_shift_moves_by_a_share_of_the_side_and_repeats_the_edge():
    image = torch.arange(1.0, 9.0).expand(1, 1, 8, 8)
    moved = torch.tensor([3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 8.0, 8.0]).expand(1, 1, 8, 8)
    torch.testing.assert_close(affine(shift_x=0.25).apply(image), moved, atol=1e-4, rtol=0)
    torch.testing.assert_close(affine(shift_y=0.25).apply(image.mT), moved.mT, atol=1e-4, rtol=0)


def test_a_negative_scale_mirrors():
    image = torch.rand(1, 1, 8, 8, generator=seeded())
    torch.testing.assert_close(affine(scale_x=-1).apply(image), image.flip(3), atol=1e-5, rtol=0)


def test_a_scale_of_two_shows_twice_the_field():
    image = torch.zeros(1, 1, 8, 8)
    image[..., 2:6, 2:6] = 1
    expected = torch.zeros(1, 1, 8, 8)
    expected[..., 3:5, 3:5] = 1
    torch.testing.assert_close(affine(scale_x=2, scale_y=2).apply(image), expected, atol=1e-5, rtol=0)


def test_a_shear_moves_rows_against_each_other():
    # Row r lies at y = (2 r + 1) / 8 - 1; at shear 1 it looks y further right, in columns 4 y.
    image = torch.zeros(1, 1, 8, 8)
    image[..., 4] = 1
    sheared = affine(shear_x=1).apply(image)[0, 0]
    # Row 2: y = -3/8, 3/2 columns: half of columns 5 and 6. Row 5: y = 3/8: half of columns 2 and 3.
    torch.testing.assert_close(sheared[2], torch.tensor([0, 0, 0, 0, 0, 0.5, 0.5, 0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(sheared[5], torch.tensor([0, 0, 0.5, 0.5, 0, 0, 0, 0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_image_and_mask_move_together(augmentation: str):
    masks = blobs(40)
    view = WeakView.draw(40, augmentation, seeded())
    images_moved, masks_moved = view.apply(masks), view.apply_to_masks(masks)
    assert set(masks_moved.unique().tolist()) == {0.0, 1.0}
    # Exposure and noise never bring black and white to the other side of 1/2; half-covered edge pixels may cross.
    disagree = ((images_moved >= 0.5).float() != masks_moved).float().mean(dim=(1, 2, 3))
    assert float(disagree.max()) < 0.02
    assert float((masks_moved != masks).float().mean()) > 0.04  # they did move
    # Another draw is no substitute: image and mask of different images do not fit.
    other = (images_moved.roll(1, 0) >= 0.5).float() != masks_moved
    assert float(other.float().mean()) > 0.04


def test_the_papers_weak_view_is_a_flip_and_a_shift_up_to_an_eighth():
    matrix = Affine.draw_paper(10_000, seeded()).matrix
    flips, shifts = matrix[:, 0, 0], matrix[:, :, 2] / 2
    assert set(flips.tolist()) == {-1.0, 1.0}
    # Five standard deviations of a fair coin.
    assert abs(float((flips < 0).float().mean()) - 0.5) < 5 * 0.5 / 100
    assert 0.12 < float(shifts.abs().max()) <= 0.125
    assert float(shifts.min()) < -0.12
    assert (matrix[:, 1, 1] == 1).all()
    assert (matrix[:, 0, 1] == 0).all()
    assert (matrix[:, 1, 0] == 0).all()


def test_a_radiograph_is_turned_zoomed_shifted_and_half_the_time_mirrored():
    matrix = Affine.draw_radiograph(10_000, seeded()).matrix
    linear, shifts = matrix[:, :, :2], matrix[:, :, 2] / 2
    assert 0.048 < float(shifts.abs().max()) <= 0.05
    # cos(12 degrees) exp(-0.3) = 0.724, exp(0.3) = 1.350: zoom and aspect at their limits.
    diagonal = linear.diagonal(dim1=1, dim2=2).abs()
    assert 0.724 <= float(diagonal.min()) < 0.78
    assert 1.28 < float(diagonal.max()) <= 1.35
    sine = linear[:, 1, 0].abs().max()
    assert math.sin(math.radians(11.5)) < float(sine) <= math.sin(math.radians(12)) + 1e-6
    # Five standard deviations of 10,000 draws are 0.025.
    assert abs(float((torch.linalg.det(linear) < 0).float().mean()) - 0.5) < 0.025


def test_mirrored_exchanges_left_and_right():
    image = torch.rand(2, 1, 8, 8, generator=seeded())
    plain = affine(shift_x=0.25)
    both = Affine(plain.matrix.expand(2, 2, 3)).mirrored(torch.tensor([1.0, -1.0])).apply(image)
    torch.testing.assert_close(both[0], plain.apply(image[:1])[0], atol=1e-5, rtol=0)
    # The map is mirrored where it looks, so the shift is seen from the other side.
    torch.testing.assert_close(both[1], plain.apply(image[1:].flip(3))[0], atol=1e-5, rtol=0)


# Exposure


def exposure(gamma: float = 1, contrast: float = 1, brightness: float = 0, noise: float = 0) -> Exposure:
    return Exposure(*(torch.tensor([v]) for v in (gamma, contrast, brightness, noise)), noise_seed=1)


def test_exposure_by_hand():
    image = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3)
    # (1/4 - 1/2) / 2 + 1/2 + 1/10
    got = exposure(gamma=2, contrast=0.5, brightness=0.1).apply(image)
    torch.testing.assert_close(got.flatten(), torch.tensor([0.35, 0.475, 0.85]))
    torch.testing.assert_close(exposure().apply(image), image)
    # Beyond the range is cut off.
    got = exposure(contrast=2, brightness=0.25).apply(image)
    torch.testing.assert_close(got.flatten(), torch.tensor([0.0, 0.75, 1.0]))


def test_noise_has_the_standard_deviation_it_says():
    noisy = exposure(noise=0.04).apply(torch.full((1, 1, 100, 100), 0.5))
    assert abs(float(noisy.mean()) - 0.5) < 5 * 0.04 / 100
    assert abs(float(noisy.std()) - 0.04) < 5 * 0.04 / math.sqrt(2 * 10_000)


def test_exposure_is_drawn_within_its_ranges():
    drawn = Exposure.draw(5_000, seeded())
    limits = {
        "gamma": (0.606, 1.65),
        "contrast": (0.747, 1.337),
        "brightness": (-0.1, 0.1),
        "noise": (0.0, 0.05),
    }
    for name, (low, high) in limits.items():
        values = getattr(drawn, name)
        assert low <= float(values.min()) < low + 0.01 * (high - low) + 1e-3, name
        assert high - 0.01 * (high - low) - 1e-3 < float(values.max()) <= high, name


# Strong operations


def applied(name: str, images: Tensor, level: float) -> Tensor:
    """One operation at one level, through the same door as in training."""
    count = len(images)
    operations = torch.tensor([[NAMES.index(name)] * count, [NAMES.index("identity")] * count])
    levels = torch.tensor([[level] * count, [0.5] * count])
    return StrongOperations(operations, levels).apply(images)


def test_the_pool_is_the_papers():
    assert set(NAMES) == {
        *("autocontrast", "brightness", "contrast", "equalize", "identity", "posterize", "rotate"),
        *("sharpness", "shear_x", "shear_y", "solarize", "translate_x", "translate_y"),
    }


def odd_images(channels: int) -> Tensor:
    """Black, white, grey, noise, a ramp, one bright pixel, and values a rounding error above 1."""
    images = torch.zeros(7, channels, 24, 24)
    images[1] = 1
    images[2] = 0.5
    images[3] = torch.rand(channels, 24, 24, generator=seeded())
    images[4] = torch.linspace(0, 1, 24)
    images[5, :, 3, 4] = 1
    images[6] = 1 + 2e-7
    return images


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_strong_operation_stays_in_range(name: str, channels: int):
    images = odd_images(channels)
    before = images.clone()
    for level in (-0.9, -0.5, -0.1, 0.1, 0.5, 0.9):
        views = applied(name, images, level)
        assert views.shape == images.shape
        assert torch.isfinite(views).all()
        assert float(views.min()) >= 0
        assert float(views.max()) <= 1
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", NAMES)
def test_level_zero_skips(name: str):
    images = torch.rand(2, 1, 16, 16, generator=seeded())
    skipped = StrongOperations(torch.full((2, 2), NAMES.index(name)), torch.zeros(2, 2))
    assert torch.equal(skipped.apply(images), images)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("identity", "autocontrast")])
def test_an_operation_changes_its_own_image_alone(name: str):
    images = torch.rand(3, 1, 24, 24, generator=seeded()) * 0.9
    operations = torch.full((2, 3), NAMES.index(name))
    levels = torch.tensor([[0.0, 0.9, 0.0], [0.0, 0.0, 0.0]])
    views = StrongOperations(operations, levels).apply(images)
    assert torch.equal(views[0], images[0])
    assert torch.equal(views[2], images[2])
    assert not torch.allclose(views[1], images[1], atol=1e-3)


def test_tone_operations_by_hand():
    image = torch.tensor([0.2, 0.4, 0.6, 0.8]).view(1, 1, 1, 4)

    def at(name: str, level: float) -> Tensor:
        return applied(name, image, level).flatten()

    # Both directions of a level mean the same factor, 0.05 + 0.9 |level|.
    for level in (0.5, -0.5):
        torch.testing.assert_close(at("brightness", level), torch.tensor([0.1, 0.2, 0.3, 0.4]))
        torch.testing.assert_close(at("contrast", level), torch.tensor([0.35, 0.45, 0.55, 0.65]))
        # Threshold 1 - 1/2
        torch.testing.assert_close(at("solarize", level), torch.tensor([0.2, 0.4, 0.4, 0.2]))
    torch.testing.assert_close(at("solarize", 0.3), torch.tensor([0.2, 0.4, 0.6, 0.2]))
    torch.testing.assert_close(at("autocontrast", 0.5), torch.tensor([0.0, 1 / 3, 2 / 3, 1.0]))
    torch.testing.assert_close(at("identity", 0.5), image.flatten())
    flat = torch.full((1, 1, 4, 4), 0.3)
    assert torch.equal(applied("autocontrast", flat, 0.5), flat)


def test_geometric_operations_by_hand():
    # At level 1/2 of a limit of 0.3, 20 columns move by 3.
    image = torch.rand(1, 1, 20, 20, generator=seeded())
    for name, dim in (("translate_x", 3), ("translate_y", 2)):
        moved = applied(name, image, 0.5)
        kept, gone = moved.narrow(dim, 0, 17), moved.narrow(dim, 17, 3)
        torch.testing.assert_close(kept, image.narrow(dim, 3, 17), atol=1e-4, rtol=0)
        edge = image.narrow(dim, 19, 1).expand_as(gone)
        torch.testing.assert_close(gone, edge, atol=1e-4, rtol=0)
        back = applied(name, image, -0.5)
        torch.testing.assert_close(back.narrow(dim, 3, 17), image.narrow(dim, 0, 17), atol=1e-4, rtol=0)
    for name, argument, limit in (
        ("rotate", "degrees", 30.0),
        ("shear_x", "shear_x", 0.3),
        ("shear_y", "shear_y", 0.3),
    ):
        expected = affine(**{argument: -0.7 * limit}).apply(image)
        torch.testing.assert_close(applied(name, image, -0.7), expected, atol=1e-5, rtol=0)


def eight_bit_image() -> tuple[Tensor, Image.Image]:
    """The same picture, with few dark and many bright pixels, as a tensor and for Pillow."""
    pixels = (torch.rand(32, 32, generator=seeded()).sqrt() * 230 + 20).round()
    return pixels.view(1, 1, 32, 32) / 255, Image.fromarray(pixels.numpy().astype(np.uint8))


def grey_levels(x: Tensor) -> np.ndarray:
    return (x[0, 0] * 255).round().int().numpy()


@pytest.mark.parametrize(
    ("name", "level", "pillow"),
    [
        ("equalize", 0.5, ImageOps.equalize),
        ("posterize", 0.1, lambda image: ImageOps.posterize(image, 8)),
        ("posterize", 0.5, lambda image: ImageOps.posterize(image, 6)),
        ("posterize", -0.9, lambda image: ImageOps.posterize(image, 4)),
        ("solarize", 0.5, lambda image: ImageOps.solarize(image, 128)),
        ("autocontrast", 0.5, ImageOps.autocontrast),
        ("brightness", 0.5, lambda image: ImageEnhance.Brightness(image).enhance(0.5)),
        ("contrast", 0.1, lambda image: ImageEnhance.Contrast(image).enhance(0.14)),
        ("sharpness", 0.1, lambda image: ImageEnhance.Sharpness(image).enhance(0.14)),
    ],
)
def test_tone_operations_are_pillows(name: str, level: float, pillow):
    ours, theirs = eight_bit_image()
    got, expected = grey_levels(applied(name, ours, level)), np.asarray(pillow(theirs), int)
    # Pillow rounds in between.
    assert np.abs(got - expected).max() <= 1


def test_the_first_operation_is_done_first():
    image = torch.full((1, 1, 4, 4), 0.9)
    darken, invert = NAMES.index("brightness"), NAMES.index("solarize")
    levels = torch.full((2, 1), 0.5)
    # 0.9 / 2 is below the threshold; 1 - 0.9 halved is not 0.45.
    one = StrongOperations(torch.tensor([[darken], [invert]]), levels).apply(image)
    two = StrongOperations(torch.tensor([[invert], [darken]]), levels).apply(image)
    assert float(one[0, 0, 0, 0]) == pytest.approx(0.45)
    assert float(two[0, 0, 0, 0]) == pytest.approx(0.05)


def test_strong_operations_are_drawn_as_in_the_paper():
    count = 20_000
    drawn = StrongOperations.draw(count, seeded())
    assert drawn.operations.shape == drawn.levels.shape == (2, count)

    def expect(happened: Tensor, probability: float) -> None:
        deviation = math.sqrt(probability * (1 - probability) / happened.numel())
        assert abs(float(happened.float().mean()) - probability) < 5 * deviation

    for operations, levels in zip(drawn.operations, drawn.levels, strict=True):
        skipped = levels == 0
        expect(skipped, 1 / 2)
        expect(levels[~skipped] > 0, 1 / 2)
        tenths = (levels[~skipped].abs() * 10).round().int()
        assert set(tenths.tolist()) == set(range(1, 10))
        for magnitude in range(1, 10):
            expect(tenths == magnitude, 1 / 9)
        for index in range(len(NAMES)):
            expect(operations == index, 1 / 13)
    # Both of a pair skipped: a quarter; the same operation twice: a thirteenth.
    expect((drawn.levels == 0).all(dim=0), 1 / 4)
    expect(drawn.operations[0] == drawn.operations[1], 1 / 13)


# Views


@pytest.mark.parametrize("view", [weak_view, strong_view])
@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_seed_is_the_same_view(view, augmentation: str, channels: int):
    images = torch.rand(8, channels, 32, 32, generator=seeded())
    before = images.clone()
    first, again, other = (view(images, augmentation, seeded(s)) for s in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)
    for one in (first, other):
        assert one.shape == images.shape
        assert one.dtype == torch.float32
        assert torch.isfinite(one).all()
        assert float(one.min()) >= 0
        assert float(one.max()) <= 1 + 1e-6


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_what_is_drawn_does_not_depend_on_the_pixels(augmentation: str):
    """One draw serves image and mask, so a draw may not look at what it is applied to."""
    rng = seeded(5)
    strong_view(torch.rand(4, 1, 16, 16), augmentation, rng)
    other = seeded(5)
    strong_view(torch.zeros(4, 3, 48, 48), augmentation, other)
    assert torch.equal(rng.get_state(), other.get_state())


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_a_strong_view_differs_more_than_a_weak_one(augmentation: str):
    images = (0.2 + 0.6 * blobs(200, 32)) * torch.linspace(0.8, 1, 32)
    weak, strong = weak_view(images, augmentation, seeded()), strong_view(images, augmentation, seeded())
    assert float((strong - images).abs().mean()) > float((weak - images).abs().mean())


def test_half_of_the_images_are_put_into_a_black_frame():
    count = 400
    plain = affine(count)
    framed = plain.reframed(seeded())
    assert framed.framed is not None
    assert 160 < framed.framed.sum() < 240
    assert torch.equal(framed.matrix[~framed.framed], plain.matrix[~framed.framed])
    chosen = framed.matrix[framed.framed]
    for axis in (0, 1):
        assert 1 <= chosen[:, axis, axis].min() < 1.1
        assert 1.4 < chosen[:, axis, axis].max() <= math.exp(0.4) + 1e-6
    assert not torch.equal(chosen[:, 0, 0], chosen[:, 1, 1])
    assert 0.25 < chosen[:, :, 2].abs().max() <= 0.3


def test_outside_a_framed_image_it_is_black():
    images = torch.full((2, 1, 8, 8), 0.5)
    double = affine(2, scale_x=2.0, scale_y=2.0)
    framed, plain = Affine(double.matrix, torch.tensor([True, False])).apply(images)
    expected = torch.zeros(8, 8)
    expected[2:6, 2:6] = 0.5
    assert torch.equal(framed[0], expected)
    assert torch.equal(plain[0], torch.full((8, 8), 0.5))


# Styles and boxes

IDENTITY = torch.linspace(0, 1, 6)


def style(curve: Tensor = IDENTITY, field: float = 0.0, sharpness: float = 0.0) -> Style:
    return Style(curve[None], torch.full((1, 1, 3, 3), field), torch.tensor([sharpness]))


def test_a_plain_style_changes_nothing():
    images = torch.rand(1, 3, 16, 16, generator=seeded())
    torch.testing.assert_close(style().apply(images), images)


def test_a_tone_curve_by_hand():
    curve = torch.tensor([0.0, 0.5, 0.6, 0.7, 0.8, 1.0])
    images = torch.tensor([0.0, 0.1, 0.2, 0.5, 1.0]).view(1, 1, 1, 5)
    expected = torch.tensor([0.0, 0.25, 0.5, 0.65, 1.0]).view(1, 1, 1, 5)
    torch.testing.assert_close(style(curve).apply(images), expected)


def test_a_field_is_added_and_stays_in_range():
    images = torch.tensor([0.0, 0.5, 0.95]).view(1, 1, 1, 3).expand(1, 1, 9, 3)
    expected = torch.tensor([0.1, 0.6, 1.0]).view(1, 1, 1, 3).expand(1, 1, 9, 3)
    torch.testing.assert_close(style(field=0.1).apply(images), expected)


def test_sharpness_enhances_or_blurs_what_differs_from_its_surroundings():
    images = torch.full((1, 1, 9, 9), 0.4)
    images[0, 0, 4, 4] = 0.65
    # The mean of 5 x 5 pixels around the point is .41: the point stands .24 above it, its neighbours .01 below.
    for sharpness, point, beside in ((1.0, 0.89, 0.39), (-1.0, 0.41, 0.41)):
        answer = style(sharpness=sharpness).apply(images)[0, 0]
        assert float(answer[4, 4]) == pytest.approx(point)
        assert float(answer[4, 5]) == pytest.approx(beside)
        assert float(answer[0, 0]) == pytest.approx(0.4)


def test_styles_are_drawn_within_their_ranges():
    drawn = Style.draw(500, seeded())
    assert (drawn.curve[:, 0] == 0).all()
    torch.testing.assert_close(drawn.curve[:, -1], torch.ones(500))
    assert (drawn.curve.diff(dim=1) > 0).all()
    assert drawn.field.abs().max() <= 0.1
    assert drawn.sharpness.abs().max() <= 1
    assert drawn.sharpness.std() > 0.5


def test_amplitudes_are_mixed_and_phases_kept():
    images, others = torch.rand(2, 2, 1, 16, 16, generator=seeded()).mul(0.2).add(0.4)
    none, half = torch.zeros(2), torch.full((2,), 0.5)
    torch.testing.assert_close(amplitude_mix(images, others, none), images)
    mixed = torch.fft.fft2(amplitude_mix(images, others, half))
    mine, theirs = torch.fft.fft2(images), torch.fft.fft2(others)
    torch.testing.assert_close(mixed.abs(), (mine.abs() + theirs.abs()) / 2, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(mixed / mixed.abs(), mine / mine.abs(), rtol=1e-2, atol=1e-2)


def test_boxes_are_rectangles_on_half_of_the_images():
    drawn = boxes(400, (64, 48), seeded())
    assert drawn.shape == (400, 1, 64, 48)
    shares = drawn.float().mean(dim=(1, 2, 3))
    used = shares[shares > 0]
    assert 160 < len(used) < 240
    assert 0.01 < used.min() < 0.06
    assert 0.34 < used.max() < 0.44
    for box in drawn[:, 0]:
        rows, columns = box.any(dim=1), box.any(dim=0)
        assert torch.equal(box, rows[:, None] & columns[None])
        assert (rows.int().diff() == 1).sum() <= 1
        assert (columns.int().diff() == 1).sum() <= 1
