"""The data card: what was trained and judged on, and the leaks and shortcuts that an audit found."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from multimix.errors import ManifestError
from multimix.evaluation.audit.findings import FAULTS
from multimix.experiment.cells import Benchmark
from multimix.io.run_folder import SPLIT
from multimix.report.document import Block, Bullets, Paragraph, Section, Table
from multimix.report.grid import sources


def data_card(benchmark: Benchmark) -> Section:
    """Counts per source and split, roles in training, audit findings."""
    blocks: list[Block] = [_judged(benchmark)]
    roles = _roles(benchmark)
    missing = "Training images are not counted here: no cell has run/split.csv."
    blocks.append(roles if roles is not None else Paragraph(missing))
    return Section("data", "Data card", tuple(blocks + _audit(benchmark)))


def _judged(benchmark: Benchmark) -> Table:
    """Images, patients and classes of every source that scores are about."""
    inside = {source for cell in benchmark.cells for source in cell.in_domain}
    rows = []
    counts: dict[str, int]
    for source in sources(benchmark.cells):
        cells = [c for c in benchmark.cells if source in (*c.class_sources, *c.mask_sources)]
        rows_of_all = pd.concat([c.table[c.table["source"] == source] for c in cells])
        table = rows_of_all.drop_duplicates("image")
        by_class = any(source in c.class_sources for c in cells)
        counts = Counter(table["label"]) if by_class else {}
        # Of all cells: one that only classifies has rows without masks for images that have one.
        masks = rows_of_all.filter(regex="^dice_").notna().any(axis=1)
        rows.append(
            (
                source,
                ", ".join(sorted(set(table["split"]))),
                "in domain" if source in inside else "cross domain",
                ", ".join(f"{count} {label}" for label, count in sorted(counts.items()) if label),
                str(len(table)),
                str(table["patient"].nunique()),
                str(rows_of_all.loc[masks, "image"].nunique()),
            )
        )
    header = ("source", "split", "role", "classes", "images", "patients", "with mask")
    return Table("judged", "What is judged.", header, tuple(rows), words=4)


def _roles(benchmark: Benchmark) -> Table | None:
    """Images and patients of each role in training, of the first cell of each setting that still has its run."""
    rows = []
    for setting in benchmark.settings():
        for cell in benchmark.of(setting):
            file = cell.folder / "run" / SPLIT
            if file.is_file():
                table = pd.read_csv(file, dtype=str, keep_default_na=False)
                for role, mine in table.groupby("role", sort=False):
                    patients = str(mine[["source", "patient"]].drop_duplicates().shape[0])
                    names = ", ".join(sorted(set(mine["source"])))
                    rows.append(
                        (setting.of.name, *setting.budget, str(role), names, str(len(mine)), patients)
                    )
                break
    header = ("method", "class labels", "mask labels", "role", "source", "images", "patients")
    caption = "What each method was trained on (first seed)."
    return Table("roles", caption, header, tuple(rows)) if rows else None


def _audit(benchmark: Benchmark) -> list[Block]:
    files = [benchmark.folder / "audit.json", *(cell.folder / "audit.json" for cell in benchmark.cells)]
    reports = [report for file in files if file.is_file() for report in _reports(file)]
    if not reports:
        text = (
            "Leaks and shortcuts: not looked for. Store what `multimix audit` says of a cell as audit.json."
        )
        return [Paragraph(text)]
    lines: dict[str, list[str]] = {}
    for report in reports:
        run = Path(str(report.get("run", ""))).name
        for finding in report["findings"]:
            title = FAULTS.get(str(finding.get("fault", "")), str(finding.get("fault", "")))
            text = (
                f"{finding.get('severity', '')}: {title}, {finding.get('where', '')}: {finding.get('meaning', '')} "
                f"{finding.get('advice', '')}"
            )
            lines.setdefault(" ".join(text.split()), []).append(run)
    checks = sorted({fault for report in reports for fault in report.get("checked", [])})
    looked = f"Audit of {len(reports)} {'run' if len(reports) == 1 else 'runs'}"
    looked += f": looked for {', '.join(FAULTS.get(name, name) for name in checks)}." if checks else "."
    if not lines:
        return [Paragraph(f"{looked} Nothing was found.")]
    items = [f"{text} ({', '.join(sorted(filter(None, set(runs))))})" for text, runs in lines.items()]
    return [Paragraph(f"{looked} Found:"), Bullets(tuple(item.replace(" ()", "") for item in items))]


def _reports(file: Path) -> Sequence[Mapping[str, Any]]:
    """One audit, a list of them, or audits by cell: each with a list 'findings'."""
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ManifestError(f"{file}: cannot be read as JSON ({error}). Remove it or audit again.") from error
    if isinstance(content, dict):
        content = [content] if "findings" in content else list(content.values())
    if not isinstance(content, list) or not all(
        isinstance(r, dict) and isinstance(r.get("findings"), list) for r in content
    ):
        raise ManifestError(f"{file}: expected audits with a list 'findings'. Remove it or audit again.")
    return content
