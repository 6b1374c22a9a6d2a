"""The training loop: visible, seeded, killed and resumed without a trace.

Step i draws its batch, views and dropout from the seed and i alone, so the state to keep is the weights, their
average, the optimiser's moments, the losses not yet logged and the step; what follows a resume is bit-equal on a
CPU to what would have followed without it, with the processor, threads and libraries that it began with.
"""

import copy
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from multimix.config import OptimConfig, RunConfig
from multimix.errors import CheckpointError, TrainingError, UsageError
from multimix.io.locks import folder_lock
from multimix.networks.load import load_model, save_model
from multimix.networks.model import MultiMix
from multimix.recipes import method
from multimix.training.algorithm import Objective, teach
from multimix.training.batch import LossBreakdown, MultiMixBatch
from multimix.training.cuda_graph import gradient_on
from multimix.training.facts import describe
from multimix.training.guards import deferred_interrupt, enough_memory
from multimix.training.prepare import Prepared, prepare
from multimix.training.runlog import RunLog
from multimix.training.schedule import learning_rate, parts
from multimix.training.seeds import derive, generator
from multimix.training.start import begin_from, check_start
from multimix.training.state import TrainingState, load_state, save_state
from multimix.training.validation import measure_reliability, validate
from multimix.weights.file import BEST, LAST, ModelSpec

_LOG = logging.getLogger(__name__)
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

    def __init__(
        self,
        config: RunConfig,
        prepared: Prepared,
        folder: Path,
        *,
        resume: bool = False,
        tensorboard: bool = False,
    ):
        """With `resume`, goes on from the last checkpoint in `folder` where there is one."""
        self.config, self.prepared, self.folder = config, prepared, folder
        self.fabric = _fabric(config)
        self.spec = _spec(config, prepared)
        torch.manual_seed(derive(config.seed, "initial weights"))
        self.model: MultiMix = MultiMix.from_spec(self.spec)
        goes_on = resume and (folder / LAST).is_file()
        self.start = begin_from(self.model, self.spec, config.init) if config.init and not goes_on else None
        self.model.to(self.fabric.device)
        # The average that is judged and kept; where the method has a teacher, it is the one.
        self.teacher = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.average = self.teacher.state_dict()
        self.optimizer = _optimizer(self.model, config.optim)
        self.objective = Objective(self.model, config.objective, multi_label=config.data.multi_label)
        self.streams = prepared.streams(config, self.fabric.device)
        self.gradient = gradient_on(
            self.fabric.device,
            self.objective,
            parts=parts(config, self.fabric.device),
            autocast=self.fabric.autocast,
            backward=self.fabric.backward,
        )
        self.step, self.seconds, self.stale = 0, 0.0, 0
        self.best_score: float | None = None
        self.recent: dict[str, list[Tensor]] = {}
        if goes_on:
            self._restore(folder / LAST)
        self.log = RunLog(folder, resume_at=self.step, tensorboard=tensorboard)

    @property
    def finished(self) -> bool:
        """Whether every step is taken, or patience has ended."""
        patience = self.config.patience
        return self.step >= self.config.optim.steps or (patience is not None and self.stale >= patience)

    def run(self, report: Callable[[Progress], None] = lambda progress: None) -> None:
        """Train to the end, validating and checkpointing on the way; a kill loses at most one minute.

        Ctrl-C is KeyboardInterrupt after the step it falls into, with a checkpoint.
        """
        steps = self.config.optim.steps
        values: dict[str, float] = {}
        clock = saved = time.monotonic()
        self.model.train()
        try:
            with deferred_interrupt() as interrupted:
                while not self.finished:
                    self._remember(self.one_step())
                    self.step += 1
                    last = self.step == steps
                    if self.step % LOG_EVERY == 0 or last:
                        values |= self._log_losses()
                    if self.step % self.config.validate_every == 0 or last:
                        values |= self._validate()
                    now = time.monotonic()
                    self.seconds, clock = self.seconds + now - clock, now
                    leave = interrupted()
                    if now - saved >= self.config.checkpoint_seconds or self.finished or leave:
                        self.save()
                        saved = time.monotonic()
                    report(Progress(self.step, steps, values))
                    if leave:
                        raise KeyboardInterrupt
                self._measure_reliability()
                if interrupted():
                    raise KeyboardInterrupt
        finally:
            self.log.close()

    def one_step(self) -> LossBreakdown:
        """Draw, minimise, average; returns the terms, detached."""
        optim = self.config.optim
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(optim, self.step)
        batch = self._taught(self.streams.batch(self.step))
        rng = generator(self.config.seed, "dropout", self.step, on=self.fabric.device)
        self.optimizer.zero_grad(set_to_none=True)
        terms = self.gradient(batch, rng)
        self.optimizer.step()
        # Early averages forget the initial weights quickly: (1 + t) / (10 + t) < decay at first.
        decay = min(optim.ema_decay, (1 + self.step) / (10 + self.step)) if optim.ema_decay else 0.0
        average = get_ema_multi_avg_fn(decay)
        average(list(self.teacher.parameters()), list(self.model.parameters()), self.step)
        return terms

    def _taught(self, batch: MultiMixBatch) -> MultiMixBatch:
        row, config = method(self.config.method), self.config
        # A class counts only where the teacher is sure; masks are Dice-sharp long before they are right.
        segment = row.mask_teacher and self.step >= config.objective.masks_after * config.optim.steps
        with self.fabric.autocast():
            return teach(
                self.teacher,
                batch,
                config.objective,
                classify=row.classify,
                segment=segment,
                multi_label=config.data.multi_label,
            )

    def _remember(self, terms: LossBreakdown) -> None:
        for name, value in vars(terms).items():
            if value is not None:
                self.recent.setdefault(name, []).append(value)

    def save(self) -> None:
        """Write the training state; the old one stays until the new one is whole.

        TrainingError where the weights are not finite: nothing could go on from them.
        """
        self._refuse_broken_weights()
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
                recent={name: torch.stack(values) for name, values in self.recent.items()},
            ),
        )

    def _restore(self, file: Path) -> None:
        state, device = load_state(file), self.fabric.device
        self.step, self.seconds = state.step, state.seconds
        self.best_score, self.stale = state.best_score, state.stale
        self.recent = {k: list(v.to(device)) for k, v in state.recent.items()}
        groups = self.optimizer.state_dict()["param_groups"]
        slots: dict[int, dict[str, Tensor]] = {}
        try:
            self.model.load_state_dict(dict(state.weights))
            self.teacher.load_state_dict(dict(state.average))
            for name, tensor in state.optimizer.items():
                number, slot = name.split(".")
                slots.setdefault(int(number), {})[slot] = tensor
            self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{file}: the state of another network ({error}). Train anew into another folder."
            ) from error

    def _log_losses(self) -> dict[str, float]:
        # Reading the values waits for the device, so it is done once for several steps.
        values = {
            term.name: float(torch.stack(self.recent[term.name]).float().mean())
            for term in fields(LossBreakdown)
            if term.name in self.recent
        }
        self.recent = {}
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        if broken:
            raise self._diverged(f"the {broken[0]} loss is")
        self.log.write(self.step, values | {"learning_rate": learning_rate(self.config.optim, self.step - 1)})
        return values

    def _refuse_broken_weights(self) -> None:
        if not all(bool(tensor.isfinite().all()) for tensor in self.model.state_dict().values()):
            raise self._diverged("the weights are")

    def _diverged(self, what: str) -> TrainingError:
        return TrainingError(
            f"{self.folder}: {what} not finite at step {self.step}. The last checkpoint is kept. Train into another "
            "folder with a lower --set optim.learning_rate, or with --precision 32-true."
        )

    def _validate(self) -> dict[str, float]:
        self._refuse_broken_weights()
        if self.prepared.validation.size == 0:
            self._save_best()
            return {}
        scores = dict(validate(self.teacher, self.prepared.validation, self.fabric.device))
        if self.best_score is None or scores["score"] > self.best_score:
            self.best_score, self.stale = scores["score"], 0
            self._save_best()
        else:
            self.stale += 1
        self.log.write(self.step, scores)
        return scores

    def _save_best(self) -> None:
        save_model(self.folder / BEST, self.average, self.spec, self.prepared.trivial_masks)

    def _measure_reliability(self) -> None:
        """Add to the best weights how far they may be believed, unless they say it already."""
        validation, file = self.prepared.validation, self.folder / BEST
        if validation.size == 0 or not file.is_file() or (best := load_model(file)).reliability is not None:
            return
        rng = generator(self.config.seed, "cut-outs")
        model, examples = best.model.to(self.fabric.device), self.prepared.examples()
        reliability = measure_reliability(model, validation, examples, self.fabric.device, rng)
        save_model(file, model.state_dict(), self.spec, self.prepared.trivial_masks, reliability)


