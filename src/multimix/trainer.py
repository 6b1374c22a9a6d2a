"""The training loop: visible, seeded, killed and resumed without a trace.

Step i draws its batch, views and dropout from the seed and i alone, so the state to keep is the weights, their
average, the optimiser's moments and the step; what follows a resume is bit-equal on a CPU to what would have
followed without it.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from multimix.algorithm import Objective, total
from multimix.checkpoint import BEST, LAST, ModelSpec, TrainingState, load_state, save_model, save_state
from multimix.config import OptimConfig, RunConfig
from multimix.data.splits import write_split
from multimix.errors import SplitError, TrainingError
from multimix.io.writers import atomic_write, write_json
from multimix.model import MultiMix
from multimix.prepare import Prepared, prepare
from multimix.recipes import method
from multimix.runlog import RunLog
from multimix.schedule import learning_rate
from multimix.seeds import derive, generator
from multimix.types import LossBreakdown
from multimix.validation import validate

LOG_EVERY = 10
"""Steps between two lines of the log, each the mean of the steps since the last."""


@dataclass(frozen=True)
class Progress:
    """What a progress bar needs, every step."""

    step: int
    steps: int
    values: Mapping[str, float]
    """The newest losses and validation scores by name."""


class Trainer:
    """One run: state, loop and checkpoints."""

    def __init__(self, config: RunConfig, prepared: Prepared, folder: Path, *, tensorboard: bool = False):
        self.config, self.prepared, self.folder = config, prepared, folder
        accelerator = {"auto": "auto", "cuda": "gpu"}.get(config.device, config.device)
        self.fabric = Fabric(accelerator=accelerator, devices=1, precision=config.precision)  # type: ignore[arg-type]
        self.method = method(config.method)
        self.spec = _spec(config, prepared)
        torch.manual_seed(derive(config.seed, "initial weights"))
        self.model: MultiMix = self.spec.build().to(self.fabric.device)
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.optimizer = _optimizer(self.model, config.optim)
        self.objective = Objective(
            self.model, self.method, config.objective, multi_label=config.data.multi_label
        )
        self.streams = prepared.streams(config, self.fabric.device)
        self.step, self.seconds, self.stale = 0, 0.0, 0
        self.best_score: float | None = None
        if (folder / LAST).is_file():
            self._restore(load_state(folder / LAST))
        self.log = RunLog(folder, resume_at=self.step, tensorboard=tensorboard)

    def run(self, report: Callable[[Progress], None] = lambda progress: None) -> None:
        """Train to the end, validating and checkpointing on the way; a kill loses at most one minute."""
        steps, patience = self.config.optim.steps, self.config.patience
        stopped = patience is not None and self.stale >= patience
        values: dict[str, float] = {}
        recent: list[LossBreakdown] = []
        clock = saved = time.monotonic()
        self.model.train()
        try:
            while self.step < steps and not stopped:
                recent.append(self.one_step())
                self.step += 1
                last = self.step == steps
                if self.step % LOG_EVERY == 0 or last:
                    values |= self._log_losses(recent)
                    recent = []
                if self.step % self.config.validate_every == 0 or last:
                    scores = self._validate()
                    values |= scores
                    stopped = patience is not None and self.stale >= patience
                now = time.monotonic()
                self.seconds, clock = self.seconds + now - clock, now
                if now - saved >= self.config.checkpoint_seconds or last or stopped:
                    self.save()
                    saved = time.monotonic()
                report(Progress(self.step, steps, values))
        except KeyboardInterrupt:
            self.save()
            raise
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            raise _explain(error, self.config) from error
        finally:
            self.log.close()

    def one_step(self) -> LossBreakdown:
        """Draw, minimise, average; returns the terms, detached."""
        optim = self.config.optim
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(optim, self.step)
        batch = self.streams.batch(self.step)
        rng = generator(self.config.seed, "dropout", self.step, on=self.fabric.device)
        with self.fabric.autocast():
            terms = self.objective(batch, rng)
            loss = total(terms, self.config.objective)
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        self.optimizer.step()
        # Early averages forget the initial weights quickly: (1 + t) / (10 + t) < decay at first.
        decay = min(optim.average, (1 + self.step) / (10 + self.step)) if optim.average else 0.0
        for name, tensor in self.model.state_dict().items():
            self.average[name].lerp_(tensor, 1 - decay)
        return LossBreakdown(**{k: None if v is None else v.detach() for k, v in vars(terms).items()})

    def save(self) -> None:
        """Write the training state; the old one stays until the new one is whole."""
        state = self.optimizer.state_dict()["state"]
        save_state(
            self.folder / LAST,
            TrainingState(
                self.step,
                self.seconds,
                self.best_score,
                self.stale,
                weights=self.model.state_dict(),
                average=self.average,
                optimizer={f"{i}.{slot}": v for i, slots in state.items() for slot, v in slots.items()},
            ),
        )

    def _restore(self, state: TrainingState) -> None:
        self.step, self.seconds = state.step, state.seconds
        self.best_score, self.stale = state.best_score, state.stale
        self.model.load_state_dict(dict(state.weights))
        self.average = {k: v.to(self.fabric.device) for k, v in state.average.items()}
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in state.optimizer.items():
            number, slot = name.split(".")
            slots.setdefault(int(number), {})[slot] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})

    def _log_losses(self, recent: list[LossBreakdown]) -> dict[str, float]:
        # Reading the values waits for the device, so it is done once for several steps.
        values = {}
        for name in ("classification", "pseudo_label", "dice", "consistency", "kept"):
            terms = [getattr(r, name) for r in recent if getattr(r, name) is not None]
            if terms:
                values[name] = float(torch.stack(terms).float().mean())
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        if broken:
            raise TrainingError(
                f"{self.folder}: the {broken[0]} loss is not finite at step {self.step}. The last checkpoint is "
                "kept. Lower optim.learning_rate, use --precision 32-true, or run `multimix data check`."
            )
        self.log.write(self.step, values | {"learning_rate": learning_rate(self.config.optim, self.step - 1)})
        return values

    def _validate(self) -> dict[str, float]:
        if self.prepared.validation.size == 0:
            self._save_best()
            return {}
        judged = self.spec.build().to(self.fabric.device).eval()
        judged.load_state_dict(self.average)
        scores = dict(validate(judged, self.prepared.validation, self.fabric.device))
        if self.best_score is None or scores["score"] > self.best_score:
            self.best_score, self.stale = scores["score"], 0
            self._save_best()
        else:
            self.stale += 1
        self.log.write(self.step, scores)
        return scores

    def _save_best(self) -> None:
        save_model(self.folder / BEST, self.average, self.spec, self.prepared.trivial_masks)


def _spec(config: RunConfig, prepared: Prepared) -> ModelSpec:
    row = method(config.method)
    return ModelSpec(
        classes=prepared.sets.classes if row.classify else (),
        structures=prepared.sets.structures if row.segment else (),
        size=config.data.size,
        channels=config.data.channels,
        multi_label=config.data.multi_label,
        method=config.method,
        widths=config.model.widths,
        dropout=config.model.dropout,
        bridge=row.bridge,
    )


def _optimizer(model: MultiMix, config: OptimConfig) -> torch.optim.Optimizer:
    if config.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), config.learning_rate)
    return torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=config.weight_decay)


def _explain(error: BaseException, config: RunConfig) -> BaseException:
    """Running out of memory in words; any other error as it is."""
    if not isinstance(error, torch.OutOfMemoryError | MemoryError) and "memory" not in str(error):
        return error
    return TrainingError(
        f"Out of memory at --size {config.data.size} with {config.streams.classes} class and "
        f"{config.streams.masks} mask images per step. The last checkpoint is kept. Lower --size, or --set "
        "streams.masks, streams.classes and streams.unlabelled_classes."
    )


def train(
    config: RunConfig,
    folder: Path,
    *,
    resume: bool = False,
    tensorboard: bool = False,
    decoding: Callable[[int, int], None] | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Trainer:
    """Train `config` into `folder`, or go on where it stopped; returns the finished trainer.

    The folder holds config.yaml, run.json (versions, data fingerprints), split.csv (who played which role),
    log.jsonl, best.safetensors (the weights to use) and last.safetensors (the state to resume).
    """
    prepared = prepare(config, decoding)
    facts = prepared.describe()
    known = folder / "run.json"
    if resume and known.is_file():
        before = json.loads(known.read_text("utf-8"))["data"]
        if before != facts["data"]:
            raise SplitError(
                f"{folder}: the data has changed since this run began (fingerprint {before['fingerprint'][:12]}, now "
                f"{facts['data']['fingerprint'][:12]}). Restore it, or train anew into another folder."
            )
    else:
        with atomic_write(folder / "config.yaml") as temporary:
            temporary.write_text(config.to_yaml(), "utf-8")
        write_split(folder / "split.csv", prepared.sets.roles())
        write_json(known, facts)
    trainer = Trainer(config, prepared, folder, tensorboard=tensorboard)
    trainer.run(report)
    return trainer
