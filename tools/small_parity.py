"""Write tests/reference/small_parity.npz: a small network's weights, inputs and outputs.

The network is written here once more with functions only, in float64, from the paper's supplement (Tables 1
and 2), so that the stored numbers do not come from the code they check.

    python tools/small_parity.py
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

WIDTHS = (4, 6, 8, 10, 12)


def block(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    for conv in ("conv1", "conv2"):
        x = F.conv2d(x, w[f"{name}.{conv}.weight"], w[f"{name}.{conv}.bias"], padding=1)
        x = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
        x = torch.where(x > 0, x, 0.2 * x)
    return x


def encode(x: Tensor, w: dict[str, Tensor]) -> tuple[list[Tensor], Tensor]:
    features = []
    for i in range(5):
        x = block(F.max_pool2d(x, 2) if i else x, w, f"encoder.blocks.{i}")
        features.append(x)
    pooled = F.max_pool2d(x, 2).mean((2, 3))
    return features, pooled @ w["head.linear.weight"].T + w["head.linear.bias"]


def network(image: Tensor, w: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    image = image.clone().requires_grad_()
    features, logits = encode(image, w)
    saliency = torch.autograd.grad(logits.max(1).values.sum(), image, retain_graph=True)[0].abs()
    size = [s // 8 for s in image.shape[-2:]]
    bridge = F.interpolate(torch.cat([image, saliency], 1), size, mode="bilinear", align_corners=True)
    x = features[-1]
    for i, skip in enumerate(features[-2::-1]):
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        x = torch.cat([x, skip, bridge] if i == 0 else [x, skip], 1)
        x = block(x, w, f"decoder.blocks.{i}")
    return logits, F.conv2d(x, w["decoder.last.weight"], w["decoder.last.bias"]), saliency


def random_weights(rng: torch.Generator) -> dict[str, Tensor]:
    shapes = {"head.linear": (2, WIDTHS[-1]), "decoder.last": (1, WIDTHS[0], 1, 1)}
    for i, (a, b) in enumerate(zip((1, *WIDTHS), WIDTHS, strict=False)):
        shapes |= {f"encoder.blocks.{i}.conv1": (b, a, 3, 3), f"encoder.blocks.{i}.conv2": (b, b, 3, 3)}
    for i, (coarse, skip) in enumerate(zip(WIDTHS[:0:-1], WIDTHS[-2::-1], strict=True)):
        inputs = coarse + skip + (2 if i == 0 else 0)
        shapes |= {
            f"decoder.blocks.{i}.conv1": (skip, inputs, 3, 3),
            f"decoder.blocks.{i}.conv2": (skip, skip, 3, 3),
        }
    weights = {}
    for name, shape in shapes.items():
        scale = (2 / np.prod(shape[1:])) ** 0.5
        weights[f"{name}.weight"] = torch.randn(shape, generator=rng) * scale
        weights[f"{name}.bias"] = torch.randn(shape[0], generator=rng) * 0.1
    return weights


def main() -> None:
    rng = torch.Generator().manual_seed(2021)
    weights, image = random_weights(rng), torch.rand(2, 1, 32, 48, generator=rng)
    doubles = {name: tensor.double() for name, tensor in weights.items()}
    logits, masks, saliency = network(image.double(), doubles)
    target = Path(__file__).parents[1] / "tests" / "reference" / "small_parity.npz"
    target.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        target,
        image=image.numpy(),
        class_logits=logits.detach().float().numpy(),
        mask_logits=masks.detach().float().numpy(),
        saliency=saliency.float().numpy(),
        **{f"weights.{name}": tensor.numpy() for name, tensor in weights.items()},
    )


if __name__ == "__main__":
    main()
