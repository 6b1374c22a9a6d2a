"""The plan of an experiment: a spec (YAML) names a grid, each cell of it is a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from multimix.config import RunConfig, build, read_mapping
from multimix.errors import UsageError
from multimix.recipes import PAPER_METHODS, cell_name, method, recipe

SPECS = Path(__file__).parent / "specs"
"""The specs that come with the package."""


@dataclass(frozen=True)
class Spec:
    """What is compared, on what, and how it was tuned."""

    methods: tuple[str, ...] = tuple(PAPER_METHODS)
    class_labels: tuple[int | None, ...] = (100,)
    """Budgets of class labels; null means all."""
    mask_labels: tuple[int | None, ...] = (10,)
    """Budgets of masks; null means all."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each decides labelled images, initial weights and batches, the same for every method."""
    class_source: tuple[str, ...] = ()
    """Learned from and judged on: the domain of the classes."""
    mask_source: tuple[str, ...] = ()
    """Learned from and judged on: the domain of the masks."""
    cross_class_source: tuple[str, ...] = ()
    """Judged only: a domain that was never seen."""
    cross_mask_source: tuple[str, ...] = ()
    """Judged only: a domain that was never seen."""
    shown: tuple[str, ...] = ()
    """Sources whose pictures may stand in a report: licences and patients decide."""
    phantoms: int = 0
    """Where it is not 0, the data are generated chest radiographs from this seed."""
    threads: int = 1
    """Processor threads of a cell; part of the spec, as sums round differently with their number."""
    tuning: str = ""
    """How the hyper-parameters were chosen, in words; the same effort for every method."""
    trials: Mapping[str, int] = field(default_factory=dict)
    """Method -> how many settings of its hyper-parameters were validated to choose its own, 0 where they were taken as
    published; a method that is left out is one of which it is not recorded."""
    own: Mapping[str, Any] = field(default_factory=dict)
    """Method -> where it departs from `run`, such as {objective: {dice_weight: 50}}; `tuning` says why."""
    run: RunConfig = field(default_factory=RunConfig)
    """What all cells share; method, seed, sources and budgets are set by the grid."""

    def __post_init__(self) -> None:
        for name in self.methods:
            method(name)
        for name in ("methods", "class_labels", "mask_labels", "seeds"):
            if not getattr(self, name):
                raise UsageError(f"{name}: expected at least one, got none. Name some in the spec.")
        for name in ("class_labels", "mask_labels"):
            for budget in getattr(self, name):
                if budget is not None and budget < 1:
                    raise UsageError(
                        f"{name}: expected numbers from 1, or null for all, got {budget}. Change it in the spec."
                    )
        for name in self.own:
            method(name)
            self.run_of(name)
        for name, count in self.trials.items():
            method(name)
            if count < 0:
                raise UsageError(
                    f"trials.{name}: expected a number from 0 on, got {count}. Change it in the spec."
                )
        if self.threads < 1:
            raise UsageError(f"threads: expected at least 1, got {self.threads}. Change it in the spec.")

    @classmethod
    def read(cls, path: Path) -> "Spec":
        """A spec from a YAML file; a bare name such as `quick`, also a folder's, is one that comes with the package."""
        shipped = {file.stem: file for file in SPECS.glob("*.yaml")}
        file = path if path.is_file() else shipped.get(str(path), path)
        if not file.exists():
            raise UsageError(f"{path}: no such file. Give a YAML file, or {', '.join(sorted(shipped))}.")
        mapping = read_mapping(file)
        base = cls(run=recipe(str(mapping.pop("recipe", "tuned"))))
        try:
            return build(cls, mapping, base, "")
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error

    def to_yaml(self) -> str:
        """The resolved spec."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items() if k != "run"}
        if not self.trials:  # as specs were stored before it could be recorded
            del plain["trials"]
        return yaml.safe_dump(plain | {"run": self.run.to_mapping()}, sort_keys=False)

    def run_of(self, name: str) -> RunConfig:
        """What all cells of a method share."""
        return RunConfig.from_mapping(self.own.get(name, {}), self.run)

    @property
    def judged_on(self) -> tuple[str, ...]:
        """Every source that some cell is judged on, in domain first."""
        named = (*self.class_source, *self.mask_source, *self.cross_class_source, *self.cross_mask_source)
        return tuple(dict.fromkeys(named))

    def cells(self) -> list["Cell"]:
        """The grid, seed by seed, so that a whole table stands early; a method has only the budgets it uses."""
        found = {
            Cell(name, c if method(name).classify else None, m if method(name).segment else None, seed): None
            for seed in self.seeds
            for c in self.class_labels
            for m in self.mask_labels
            for name in self.methods
        }
        return list(found)


@dataclass(frozen=True)
class Cell:
    """One run of the grid."""

    method: str
    class_labels: int | None
    """None: all, or the method does not classify."""
    mask_labels: int | None
    """None: all, or the method does not segment."""
    seed: int

    @property
    def name(self) -> str:
        """Its folder, such as multimix-c100-m10-s0."""
        return cell_name(self.method, self.class_labels, self.mask_labels, self.seed)

    def config(self, spec: Spec, manifest: Path) -> RunConfig:
        """The configuration of its run."""
        row = method(self.method)
        data = replace(
            spec.run_of(self.method).data,
            manifest=str(manifest),
            class_source=spec.class_source if row.classify else (),
            mask_source=spec.mask_source if row.segment else (),
            class_labels=self.class_labels,
            mask_labels=self.mask_labels,
        )
        return replace(spec.run_of(self.method), method=self.method, seed=self.seed, data=data)
