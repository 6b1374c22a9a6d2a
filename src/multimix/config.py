"""One frozen configuration per run; every field explains itself, and validation names it.

The YAML in a run folder is this tree, resolved. `--set optim.learning_rate=3e-4` reaches every field.
"""

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from multimix.errors import UsageError

# PyYAML lets the ValueError of an impossible date or number through, and recurses into what is nested.
_NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)


WIDTHS = (16, 32, 64, 128, 256)
"""Channels of the five encoder blocks, as published."""


RENAMED = {"optim.average": "ema_decay", "streams.parts": "micro_batches"}
"""Fields as configurations of version 0.1.0 have them -> their name now."""


def require(ok: bool, name: str, expected: str, got: object) -> None:
    """UsageError of a field that is not `ok`."""
    if not ok:
        raise UsageError(
            f"{name}: expected {expected}, got {got!r}. Change it on the command line or in --config."
        )


@dataclass(frozen=True)
class DataConfig:
    """What is learned from."""

    manifest: str = ""
    """CSV or Parquet table, or the folder that holds manifest.csv."""
    class_source: tuple[str, ...] = ()
    """Sources whose class labels are used."""
    mask_source: tuple[str, ...] = ()
    """Sources whose masks are used."""
    class_labels: int | None = None
    """|D^c_l|: images whose class label is seen; None means all."""
    mask_labels: int | None = None
    """|D^s_l|: images whose mask is seen; None means all."""
    classes: tuple[str, ...] = ()
    """Class names in the order of the logits; empty means the sorted labels of the class sources."""
    structures: tuple[str, ...] = ()
    """Structure names in the order of the mask channels; empty means those of the mask sources."""
    multi_label: bool = False
    """Classes are not exclusive: labels are names joined by '|', each with a probability of its own."""
    size: int = 256
    """Height and width the network sees, in pixels; divisible by 16."""
    channels: int = 0
    """1 (grey) or 3 (colour); 0 means 3 where most images of some source are in colour, and else 1."""

    def __post_init__(self) -> None:
        require(self.size >= 16 and self.size % 16 == 0, "--size", "a positive multiple of 16", self.size)
        require(self.channels in (0, 1, 3), "--channels", "1 or 3", self.channels)
        for name in ("classes", "structures"):
            given = getattr(self, name)
            require(len(set(given)) == len(given), f"--{name}", "each name once", given)
        for name in ("class_labels", "mask_labels"):
            value = getattr(self, name)
            flag = "--" + name.replace("_", "-")
            require(value is None or value >= 1, flag, "at least 1, or 'all'", value)


@dataclass(frozen=True)
class ModelConfig:
    """The network's size and dropout."""

    widths: tuple[int, ...] = WIDTHS
    """Channels of the five encoder blocks."""
    dropout: float = 0.0
    """Probability of zeroing a feature after each block; the paper has 0.25."""

    def __post_init__(self) -> None:
        require(
            len(self.widths) == 5 and min(self.widths) >= 1,
            "model.widths",
            "five positive integers",
            self.widths,
        )
        # One byte decides: nearer to 1, no value of it would keep a feature.
        require(0 <= self.dropout <= 0.99, "model.dropout", "a value in [0, 0.99]", self.dropout)


@dataclass(frozen=True)
class ObjectiveConfig:
    """Weights and thresholds of Eq. (1) and (2)."""

    threshold: float = 0.7
    """t: confidence from which a pseudo-label counts."""
    masks_after: float = 0.5
    """Share of the steps before a teacher is asked for masks: early ones would teach its own mistakes."""
    mask_threshold: float = 0.95
    """Confidence from which a pixel of a teacher's mask counts."""
    pseudo_weight: float = 0.25
    """lambda: weight of the pseudo-label term."""
    dice_weight: float = 5.0
    """alpha: weight of the Dice term."""
    consistency_weight: float = 0.01
    """beta: weight of the KL term."""
    pseudo_mask_weight: float = 3.0
    """Weight of the Dice term against a teacher's masks."""
    location_weight: float = 1.0
    """Weight of the coarse map that tells the classifier where the structures lie."""
    consistency: Literal["bernoulli", "released"] = "bernoulli"
    """'bernoulli' (a KL that works) or 'released' (softmax over one channel: zero)."""

    def __post_init__(self) -> None:
        require(0 <= self.masks_after <= 1, "objective.masks_after", "a value in [0, 1]", self.masks_after)
        for name in ("threshold", "mask_threshold"):
            require(
                0 < getattr(self, name) <= 1, f"objective.{name}", "a value in (0, 1]", getattr(self, name)
            )
        names = (
            "pseudo_weight",
            "dice_weight",
            "consistency_weight",
            "pseudo_mask_weight",
            "location_weight",
        )
        for name in names:
            require(getattr(self, name) >= 0, f"objective.{name}", "a value >= 0", getattr(self, name))


