"""Everything known about a run, read once and only where a check asks for it.

What cannot be read raises a MultimixError, which leaves the check that asked for it unmade; the others go on.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multimix.config import RunConfig
from multimix.data.cache import ImageCache, open_cache
from multimix.data.columns import SPLITS
from multimix.data.manifest import read_manifest
from multimix.data.sets import TrainingSets, fingerprint_of_test, hidden
from multimix.errors import CheckpointError, ManifestError
from multimix.evaluation.audit.evaluations import Evaluation, read_evaluation
from multimix.inference.load import load
from multimix.inference.predictor import Predictor
from multimix.io.run_folder import (
    CELL,
    CONFIG,
    FACTS,
    LOG,
    SCORES,
    read_config,
    read_log,
    read_object,
    read_roles,
)
from multimix.recipes import Method, method
from multimix.types import Record
from multimix.weights.file import BEST

if TYPE_CHECKING:
    from multimix.networks.load import LoadedModel
    from multimix.training.streams import Streams

TRAINING_ROLES = ("labelled_classes", "unlabelled_classes", "labelled_masks", "unlabelled_masks")
VALIDATION_ROLES = ("val_classes", "val_masks")


@dataclass(frozen=True)
class Role:
    """One row of split.csv: who was used as what."""

    role: str
    image: str
    """As written, relative to the folder that all images of the run have in common."""
    label: str
    source: str
    patient: str
    record: Record | None
    """The manifest's row of that image; None where it has none."""


