"""One resize for cache and predictor."""

import torch

from multimix.io.resize import to_model_size


def test_halving_averages_with_a_triangle() -> None:
    # A linear ramp stays a ramp away from the edges: the middle of each output pixel.
    ramp = torch.arange(16, dtype=torch.float32).expand(1, 16, 16)
    out = to_model_size(ramp, 8)
    assert out.shape == (1, 8, 8)
    torch.testing.assert_close(out[0, 0, 1:-1], torch.arange(6) * 2 + 2.5)


def test_a_fine_chessboard_becomes_grey() -> None:
    board = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    out = to_model_size(board[None].float(), 16)
    # Without antialiasing every sample would be 0 or 1.
    torch.testing.assert_close(out, torch.full((1, 16, 16), 0.5), atol=0.03, rtol=0)


def test_right_size_is_untouched_and_shape_is_not_kept() -> None:
    image = torch.rand(3, 16, 16)
    assert to_model_size(image, 16) is image
    assert to_model_size(torch.rand(3, 40, 20), 16).shape == (3, 16, 16)