@dataclass(frozen=True)
class StreamConfig:
    """How many images of each stream a step sees, and how they are varied."""

    classes: int = 16
    """Images with a class label, per step."""
    unlabelled_classes: int = 16
    """Unlabelled class images, per step; each is seen twice, as a weak and a strong view."""
    masks: int = 8
    """Images with a mask, per step; as many unlabelled mask images."""
    micro_batches: int | None = None
    """Equal parts in which a step is computed one after another: the same gradient in less memory. None lets the
    device choose: one on a GPU, what the caches hold on a CPU."""
    balanced: bool = True
    """Draw every class equally often among the labelled images."""
    augmentation: Literal["radiograph", "paper"] = "radiograph"
    """'radiograph' (affine, gamma, contrast, noise) or 'paper' (flip and shifted crop)."""

    def __post_init__(self) -> None:
        for name in ("classes", "unlabelled_classes", "masks"):
            require(getattr(self, name) >= 1, f"streams.{name}", "at least 1", getattr(self, name))
        sizes = (self.classes, self.unlabelled_classes, self.masks)
        require(
            self.micro_batches is None
            or (self.micro_batches >= 1 and not any(size % self.micro_batches for size in sizes)),
            "streams.micro_batches",
            f"a common divisor of the streams' sizes {sizes}",
            self.micro_batches,
        )


@dataclass(frozen=True)
class OptimConfig:
    """How the weights move."""

    optimizer: Literal["adamw", "adam"] = "adamw"
    """'adamw' or 'adam'."""
    learning_rate: float = 2e-3
    """Peak learning rate."""
    weight_decay: float = 1e-2
    """Decoupled weight decay; 'adam' has none."""
    schedule: Literal["one-cycle", "step"] = "one-cycle"
    """'one-cycle' (linear warm-up over a tenth, cosine to zero) or 'step' (x0.1 every `decay_every`)."""
    decay_every: int = 4000
    """Steps between two decays of the 'step' schedule."""
    steps: int = 500
    """Training steps."""
    ema_decay: float = 0.99
    """Decay of the exponential moving average of the weights that is judged and kept; 0 keeps the raw ones."""

    def __post_init__(self) -> None:
        require(self.learning_rate > 0, "optim.learning_rate", "a value > 0", self.learning_rate)
        require(self.weight_decay >= 0, "optim.weight_decay", "a value >= 0", self.weight_decay)
        require(self.steps >= 1, "--steps", "at least 1", self.steps)
        require(self.decay_every >= 1, "optim.decay_every", "at least 1", self.decay_every)
        require(0 <= self.ema_decay < 1, "optim.ema_decay", "a value in [0, 1)", self.ema_decay)


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the result of a run."""

    method: str = "multimix"
    """A row of `recipes.METHODS`."""
    seed: int = 0
    """Decides labelled images, initial weights, batches and augmentation."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """'auto', 'cpu', 'cuda' or 'mps'."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Lightning Fabric's precision: '32-true' or 'bf16-mixed'."""
    validate_every: int = 50
    """Steps between two validations."""
    patience: int | None = None
    """Stop after this many validations without a better score; None never stops early."""
    checkpoint_seconds: float = 60.0
    """Training time between two checkpoints."""
    init: str = ""
    """Weights that training begins from: a run folder, a weights file or the name of shipped weights; '' for none."""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    streams: StreamConfig = field(default_factory=StreamConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**63, "--seed", "an integer >= 0", self.seed)
        require(self.validate_every >= 1, "validate_every", "at least 1", self.validate_every)
        require(self.patience is None or self.patience >= 1, "patience", "at least 1, or null", self.patience)
        require(self.checkpoint_seconds >= 0, "checkpoint_seconds", "a value >= 0", self.checkpoint_seconds)

    @classmethod
    def from_mapping(cls, mapping: Mapping[Any, Any], base: "RunConfig | None" = None) -> "RunConfig":
        """`base` (or the defaults) with the values of a nested mapping; unknown names are refused."""
        return build(cls, mapping, base if base is not None else cls(), "")

    @classmethod
    def read(cls, path: Path, base: "RunConfig | None" = None) -> "RunConfig":
        """A configuration from a YAML file, over `base` (or the defaults)."""
        mapping = read_mapping(path)
        try:
            return cls.from_mapping(mapping, base)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error

    def override(self, assignment: str) -> "RunConfig":
        """The configuration with one field changed, as in 'optim.steps=100'."""
        name, equals, text = assignment.partition("=")
        require(bool(equals) and bool(name), "--set", "NAME=VALUE, such as optim.steps=100", assignment)
        try:
            value = yaml.safe_load(text)
        except _NOT_YAML as error:
            raise UsageError(
                f"--set {assignment[:80]}: the value is not YAML. Quote it, as in --set 'a=[1, 2]'."
            ) from error
        for part in reversed(name.split(".")):
            value = {part: value}
        return type(self).from_mapping(value, self)

    def to_mapping(self) -> dict[str, Any]:
        """Nested plain values, ready for YAML or JSON."""
        return _plain(dataclasses.asdict(self))

    def to_yaml(self) -> str:
        """The resolved configuration as it is stored in a run folder."""
        return yaml.safe_dump(self.to_mapping(), sort_keys=False)


