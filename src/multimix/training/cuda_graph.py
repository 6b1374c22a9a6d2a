"""A training step as a CUDA graph: recorded once, then replayed with new images.

A step is about a thousand kernels, most of a few microseconds. Launched one by one from Python they take longer to
launch than to run; a graph launches them all at once.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor

from multimix.training.algorithm import Objective, gradient
from multimix.training.batch import LossBreakdown, MultiMixBatch, tensors

Gradient = Callable[[MultiMixBatch, Generator], LossBreakdown]
"""Sets the gradients of the total loss of a batch, with dropout from the generator; returns the terms."""

WARM_UP = 3
"""Steps taken kernel by kernel before one is recorded: libraries choose their kernels and set up on them."""


@dataclass(frozen=True)
class _Recording:
    """A graph, where it reads from and where it writes to."""

    graph: torch.cuda.CUDAGraph
    batch: MultiMixBatch
    rng: Generator
    terms: LossBreakdown
    gradients: tuple[Tensor | None, ...]


class RecordedGradient:
    """`algorithm.gradient` on a CUDA device, for an objective whose gradients are None before each call.

    Each set of shapes has a recording of its own. Gradients lie where the recording wrote them until its next replay.
    """

    def __init__(
        self,
        objective: Objective,
        *,
        parts: int,
        autocast: Callable[[], AbstractContextManager[None]],
        backward: Callable[..., None],
    ):
        self.objective = objective
        self.compute = partial(gradient, objective, parts=parts, autocast=autocast, backward=backward)
        self.seen: dict[tuple[object, ...], int] = {}
        self.recordings: dict[tuple[object, ...], _Recording] = {}
        self.stream = torch.cuda.Stream()

    def __call__(self, batch: MultiMixBatch, rng: Generator) -> LossBreakdown:
        """Set the gradients of the total loss; returns the terms, detached."""
        shapes = _shapes(batch)
        self.seen[shapes] = self.seen.get(shapes, 0) + 1
        if self.seen[shapes] <= WARM_UP:
            # On the stream of the recording, so that nothing that it finds belongs to another.
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream), _fastest_kernels():
                terms = self.compute(batch, rng)
            torch.cuda.current_stream().wait_stream(self.stream)
            return terms
        if shapes not in self.recordings:
            self.recordings[shapes] = self._record(batch, rng)
        return self._replay(self.recordings[shapes], batch, rng)

    def _record(self, batch: MultiMixBatch, rng: Generator) -> _Recording:
        batch, rng, graph = batch.clone(), Generator(device=rng.device), torch.cuda.CUDAGraph()
        graph.register_generator_state(rng)
        with torch.cuda.graph(graph, stream=self.stream), _fastest_kernels():
            terms = self.compute(batch, rng)
        gradients = tuple(p.grad for p in self.objective.parameters())
        return _Recording(graph, batch, rng, terms, gradients)

    def _replay(self, known: _Recording, batch: MultiMixBatch, rng: Generator) -> LossBreakdown:
        for held, new in zip(tensors(known.batch), tensors(batch), strict=True):
            held.copy_(new)
        known.rng.manual_seed(rng.initial_seed())
        known.graph.replay()
        for parameter, gradient_of_it in zip(self.objective.parameters(), known.gradients, strict=True):
            parameter.grad = gradient_of_it
        terms = (getattr(known.terms, f.name) for f in fields(LossBreakdown))
        return LossBreakdown(*(None if term is None else term.clone() for term in terms))


@contextmanager
def _fastest_kernels() -> Iterator[None]:
    """Convolutions are tried out, once for each shape, instead of chosen by rule."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def gradient_on(device: torch.device, objective: Objective, **how: Any) -> Gradient:
    """`algorithm.gradient` of an objective as the device computes it best; `how` are its keywords."""
    if device.type == "cuda":
        return RecordedGradient(objective, **how)
    return partial(gradient, objective, **how)


def _shapes(batch: MultiMixBatch) -> tuple[object, ...]:
    """What tells batches apart for which one recording will do: streams, shapes and kinds."""
    streams = tuple(f.name for f in fields(batch) if getattr(batch, f.name) is not None)
    return (streams, *((t.shape, t.dtype) for t in tensors(batch)))
