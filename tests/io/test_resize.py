"""One resize for cache, predictor and detector."""

import numpy as np
import pytest

from multimix.io.resize import resized, to_model_size


def test_halving_averages_with_a_triangle() -> None:
    # A linear ramp stays a ramp away from the edges: the middle of each output pixel.
    ramp = np.broadcast_to(np.arange(16, dtype=np.float32), (1, 16, 16))
    out = to_model_size(ramp, 8)
    assert out.shape == (1, 8, 8)
    np.testing.assert_allclose(out[0, 0, 1:-1], np.arange(6) * 2 + 2.5, rtol=1e-6)


def test_a_fine_chessboard_becomes_grey() -> None:
    board = ((np.arange(64)[:, None] + np.arange(64)) % 2).astype(np.float32)
    out = to_model_size(board[None], 16)
    # Without antialiasing every sample would be 0 or 1.
    np.testing.assert_allclose(out, np.full((1, 16, 16), 0.5), atol=0.03)


def test_right_size_is_untouched_and_shape_is_not_kept() -> None:
    image = np.random.default_rng(0).random((3, 16, 16), np.float32)
    assert to_model_size(image, 16) is image
    assert to_model_size(image.repeat(2, axis=1), 20).shape == (3, 20, 20)
    assert resized(image, (7, 31)).shape == (3, 7, 31)
    assert resized(image[:0], (7, 31)).shape == (0, 7, 31)


@pytest.mark.parametrize("size", [(128, 128), (40, 200), (300, 90), (16, 16)])
def test_equals_torchs_antialiased_interpolation(size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(1).random((2, 97, 131), np.float32)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(image)[None], size=size, mode="bilinear", antialias=True
    )[0]
    np.testing.assert_allclose(resized(image, size), theirs.numpy(), atol=1e-5)