def read_mapping(path: Path) -> dict[Any, Any]:
    """The mapping in a YAML file; UsageError where there is none."""
    try:
        mapping = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, *_NOT_YAML) as error:
        raise UsageError(
            f"{path}: not a readable YAML file ({error}). Check the path and the syntax."
        ) from error
    if not isinstance(mapping, dict):
        raise UsageError(f"{path}: expected a YAML mapping such as 'seed: 0', got {type(mapping).__name__}.")
    return mapping


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def build(cls: type, mapping: Mapping[Any, Any], base: Any, prefix: str) -> Any:
    """`base` with the values of a nested mapping; `prefix` is what errors put before a field's name.

    UsageError on unknown names and wrong types.
    """
    kinds = typing.get_type_hints(cls)
    changes: dict[str, Any] = {}
    for given, value in mapping.items():
        key = RENAMED.get(f"{prefix}{given}", given)
        name = f"{prefix}{key}"
        if key not in kinds:
            raise UsageError(f"Unknown configuration field {name!r}. Known here: {', '.join(kinds)}.")
        if dataclasses.is_dataclass(kinds[key]):
            require(isinstance(value, dict), name, "a mapping", value)
            changes[key] = build(typing.cast(type, kinds[key]), value, getattr(base, key), f"{name}.")
        else:
            changes[key] = _convert(value, kinds[key], name)
    return dataclasses.replace(base, **changes)


def _convert(value: Any, kind: Any, name: str) -> Any:
    """A YAML value as the field's type; text such as '3e-4', which YAML leaves as text, becomes a number."""
    if typing.get_origin(kind) is Mapping:
        require(isinstance(value, dict), name, "a mapping", value)
        of = typing.get_args(kind)[1]
        return value if of is Any else {key: _convert(one, of, f"{name}.{key}") for key, one in value.items()}
    options = typing.get_args(kind) if typing.get_origin(kind) not in (tuple, Literal) else ()
    if type(None) in options:
        return None if value is None else _convert(value, options[0], name)
    if typing.get_origin(kind) is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(_convert(item, typing.get_args(kind)[0], name) for item in items)
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        require(math.isfinite(number), name, "a finite number", value)
        return number
    if typing.get_origin(kind) is Literal:
        *others, last = typing.get_args(kind)
        require(
            value in (*others, last),
            name if "." in name else f"--{name}",
            f"{', '.join(others)} or {last}",
            value,
        )
        return value
    if type(value) is not kind:
        require(False, name, f"a value of type {kind.__name__}", value)
    return value
