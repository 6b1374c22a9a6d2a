"""The whole way of an image through a model as one module: pixels of any size in, everything it answers out.

The same as `inference.Predictor` computes around the network in NumPy: resize, calibrate, decide, the prediction set,
masks at the image's own size, and the distance from the images that the model learned from.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from multimix.deployment.resize import at_model_size, resized, thumbnails
from multimix.inference.attribution import BLUR, SURROUNDINGS
from multimix.networks.explicit_saliency import ExplicitMultiMix
from multimix.reliability.calibration import Reliability
from multimix.reliability.ood import NEAR_BOTH, OTHER_POSITIONS, SIDE, Detector, Gaussian
from multimix.weights.file import ModelSpec, WeightsFile

PIXELS: Mapping[str, float] = {"float32": 1.0, "uint8": 255.0, "uint16": 65535.0}
"""Kind of the pixels that a graph takes -> the value that is white."""


class Graph(nn.Module):
    """A model with everything around it; `names` says what `forward` returns, in order."""

    def __init__(self, file: WeightsFile, pixels: str = "float32"):
        super().__init__()
        self.spec: ModelSpec = file.spec
        self.white = PIXELS[pixels]
        self.network = ExplicitMultiMix.from_file(file)
        self.reliability = file.reliability or Reliability()
        detector = self.reliability.detector
        self.detector = None if detector is None else Distances(detector)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the outputs, in order."""
        sets = ("prediction_set",) if self.reliability.quantiles else ()
        classes = ("class_logits", "probabilities", "decision", *sets, "saliency")
        masks, distance = ("mask_logits", "masks"), ("ood_distance", "outlier")
        return (
            *(classes if self.spec.classify else ()),
            *(masks if self.spec.segment else ()),
            *(distance if self.detector is not None else ()),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B C H W) of the kind of pixels that the graph was made for -> the outputs."""
        size = (images.shape[-2], images.shape[-1])
        small = at_model_size(images.to(torch.float32) / self.white, self.spec.size)
        answer = self.network(small)
        outputs = {"class_logits": answer.class_logits, "mask_logits": answer.mask_logits}
        outputs["masks"] = resized(answer.mask_logits, size).sigmoid()
        outputs["saliency"] = resized(attribution(small, answer.gradient), size)
        outputs |= self._classes(answer.class_logits)
        if self.detector is not None:
            outputs["ood_distance"], outputs["outlier"] = self.detector(small)
        return tuple(outputs[name] for name in self.names)

    def _classes(self, logits: Float[Tensor, "B K"]) -> dict[str, Tensor]:
        """As `Reliability` says it."""
        said, scaled = self.reliability, logits / self.reliability.temperature
        if self.spec.multi_label:
            probabilities = scaled.sigmoid()
            decision = probabilities >= torch.tensor(said.thresholds or 0.5)
        else:
            probabilities = scaled.softmax(dim=1)
            best = (probabilities / torch.tensor(said.thresholds or 1.0)).argmax(dim=1, keepdim=True)
            decision = torch.arange(logits.shape[1]) == best
        inside = 1 - probabilities <= torch.tensor(said.quantiles or 0.0)
        inside = inside if self.spec.multi_label else inside | decision
        return {"probabilities": probabilities, "decision": decision, "prediction_set": inside}


def attribution(
    images: Float[Tensor, "B C s s"], gradient: Float[Tensor, "B C s s"]
) -> Float[Tensor, "B 1 s s"]:
    """As `inference.attribution`."""
    side = images.shape[-1]
    reach = int(SURROUNDINGS / 2 * side)
    surroundings = F.avg_pool2d(F.pad(images, (reach,) * 4, mode="reflect"), 2 * reach + 1, stride=1)
    speaks_for = (gradient * (images - surroundings)).sum(dim=1, keepdim=True)
    sigma = BLUR * side
    radius = int(4 * sigma + 0.5)  # where SciPy cuts the kernel
    kernel = (-(torch.arange(-radius, radius + 1) ** 2) / (2 * sigma**2)).exp()
    kernel = kernel / kernel.sum()
    down = F.conv2d(speaks_for, kernel.view(1, 1, -1, 1), padding=(radius, 0))
    return F.conv2d(down, kernel.view(1, 1, 1, -1), padding=(0, radius)).clamp(min=0)


class Distances(nn.Module):
    """An out-of-distribution detector, as `Detector` computes it but for single precision."""

    moved: Tensor
    signs: Tensor

    def __init__(self, detector: Detector):
        super().__init__()
        self.whole = _Mahalanobis(detector.whole)
        self.cut_outs = _Mahalanobis(detector.cut_outs)
        self.limits = detector
        grid = torch.arange(SIDE * SIDE).view(SIDE, SIDE)
        moved = [
            (grid.flip(1) if mirrored else grid).rot90(turns).flatten()
            for turns, mirrored, _ in OTHER_POSITIONS
        ]
        self.register_buffer("moved", torch.stack(moved))
        self.register_buffer("signs", torch.tensor([[float(sign)] for _, _, sign in OTHER_POSITIONS]))

    def forward(self, images: Float[Tensor, "B C s s"]) -> tuple[Float[Tensor, " B"], Bool[Tensor, " B"]]:
        """The distance from the training images, infinite for an image of one level; and whether it is refused."""
        vectors, flat = thumbnails(images)
        whole = self.whole(vectors)
        others = self.whole(vectors[:, self.moved] * self.signs).amin(dim=1)
        turned = self.limits.turned * others
        part = whole / (self.limits.part * self.cut_outs(vectors))
        refused = flat | (whole > self.limits.far) | (whole > turned)
        refused = refused | (part > 1) | (part * whole > NEAR_BOTH * turned)
        return torch.where(flat, torch.inf, whole), refused


class _Mahalanobis(nn.Module):
    """`Gaussian.distances`."""

    mean: Tensor
    components: Tensor
    variances: Tensor

    def __init__(self, gaussian: Gaussian):
        super().__init__()
        for name in ("mean", "components", "variances"):
            self.register_buffer(name, torch.from_numpy(getattr(gaussian, name)).float())
        self.residual = gaussian.residual

    def forward(self, vectors: Float[Tensor, "*B D"]) -> Float[Tensor, "*B"]:
        """Distance of each."""
        offset = vectors - self.mean
        scores = offset @ self.components.T
        rest = offset - scores @ self.components
        return ((scores**2 / self.variances).sum(dim=-1) + (rest**2).sum(dim=-1) / self.residual).sqrt()
