"""The written out gradient against autograd, and its pool by hand."""

import pytest
import torch

from multimix.networks.explicit_saliency import ExplicitMultiMix, pool_gradient
from multimix.networks.model import MultiMix
from multimix.networks.outputs import ModelOutput

pytestmark = pytest.mark.numeric

SMALL = (4, 6, 8, 10, 12)


def both(dtype: torch.dtype, **arguments: object) -> tuple[MultiMix, ExplicitMultiMix]:
    torch.manual_seed(0)
    model = MultiMix(widths=SMALL, **arguments).to(dtype).eval()  # type: ignore[arg-type]
    explicit = ExplicitMultiMix(widths=SMALL, **arguments).to(dtype).eval()  # type: ignore[arg-type]
    explicit.load_state_dict(model.state_dict())
    return model.requires_grad_(False), explicit.requires_grad_(False)


def films(channels: int, height: int, width: int, dtype: torch.dtype) -> torch.Tensor:
    """Noise with a black border and a white corner: where pixels are alike, a pool has ties to break."""
    images = torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(1), dtype=dtype)
    images[..., : height // 4, :] = 0
    images[..., -height // 8 :, -width // 4 :] = 1
    return images


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


def compared(model: MultiMix, explicit: ExplicitMultiMix, images: torch.Tensor) -> list[float]:
    """Relative L2 differences of classes, masks and saliency."""
    expected: ModelOutput = model(images)
    with torch.no_grad():
        got = explicit(images)
    assert not got.saliency.requires_grad
    return [
        relative(got.class_logits, expected.class_logits),
        relative(got.mask_logits, expected.mask_logits),
        relative(got.saliency, expected.saliency),
    ]


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 64), (48, 80), (64, 64)])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"locate": True, "structures": 2},
        {"channels": 3, "classes": 5, "bridge": False},
        {"channels": 3, "structures": 2, "locate": True, "focus": True, "guide": True},
    ],
    ids=["published", "locates", "colour without bridge", "focus and guide"],
)
def test_equals_autograd_in_double_precision(height: int, width: int, arguments: dict[str, object]):
    channels = int(arguments.get("channels", 1))  # type: ignore[call-overload]
    images = films(channels, height, width, torch.float64)
    assert max(compared(*both(torch.float64, **arguments), images)) < 1e-10


def test_equals_autograd_in_single_precision_but_for_pixels_that_jump():
    model, explicit = both(torch.float32)
    classes, masks, saliency = compared(model, explicit, films(1, 64, 64, torch.float32))
    assert classes < 1e-5
    assert masks < 1e-4
    # A rectifier or a pool next to a tie falls the other way under another rounding, and its pixels jump.
    assert saliency < 0.03


def test_the_pool_gives_its_gradient_to_the_first_of_equals():
    # Windows: the largest is last; all are equal; the two of the second column are; the lower two are.
    x = torch.tensor([[1.0, 2.0, 5.0, 5.0], [3.0, 4.0, 5.0, 5.0], [0.0, 7.0, 1.0, 0.0], [6.0, 7.0, 8.0, 8.0]])
    dy = torch.tensor([[10.0, 20.0], [30.0, 40.0]])
    expected = torch.tensor([[0.0, 0.0, 20.0, 0.0], [0.0, 10.0, 0.0, 0.0], [0, 30, 0, 0], [0, 0, 40, 0]])
    assert torch.equal(pool_gradient(x[None, None], dy[None, None])[0, 0], expected)
