"""The network: one encoder, a classification head, a saliency bridge and a decoder.

arXiv:2010.14731, supplement, Tables 1 and 2. Whether dropout is active is not a mode of the
module but an argument: it happens where a generator is passed, and nowhere else.
"""

import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from multimix.config import WIDTHS
from multimix.errors import UsageError
from multimix.networks.focus import gate, seen
from multimix.networks.layers import PIXELS_AT_ONCE, channels_last, upsample_and_join
from multimix.networks.outputs import ModelOutput, TaskLogits
from multimix.networks.parts import ClassificationHead, Decoder, Encoder, Guide, SaliencyBridge
from multimix.networks.saliency import input_gradient
from multimix.weights.file import UNFIT, ModelSpec, WeightsFile, not_weights, read_weights


class MultiMix(nn.Module):
    """Classification and segmentation from one encoder, joined by a saliency bridge.

    Images are (B C H W), float, in [0, 1], H and W divisible by 16. `bridge=False` leaves the bridge out
    and its two channels per image channel with it (the paper's UMTL rows). `locate=True` adds the way back: a coarse
    map of the structures, from the deepest features, inside which the classification head pools. `focus=True`, with
    `locate`, shows the classifier the image inside that map alone (see `focus`; two passes of the encoder).
    `guide=True`, with `bridge`, has the saliency enter every stage of the decoder, scaled.

    By default the network of arXiv:2010.14731, with its 1,965,155 parameters.
    """

    def __init__(
        self,
        channels: int = 1,
        classes: int = 2,
        structures: int = 1,
        *,
        widths: Sequence[int] = WIDTHS,
        p: float = 0.25,
        bridge: bool = True,
        locate: bool = False,
        focus: bool = False,
        guide: bool = False,
    ):
        super().__init__()
        if (focus and not locate) or (guide and not bridge):
            raise UsageError(
                "MultiMix: focus needs locate, and guide needs bridge. Switch both on, or neither."
            )
        # Parameters made under inference mode could not take part in the saliency's backward pass.
        with torch.inference_mode(False):
            self.encoder = Encoder(channels, widths, p)
            self.head = ClassificationHead(widths[-1], classes)
            self.bridge = SaliencyBridge() if bridge else None
            self.decoder = Decoder(structures, widths, 2 * channels if bridge else 0, p)
            # With focus twice as fine: of the two deepest stages.
            self.locate = (
                nn.Conv2d(sum(widths[-2:] if focus else widths[-1:]), structures, 1) if locate else None
            )
            self.guide = Guide(channels, widths) if guide else None
        self.focus = focus
        self.channels = channels
        self.p = p

    @classmethod
    def from_run(cls, path: str | os.PathLike[str]) -> "MultiMix":
        """The network of a run folder, a weights file or the name of shipped weights, ready to be trained further.

        Every parameter requires a gradient, which those of `multimix.load(path).model` do not. Dropout is an argument
        of each call, as ever. Raises CheckpointError where there are no such weights.
        """
        return cls.from_file(read_weights(Path(path))).requires_grad_(True).train()

    @classmethod
    def from_file(cls, file: WeightsFile) -> "MultiMix":
        """The network of a weights file, in evaluation mode and frozen; CheckpointError where they do not fit."""
        try:
            model = cls.from_spec(file.spec)
            model.load_state_dict({name: torch.from_numpy(values) for name, values in file.network.items()})
        except UNFIT as error:
            raise not_weights(file.path, error) from error
        return model.eval().requires_grad_(False)

    @classmethod
    def from_spec(cls, spec: ModelSpec) -> "MultiMix":
        """The network of a spec, with initial weights from torch's global generator."""
        # A head that the method does not use exists all the same, with the least it can have.
        return cls(
            spec.channels,
            max(len(spec.classes), 1),
            max(len(spec.structures), 1),
            widths=spec.widths,
            p=spec.dropout,
            bridge=spec.bridge,
            locate=spec.locate,
            focus=spec.focus,
            guide=spec.guide,
        )

    def train(self, mode: bool = True) -> "MultiMix":
        """`nn.Module.train`; UsageError for a network that cannot learn, since none of its parameters may change."""
        if mode and not self._learns():
            raise UsageError(
                "train: this network answers and does not learn, since no parameter of it requires a gradient. "
                "To train further use multimix.MultiMix.from_run(RUN), or call requires_grad_(True) first."
            )
        return super().train(mode)

    def _learns(self) -> bool:
        return any(parameter.requires_grad for parameter in self.parameters())

    def classify(
        self, images: Float[Tensor, "B C H W"], rng: Generator | None = None
    ) -> Float[Tensor, "B K"]:
        """Class logits alone: no decoder, no saliency; one pass of the encoder, with focus two."""
        self._check(images)
        images = channels_last(images)
        if self.focus:
            with torch.no_grad():  # classes do not teach where the structures are
                features = self.encoder(images)
        else:
            features = self.encoder(images, rng)
        return self._seen_classes(images, features, self._location(features), rng)

    def segment(
        self, images: Float[Tensor, "B C H W"], rng: Generator | None = None
    ) -> Float[Tensor, "B S H W"]:
        """Mask logits alone; a model without a bridge computes no saliency."""
        return self.answer(images, rng).masks

    def answer(self, images: Float[Tensor, "B C H W"], rng: Generator | None = None) -> TaskLogits:
        """Classes and masks; a model without a bridge computes no saliency."""
        self._check(images)
        images = channels_last(images)
        saliency = None
        if self.bridge is None:
            features = self.encoder(images, rng)
            location = self._location(features)
            classes = self._seen_classes(images, features, location, rng)
        else:
            classes, location, features, saliency = self._explain(images)
            if rng is not None and self.p > 0:
                # The saliency is taken with dropout off, the features with dropout on: two passes.
                features = self.encoder(images, rng, first=features[0])
                location = self._location(features)
                classes = self._seen_classes(images, features, location, rng)
        return TaskLogits(classes, self._masks(images, features, saliency, rng), location)

    def guided(
        self, images: Float[Tensor, "B C H W"], maps: Sequence[Float[Tensor, "B C H W"]]
    ) -> list[Float[Tensor, "B S H W"]]:
        """Mask logits, dropout off, where the bridge is fed each of `maps` in place of the network's own map.

        UsageError where the network has no bridge.
        """
        self._check(images)
        if self.bridge is None:
            raise UsageError(
                "This network has no bridge, so no map guides its masks. Name a method that has one."
            )
        features = self.encoder(images)
        return [self._masks(images, features, given) for given in maps]

    def forward(self, images: Float[Tensor, "B C H W"]) -> ModelOutput:
        """Everything, dropout off; also under `torch.inference_mode()`. One pass of the encoder, with focus two.

        Without gradients a CPU answers a few images at a time: faster, and in the memory of those few.
        """
        self._check(images)
        at_once = len(images)
        if images.device.type == "cpu" and not torch.is_grad_enabled():
            at_once = max(1, PIXELS_AT_ONCE // (images.shape[2] * images.shape[3]))
        # Contiguous, so that class and saliency are those of the published network bit for bit, see `layers`; at 16
        # bits they are not, and the faster layout is free.
        lay_out = channels_last if torch.is_autocast_enabled(images.device.type) else torch.Tensor.contiguous
        parts = [self._answer(lay_out(part)) for part in images.split(max(at_once, 1))]
        if len(parts) == 1:
            return parts[0]
        whole = (torch.cat([getattr(part, f.name) for part in parts]) for f in fields(ModelOutput))
        return ModelOutput(*whole)

    def _answer(self, images: Tensor) -> ModelOutput:
        class_logits, _, features, saliency = self._explain(images)
        return ModelOutput(class_logits, self._masks(images, features, saliency), saliency)

    def _masks(
        self, images: Tensor, features: list[Tensor], saliency: Tensor | None, rng: Generator | None = None
    ) -> Tensor:
        """Mask logits (B S H W); the saliency is heard where there is a bridge."""
        if self.bridge is None or saliency is None:
            return self.decoder(features, None, rng)
        bridge = self.bridge(images, saliency)
        if self.guide is None:
            return self.decoder(features, bridge, rng)
        return self.decoder(features, bridge, rng, guide=self.guide(saliency))

    def _location(self, features: list[Tensor]) -> Tensor | None:
        """Coarse map of the structures, logits: (B S H/16 W/16), with focus (B S H/8 W/8)."""
        if self.locate is None:
            return None
        return self.locate(upsample_and_join(features[-1], features[-2]) if self.focus else features[-1])

    def _seen_classes(
        self, images: Tensor, features: list[Tensor], location: Tensor | None, rng: Generator | None = None
    ) -> Tensor:
        """Class logits of the whole image's features, or, with focus, of what it shows inside the coarse map."""
        if not self.focus or location is None:
            return self.head(features[-1], location)
        shown = seen(images, gate(location, (images.shape[-2], images.shape[-1])))
        return self.head(self.encoder(shown, rng)[-1], F.avg_pool2d(location, 2))

    def _explain(self, images: Tensor) -> tuple[Tensor, Tensor | None, list[Tensor], Tensor]:
        """Class logits, coarse map, the whole image's features, and saliency; dropout off."""
        # A network that does not learn leaves no graph behind, or backward would seem to work.
        training = torch.is_grad_enabled() and not torch.is_inference_mode_enabled() and self._learns()
        with torch.inference_mode(False), torch.enable_grad():
            # An inference tensor cannot enter a graph; its copy made here can.
            leaf = (images.clone() if images.is_inference() else images.detach()).requires_grad_()
            with torch.set_grad_enabled(training or not self.focus):
                features = self.encoder(leaf)
                location = self._location(features)
            class_logits = self._seen_classes(leaf, features, location)
            saliency = input_gradient(class_logits, leaf, keep_graph=training)
        if not training:
            class_logits, features = class_logits.detach(), [f.detach() for f in features]
            location = location.detach() if location is not None else None
        return class_logits, location, features, saliency

    def _check(self, images: Tensor) -> None:
        expected = f"The network takes float images (B {self.channels} H W), H and W divisible by 16"
        if images.dim() != 4 or images.shape[1] != self.channels or not images.is_floating_point():
            raise UsageError(
                f"{expected}; got {images.dtype} {tuple(images.shape)}. Convert them, or build MultiMix with another "
                "number of channels."
            )
        height, width = images.shape[-2:]
        if min(height, width) == 0 or height % 16 or width % 16:
            raise UsageError(f"{expected}; got {tuple(images.shape)}. Resize the images.")
