"""Faithfulness: whether the answer depends on the places where the map is bright.

Places are removed or revealed in the order of the blurred map, and the network is asked each time for the probability
of the class that it answered.

deletion    brightest first, grey in their place; the area under the curve, lower is better. The grey is itself unlike
            any radiograph, and the network may answer to it [Petsiuk et al., BMVC 2018, arXiv:1806.07421]
insertion   brightest first, into a blurred copy; higher is better [the same]
road        removed places are imputed, which takes that artefact away: the curve with the darkest removed first minus
            the curve with the brightest removed first; higher is better, and 0 for an order that means nothing
            [Rong et al., ICML 2022, arXiv:2202.00449]

Captum has no ROAD, and Quantus is under the GPL and needs OpenCV, so the three are ours.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from torch import Generator, Tensor

from multimix.evaluation.explain.imputation import imputed
from multimix.evaluation.explain.maps import AT_ONCE, Maps, Pixels, Progress, device_of, smoothed
from multimix.networks.model import MultiMix

MEASURES = ("deletion", "insertion", "road")
FRACTIONS = (0.05, 0.1, 0.2, 0.45)
"""Shares of the pixels, beside none and all, of the curves of deletion and insertion."""
ROAD_FRACTIONS = (0.1, 0.3, 0.6)
"""Shares that are removed."""
UNRECOGNISABLE = 0.1
"""Standard deviation of the blur into which insertion puts the image, in sides of the image."""

Curve = Float[np.ndarray, " N"]


def faithfulness(
    model: MultiMix,
    pixels: Pixels,
    maps: Mapping[str, Maps],
    *,
    multi_label: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Mapping[str, Curve]:
    """'deletion_X', 'insertion_X' and 'road_X' of every map X, per image."""
    orders = {name: order(given) for name, given in maps.items()}
    columns = {f"{measure}_{name}": np.empty(len(pixels)) for name in maps for measure in MEASURES}
    rng = Generator().manual_seed(seed)
    for start in range(0, len(pixels), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        asked = Questions(model, torch.from_numpy(pixels[rows]).to(device_of(model)), multi_label, rng)
        for name, ranks in orders.items():
            for measure in MEASURES:
                columns[f"{measure}_{name}"][rows] = getattr(asked, measure)(ranks[rows])
        if progress is not None:
            progress(min(rows.stop, len(pixels)), len(pixels))
    return columns


def order(maps: Maps) -> Int[np.ndarray, "N H W"]:
    """The rank of each pixel of the blurred map, 0 for the brightest."""
    flat = -smoothed(maps).reshape(len(maps), -1)
    ranks = np.empty(flat.shape, np.int64)
    np.put_along_axis(ranks, flat.argsort(axis=1, kind="stable"), np.arange(flat.shape[1])[None], axis=1)
    return ranks.reshape(maps.shape)


class Questions:
    """A batch of images, the class that the network answers to each, and how sure it stays of it."""

    def __init__(self, model: MultiMix, images: Float[Tensor, "B C H W"], multi_label: bool, rng: Generator):
        self.model, self.images, self.multi_label, self.rng = model, images, multi_label, rng
        with torch.inference_mode():
            self.answer = model.classify(images).argmax(dim=1)
        grey = images.mean(dim=(1, 2, 3), keepdim=True).expand_as(images)
        self.grey, self.blurred = grey, _blurred(images)
        # Of all maps alike: the curves' ends.
        self.whole, self.empty, self.unrecognisable = (
            self.sureness(end) for end in (images, self.grey, self.blurred)
        )

    def sureness(self, changed: Float[Tensor, "B C H W"]) -> Curve:
        """The probability of the class that was answered, of changed images."""
        with torch.inference_mode():
            logits = self.model.classify(changed).double()
        p = logits.sigmoid() if self.multi_label else logits.softmax(dim=1)
        return p.gather(1, self.answer[:, None])[:, 0].cpu().numpy()

    def deletion(self, ranks: Int[np.ndarray, "B H W"]) -> Curve:
        """Area under the curve from the image to grey."""
        return self._area(
            lambda first: torch.where(first, self.grey, self.images), ranks, self.whole, self.empty
        )

    def insertion(self, ranks: Int[np.ndarray, "B H W"]) -> Curve:
        """Area under the curve from the blurred image to the image."""
        return self._area(
            lambda first: torch.where(first, self.images, self.blurred),
            ranks,
            self.unrecognisable,
            self.whole,
        )

    def road(self, ranks: Int[np.ndarray, "B H W"]) -> Curve:
        """Mean over ROAD_FRACTIONS of how much surer it stays without the darkest than without the brightest."""
        count = ranks[0].size
        gains = []
        for fraction in ROAD_FRACTIONS:
            darkest, brightest = ranks >= round((1 - fraction) * count), ranks < round(fraction * count)
            without = (
                self.sureness(imputed(self.images, self._on_device(where), self.rng))
                for where in (darkest, brightest)
            )
            gains.append(next(without) - next(without))
        return np.mean(gains, axis=0)

    def _area(
        self,
        changed: Callable[[Bool[Tensor, "B 1 H W"]], Tensor],
        ranks: Int[np.ndarray, "B H W"],
        none: Curve,
        every: Curve,
    ) -> Curve:
        count = ranks[0].size
        between = [self.sureness(changed(self._on_device(ranks < round(f * count)))) for f in FRACTIONS]
        return np.trapezoid(np.stack([none, *between, every]), x=[0.0, *FRACTIONS, 1.0], axis=0)

    def _on_device(self, where: Bool[np.ndarray, "B H W"]) -> Bool[Tensor, "B 1 H W"]:
        return torch.from_numpy(where[:, None]).to(self.images.device)


def _blurred(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    sigma = UNRECOGNISABLE * max(images.shape[-2:])
    blurred = ndimage.gaussian_filter(images.cpu().numpy(), (0, 0, sigma, sigma))
    return torch.from_numpy(blurred).to(images.device)
