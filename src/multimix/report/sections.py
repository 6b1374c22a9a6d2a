"""The report as a document: what stands in it and in which order."""

import platform
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version

from multimix import __version__
from multimix.experiment import published
from multimix.experiment.cells import Benchmark
from multimix.metrics.table import title
from multimix.report import pictures, scores
from multimix.report.baselines import baseline_table, effort, supervised
from multimix.report.data_card import data_card
from multimix.report.document import (
    Block,
    Bullets,
    Code,
    Document,
    Heading,
    Paragraph,
    Pictures,
    Section,
    Table,
    number,
    with_interval,
)
from multimix.report.grid import Grid
from multimix.report.looks import looks
from multimix.report.questions import QUESTIONS, UNDECIDED, VERDICTS, Answer, Question

_DOMAIN_NAMES = {"in-domain": "In domain", "cross-domain": "Cross domain"}


def document(
    benchmark: Benchmark,
    grid: Grid,
    answers: Sequence[Answer],
    progress: Callable[[int, int], None] | None = None,
) -> Document:
    """The whole report; `progress` is called with sections done and sections in all."""
    builders: list[Callable[[], Section | None]] = [
        lambda: Section(
            "summary", "What it says", (Bullets(looks(benchmark)), *summary(benchmark, grid, answers))
        ),
        *(partial(_domain, benchmark, grid, domain) for domain in published.DOMAINS),
        *(partial(_question, benchmark, question, answers) for question in _asked(answers)),
        partial(_masks, benchmark, grid),
        partial(_classes, benchmark, grid),
        partial(_examples, benchmark),
        partial(data_card, benchmark),
        partial(_made, benchmark),
        lambda: Section(
            "all-scores", "Every score", (*scores.all_scores(benchmark, grid), _seeds(benchmark, grid))
        ),
        lambda: Section("published", "The published tables", (scores.published_table(),)),
    ]
    sections = []
    for done, build in enumerate(builders, 1):
        if (section := build()) is not None:
            sections.append(section)
        if progress is not None:
            progress(done, len(builders))
    return Document(f"Benchmark report: {benchmark.folder.resolve().name}", lead(benchmark), tuple(sections))


def results(benchmark: Benchmark, grid: Grid, answers: Sequence[Answer]) -> tuple[Section, ...]:
    """The numbers alone, for a page of documentation: summary, grids, questions, seeds, areas, every score."""
    grids = [scores.grid_table(benchmark, grid, domain) for domain in published.DOMAINS]
    names = scores.structures(benchmark)
    questions = [question_table(q, answers, names) for q in _asked(answers) if _of(q, answers)]
    areas = pictures.area_table(benchmark)
    details = (_seeds(benchmark, grid), *([areas] if areas.rows else []), *scores.all_scores(benchmark, grid))
    return (
        Section("summary", "What it says", (Paragraph(lead(benchmark)), *summary(benchmark, grid, answers))),
        Section("grid", "The grid", tuple(table for table in grids if table.rows)),
        Section("questions", "The questions, pair by pair", tuple(questions)),
        Section("details", "Seeds, areas, every score", details),
    )


def _seeds(benchmark: Benchmark, grid: Grid) -> Table:
    return scores.seed_table(benchmark, grid)


def lead(benchmark: Benchmark) -> str:
    """What was run, in two sentences."""
    cells = benchmark.cells
    seeds = sorted({cell.seed for cell in cells})
    sizes = sorted({cell.size for cell in cells})
    steps = sorted({cell.steps for cell in cells})
    methods = list(dict.fromkeys(setting.of.name for setting in benchmark.settings()))
    hours = sum(cell.seconds for cell in cells) / 3600
    return (
        f"{len(cells)} finished cells: {', '.join(methods)}; {len(seeds)} seeds; "
        f"{', '.join(f'{s} x {s}' for s in sizes)} pixels; {', '.join(map(str, steps))} steps; "
        f"{hours:.1f} hours of training in all. Every number is computed from the stored per-image tables; brackets "
        "are 95 % intervals."
    )


def summary(benchmark: Benchmark, grid: Grid, answers: Sequence[Answer]) -> list[Block]:
    """What is missing, the strongest baseline and the tuning, then each question with its answer in words."""
    blocks: list[Block] = []
    if benchmark.missing:
        shown = ", ".join(benchmark.missing[:12]) + (" ..." if len(benchmark.missing) > 12 else "")
        blocks.append(
            Paragraph(
                f"Not finished: {len(benchmark.missing)} of {len(benchmark.missing) + len(benchmark.cells)} cells are "
                f"missing ({shown}). What follows is about the others."
            )
        )
    if benchmark.failed:
        reasons = tuple(f"{name} failed: {reason}" for name, reason in benchmark.failed.items())
        blocks.append(Bullets(reasons))
    if (table := baseline_table(benchmark, grid)).rows:
        blocks.append(table)
    blocks.append(Paragraph(effort(benchmark)))
    names = scores.structures(benchmark)
    for question in _asked(answers):
        mine = _of(question, answers)
        items = _in_words(mine, names, brief=True) if mine else [_why_not(question)]
        blocks += [Heading(question.text), Bullets(tuple(items))]
    return blocks


