"""Check of a sealed test part: what was sealed, the log of looks at it, and the scores that a look gave."""

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from multimix.data.manifest import read_manifest
from multimix.data.seal import COPY, Seal, check_part, find_seal, read_seal
from multimix.errors import ImageError, SealError
from multimix.evaluation.audit.evaluations import Evaluation
from multimix.evaluation.audit.findings import Finding, Unchecked
from multimix.evaluation.audit.run_folder import RunFolder
from multimix.io.run_folder import CONFIG

_RESTORE = (
    "Restore the log and the test part, as from version control; else take every score on it as exploratory."
)


def seal_broken(material: RunFolder) -> Iterator[Finding | Unchecked]:
    """A sealed part that has changed, a log of looks that was tampered with, scores that no look of it gave."""
    checked: dict[Path, Seal | None] = {}
    for one in material.evaluations if material.folders else ():
        manifest = _manifest(material, one)
        if manifest is not None and manifest not in checked:
            checked[manifest] = yield from _seal(manifest, material.seal_log)
        seal = checked.get(manifest) if manifest is not None else None
        if one.look is not None:
            yield from _look(one, seal)
        elif seal is not None and (names := _sources(one, seal)):
            yield _broken(
                one.folder.name,
                f"The {seal.split} images of {', '.join(names)} are sealed, and the log does not know of these scores: "
                "they were computed before the seal or around it, so the next look is not the first.",
                {"sources": len(names)},
            )


def _manifest(material: RunFolder, one: Evaluation) -> Path | None:
    """The data of an evaluation, where that is there."""
    stored = (material.run / CONFIG).is_file()
    given = material.manifest or one.manifest or (material.table_file if stored else None)
    return given if given is not None and given.exists() else None


def _seal(manifest: Path, log: Path | None) -> Generator[Finding, None, Seal | None]:
    """Findings about the log and the part; returns the seal, None where there is none that can be believed."""
    try:
        seal = find_seal(manifest, log)
        if seal is not None:
            records = read_manifest(manifest)
            here = {record.source for record in records if record.split == seal.split}
            check_part(seal, records, sorted(here | set(seal.sources)))
    except (SealError, ImageError) as error:
        yield _broken(manifest.name, str(error), {"manifest": manifest.name})
        return None
    return seal


def _sources(one: Evaluation, seal: Seal) -> list[str]:
    """Sealed sources that have scores on the sealed split."""
    return [
        str(e["source"])
        for e in one.scores
        if e.get("split") == seal.split and e.get("source") in seal.sources
    ]


def _look(one: Evaluation, seal: Seal | None) -> Iterator[Finding | Unchecked]:
    """The look that scores name against the log beside them, and that log against the one that goes on."""
    look = one.look or {}
    try:
        copy = read_seal(one.folder / COPY)
    except SealError as error:
        yield _broken(one.folder.name, str(error), {"log": COPY})
        return
    line = next((line for line in copy.looks if line["hash"] == look.get("hash")), None)
    if line is None or copy.numbers(line) != look.get("numbers"):
        yield _broken(
            one.folder.name,
            "The scores name a look that the log beside them does not have, or call it by another number.",
            {"looks in the log": len(copy.looks)},
        )
        return
    if strange := sorted(set(_sources(one, copy)) - set(line["sources"])):
        text = f"There are scores of {', '.join(strange)}, at which this look did not look."
        yield _broken(one.folder.name, text, {"look": int(line["number"]) - 1})
    if seal is None:
        yield Unchecked(
            "seal-broken", f"{one.folder}: the log that goes on is not there; its copy was checked."
        )
    elif not _begins(seal, copy):
        yield _broken(
            one.folder.name,
            f"{seal.log.name} no longer begins with what it held at this look: lines were dropped or written anew.",
            {"lines then": len(copy.lines), "lines now": len(seal.lines)},
        )


def _begins(log: Seal, copy: Seal) -> bool:
    then: Sequence[str] = [line["hash"] for line in copy.lines]
    return [line["hash"] for line in log.lines[: len(then)]] == then


def _broken(where: str, meaning: str, evidence: dict[str, float | int | str]) -> Finding:
    return Finding("seal-broken", "wrong", where, meaning, _RESTORE, evidence)