def _spec(config: RunConfig, prepared: Prepared) -> ModelSpec:
    row = method(config.method)
    return ModelSpec(
        classes=prepared.sets.classes if row.classify else (),
        structures=prepared.sets.structures if row.segment else (),
        size=config.data.size,
        channels=prepared.sets.channels,
        multi_label=config.data.multi_label,
        method=config.method,
        widths=config.model.widths,
        dropout=config.model.dropout,
        bridge=row.bridge,
        locate=row.locate,
        focus=row.focus,
        guide=row.guide,
    )


def _optimizer(model: MultiMix, config: OptimConfig) -> torch.optim.Optimizer:
    fused = next(model.parameters()).is_cuda  # in one kernel; on a CPU sums would round otherwise
    if config.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), config.learning_rate, fused=fused)
    return torch.optim.AdamW(
        model.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=fused
    )


def _fabric(config: RunConfig) -> Fabric:
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # else it repeats the precision aloud
    try:
        return Fabric(accelerator=config.device, devices=1, precision=config.precision)
    except RuntimeError as error:
        raise UsageError(
            f"--device {config.device}: cannot be used here ({error}) Use --device cpu, or auto."
        ) from error


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

    The folder holds config.yaml, run.json (versions, machine, data fingerprints), split.csv (who played which role),
    log.jsonl, best.safetensors (the weights to use), last.safetensors (the state to resume) and, hidden, the lock
    that keeps other processes out. A run that goes on elsewhere than it began says so in a line of the log.
    """
    # Refuses a missing device before data is decoded and a run begun that could not go on.
    device = _fabric(config).device
    prepared = prepare(config, decoding)
    # What was read from the images is part of the run, as if it had been asked for.
    config = replace(config, data=replace(config.data, channels=prepared.sets.channels))
    begins = bool(config.init) and not (resume and (folder / LAST).is_file())
    if begins and (doubt := check_start(config.init, config.model.widths, prepared.sets)):
        _LOG.warning(f"--init: {doubt}, so validation and test may hold images that it knows.")
    with folder_lock(folder), enough_memory(config):
        elsewhere = describe(config, prepared, device, folder, resume)
        trainer = Trainer(config, prepared, folder, resume=resume, tensorboard=tensorboard)
        if elsewhere and not trainer.finished:
            _LOG.warning(
                f"{folder}: goes on, but not bit for bit as it would have without the break: {elsewhere}."
            )
        trainer.run(report)
    return trainer