def _of(question: Question, answers: Sequence[Answer]) -> list[Answer]:
    return [answer for answer in answers if answer.question == question]


def _asked(answers: Sequence[Answer]) -> list[Question]:
    """The paper's questions, answered or not, and those of ours that are answered."""
    return [question for question in QUESTIONS if not question.ours or _of(question, answers)]


def _why_not(question: Question) -> str:
    pairs = " or ".join(f"{a} and {b or 'a supervised method'}" for a, b in question.pairs)
    return f"Not answered: needs {pairs} at the same labels and seed."


def _in_words(answers: Sequence[Answer], names: Sequence[str], *, brief: bool = False) -> list[str]:
    """A line per pair and budget: where better, where worse, where it cannot be told (there no numbers if brief)."""
    lines = []
    best = "the strongest supervised method"
    for first, second in dict.fromkeys((a.first, _second(a)) for a in answers):
        mine = [a for a in answers if (a.first, _second(a)) == (first, second)]
        parts = []
        for kind, verdict in sorted({(VERDICTS.index(a.kind), a.verdict) for a in mine}):
            bare = brief and VERDICTS[kind] == UNDECIDED
            found = [_difference(a, names, bare) for a in mine if a.verdict == verdict]
            parts.append(f"{verdict}: {', '.join(found)}")
        seeds = max(a.result.seeds for a in mine)
        budget = pictures.labels_name(*mine[0].labels)
        lines.append(
            f"{first.of.name} against {second or best} ({budget}, {seeds} {'seed' if seeds == 1 else 'seeds'}): "
            f"{'; '.join(parts)}."
        )
    return lines


def _second(answer: Answer) -> str:
    """The second method of the pair, '' where it is chosen score by score."""
    named = {without for _, without in answer.question.pairs}
    return answer.second.of.name if answer.second.method in named else ""


def _difference(answer: Answer, names: Sequence[str], bare: bool) -> str:
    r = answer.result
    against = "" if _second(answer) else f" against {answer.second.of.name}"
    score = f"{answer.source} {title(answer.metric, names)}{against}"
    return score if bare else f"{score} {with_interval(r.value, r.low, r.high, sign=True)}"


def question_table(question: Question, answers: Sequence[Answer], names: Sequence[str]) -> Table:
    """Every paired difference of a question; `names` are the benchmark's structures."""
    mine = _of(question, answers)
    rows = []
    for a in mine:
        r = a.result
        rows.append(
            (
                f"{a.first.of.name} − {a.second.of.name}",
                " / ".join(filter(None, a.labels)),
                f"{a.source} {title(a.metric, names)}",
                a.verdict,
                str(r.seeds),
                with_interval(r.value, r.low, r.high, sign=True),
                _probability(r.p),
                _probability(r.p_holm),
            )
        )
    header = ("pair", "labels", "score", "the first is", "seeds", "difference", "p", "p (Holm)")
    return Table(
        f"question-{question.name}",
        f"{question.text} Paired differences with 95 % intervals over patients and seeds; p is the larger of the "
        "interval's and that of the metric's own test (DeLong, McNemar, Wilcoxon).",
        header,
        tuple(rows),
        words=4,
    )


def _probability(p: float) -> str:
    return "< 0.001" if p < 0.001 else number(p)


def _domain(benchmark: Benchmark, grid: Grid, domain: str) -> Section | None:
    table = scores.grid_table(benchmark, grid, domain)
    if not table.rows:
        return None
    here = pictures.main_budget(benchmark)
    panels = pictures.overview(benchmark, grid, domain)
    caption = (
        f"{pictures.budget_name(here)}. Dot: mean over seeds; bar: 95 % interval; strokes below: each seed; "
        f"{'hollow ring: the published number, unless it cannot be true; ' if 'published' in table.header else ''}"
        "dotted: the answer that needs no model."
    )
    name = _DOMAIN_NAMES[domain]
    about = ", ".join(scores.domain_sources(benchmark, domain))
    what = (
        "Test images of the sources trained on" if domain == "in-domain" else "Sources never seen in training"
    )
    blocks = (Paragraph(f"{what}."), table, Pictures(caption, tuple(panels)))
    return Section(domain, f"{name}: {about}", blocks)


