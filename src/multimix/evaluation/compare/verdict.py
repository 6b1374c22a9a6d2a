"""A comparison: the difference, its interval and tests, and what they mean in one sentence."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from multimix.errors import UsageError
from multimix.evaluation.compare.groups import Group, Run, group, paired
from multimix.evaluation.compare.shared import main_metrics, metrics_of, shared, sources
from multimix.metrics.table import metric_of
from multimix.statistics.paired import Difference, needed, paired_difference
from multimix.statistics.significance import holm

LEVEL = 0.05


@dataclass(frozen=True)
class Comparison:
    """A against B in one metric on one source."""

    source: str
    metric: str
    name_a: str
    name_b: str
    images: int
    patients: int
    seeds: int
    """Pairs of runs."""
    value_a: float
    """Mean over seeds."""
    value_b: float
    value: float
    """A minus B."""
    low: float
    high: float
    """95 % interval over patients and, with several, seeds; nan where the data do not determine it."""
    p_interval: float
    """Two-sided p that belongs to the interval; nan where it is."""
    test: str
    """DeLong, Wilcoxon or McNemar, of the trained models as they are; empty where the metric has none."""
    p_test: float | None
    p: float
    """The larger of the two: a difference counts where both find it."""
    p_holm: float
    """`p` after Holm's correction over `family` comparisons."""
    family: int
    verdict: str
    """'better', 'worse' (A than B) or 'cannot be told apart'; 'ahead', 'behind' where they were not tuned alike."""
    more_images: int | None
    """So many more would tell, with these seeds; None where no number would or none is needed."""
    more_seeds: int | None
    """The same for seeds on these images; None also with one seed."""
    sentence: str
    parts: Difference
    """The difference with its variance components."""
    title: str
    """The metric in the sentence."""
    trials_a: int | None = None
    """How many settings A was tuned over; None where that is not recorded."""
    trials_b: int | None = None

    @property
    def effort(self) -> str:
        """'but tuned with more trials (4 against 1)'; empty where the numbers are equal, or both not recorded."""
        a, b = self.trials_a, self.trials_b
        if a == b:
            return ""
        if a is None or b is None:
            return f"but how one side was tuned is not recorded (trials: {_count(a)} against {_count(b)})"
        link, what = "but" if self.ahead == (a > b) else "and", "more" if a > b else "fewer"
        return f"{link} tuned with {what} trials ({a} against {b})"

    @property
    def ahead(self) -> bool:
        """Whether A is the better by the difference alone."""
        return self.value < 0 if metric_of(self.metric).lower_is_better else self.value > 0


def _count(trials: int | None) -> str:
    return "not recorded" if trials is None else str(trials)


def compare(
    a: Group, b: Group, metrics: Sequence[str] = (), of_sources: Sequence[str] = ()
) -> tuple[tuple[Comparison, ...], str]:
    """Compare in all metrics on all sources asked for, and say how runs were paired.

    Without `metrics`: those that `metrics.table` marks as main; without `of_sources`: every source that both sides
    have. Holm's correction is over all comparisons returned. Raises UsageError where nothing can be compared.
    """
    first, second, how = paired(a, b)
    there = [name for name in sources(first[0]) if all(name in sources(run) for run in (*first, *second))]
    if not there:
        raise UsageError(
            f"{a.name} was judged on {', '.join(sources(first[0]))}, {b.name} on {', '.join(sources(second[0]))}: no "
            "source in common. Evaluate both on the same data."
        )
    if unknown := [name for name in of_sources if name not in there]:
        raise UsageError(f"--source {unknown[0]}: not judged in all runs. Choose from {', '.join(there)}.")
    chosen = list(dict.fromkeys(of_sources)) or there
    wanted = _wanted(first[0], second[0], chosen, metrics)
    names = (a.name, b.name) if a.name != b.name else (str(first[0].path), str(second[0].path))
    return with_holm([_one(first, second, names, metric, source) for source, metric in wanted]), how


def _wanted(a: Run, b: Run, chosen: Sequence[str], metrics: Sequence[str]) -> list[tuple[str, str]]:
    """(source, metric) of every comparison."""
    both = {s: [name for name in metrics_of(a, s) if name in metrics_of(b, s)] for s in chosen}
    known = list(dict.fromkeys(name for names in both.values() for name in names))
    if not known:
        raise UsageError(
            f"{a.path} and {b.path} share no metric on {', '.join(chosen)}: one may know classes only, the other "
            "masks only. Choose runs that were judged in the same way."
        )
    if unknown := [name for name in metrics if name not in known]:
        raise UsageError(
            f"--metric {unknown[0]}: not there for both on {', '.join(chosen)}. Choose from {', '.join(known)}."
        )
    asked = {s: list(dict.fromkeys(metrics)) or main_metrics(both[s]) or both[s] for s in chosen}
    return [(s, m) for s in chosen for m in asked[s] if m in both[s]]


def compare_cells(a: Sequence[Path], b: Sequence[Path], metric: str, source: str) -> Comparison:
    """One comparison of two groups of cells or runs, a family of its own; errors as in `compare`."""
    found, _ = compare(group(a), group(b), (metric,), (source,))
    return found[0]


