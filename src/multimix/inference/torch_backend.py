"""The network run by torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float

from multimix.errors import UsageError
from multimix.inference.attribution import attribution
from multimix.inference.predictor import Outputs, Predictor
from multimix.networks.load import arrays
from multimix.networks.model import MultiMix
from multimix.reliability.calibration import Reliability
from multimix.weights.file import ModelSpec, WeightsFile, digest


@dataclass(frozen=True)
class TorchBackend:
    """A network of torch on a device."""

    model: MultiMix
    """On `device`."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "32-true"
    """'32-true', or 'bf16-mixed': about twice as fast where the processor has it, and off by what 16 bits round."""

    @classmethod
    def read(cls, file: WeightsFile, device: str, precision: str) -> "TorchBackend":
        """The network of a weights file. CheckpointError where it does not fit, UsageError for the device."""
        model = MultiMix.from_file(file)
        try:
            return cls(model.to(device), torch.device(device), precision)
        except (RuntimeError, AssertionError) as error:
            raise UsageError(f"--device {device}: cannot be used here ({error}); use 'cpu'.") from error

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the network's weights, hexadecimal."""
        return digest(arrays(self.model.state_dict()))

    def share_cores(self, threads: int) -> int:
        """From now on, in the whole process, a computation uses one core; returns how many to run side by side."""
        threads = threads or torch.get_num_threads()
        torch.set_num_threads(1)
        return threads if self.device.type == "cpu" else 1

    @torch.inference_mode()
    def run(self, images: Float[np.ndarray, "B C s s"], classify: bool) -> Outputs:
        """What the network says of images in [0, 1]; without `classify` no class head and no saliency."""
        x = torch.from_numpy(images).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16-mixed"):
            if not classify:  # then nobody looks at the saliency, and the model may do without
                return Outputs(None, self.model.segment(x).float().cpu().numpy(), None)
            output = self.model(x)
        return Outputs(
            output.class_logits.double().cpu().numpy(),
            output.mask_logits.float().cpu().numpy(),
            attribution(images, output.gradient.float().cpu().numpy()),
        )


def predictor_of(
    model: MultiMix,
    spec: ModelSpec,
    *,
    trivial_masks: Mapping[str, np.ndarray] | None = None,
    reliability: Reliability | None = None,
) -> Predictor:
    """The predictor of a network in memory, on the device that it is on."""
    device = next(model.parameters()).device
    return Predictor(spec, TorchBackend(model, device), trivial_masks or {}, reliability or Reliability())
