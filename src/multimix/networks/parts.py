"""The parts of the network: block, encoder, classification head, bridge, guide and decoder.

arXiv:2010.14731, supplement, Tables 1 and 2; the guide is ours. Whether dropout is active is not a mode of a
module but an argument: it happens where a generator is passed, and nowhere else.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from multimix.networks.layers import (
    channels_last,
    convolve,
    dropout,
    is_channels_last,
    normalise,
    pool,
    upsample_and_join,
)


class Block(nn.Module):
    """[conv 3x3, InstanceNorm, LeakyReLU 0.2] twice, then dropout.

    Paper: supplement, Tables 1 and 2, block.
    """

    def __init__(self, inputs: int, outputs: int, p: float):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.p = p

    def forward(self, x: Tensor, rng: Generator | None = None, *, added: Tensor | None = None) -> Tensor:
        """(B inputs H W) -> (B outputs H W); `added` (B outputs H W) joins what the first convolution gives."""
        x = convolve(x, self.conv1)
        x = normalise(x if added is None else x + added)
        return dropout(normalise(convolve(x, self.conv2)), self.p, rng)


class Encoder(nn.Module):
    """Five blocks with 2x2 max-pooling between them.

    Paper: supplement, Table 1, encoder.
    """

    def __init__(self, channels: int, widths: Sequence[int], p: float):
        super().__init__()
        inputs = (channels, *widths[:-1])
        self.blocks = nn.ModuleList(Block(i, o, p) for i, o in zip(inputs, widths, strict=True))
        self.p = p

    def forward(
        self, x: Tensor, rng: Generator | None = None, *, first: Tensor | None = None
    ) -> list[Tensor]:
        """(B C H W) -> the output of every block, fine to coarse; the last is (B 256 H/16 W/16).

        Blocks compute in the layout of `x`, see `layers`; pools and skips are channels-last, where they are fast.
        `first` is what the first block gives without dropout: the widest maps, which need not be computed again.
        """
        exact, features = not is_channels_last(x), list[Tensor]()
        for block in self.blocks:
            if features:
                x = pool(features[-1])
                x = x.contiguous() if exact else x
            known = None if features else first
            features.append(channels_last(block(x, rng) if known is None else dropout(known, self.p, rng)))
        return features


class ClassificationHead(nn.Module):
    """2x2 max-pool, global average pool, fully connected.

    Paper: supplement, Table 1, classification branch.
    """

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.linear = nn.Linear(width, classes)

    def forward(self, deepest: Tensor, location: Tensor | None = None) -> Tensor:
        """(B width h w) -> logits (B K); with `location` (B S h w) the mean is taken where the structures lie."""
        if location is not None:
            # Masks alone teach where to look: a class loss would learn to look where its shortcuts are.
            where = location.detach().sigmoid().amax(dim=1, keepdim=True)
            return self.linear((deepest * where).sum(dim=(2, 3)) / where.sum(dim=(2, 3)))
        # A 16 x 16 image has a 1 x 1 map here, which a 2 x 2 pool would empty.
        pooled = F.max_pool2d(deepest, 2) if min(deepest.shape[-2:]) >= 2 else deepest
        return self.linear(pooled.mean(dim=(2, 3)))


class SaliencyBridge(nn.Module):
    """Image and saliency, resized to the first decoder stage.

    Paper: supplement, Table 2, saliency bridge.
    """

    def forward(self, images: Tensor, saliency: Tensor) -> Tensor:
        """(B C H W) twice -> (B 2C H/8 W/8)."""
        size = (images.shape[-2] // 8, images.shape[-1] // 8)
        both = torch.cat([images, saliency], dim=1)
        return F.interpolate(both, size, mode="bilinear", align_corners=True)


class Guide(nn.Module):
    """The saliency map, heard at every stage of the decoder; ours.

    The published bridge carries a map whose mean is a hundredth of the image's, and no decoder listens to it. Here it
    is measured by its own mean, and its long tail is compressed.
    """

    def __init__(self, channels: int, widths: Sequence[int]):
        super().__init__()
        # As more channels of each stage's first convolution would be, whose own number stays a multiple of 16.
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels, width, 3, padding=1, bias=False) for width in widths[-2::-1]
        )

    def forward(self, saliency: Tensor) -> list[Tensor]:
        """(B C H W), at least 0 -> what is added at each stage, coarse to fine: (B width H/8 W/8) to (B width H W)."""
        height, width = saliency.shape[-2:]
        mean = saliency.mean(dim=(1, 2, 3), keepdim=True)
        relative = (saliency.clamp(min=0) / (mean + 1e-12)).log1p()
        sizes = [(height // scale, width // scale) for scale in (8, 4, 2, 1)]
        return [
            convolution(channels_last(F.adaptive_avg_pool2d(relative, size)))
            for convolution, size in zip(self.convolutions, sizes, strict=True)
        ]


class Decoder(nn.Module):
    """Four stages: upsample, concatenate the skip (and, first, the bridge), block; then a 1x1 convolution.

    Paper: supplement, Table 2, decoder.
    """

    def __init__(self, structures: int, widths: Sequence[int], bridge_channels: int, p: float):
        super().__init__()
        stages = list(zip(widths[:0:-1], widths[-2::-1], strict=True))  # (coarse, skip), coarse to fine
        extra = [bridge_channels] + [0] * (len(stages) - 1)
        self.blocks = nn.ModuleList(
            Block(coarse + skip + more, skip, p) for (coarse, skip), more in zip(stages, extra, strict=True)
        )
        self.last = nn.Conv2d(widths[0], structures, 1)

    def forward(
        self,
        features: list[Tensor],
        bridge: Tensor | None,
        rng: Generator | None = None,
        *,
        guide: Sequence[Tensor | None] = (None,) * 4,
    ) -> Tensor:
        """Encoder features, the bridge (B 2C H/8 W/8) or None, what guides each stage -> mask logits (B S H W)."""
        x = features[-1]
        for skip, block, added in zip(features[-2::-1], self.blocks, guide, strict=True):
            others = [skip] if bridge is None else [skip, channels_last(bridge)]
            x, bridge = block(upsample_and_join(x, *others), rng, added=added), None
        return self.last(x)