def _one(a: Sequence[Run], b: Sequence[Run], names: tuple[str, str], metric: str, source: str) -> Comparison:
    images = shared(a, b, metric, source)
    everyone = np.ones((1, len(images.patients)))
    value_a, value_b = (float(np.mean([s(everyone)[0] for s in side])) for side in (images.a, images.b))
    difference = paired_difference(images.patients, images.a, images.b)
    p = float(np.fmax(difference.p, images.p if images.p is not None else difference.p))
    return Comparison(
        source,
        metric,
        *names,
        len(images.patients),
        difference.patients,
        difference.seeds,
        value_a,
        value_b,
        difference.value,
        difference.low,
        difference.high,
        difference.p,
        images.test,
        images.p,
        float("nan") if np.isnan(difference.p) else p,
        p_holm=p,
        family=1,
        verdict="",
        more_images=None,
        more_seeds=None,
        sentence="",
        parts=difference,
        title=metric,
        trials_a=_trials(a),
        trials_b=_trials(b),
    )


def _trials(runs: Sequence[Run]) -> int | None:
    """How many settings the runs of one side were tuned over; None where it is not recorded of all alike."""
    known = {run.trials for run in runs}
    return known.pop() if len(known) == 1 else None


def with_holm(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """The same comparisons as one family: p-values corrected, verdicts and sentences to match."""
    defined = [c.p for c in comparisons if not np.isnan(c.p)]
    corrected = iter(holm(defined))
    return tuple(
        _judged(c, float("nan") if np.isnan(c.p) else next(corrected), len(defined)) for c in comparisons
    )


def _judged(c: Comparison, p_holm: float, family: int) -> Comparison:
    apart = (c.low > 0 or c.high < 0) and p_holm < LEVEL
    # Who was tuned longer may be ahead for that alone.
    words = ("better", "worse") if c.trials_a == c.trials_b else ("ahead", "behind")
    verdict = words[0 if c.ahead else 1] if apart else "cannot be told apart"
    c = replace(c, p_holm=p_holm, family=family, verdict=verdict, more_images=None, more_seeds=None)
    if not apart:
        # Holm asks at most this level of one of `family` tests.
        enough = needed(c.parts, level=LEVEL / max(family, 1))
        if enough.patients is not None and enough.patients > c.patients:
            more = (enough.patients - c.patients) * c.images / c.patients
            c = replace(c, more_images=int(np.ceil(more)))
        if enough.seeds is not None and enough.seeds > c.seeds:
            c = replace(c, more_seeds=enough.seeds - c.seeds)
    return replace(c, sentence=_sentence(c))


def _sentence(c: Comparison) -> str:
    digits = metric_of(c.metric).digits + 1  # of a difference one more than of a score
    where = f"in {c.title} on {c.source}"
    if not c.patients:
        return (
            f"{c.name_a} and {c.name_b} cannot be told apart {where}: difference {c.value:+.{digits}f}, and no "
            "interval is given, because the patients are not known."
        )
    if np.isnan(c.p):
        return (
            f"{c.name_a} and {c.name_b} cannot be told apart {where}: difference {c.value:+.{digits}f}, and "
            f"{c.patients} patients, few of them of one class, do not determine an interval."
        )
    found = (
        f"difference {c.value:+.{digits}f} [{c.low:+.{digits}f}, {c.high:+.{digits}f}], p {said(c.p_holm)}"
    )
    found += f" after Holm over {c.family} comparisons" if c.family > 1 else ""
    if c.verdict != "cannot be told apart":
        only = "; one seed, so said of these two models only" if c.seeds == 1 else ""
        said_of_b = {"ahead": "ahead of", "behind": "behind"}.get(c.verdict, f"{c.verdict} than")
        effort = f", {c.effort}" if c.effort else ""
        return f"{c.name_a} is {said_of_b} {c.name_b} {where}{effort}: {found}{only}."
    return f"{c.name_a} and {c.name_b} cannot be told apart {where}: {found}; {_more(c)}."


def said(p: float) -> str:
    """A p-value in words fit for a sentence."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _more(c: Comparison) -> str:
    """How much more data would tell."""
    if c.value == 0:
        return "at no difference at all, no amount of data would tell"
    if (c.low > 0 or c.high < 0) and c.more_images is None and c.more_seeds is None:
        return f"the interval excludes 0, but {c.test or 'the corrected p'} does not agree"
    images = f"about {c.more_images:,} more images" if c.more_images else "no number of images"
    if c.seeds == 1:
        images = images if c.more_images else "more than a million images"
        return f"to tell a true difference of this size would take {images}, and several seeds to speak of the methods"
    seeds = f"about {c.more_seeds:,} more seeds" if c.more_seeds else "no number of seeds"
    if not c.more_images and not c.more_seeds:
        return "more images alone or more seeds alone would not tell a true difference of this size, but both may"
    return f"to tell a true difference of this size would take {images} with these seeds, or {seeds} on these images"
