"""A sealed test part: locked by hash, with every look at it counted.

    MANIFEST.seal.jsonl   beside the manifest; its first line is the seal, every further line a look

The seal holds, per source, digests of the image files, labels, patients and masks of one split; names and places of
files are no part of it, so data may move. A look is one plan that was judged on the part: the weights that `evaluate`
was given, or a whole spec of `benchmark`, whose cells are one look however many they are. The same plan again is the
same look. The first look at a source is confirmatory, every later one exploratory, since choices may have been made by
what was seen. Lines are chained by hash, see `io.chain`.

It keeps count for those who want to know. It cannot stop somebody who copies the manifest, or deletes the log: keep
the log under version control, whose history is the witness.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from multimix.errors import ImageError, MultimixError, SealError, UsageError
from multimix.io.chain import Line, append_line, read_chain
from multimix.io.locks import folder_lock
from multimix.types import Record, patients_known

SUFFIX = ".seal.jsonl"
COPY = "seal.jsonl"
"""The log as it was at a look, kept beside the look's results."""
PATIENCE = 60.0
"""Seconds to wait for another process that writes down its look."""


@dataclass(frozen=True)
class Seal:
    """A sealed part and the looks at it so far."""

    log: Path
    split: str
    sources: Mapping[str, Mapping[str, Any]]
    """Source -> 'images' and 'patients', their numbers; 'digests' of 'files', 'patients', 'labels' and 'masks'."""
    lines: tuple[Line, ...]
    """All of the log; the seal first."""

    @property
    def looks(self) -> tuple[Line, ...]:
        """One per look, in order."""
        return self.lines[1:]

    def seen(self, source: str) -> int:
        """How many looks there were at a source."""
        return sum(source in line["sources"] for line in self.looks)

    def numbers(self, look: Line) -> dict[str, int]:
        """Source -> which look at it this one is; 1 is the first."""
        until = self.lines[1 : look["number"]]
        return {name: sum(name in line["sources"] for line in until) for name in look["sources"]}


@dataclass(frozen=True)
class Look:
    """One look at a sealed part, as it is kept beside the results."""

    hash: str
    """Of its line in the log."""
    numbers: Mapping[str, int]
    """Source -> which look at it this one is."""
    log: Path

    @property
    def sentence(self) -> str:
        """For people: which look it is, source by source."""
        each = [f"look {n} at {name} ({standing(n)})" for name, n in self.numbers.items()]
        return f"Sealed, and counted in {self.log}: {', '.join(each)}."


def standing(number: int) -> str:
    """'confirmatory' for the first look, else 'exploratory'."""
    return "confirmatory" if number == 1 else "exploratory"


def seal_file(manifest: Path) -> Path:
    """Where the seal of a manifest lies, unless it was put elsewhere."""
    table = manifest / "manifest.csv" if manifest.is_dir() else manifest
    return table.with_name(table.stem + SUFFIX)


