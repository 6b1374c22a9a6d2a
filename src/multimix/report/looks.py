"""How often the test images were looked at, in words, from the logs of looks beside the stored scores."""

from collections.abc import Mapping

from multimix.data.seal import COPY, read_seal, standing
from multimix.errors import SealError
from multimix.experiment.cells import Benchmark

UNSEALED = (
    "The test images are not sealed, so nobody has counted how often they were looked at before: read every difference "
    "as exploratory. `multimix seal` locks and counts them."
)


def looks(benchmark: Benchmark) -> tuple[str, ...]:
    """A sentence per sealed source: 'seen N times', and whether this look is confirmatory; UNSEALED where none is."""
    numbers: dict[str, int] = {}
    seen: dict[str, int] = {}
    broken: list[str] = []
    for cell in benchmark.cells:
        mine: Mapping[str, int] = cell.looks
        if not mine:
            continue
        # Of several, the one before which most had been seen.
        numbers |= {source: max(number, numbers.get(source, 0)) for source, number in mine.items()}
        try:
            seal = read_seal(cell.folder / COPY)
        except SealError as error:
            broken.append(str(error))
            continue
        seen |= {source: max(seal.seen(source), seen.get(source, 0)) for source in mine}
    if not numbers:
        return (UNSEALED,)
    bare = sorted(cell.folder.name for cell in benchmark.cells if not cell.looks)
    said = [_said(source, number, seen.get(source, number)) for source, number in numbers.items()]
    if bare:
        said.append(f"Not counted as looks: {', '.join(bare[:3])}{' ...' if len(bare) > 3 else ''}.")
    return (*said, *broken)


def _said(source: str, number: int, seen: int) -> str:
    times = f"seen {seen} time{'s' if seen > 1 else ''}"
    return f"Test images of {source}: sealed, {times}; this is look {number}, so {standing(number)}."