@dataclass(frozen=True)
class RunFolder:
    """A run folder, its data and its evaluations."""

    run: Path
    """The folder of config.yaml and split.csv."""
    manifest: Path | None
    """Given by the user in place of the run's own."""
    folders: tuple[Path, ...]
    """Where evaluations lie."""
    decoding: Callable[[int, int], None] | None = None
    seal_log: Path | None = None
    """Of a sealed test part, where it does not lie beside the manifest."""

    @cached_property
    def config(self) -> RunConfig:
        """The resolved configuration."""
        if (found := read_config(self.run)) is None:
            raise CheckpointError(
                f"{self.run / CONFIG}: no such file; the run's training is not stored here."
            )
        return found

    @cached_property
    def method(self) -> Method:
        """Which terms the run has."""
        return method(self.config.method)

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """RUN/run.json."""
        return read_object(self.run / FACTS)

    @cached_property
    def log(self) -> list[Mapping[str, Any]]:
        """The lines of log.jsonl."""
        lines: list[Mapping[str, Any]] = [line for line in read_log(self.run / LOG) if isinstance(line, dict)]
        if not lines:
            raise CheckpointError(f"{self.run / LOG}: no log, or an empty one.")
        return lines

    def logged(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of every line of the log that has a number under `name`."""
        values = ((line.get("step"), line.get(name)) for line in self.log)
        return [(s, float(v)) for s, v in values if isinstance(s, int) and isinstance(v, int | float)]

    @cached_property
    def predictor(self) -> Predictor:
        """The best weights, ready to answer."""
        return load(self.run)

    @cached_property
    def loaded(self) -> "LoadedModel":
        """The best weights."""
        from multimix.networks.load import load_model

        return load_model(self.run)

    @property
    def class_sources(self) -> tuple[str, ...]:
        """Sources whose classes the run learned."""
        return self.config.data.class_source if self.method.classify else ()

    @property
    def sources(self) -> tuple[str, ...]:
        """Sources that the run learned from."""
        masks = self.config.data.mask_source if self.method.segment else ()
        return tuple(dict.fromkeys((*self.class_sources, *masks)))

    @cached_property
    def table_file(self) -> Path:
        """The manifest's file."""
        path = self.manifest or Path(self.config.data.manifest)
        return path / "manifest.csv" if path.is_dir() else path

    @cached_property
    def records(self) -> list[Record]:
        """All rows of the manifest."""
        if self.manifest is None and not self.table_file.exists():
            raise ManifestError(
                f"{self.table_file}: the run's data is not there. Name its present place with --data."
            )
        return read_manifest(self.table_file)

    @cached_property
    def used(self) -> list[Record]:
        """The manifest's rows of the run's own sources, every split, in order."""
        used = [record for record in self.records if record.source in self.sources]
        if not used:
            raise ManifestError(
                f"{self.table_file}: no image of {', '.join(self.sources)}, the sources of the run."
            )
        return used

    @cached_property
    def foreign(self) -> list[Record]:
        """The manifest's rows of sources that the run was evaluated on and did not learn from."""
        names = {str(entry.get("source")) for one in self.evaluations for entry in one.scores} - set(
            self.sources
        )
        return [record for record in self.records if record.source in names]

    @cached_property
    def images(self) -> ImageCache:
        """Decoded images of `used`, as training had them."""
        return self._decoded(self.used)

    @cached_property
    def foreign_images(self) -> ImageCache:
        """Decoded images of `foreign`."""
        return self._decoded(self.foreign)

    def _decoded(self, records: Sequence[Record]) -> ImageCache:
        size, channels = self.config.data.size, self.config.data.channels
        return open_cache(
            [hidden(record) for record in records],
            size=size,
            channels=channels,
            structures=(),
            progress=self.decoding,
        )

    @cached_property
    def roles(self) -> list[Role]:
        """Who played which role, from split.csv."""
        cells = read_roles(self.run)
        # Where train/a/1.png and test/a/1.png fit alike, the training image is meant.
        known = sorted(self.used, key=lambda record: SPLITS.index(record.split))
        records = locate([(row["source"], row["image"]) for row in cells], known)
        return [Role(**row, record=record) for row, record in zip(cells, records, strict=True)]

    def playing(self, *roles: str) -> list[Record]:
        """Records in one of the roles, with what that role may see, in order."""
        found = []
        for row in self.roles:
            if row.role not in roles or row.record is None:
                continue
            masks = row.record.masks if row.role in ("labelled_masks", *VALIDATION_ROLES) else {}
            found.append(replace(row.record, label=row.label or None, masks=masks))
        return found

    @cached_property
    def sets(self) -> TrainingSets:
        """The records that the run trained on, by split.csv."""
        spec = self.predictor.spec
        return TrainingSets(
            **{role: self.playing(role) for role in (*TRAINING_ROLES, *VALIDATION_ROLES)},
            everything=[hidden(record) for record in self.used],
            classes=spec.classes,
            structures=spec.structures,
            channels=spec.channels,
            test=fingerprint_of_test(self.used),
        )

    @cached_property
    def masks(self) -> ImageCache:
        """Decoded images and masks of the labelled mask images, then of the validation ones."""
        data = self.config.data
        with_masks = self.sets.labelled_masks + self.sets.val_masks
        return open_cache(with_masks, size=data.size, channels=data.channels, structures=self.sets.structures)

    def streams(self, most: int) -> "Streams":
        """The training streams, with at most `most` images of each in a batch."""
        from torch import device

        from multimix.training.streams import Streams

        given = self.config.streams
        smaller = {
            name: min(most, getattr(given, name)) for name in ("classes", "unlabelled_classes", "masks")
        }
        seen = {record.label for record in self.sets.labelled_classes}
        balanced = given.balanced and seen == set(self.sets.classes)  # a class without images cannot be drawn
        return Streams(
            self.sets,
            self.images,
            self.masks,
            replace(given, **smaller, balanced=balanced),
            seed=self.config.seed,
            device=device("cpu"),
            method=method(self.config.method),
            multi_label=self.config.data.multi_label,
        )

    @cached_property
    def evaluations(self) -> list[Evaluation]:
        """Every stored evaluation; CheckpointError where there is none."""
        found = [read_evaluation(folder) for folder in self.folders]
        if not found:
            raise CheckpointError(
                f"{self.run}: has no evaluation. Run `multimix evaluate`, or name one with --scores."
            )
        return found

    def scored(self) -> Iterator[tuple[Evaluation, Mapping[str, Any], str]]:
        """Every source and split of every evaluation, and its name for a person."""
        for one in self.evaluations:
            for entry in one.scores:
                yield one, entry, f"{entry.get('source')} {entry.get('split')}, {one.folder.name}"


def open_run_folder(
    run: Path,
    manifest: Path | None = None,
    scores: Sequence[Path] = (),
    decoding: Callable[[int, int], None] | None = None,
    seal_log: Path | None = None,
) -> RunFolder:
    """The material of a run folder, of a benchmark's cell (run/ and scores.json inside), or of stored scores alone."""
    for folder in scores:
        if not (folder / SCORES).is_file():
            raise CheckpointError(
                f"{folder}: has no scores.json. Give --scores a folder that `evaluate` wrote."
            )
    inner = run / "run"
    training = inner if not (run / CONFIG).is_file() and (inner / CONFIG).is_file() else run
    beside = [training.parent] if (training.parent / CELL).is_file() else []
    stored = any((training / name).is_file() for name in (CONFIG, LOG, BEST))
    depths = (f"*/{SCORES}", f"*/*/{SCORES}") if stored else ()
    inside = sorted(file.parent for depth in depths for file in training.glob(depth))
    places = [training, run, *beside, *inside, *scores]
    folders = tuple(dict.fromkeys(place for place in places if (place / SCORES).is_file()))
    if not stored and not folders:
        raise CheckpointError(
            f"{run}: not a run. Give a folder that `multimix train` or `multimix benchmark` wrote."
        )
    return RunFolder(training, manifest, folders, decoding, seal_log)


def locate(names: Iterable[tuple[str, str]], records: Sequence[Record]) -> list[Record | None]:
    """The record of each (source, path relative to some folder); None where there is none.

    The folder is not known, since a run may have moved: it is the one below which most of the names are records,
    of several such the one whose records come first.
    """
    by_name: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        by_name[record.source, record.image.name].append(record)
    wanted = list(names)
    candidates = []
    bases: Counter[str] = Counter()
    for source, name in wanted:
        ending = "/" + name
        fit = {}
        for record in by_name[source, Path(name).name]:
            path = record.image.as_posix()
            if path.endswith(ending):
                fit[path.removesuffix(ending)] = record
        candidates.append(fit)
        bases.update(fit.keys())
    order = [base for base, _ in bases.most_common()]
    return [next((fit[base] for base in order if base in fit), None) for fit in candidates]
