"""Whether a model's heat map explains its answers, and whether the bridge to the masks carries anything.

images          the images, with the regions in which a map may lie
maps            the map, and how it is shown
references      edges, Gaussian, randomised networks, chance
bridge          masks with another map than the own one
containment     how much of the map lies in a region
pointing        whether its brightest point does
faithfulness    deletion, insertion, ROAD (`imputation`)
sensitivity     cascading randomisation, noise, other seeds, shuffled labels
columns         all of it, a row per image
summary         figures with intervals, from that table alone
verdict         which tests are passed

for result in explain("RUN", "xrays"):
print(result.source, result.verdict.sentence())
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from multimix.evaluation.explain.columns import Bar, Network, described, measure, quiet
from multimix.reliability.map_verdict import MapVerdict
from multimix.types import Estimate, Record, patients_known

if TYPE_CHECKING:
    import pandas as pd

    from multimix.networks.load import LoadedModel

__all__ = ["MOST", "Explained", "explain", "explain_source", "pooled", "shuffle_labels", "write_explained"]

MOST = 120
"""Images of a source that a map is tested on."""


@dataclass(frozen=True)
class Explained:
    """The tests of a model's map on one source and split."""

    source: str
    split: str
    images: int
    patients: int
    """0 where it is not known who an image is of."""
    figures: dict[str, Estimate]
    """By name, see `summary.summarise`."""
    verdict: MapVerdict
    table: "pd.DataFrame"
    """A row per image."""


def explain(
    run: str | PathLike[str],
    data: str | PathLike[str],
    *,
    split: str = "test",
    sources: Sequence[str] = (),
    most: int = MOST,
    seeds: Sequence[str | PathLike[str]] = (),
    shuffled: Sequence[str | PathLike[str]] = (),
    device: str = "cpu",
    seed: int = 0,
    bar: Bar = quiet,
) -> list[Explained]:
    """Test the map of a run folder, a weights file or shipped weights on the images of `data`, a source at a time.

    `sources`: by default all that have masks of the model's structures, or mask:finding, in `split`; of each at most
    `most` images, drawn by `seed`. `seeds`, `shuffled`: runs that differ from `run` by their seed alone, and runs
    that learned shuffled labels (`shuffle_labels`). `bar(title, unit)` opens a progress bar.

    Raises CheckpointError where a model cannot be used, UsageError where it classifies nothing or there is no such
    split, ManifestError where no image has masks, ImageError where one cannot be read.
    """
    from multimix.data.manifest import read_manifest
    from multimix.data.splits import select

    network, loaded = _network(run, seeds, shuffled, device)
    records = read_manifest(Path(data))
    named = sources or with_masks(records, loaded.spec.structures, split)
    return [
        explain_source(
            network, loaded, select(records, (source,), split), most=most, seed=seed, bar=bar, base=data
        )
        for source in named
    ]


def with_masks(records: Sequence[Record], structures: Sequence[str], split: str) -> list[str]:
    """The sources of a split that a map can be tested on, in the manifest's order.

    ManifestError where there is none, UsageError for a split that cannot be.
    """
    from multimix.data.splits import select
    from multimix.evaluation.explain.images import choose

    here = select(records, list(dict.fromkeys(record.source for record in records)), split)
    chosen = choose(here, structures, most=len(here))
    return list(dict.fromkeys(record.source for record in chosen))


def explain_source(
    network: Network,
    loaded: "LoadedModel",
    records: Sequence[Record],
    *,
    base: str | PathLike[str],
    most: int = MOST,
    seed: int = 0,
    bar: Bar = quiet,
) -> Explained:
    """The same for the records of one source and split; image names are relative to `base`, or to its folder."""
    import os

    from multimix.evaluation.explain.images import choose, decode

    spec = loaded.spec
    chosen = choose(records, spec.structures, most, seed)
    source, split = chosen[0].source, chosen[0].split
    with bar(f"Reading {source}", "images") as report:
        images = decode(chosen, spec.structures, size=spec.size, channels=spec.channels, progress=report)
    root = Path(base) if Path(base).is_dir() else Path(base).parent
    names = [Path(os.path.relpath(record.image, root.absolute())).as_posix() for record in chosen]
    table = described(images, measure(network, images, seed=seed, bar=bar), names)
    return _explained(source, split, table, seed)


