"""What a model knows, and what it refuses: striped pictures with a bright corner, whole and upright."""

import numpy as np
import pytest

from multimix.reliability.ood import (
    CUT_OUTS,
    SIDE,
    Detector,
    Gaussian,
    cut_outs,
    fit_detector,
    thumbnails,
)


def bodies(count: int, seed: int, side: int = 64) -> np.ndarray:
    """(count 1 side side): two dark ovals, the left one higher, in a bright field that fades downwards."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:side, :side] / side
    images = []
    for _ in range(count):
        image = 0.8 - 0.3 * row
        for centre, size in (((0.4, 0.3), (0.25, 0.14)), ((0.5, 0.7), (0.3, 0.16))):
            y, x = np.array(centre) + rng.normal(0, 0.02, 2)
            a, b = np.array(size) * rng.uniform(0.9, 1.1, 2)
            image = image - 0.4 * (((row - y) / a) ** 2 + ((column - x) / b) ** 2 < 1)
        images.append(image * rng.uniform(0.6, 1) + rng.normal(0, 0.02, image.shape))
    return np.stack(images).astype(np.float32).clip(0, 1)[:, None]


def boxes_of(images: np.ndarray, seed: int) -> list[np.ndarray]:
    return cut_outs(images, np.random.default_rng(seed).random((CUT_OUTS * len(images), 2, 2)))


@pytest.fixture(scope="module")
def known() -> Detector:
    training = bodies(120, 0)
    parts = np.concatenate([thumbnails(box) for box in boxes_of(training, 0)])
    learned = fit_detector(thumbnails(training), parts, [thumbnails(bodies(30, 1))])
    assert learned is not None
    return learned


def test_new_images_of_the_kind_are_accepted(known: Detector):
    assert known.rejections(bodies(50, 2)) == [""] * 50
    assert known.rejections(bodies(2, 2).repeat(3, axis=1)) == ["", ""]


def test_exposure_borders_and_size_do_not_matter(known: Detector):
    images = bodies(10, 3)
    framed = np.pad(images, ((0, 0), (0, 0), (0, 0), (20, 20)))
    changed = (images * 0.3 + 0.1, images**1.3, framed, bodies(10, 3, 96))
    for one in changed:
        assert known.rejections(one) == [""] * 10


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda x: np.flip(x, 2), "flipped top to bottom"),
        (lambda x: np.flip(x, (2, 3)), "turned upside down"),
        # What was turned to the right is at home once it is turned to the left.
        (lambda x: np.rot90(x, -1, (2, 3)), "turned a quarter to the left"),
        (lambda x: np.rot90(x, 1, (2, 3)), "turned a quarter to the right"),
        (lambda x: 1 - x, "inverted (black for white)"),
        (lambda x: np.flip(1 - x, (2, 3)), "turned upside down and inverted (black for white)"),
    ],
)
def test_the_wrong_position_is_named(known: Detector, change, word: str):
    for reason in known.rejections(change(bodies(10, 4))):
        assert reason.startswith("looks most like the images that the model learned from when it is ")
        assert reason.endswith(word)


def test_other_pictures_are_refused(known: Detector):
    rng = np.random.default_rng(5)
    noise = rng.random((10, 1, 64, 64), np.float32)
    stripes = np.broadcast_to((np.arange(64) // 3 % 2).astype(np.float32), (1, 1, 64, 64))
    assert all(known.rejections(noise))
    assert all(known.rejections(stripes))
    for level in (0.0, 0.5, 1.0):
        (reason,) = known.rejections(np.full((1, 1, 64, 64), level, np.float32))
        assert "one grey level" in reason


def test_small_cut_outs_are_refused(known: Detector):
    boxes = boxes_of(bodies(40, 6), 6)
    reasons = [known.rejections(box)[0] for box in boxes]
    assert sum(map(bool, reasons)) > 0.8 * len(reasons)


def test_cut_outs_lie_inside_and_have_the_sides_that_they_say():
    images = np.arange(3 * 40 * 50, dtype=np.float32).reshape(3, 1, 40, 50)
    boxes = boxes_of(images, 0)
    assert len(boxes) == 6
    for number, box in enumerate(boxes):
        _, _, height, width = box.shape
        assert 0.25 * 40 - 1 <= height <= 0.65 * 40 + 1
        assert 0.25 * 50 - 1 <= width <= 0.65 * 50 + 1
        first = int(box[0, 0, 0, 0]) - (number // 2) * 2000
        np.testing.assert_array_equal(
            box[0], images[number // 2, :, first // 50 :, first % 50 :][:, :height, :width]
        )


def test_images_in_every_position_make_no_position_wrong():
    def turned(images: np.ndarray) -> np.ndarray:
        return np.stack([np.rot90(image, i % 4, (1, 2)) for i, image in enumerate(images)])

    training = turned(bodies(120, 0))
    parts = np.concatenate([thumbnails(box) for box in boxes_of(training, 0)])
    learned = fit_detector(thumbnails(training), parts, [thumbnails(turned(bodies(40, 1)))])
    assert learned is not None
    reasons = learned.rejections(turned(bodies(40, 2)))
    assert sum(map(bool, reasons)) <= 1


def test_distance_by_hand():
    width = SIDE * SIDE
    axis = np.zeros((1, width))
    axis[0, 3] = 1
    gaussian = Gaussian(np.zeros(width), axis, np.array([4.0]), 0.25)
    vector = np.zeros((1, width))
    vector[0, 3], vector[0, 7] = 6, 2
    # 6^2 / 4 + 2^2 / 0.25 = 9 + 16
    assert gaussian.distances(vector)[0] == pytest.approx(5)


def test_fit_finds_the_directions_that_vary():
    rng = np.random.default_rng(0)
    vectors = rng.normal(0, 0.1, (400, SIDE * SIDE))
    vectors[:, 5] += rng.normal(0, 3, 400)
    fitted = Gaussian.fit(vectors)
    assert abs(fitted.components[0, 5]) > 0.99
    # A tenth of each variance is the mean of all.
    total = np.cov(vectors, rowvar=False).trace() / SIDE**2
    assert fitted.variances[0] == pytest.approx(0.9 * 9 + 0.1 * total, rel=0.15)
    np.testing.assert_allclose(fitted.components @ fitted.components.T, np.eye(40), atol=1e-9)


def test_thumbnails_are_standardised_and_lose_their_borders():
    image = bodies(1, 0)
    plain, framed = thumbnails(image), thumbnails(np.pad(image, ((0, 0), (0, 0), (0, 0), (16, 16))))
    assert plain.shape == (1, SIDE * SIDE)
    assert plain.mean() == pytest.approx(0, abs=1e-9)
    assert plain.std() == pytest.approx(1)
    assert np.corrcoef(plain[0], framed[0])[0, 1] > 0.95
    assert np.isnan(thumbnails(np.zeros((1, 1, 32, 32), np.float32))).all()
    assert thumbnails(np.zeros((0, 1, 32, 32), np.float32)).shape == (0, SIDE * SIDE)


@pytest.mark.parametrize(("training", "validation"), [(39, 30), (60, 19)])
def test_too_few_images_refuse_nothing(training: int, validation: int):
    images = thumbnails(bodies(training, 0))
    assert fit_detector(images, images, [thumbnails(bodies(validation, 1))]) is None


def test_images_that_are_all_alike_refuse_nothing():
    same = thumbnails(bodies(1, 0)).repeat(50, axis=0)
    assert fit_detector(same, same, [same]) is None


def test_it_comes_back_as_it_was(known: Detector):
    numbers, tensors = known.pack()
    assert sum(array.nbytes for array in tensors.values()) < 100_000
    again = Detector.unpack(numbers, tensors)
    assert (again.far, again.turned, again.part) == (known.far, known.turned, known.part)
    images = np.concatenate([bodies(10, 8), np.flip(bodies(10, 8), 2)])
    assert again.rejections(images) == known.rejections(images)


def test_what_cannot_be_one_is_refused(known: Detector):
    numbers, tensors = known.pack()
    for name in ("whole.mean", "cut_outs.components"):
        with pytest.raises(ValueError, match="shapes"):
            Detector.unpack(numbers, tensors | {name: np.zeros((3, 3), np.float32)})
    with pytest.raises(ValueError, match="not positive"):
        Detector.unpack(
            numbers, tensors | {"whole.variances": np.zeros(len(known.whole.variances), np.float32)}
        )
    with pytest.raises(ValueError, match="limits"):
        Detector.unpack(numbers | {"far": -1}, tensors)
    with pytest.raises(LookupError):
        Detector.unpack(numbers, {})


def test_what_is_near_two_limits_at_once_is_something_else():
    anything = Gaussian(np.zeros(256), np.eye(256)[:1], np.ones(1), 1.0)
    known = Detector(anything, anything, far=100.0, turned=2.0, part=2.0)
    other, cut = np.array([1.0, 5.0]), 1.0
    # Shares of the two limits: 1.7 / 2 of each, whose product is .7225, and 1.5 / 2 of each, .5625.
    assert "or like something else" in known._reason(1.7, other, cut)
    assert known._reason(1.5, other, cut) == ""
    assert known._reason(1.9, other, 10.0) == ""  # near one of them alone