def _question(benchmark: Benchmark, question: Question, answers: Sequence[Answer]) -> Section:
    mine = _of(question, answers)
    if not mine:
        return Section(question.name, question.text, (Paragraph(_why_not(question)),))
    names = scores.structures(benchmark)
    blocks: list[Block] = [Bullets(tuple(_in_words(mine, names)))]
    if any(second == "" for _, second in question.pairs):
        blocks.insert(
            0,
            Paragraph(
                f"The other is, score by score, the one of {', '.join(supervised(benchmark))} that did best on these "
                "very test images: a choice in its favour."
            ),
        )
    here = pictures.main_budget(benchmark)
    panels = pictures.question_panels([a for a in mine if a.first in here], names)
    caption = f"{pictures.budget_name(here)}. Right of zero the first is ahead. Filled: the interval leaves zero out."
    blocks.append(Pictures(caption, tuple(panels)))
    blocks.append(question_table(question, answers, names))
    inside = {source for cell in benchmark.cells for source in cell.in_domain}
    words = [a.result.sentence for a in mine if a.source in inside]
    blocks += [Paragraph("In domain, in words:"), Bullets(tuple(words))] if words else []
    return Section(question.name, question.text, tuple(blocks))


def _masks(benchmark: Benchmark, grid: Grid) -> Section:
    boxes, areas = pictures.mask_panels(benchmark, grid)
    if not boxes:
        return Section("masks", "Masks", (Paragraph("No finished cell segments anything."),))
    budget = pictures.budget_name(pictures.main_budget(benchmark))
    return Section(
        "masks",
        "Masks",
        (
            Pictures(
                f"Dice of every test image and seed, {budget}. Box: quartiles and median; whiskers: 1.5 box lengths; "
                "dots: images beyond. Dotted: the mean training mask. Dashed: JSRT's second human observer.",
                tuple(boxes),
            ),
            Pictures(
                f"Areas against the reference (Bland-Altman), all seeds, {budget}. Line: bias; dashed: 95 % limits of "
                "agreement.",
                tuple(areas),
            ),
            pictures.area_table(benchmark),
        ),
    )


def _classes(benchmark: Benchmark, grid: Grid) -> Section:
    curves, calibration = pictures.class_panels(benchmark, grid)
    if not calibration:
        return Section("classes", "Classes", (Paragraph("No finished cell tells classes apart."),))
    budget = pictures.budget_name(pictures.main_budget(benchmark))
    return Section(
        "classes",
        "Classes",
        (
            Pictures(
                f"ROC and precision-recall curves, mean over seeds, {budget}. Solid: with pseudo-labels; dashed: "
                "without.",
                tuple(curves),
            ),
            Pictures(
                f"Calibration, all seeds, {budget}: how often an answer is right that was given with this confidence. "
                "Below the dotted line the model is surer than right. Bins of a tenth with 10 or more answers.",
                tuple(calibration),
            ),
        ),
    )


def _examples(benchmark: Benchmark) -> Section:
    found = pictures.examples(benchmark)
    if not found:
        text = (
            "Left out: no cell has examples/*.png. Predicted and reference boundaries and saliency maps need the "
            "images, and only images that may be passed on are stored."
        )
        return Section("examples", "Boundaries and saliency", (Paragraph(text),))
    text = (
        "From sources whose pictures may be shown. Boundary: predicted in blue, reference in green over it; saliency: "
        "the warmer, the more the pixel moves the answer."
    )
    return Section("examples", "Boundaries and saliency", (Paragraph(text), *found))


def _made(benchmark: Benchmark) -> Section:
    rows = [
        (
            c.setting.of.name,
            *c.setting.budget,
            str(c.seed),
            f"{c.size} x {c.size}",
            str(c.steps),
            f"{c.parameters:,}",
            f"{c.seconds:,.0f}",
        )
        for c in benchmark.cells
    ]
    header = ("method", "class labels", "mask labels", "seed", "size", "steps", "parameters", "seconds")
    name = benchmark.folder.resolve().name
    blocks: list[Block] = [
        Paragraph("Made anew, from training to this page:"),
        Code(f"multimix benchmark spec.yaml --data DATA --out {name}\nmultimix report {name}"),
    ]
    blocks += [Paragraph("spec.yaml:"), Code(benchmark.spec.rstrip())] if benchmark.spec else []
    libraries = ("numpy", "pandas", "scipy", "scikit-learn", "matplotlib")
    written = [f"multimix {__version__}", *(f"{library} {version(library)}" for library in libraries)]
    blocks.append(Paragraph(f"This report: {', '.join(written)}, Python {platform.python_version()}."))
    trained = sorted({_versions(versions) for c in benchmark.cells if (versions := c.versions)})
    blocks += [Paragraph(f"Training: {text}.") for text in trained]
    blocks.append(Table("cells", "Cost of each cell.", header, tuple(rows)))
    return Section("made", "How it was made", tuple(blocks))


def _versions(versions: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions)
