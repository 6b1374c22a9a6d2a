"""What broke the paper's released code, looked for in any run folder.

    findings       what an audit says
    run_folder     everything known about a run, read once and only where a check asks for it
    evaluations    stored scores and per-image tables, read
    training       loss terms, pseudo-labels, the choice of the checkpoint, weights
    leakage        patients, pictures, roles and labels across splits
    normalisation  values that the network sees in training and in prediction
    shortcuts      image sizes and thumbnails that tell the class
    evaluation     stored scores against the trivial answer and against the stored weights
    arithmetic     stored scores against each other
    explanation    the bridge given other maps, and where the heat map lies
    looks          a sealed test part and the log of looks at it

    report = audit(Path("RUN"))
    for finding in report.findings: ...

Every check is a function from RunFolder to findings. One that cannot be made says why, as Unchecked, and the others
go on: a run whose data has moved still has its log judged.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from multimix.errors import MultimixError
from multimix.evaluation.audit.findings import FAULTS, SEVERITIES, AuditReport, Finding, Severity, Unchecked

if TYPE_CHECKING:
    from multimix.evaluation.audit.run_folder import RunFolder
    from multimix.types import Report

__all__ = ["FAULTS", "SEVERITIES", "AuditReport", "Finding", "Severity", "Unchecked", "audit"]

Check = Callable[["RunFolder"], Iterator[Finding | Unchecked]]


def audit(
    run: Path,
    manifest: Path | None = None,
    *,
    scores: Sequence[Path] = (),
    seal_log: Path | None = None,
    progress: "Report | None" = None,
) -> AuditReport:
    """Audit a folder that `multimix train` wrote, or a cell of a benchmark.

    `manifest`: the data, where it is no longer where the run says. `scores`: folders with an evaluation of the run
    (scores.json, per_image.*), beside those in RUN/evaluation. `seal_log`: the log of a sealed test part, where it does
    not lie beside the manifest. `progress` is told of checks done and checks in all,
    and of the share of images decoded where the cache of the training has to be built again.

    Raises CheckpointError where `run` holds neither a training run nor an evaluation.
    """
    from multimix.evaluation.audit.run_folder import open_run_folder

    checks = _checks()
    done = 0

    def decoding(images: int, of: int) -> None:
        if progress is not None:
            progress(done, len(checks), {"decoded": images / of})

    material = open_run_folder(run, manifest, tuple(scores), decoding, seal_log)
    findings: list[Finding] = []
    unchecked: list[Unchecked] = []
    checked: list[str] = []
    for done, (fault, check) in enumerate(checks, start=1):
        missed = False
        try:
            for found in check(material):
                if isinstance(found, Finding):
                    findings.append(found)
                else:
                    unchecked.append(found)
                    missed = True
        except MultimixError as error:
            unchecked.append(Unchecked(fault, str(error)))
            missed = True
        except Exception as error:  # a damaged run can break a check anywhere; the others still count
            reason = f"the check failed ({type(error).__name__}: {' '.join(str(error).split())[:200]})."
            unchecked.append(Unchecked(fault, reason))
            missed = True
        if not missed or any(found.fault == fault for found in findings):
            checked.append(fault)
        if progress is not None:
            progress(done, len(checks))
    findings.sort(key=lambda found: SEVERITIES.index(found.severity))
    return AuditReport(material.run, tuple(findings), tuple(unchecked), tuple(checked))


def _checks() -> list[tuple[str, Check]]:
    """Fault -> its check, in the order in which they run."""
    from multimix.evaluation.audit import (
        arithmetic,
        evaluation,
        explanation,
        leakage,
        looks,
        normalisation,
        shortcuts,
        training,
    )

    return [
        ("weights-not-finite", training.weights_not_finite),
        ("pseudo-labels-none", training.pseudo_labels_none),
        ("pseudo-labels-all", training.pseudo_labels_all),
        ("best-is-first", training.best_is_first),
        ("shared-patient", leakage.shared_patient),
        ("wrong-role", leakage.wrong_role),
        ("visible-labels", leakage.visible_labels),
        ("same-stream", leakage.same_stream),
        ("unseen-class", leakage.unseen_class),
        ("shared-pixels", leakage.shared_pixels),
        ("data-changed", leakage.data_changed),
        ("zero-gradient", training.zero_gradient),
        ("best-not-best", training.best_not_best),
        ("normalisation", normalisation.normalisation),
        ("size-shortcut", shortcuts.size_shortcut),
        ("thumbnail-shortcut", shortcuts.thumbnail_shortcut),
        ("below-trivial", evaluation.below_trivial),
        ("impossible-scores", arithmetic.impossible_scores),
        ("collapse", evaluation.collapse),
        ("stale-evaluation", evaluation.stale_evaluation),
        ("bridge-unused", explanation.bridge_unused),
        ("map-elsewhere", explanation.map_elsewhere),
        ("seal-broken", looks.seal_broken),
    ]