def seal_part(
    records: Sequence[Record],
    split: str,
    log: Path,
    *,
    rule: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Seal:
    """Seal the images of `split` among `records`, in the new file `log`.

    `rule`: how the part was chosen, for people. Raises UsageError where the log is there already or the split has no
    image, ImageError where a file cannot be read, MultimixError where the log cannot be written.
    """
    part = [record for record in records if record.split == split]
    if not part:
        has = ", ".join(sorted({record.split for record in records}))
        raise UsageError(f"--split {split}: no image is in it, so there is nothing to seal; there is {has}.")
    if log.exists():
        raise UsageError(f"{log}: exists. A seal is written once; name another file with --seal-log.")
    first = {"kind": "seal", "split": split, "rule": rule, "sources": _described(part, progress)}
    with _held(log):
        append_line(log, first)
    return read_seal(log)


def find_seal(manifest: Path, log: Path | None = None) -> Seal | None:
    """The seal named by `log`, else the one beside the manifest; None where there is none.

    Raises UsageError where the named one is missing, SealError where the log was tampered with.
    """
    if log is not None and not log.is_file():
        raise UsageError(f"{log}: no such file. Name the log that `multimix seal --seal-log` wrote.")
    file = log or seal_file(manifest)
    return read_seal(file) if file.is_file() else None


def read_seal(log: Path) -> Seal:
    """The seal in `log`; SealError where the chain is broken or its first line is no seal."""
    lines = read_chain(log)
    first = lines[0]
    if first.get("kind") != "seal" or any(line.get("kind") != "look" for line in lines[1:]):
        raise SealError(f"{log}: expected a seal and then looks. Name a log that `multimix seal` wrote.")
    return Seal(log, str(first["split"]), first["sources"], tuple(lines))


def check_part(seal: Seal, records: Sequence[Record], sources: Iterable[str]) -> None:
    """SealError where the sealed split of one of the sources is not what was sealed; files are read anew."""
    for source in sources:
        part = [record for record in records if (record.source, record.split) == (source, seal.split)]
        if source not in seal.sources and not part:
            continue
        if problem := _changed(seal.sources.get(source), _described(part).get(source)):
            raise SealError(
                f"{seal.log}: the {seal.split} images of {source!r} are not those that were sealed: {problem}. Restore "
                "them, or evaluate on the data as it was sealed; looks at other images do not count with those before."
            )


def check_writable(seal: Seal) -> None:
    """MultimixError where no look could be counted, to be had before hours of work."""
    with _held(seal.log):
        pass


def count_look(seal: Seal, sources: Sequence[str], *, by: str, plan: str) -> Look:
    """Write down a look at the sources, unless the same `plan` (a digest) is in the log already.

    `by`: who looks, for people. Raises MultimixError where the log cannot be written: an uncounted look is none.
    """
    wanted = [source for source in dict.fromkeys(sources) if source in seal.sources]
    with _held(seal.log):
        known = next((line for line in read_seal(seal.log).looks if line["plan"] == plan), None)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        look = known or append_line(
            seal.log, {"kind": "look", "sources": wanted, "by": by, "plan": plan, "time": now}
        )
    return Look(look["hash"], read_seal(seal.log).numbers(look), seal.log)


def open_look(
    seal: Seal | None, records: Sequence[Record], split: str, sources: Sequence[str], *, by: str, plan: str
) -> Look | None:
    """Check the part and count the look, before any image is judged; None where nothing of it is sealed."""
    if seal is None or seal.split != split:
        return None
    check_part(seal, records, sources)
    return count_look(seal, sources, by=by, plan=plan)


def plan_of(*parts: str | Path) -> str:
    """The digest of a plan: of texts, and of what is in files."""
    each = [_file_digest(part) if isinstance(part, Path) else part for part in parts]
    return hashlib.sha256("\n".join(each).encode()).hexdigest()


def _described(
    records: Sequence[Record], progress: Callable[[int, int], None] | None = None
) -> dict[str, dict[str, Any]]:
    """Source -> numbers and digests of its records."""
    rows: dict[str, list[tuple[str, Record]]] = {}
    for done, record in enumerate(records, start=1):
        rows.setdefault(record.source, []).append((_file_digest(record.image), record))
        if progress is not None:
            progress(done, len(records))
    return {
        source: {
            "images": len(mine),
            "patients": len({record.patient for _, record in mine}),
            "digests": {
                "files": _digest(image for image, _ in mine),
                "patients": _digest(f"{image} {_patient(record)}" for image, record in mine),
                "labels": _digest(f"{image} {record.label or ''}" for image, record in mine),
                "masks": _digest(f"{image} {_masks(record)}" for image, record in mine),
            },
        }
        for source, mine in rows.items()
    }


def _patient(record: Record) -> str:
    """Empty where nobody knows, since what stands for an unknown patient names the image's place."""
    return record.patient if patients_known([record.patient]) else ""


def _masks(record: Record) -> str:
    each = {name: sorted(map(_file_digest, files)) for name, files in record.masks.items()}
    return " ".join(f"{name}={','.join(digests)}" for name, digests in sorted(each.items()))


def _digest(rows: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(
            f"{path}: cannot be read ({error.strerror}). Restore it or its permissions."
        ) from error


def _changed(then: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str:
    """What is another in a source, in words; empty where nothing is."""
    counts = f"{now['images'] if now else 0} images, sealed were {then['images'] if then else 0}"
    if then is None or now is None or then["digests"]["files"] != now["digests"]["files"]:
        return f"image files were replaced, added or left out ({counts})"
    others = [name for name, digest in then["digests"].items() if digest != now["digests"][name]]
    return f"{' and '.join(others)} were changed" if others else ""


@contextmanager
def _held(log: Path) -> Iterator[None]:
    """No other process writes the log meanwhile. MultimixError where nobody can."""
    with ExitStack() as held:
        try:
            busy = f"another process has written {log.name} for {PATIENCE:.0f} s. Wait for its end."
            held.enter_context(folder_lock(log.parent, busy, PATIENCE, f".{log.name}.lock"))
        except UsageError:
            raise
        except MultimixError as error:
            raise MultimixError(
                f"{log}: no look can be counted there ({error}) Put the log (a copy, where there is one) into a folder "
                "that can be written to, and name it with --seal-log."
            ) from error
        yield
