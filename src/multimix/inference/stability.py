"""What the model thread does with a batch: predictions and, where asked for, how stable they are.

Stability is the range of each probability over the image and small changes of it that leave its meaning as
it is: shifts by 2 % of the side (edges repeated) and a tenth more or less exposure. It says how much the
answer hangs on such accidents. It is no confidence interval: a model can be stable and wrong.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float

from multimix.inference.predictor import Predictor
from multimix.io.resize import to_model_size
from multimix.types import Prediction, Radiograph

SHIFT = 0.02
GAMMAS = (0.9, 1.1)
STABILITY = (
    "smallest and largest probability over the image, four shifts of it by 2 % and two exposures (gamma 0.9, 1.1); "
    "a measure of stability, not of correctness"
)


@dataclass(frozen=True)
class Job:
    """One image for the model."""

    radiograph: Radiograph
    stability: bool = False
    """Also answer the changed images."""
    force: bool = False
    """Answer it although the model is not for such images."""


@dataclass(frozen=True)
class Result:
    """The model's answer for one job."""

    prediction: Prediction
    p_range: Mapping[str, tuple[float, float]] | None = None
    """Class name -> smallest and largest probability; None where not asked for or without a class head."""


class Work:
    """Answers batches with `predictor`, the parts of one in `threads` threads on a CPU.

    The network is small: several images side by side, each on one core, are faster than one image on
    several cores.
    """

    def __init__(self, predictor: Predictor, threads: int) -> None:
        self._predictor = predictor
        self._threads = threads
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="multimix-model")

    def __call__(self, jobs: list[Job]) -> list[Result]:
        """One result per job, in order."""
        answer = partial(_answer, self._predictor)
        if self._threads == 1:
            return answer(jobs)
        parts = [jobs[i :: self._threads] for i in range(min(self._threads, len(jobs)))]
        results: list[Result | None] = [None] * len(jobs)
        for i, part in enumerate(self._pool.map(answer, parts)):
            results[i :: self._threads] = part
        return [result for result in results if result is not None]

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()


def _answer(predictor: Predictor, jobs: Sequence[Job]) -> list[Result]:
    radiographs = [job.radiograph for job in jobs]
    predictions = predictor.predict_radiographs(radiographs, max(len(jobs), 1), force=True)
    return [_result(predictor, *pair) for pair in zip(jobs, list(predictions), strict=True)]


def _result(predictor: Predictor, job: Job, prediction: Prediction) -> Result:
    if prediction.rejected and not job.force:
        return Result(prediction.withheld())
    return Result(prediction, _range(predictor, job.radiograph, prediction) if job.stability else None)


def _range(
    predictor: Predictor, radiograph: Radiograph, prediction: Prediction
) -> Mapping[str, tuple[float, float]] | None:
    if not predictor.spec.classify:
        return None
    # At the model's own size, where masks and saliency of the changed images cost next to nothing.
    small = to_model_size(radiograph.pixels, predictor.spec.size)
    changed = predictor.predict_radiographs(
        [Radiograph(pixels, turn=radiograph.turn) for pixels in changes(small)], force=True
    )
    seen = [prediction.probabilities, *(answer.probabilities for answer in changed)]
    return {name: (min(p[name] for p in seen), max(p[name] for p in seen)) for name in predictor.spec.classes}


def changes(pixels: Float[np.ndarray, "C H W"]) -> Iterator[Float[np.ndarray, "C H W"]]:
    """The six changed images, in [0, 1] like `pixels`."""
    for axis in (1, 2):
        side = pixels.shape[axis]
        step = max(1, round(SHIFT * side))
        for by in (-step, step):
            yield pixels.take(np.clip(np.arange(side) - by, 0, side - 1), axis=axis)
    for gamma in GAMMAS:
        yield pixels**gamma
