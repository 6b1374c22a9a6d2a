"""The released schedule, written anew from its description: the yardstick of `python -m benchmarks.step`.

All five streams go through encoder, decoder and saliency, the saliency by a forward pass of its own, dropout
and normalisation are the framework's modules, tensors lie in the ordinary layout. The mathematics is that of
`multimix.networks.model` and `multimix.training.algorithm`; tests hold the two to equal losses and gradients
with dropout off.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (16, 32, 64, 128, 256)


def block(inputs: int, outputs: int, p: float) -> nn.Sequential:
    """Two times convolution, instance norm and leaky ReLU, then dropout."""
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers += [nn.Conv2d(width, outputs, 3, padding=1), nn.InstanceNorm2d(outputs), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Dropout(p))


class NaiveMultiMix(nn.Module):
    """Encoder, classifier and decoder; every forward pass computes everything."""

    def __init__(self, p: float = 0.25):
        super().__init__()
        self.down = nn.ModuleList(block(i, o, p) for i, o in zip((1, *WIDTHS), WIDTHS, strict=False))
        self.fc = nn.Linear(WIDTHS[-1], 2)
        stages = list(zip(WIDTHS[:0:-1], WIDTHS[-2::-1], strict=True))
        self.up = nn.ModuleList(
            block(coarse + skip + (2 if i == 0 else 0), skip, p) for i, (coarse, skip) in enumerate(stages)
        )
        self.last = nn.Conv2d(WIDTHS[0], 1, 1)

    def encode(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Features of every block and the class logits."""
        features, x = [], images
        for i, stage in enumerate(self.down):
            x = stage(F.max_pool2d(x, 2) if i else x)
            features.append(x)
        return features, self.fc(F.max_pool2d(x, 2).mean(dim=(2, 3)))

    def saliency(self, images: Tensor) -> Tensor:
        """A second pass with dropout off; its backward pass reaches the parameters too, and is thrown away."""
        modes = [module.training for module in self.modules()]
        self.eval()
        leaf = images.detach().clone().requires_grad_()
        with torch.enable_grad():
            _, logits = self.encode(leaf)
            wanted = [leaf, *(p for n, p in self.named_parameters() if n.startswith(("down", "fc")))]
            gradient = torch.autograd.grad(logits.max(dim=1).values.sum(), wanted)[0].abs()
        for module, mode in zip(self.modules(), modes, strict=True):
            module.training = mode
        return gradient

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Class logits, mask logits, saliency."""
        saliency = self.saliency(images)
        features, logits = self.encode(images)
        size = [side // 8 for side in images.shape[-2:]]
        bridge = F.interpolate(
            torch.cat([images, saliency], dim=1), size, mode="bilinear", align_corners=True
        )
        x = features[-1]
        for i, (skip, stage) in enumerate(zip(features[-2::-1], self.up, strict=True)):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = stage(torch.cat([x, skip, bridge] if i == 0 else [x, skip], dim=1))
        return logits, self.last(x), saliency


def naive_loss(model: NaiveMultiMix, streams: dict[str, Tensor], *, threshold: float = 0.7) -> Tensor:
    """CE + 0.25 pseudo-label CE + 5 Dice + 0.01 KL; every stream through the whole network.

    `streams`: classes, labels, weak, strong, mask_images, masks, unlabelled_mask_images.
    """
    answers = {
        name: model(streams[name])
        for name in ("classes", "weak", "strong", "mask_images", "unlabelled_mask_images")
    }
    classification = F.cross_entropy(answers["classes"][0], streams["labels"])
    confidence, labels = answers["weak"][0].detach().softmax(dim=1).max(dim=1)
    each = F.cross_entropy(answers["strong"][0], labels, reduction="none")
    pseudo = (each * (confidence >= threshold)).mean()
    logits, masks = answers["mask_images"][1], streams["masks"]
    p = logits.sigmoid()
    overlap, total = (p * masks).sum((1, 2, 3)), p.sum((1, 2, 3)) + masks.sum((1, 2, 3))
    dice = (1 - (2 * overlap + 1) / (total + 1)).mean()
    q = answers["unlabelled_mask_images"][1].sigmoid()
    eps = 1e-7
    kl = p * ((p + eps) / (q + eps)).log() + (1 - p) * ((1 - p + eps) / (1 - q + eps)).log()
    return classification + 0.25 * pseudo + 5 * dice + 0.01 * kl.mean()