def _explained(source: str, split: str, table: "pd.DataFrame", seed: int) -> Explained:
    from multimix.evaluation.explain.summary import patients_of, summarise
    from multimix.evaluation.explain.verdict import judge

    figures = summarise(table, seed=seed)
    words = {"val": "validation", "test": "test", "train": "training"}
    verdict = judge(table, figures, f"{words[split]} images of {source}")
    people = set(patients_of(table))
    return Explained(
        source, split, len(table), len(people) if patients_known(people) else 0, figures, verdict, table
    )


def pooled(results: Sequence[Explained], seed: int = 0) -> MapVerdict:
    """The verdict on the images of all sources together."""
    import pandas as pd

    if len(results) == 1:
        return results[0].verdict
    table = pd.concat([result.table for result in results], ignore_index=True)
    names = ", ".join(dict.fromkeys(result.source for result in results))
    return _explained(names, results[0].split, table, seed).verdict


def _network(
    run: str | PathLike[str],
    seeds: Sequence[str | PathLike[str]],
    shuffled: Sequence[str | PathLike[str]],
    device: str,
) -> "tuple[Network, LoadedModel]":
    from multimix.errors import UsageError
    from multimix.networks.load import load_model
    from multimix.networks.model import MultiMix

    def read(path: str | PathLike[str]) -> "LoadedModel":
        loaded = load_model(Path(path))
        if not loaded.spec.classify:
            raise UsageError(
                f"{path}: classifies nothing, so it has no heat map. Name a model that classifies."
            )
        try:
            loaded.model.to(device)
        except (RuntimeError, AssertionError) as error:
            raise UsageError(f"--device {device}: cannot be used here ({error}); use 'cpu'.") from error
        return loaded

    loaded = read(run)
    spec = loaded.spec
    others = [[read(path) for path in paths] for paths in (seeds, shuffled)]
    for path, other in zip((*seeds, *shuffled), (*others[0], *others[1]), strict=True):
        if (other.spec.size, other.spec.channels) != (spec.size, spec.channels):
            raise UsageError(
                f"{path}: takes images of {other.spec.size} pixels and {other.spec.channels} channels, {run} of "
                f"{spec.size} and {spec.channels}; their maps cannot be compared. Name runs of one size."
            )
    models = [[other.model for other in group] for group in others]
    return Network(
        loaded.model, partial(MultiMix.from_spec, spec), spec.segment, spec.multi_label, *models
    ), loaded


def shuffle_labels(records: Sequence[Record], seed: int = 0) -> list[Record]:
    """The records with the labels of each source and split dealt anew: what a network learns of them is no disease."""
    import numpy as np

    rng = np.random.default_rng(seed)
    shuffled = list(records)
    for place in dict.fromkeys((r.source, r.split) for r in records):
        rows = [i for i, r in enumerate(records) if (r.source, r.split) == place and r.label is not None]
        for row, other in zip(rows, rng.permutation(rows), strict=True):
            shuffled[row] = replace(records[row], label=records[other].label)
    return shuffled


def write_explained(
    folder: Path,
    results: Sequence[Explained],
    *,
    manifest: Path | None = None,
    suffix: str = ".csv",
) -> tuple[Path, Path]:
    """Write `explain.json` and `per_image.csv` (or .parquet) into `folder`; returns the two paths.

    In the JSON a figure that is undefined, or an end of an interval that is, is null.
    """
    import pandas as pd

    from multimix.io.run_folder import PER_IMAGE
    from multimix.io.tables import write_table
    from multimix.io.writers import write_json

    table = pd.concat([result.table for result in results], ignore_index=True)
    summary, per_image = folder / "explain.json", folder / f"{PER_IMAGE}{suffix}"
    write_table(per_image, table)
    for other in {".csv", ".parquet"} - {suffix}:  # of an earlier call
        (folder / f"{PER_IMAGE}{other}").unlink(missing_ok=True)
    sources = [
        {
            "source": result.source,
            "split": result.split,
            "images": result.images,
            "patients": result.patients,
            "passed": result.verdict.passed,
            "verdict": result.verdict.sentence(),
            "failed": result.verdict.failed,
            "untested": result.verdict.untested,
            "figures": {
                name: {"value": figure.value, "low": figure.low, "high": figure.high}
                for name, figure in result.figures.items()
            },
        }
        for result in results
    ]
    about = {"interval": "95 % bootstrap over patients", "manifest": manifest}
    write_json(summary, about | {"sources": sources})
    return summary, per_image
