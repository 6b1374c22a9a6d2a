"""What an audit says: findings, what could not be checked, and the two together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Severity = Literal["wrong", "doubtful", "note"]

SEVERITIES: tuple[Severity, ...] = ("wrong", "doubtful", "note")
"""Worst first. wrong: a number or a claim of the run does not hold. doubtful: it may not mean what it seems to.
note: worth knowing, nothing to mend."""

FAULTS = {
    "zero-gradient": "a loss term teaches nothing",
    "pseudo-labels-none": "no pseudo-label is kept",
    "pseudo-labels-all": "every pseudo-label is kept",
    "best-is-first": "a best checkpoint that nobody chose",
    "normalisation": "train and test are normalised differently",
    "shared-patient": "one patient in two splits",
    "shared-pixels": "the same picture in two splits",
    "below-trivial": "a score below the trivial answer",
    "impossible-scores": "scores that cannot be true together",
    "size-shortcut": "image size tells the class",
    "thumbnail-shortcut": "a thumbnail tells the class",
    "wrong-role": "validation or test images in the wrong role",
    "visible-labels": "labels seen that the budget hides",
    "same-stream": "unlabelled images are the labelled ones",
    "unseen-class": "a class without a labelled image",
    "weights-not-finite": "weights are not finite",
    "best-not-best": "the best checkpoint does not score what the log says",
    "stale-evaluation": "the evaluation is of other weights",
    "collapse": "the same answer for every image",
    "seal-broken": "a sealed test part, or its log, is not as it was",
    "data-changed": "the data has changed since training",
    "bridge-unused": "the bridge is not shown to carry anything",
    "map-elsewhere": "the heat map does not localise",
}
"""Name of a fault, as in the JSON -> its title."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a run, or may be."""

    fault: str
    """A key of FAULTS."""
    severity: Severity
    where: str
    """Loss term, source and split, file: what it is about."""
    meaning: str
    """What it means, in one or two sentences."""
    advice: str
    """What to do about it."""
    evidence: Mapping[str, float | int | str] = field(default_factory=dict)
    """The numbers it rests on, by name."""

    @property
    def title(self) -> str:
        """The fault in a few words."""
        return FAULTS[self.fault]


@dataclass(frozen=True)
class Unchecked:
    """A check that could not be made; not a fault."""

    fault: str
    """A key of FAULTS: what would have been found."""
    reason: str
    """Why it was not checked."""


@dataclass(frozen=True)
class AuditReport:
    """All that an audit of one run says."""

    run: Path
    findings: tuple[Finding, ...]
    """Worst first."""
    unchecked: tuple[Unchecked, ...]
    checked: tuple[str, ...]
    """Keys of FAULTS that were looked for, at least in part."""

    @property
    def wrong(self) -> int:
        """How many findings make a result wrong."""
        return sum(finding.severity == "wrong" for finding in self.findings)
