"""A report from stored tables: its numbers, its marks, what it says when something is missing, and the page."""

import csv
import importlib.util
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from multimix.cli.report import report as command
from multimix.data.seal import count_look, read_seal
from multimix.errors import ManifestError, UsageError
from multimix.evaluation.evaluate import summarise, write_scores
from multimix.experiment.cells import Benchmark, read_benchmark
from multimix.io.chain import append_line
from multimix.metrics.table import title
from multimix.recipes import METHODS
from multimix.report.baselines import baseline_table
from multimix.report.build import Written, results_sections, write_report
from multimix.report.data_card import data_card
from multimix.report.document import Table, number, with_interval
from multimix.report.grid import Grid, grid
from multimix.report.looks import looks
from multimix.report.pictures import main_budget
from multimix.report.questions import answers, best_supervised
from multimix.report.scores import grid_table, published_table
from multimix.report.written import latex_table, markdown_sections, markdown_table

CLASSES = ["NORMAL", "PNEUMONIA"]
SOURCES = {"kermany": 24, "nih": 16, "jsrt": 12, "montgomery": 10}
SKILL = {"u-net": 0.96, "enc": 1.5, "umtl": 0.94, "umtl-s": 0.95, "multimix": 0.97}


def class_table(source: str, skill: float, seed: int) -> pd.DataFrame:
    count = SOURCES[source]
    rng = np.random.default_rng([seed, count])
    truth = np.arange(count) % 2
    p = 1 / (1 + np.exp(-(truth * 2 - 1) * skill - rng.normal(0, 1.5, count)))
    return pd.DataFrame(
        {
            "image": [f"{source}/{i}.png" for i in range(count)],
            "source": source,
            "split": "test",
            "patient": [f"p{i // 2}" for i in range(count)],
            "label": [CLASSES[t] for t in truth],
            "predicted": [CLASSES[int(x >= 0.5)] for x in p],
            "p_NORMAL": 1 - p,
            "p_PNEUMONIA": p,
        }
    )


def mask_table(source: str, skill: float, seed: int) -> pd.DataFrame:
    count = SOURCES[source]
    rng = np.random.default_rng([seed, count])
    dice = (skill + rng.normal(0, 0.01, count)).clip(0, 1)
    area = np.random.default_rng(count).integers(9000, 11000, count)  # of the images, whoever judges them
    return pd.DataFrame(
        {
            "image": [f"{source}/{i}.png" for i in range(count)],
            "source": source,
            "split": "test",
            "patient": [f"p{i}" for i in range(count)],
            "label": "",
            "dice_lungs": dice,
            "jaccard_lungs": dice / (2 - dice),
            "area_px_lungs": area + rng.integers(-300, 300, count),
            "reference_area_px_lungs": area,
            "mean_mask_dice_lungs": 0.8,
        }
    )


def write_cell(folder: Path, method: str, seed: int, *, c: int | None = 100, m: int | None = 10) -> Path:
    """A cell as the benchmark leaves it."""
    flags, skill = METHODS[method], SKILL[method]
    name = method
    name += f"-c{'all' if c is None else c}" if flags.classify else ""
    name += f"-m{'all' if m is None else m}" if flags.segment else ""
    cell = folder / f"{name}-s{seed}"
    tables = []
    if flags.classify:
        tables += [class_table("kermany", 2 * skill, seed), class_table("nih", 0, seed)]
    if flags.segment:
        tables += [mask_table("jsrt", skill, seed), mask_table("montgomery", skill - 0.1, seed)]
    scores = [summarise(table, CLASSES, ["lungs"], samples=50) for table in tables]
    write_scores(cell, scores, tables, suffix=".parquet")
    about = {
        "method": method,
        "class_labels": c if flags.classify else None,
        "mask_labels": m if flags.segment else None,
        "seed": seed,
        "size": 128,
        "steps": 500,
        "seconds": 60.5,
        "classes": CLASSES,
        "structures": ["lungs"],
        "multi_label": False,
        "parameters": 1965155,
        "class_sources": ["kermany", "nih"],
        "mask_sources": ["jsrt", "montgomery"],
        "in_domain": ["kermany", "jsrt"],
    }
    (cell / "cell.json").write_text(json.dumps(about))
    return cell


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five methods, two seeds; one cell asked for in the spec and not begun, one begun and not finished."""
    folder = tmp_path_factory.mktemp("bench") / "quick"
    for method in SKILL:
        for seed in (0, 1):
            write_cell(folder, method, seed)
    (folder / "umtl-ssl-c100-m10-s0" / "run").mkdir(parents=True)
    (folder / "umtl-ssl-c100-m10-s0" / "failed.json").write_text('{"reason": "no memory"}')
    spec = {
        "methods": [*SKILL, "enc-ssl"],
        "seeds": [0, 1],
        "class_labels": [100],
        "mask_labels": [10],
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    examples = folder / "multimix-c100-m10-s0" / "examples"
    examples.mkdir()
    Image.new("RGB", (32, 32), "red").save(examples / "kermany-7--boundary.png")
    run = folder / "umtl-c100-m10-s0" / "run"
    run.mkdir()
    with (run / "split.csv").open("w", newline="") as file:
        rows = [["role", "image", "label", "source", "patient"]]
        rows += [["labelled_classes", f"{i}.png", "NORMAL", "kermany", f"k{i // 2}"] for i in range(6)]
        csv.writer(file).writerows(rows)
    (run / "run.json").write_text(json.dumps({"versions": {"torch": "9.9.9"}}))
    return folder


@pytest.fixture(scope="module")
def written(bench: Path, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_report(bench, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def computed(bench: Path) -> tuple[Benchmark, Grid]:
    benchmark = read_benchmark(bench)
    return benchmark, grid(benchmark, samples=50)


def test_the_grid_is_the_mean_over_seeds(bench: Path, computed: tuple[Benchmark, Grid]):
    _, scores = computed
    tables = [pd.read_parquet(bench / f"umtl-c100-m10-s{seed}" / "per_image.parquet") for seed in (0, 1)]
    dice = [table.loc[table["source"] == "jsrt", "dice_lungs"].mean() for table in tables]
    right = [
        (rows["label"] == rows["predicted"]).mean()
        for rows in (table[table["source"] == "kermany"] for table in tables)
    ]
    found = {(s.method, source, metric): score for (s, source, metric), score in scores.items()}
    jsrt, kermany = found["umtl", "jsrt", "dice_lungs"], found["umtl", "kermany", "accuracy"]
    assert jsrt.seeds == pytest.approx(dice)
    assert jsrt.estimate.value == pytest.approx(np.mean(dice))
    assert jsrt.estimate.trivial == pytest.approx(0.8)
    assert kermany.estimate.value == pytest.approx(np.mean(right))
    assert kermany.estimate.trivial == pytest.approx(0.5)
    assert jsrt.estimate.low < jsrt.estimate.value < jsrt.estimate.high <= 1
    ece = found["umtl", "kermany", "ece"]
    assert ece.estimate.value == pytest.approx(np.mean(ece.seeds))
    assert np.isnan([ece.estimate.low, ece.estimate.high]).all()
    assert ("enc", "jsrt", "dice_lungs") not in found


def test_prediction_sets_are_judged_where_there_are_any(tmp_path: Path):
    file = write_cell(tmp_path / "bench", "enc", 0) / "per_image.parquet"
    rows = pd.read_parquet(file)
    of_kermany = (rows["source"] == "kermany").to_numpy().nonzero()[0]
    sets = rows["label"].where(rows["label"] != "", CLASSES[0]).to_numpy(copy=True)
    sets[of_kermany[:3]] = [CLASSES[label == CLASSES[0]] for label in rows["label"].iloc[of_kermany[:3]]]
    sets[of_kermany[3:5]] = "|".join(CLASSES)
    rows["prediction_set"] = sets
    rows.to_parquet(file)
    scores = {(s, m): score for (_, s, m), score in grid(read_benchmark(tmp_path / "bench")).items()}
    count = len(of_kermany)
    assert scores["kermany", "coverage"].estimate.value == pytest.approx((count - 3) / count)
    assert scores["kermany", "set_size"].estimate.value == pytest.approx((count + 2) / count)


def test_what_is_alike_in_every_seed_and_image_has_no_interval(tmp_path: Path):
    for seed in (0, 1):
        file = write_cell(tmp_path, "umtl", seed) / "per_image.parquet"
        rows = pd.read_parquet(file)
        rows.assign(dice_lungs=rows["dice_lungs"].where(rows["dice_lungs"].isna(), 0.9)).to_parquet(file)
    found = {
        (s, m): score.estimate for (_, s, m), score in grid(read_benchmark(tmp_path), samples=50).items()
    }
    assert found["jsrt", "dice_lungs"].value == pytest.approx(0.9)
    assert np.isnan([found["jsrt", "dice_lungs"].low, found["jsrt", "dice_lungs"].high]).all()


def test_one_seed_has_the_interval_that_evaluate_gives(tmp_path: Path):
    from multimix.io.run_folder import read_per_image

    cell = write_cell(tmp_path, "umtl", 3)
    ((score,),) = [
        [
            s
            for (_, source, metric), s in grid(read_benchmark(tmp_path)).items()
            if (source, metric) == ("nih", "auc")
        ]
    ]
    table = read_per_image(cell / "per_image.parquet")
    judged = summarise(table[table["source"] == "nih"], CLASSES, [])
    assert (score.estimate.low, score.estimate.high) == pytest.approx(
        (judged.metrics["auc"].low, judged.metrics["auc"].high)
    )
    assert score.estimate.value == pytest.approx(judged.metrics["auc"].value)


def test_missing_cells_are_named(bench: Path, written: Written):
    assert set(written.missing) == {"enc-ssl-c100-s0", "enc-ssl-c100-s1", "umtl-ssl-c100-m10-s0"}
    assert written.cells == 10
    text = written.text.read_text("utf-8")
    assert "3 of 13 cells" in text
    assert "enc-ssl-c100-s0" in text
    assert "umtl-ssl-c100-m10-s0 failed: no memory" in text
    # A question that needs a missing method says so.
    assert "Not answered: needs enc-ssl and enc or umtl-ssl and umtl" in text
    # One that is not the paper's was not asked.
    assert "each ingredient of MultiMix+" not in text


def test_a_hole_in_the_seeds_is_missing_without_a_spec(tmp_path: Path):
    for method, seed in (("umtl", 0), ("umtl", 1), ("enc", 0)):
        write_cell(tmp_path, method, seed, c=None)
    assert read_benchmark(tmp_path).missing == ("enc-call-s1",)


def test_impossible_published_rows_are_marked(computed: tuple[Benchmark, Grid]):
    benchmark, scores = computed
    table = grid_table(benchmark, scores, "in-domain")
    column = table.header.index("jsrt Dice") + 1
    assert table.header[column] == "published"
    rows = {row[0]: row for row in table.rows}
    assert rows["UMTL"][column] == "0.626 † (J 0.871)"
    assert rows["MultiMix"][column] == "0.954"
    assert rows["second human"][column - 1] == "0.972"
    assert any(note.startswith("†") for note in table.notes)
    cross = grid_table(benchmark, scores, "cross-domain")
    accuracy = cross.header.index("nih accuracy")
    rows = {row[0]: row for row in cross.rows}
    assert rows["Enc"][accuracy + 1] == "0.352 ‡"
    assert rows["no model"][accuracy + 1] == "0.658"
    assert "second human" not in rows


def test_the_table_of_published_rows_marks_26_and_51():
    marks = [row[-1] for row in published_table().rows]
    assert len(marks) == 108
    assert sum("†" in mark for mark in marks) == 26
    assert sum("‡" in mark for mark in marks) == 51


def test_questions_compare_the_right_cells(computed: tuple[Benchmark, Grid]):
    benchmark, scores = computed
    found = answers(benchmark, scores)
    pairs = {
        (a.question.name, a.first.method, a.second.method) for a in found if a.question.name != "multimix"
    }
    assert pairs == {
        ("bridge", "umtl-s", "umtl"),
        ("both-tasks", "umtl", "enc"),
        ("both-tasks", "umtl", "u-net"),
        ("both-tasks", "umtl-s", "u-net"),
    }
    (dice,) = [
        a for a in found if a.question.name == "bridge" and (a.source, a.metric) == ("jsrt", "dice_lungs")
    ]
    assert dice.result.value == pytest.approx(0.01, abs=1e-3)  # same noise, skill .95 against .94
    assert dice.result.seeds == 2
    assert dice.result.family == 2 * 5 + 2  # accuracy, AUC, balanced accuracy and two sensitivities; Dice
    assert dice.verdict == "better"
    assert dice.result.sentence.startswith("UMTL-S is better than UMTL in Dice on jsrt")
    multimix = next(s for s in benchmark.settings() if s.method == "multimix")
    best = best_supervised(scores, multimix, "jsrt", "dice_lungs")
    assert best is not None
    assert best.method == "u-net"  # .96, the highest of the supervised ones


def test_a_question_with_a_named_and_a_chosen_partner_has_a_line_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(SKILL, "multimix-plus", 0.97)
    for method in ("u-net", "multimix", "multimix-plus"):
        write_cell(tmp_path / "bench", method, 0)
    text = markdown_sections(results_sections(tmp_path / "bench"), 2)
    (best,) = [
        line for line in text.splitlines() if line.startswith("- MultiMix+ against the strongest supervised")
    ]
    assert "against U-Net" in best
    assert "MultiMix)" not in best
    assert "against MultiMix" not in best.removeprefix("- MultiMix+ against")
    assert sum(line.startswith("- MultiMix+ against MultiMix (") for line in text.splitlines()) == 1
    # Both questions that choose the partner on the test images say so.
    write_report(tmp_path / "bench", tmp_path / "out")
    (page,) = (tmp_path / "out").glob("*.html")
    assert page.read_text().count("a choice in its favour") == 2


def test_the_supervised_methods_follow_from_the_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert {name for name, row in METHODS.items() if row.supervised} == {
        *("u-net", "enc", "umtl", "umtl-s", "u-net-style", "enc-style", "umtl-s-style"),
        "multimix-plus-no-pseudo-labels",
    }
    # The repository's own supervised ablation is the strongest of this grid, and is named as that.
    skills = {"u-net": 0.94, "multimix-plus-no-pseudo-labels": 0.97, "multimix-plus": 0.96}
    for method, skill in skills.items():
        monkeypatch.setitem(SKILL, method, skill)
        write_cell(tmp_path / "bench", method, 0)
    benchmark = read_benchmark(tmp_path / "bench")
    found = answers(benchmark, grid(benchmark, samples=50))
    partners = {
        a.second.method
        for a in found
        if (a.question.name, a.source, a.metric) == ("ours", "jsrt", "dice_lungs")
    }
    assert partners == {"multimix-plus-no-pseudo-labels"}
    write_report(tmp_path / "bench", tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert "the one of U-Net, without pseudo-labels that did best" in text


def test_the_strongest_baseline_of_any_grid_is_named(computed: tuple[Benchmark, Grid], tmp_path: Path):
    benchmark, scores = computed
    table = baseline_table(benchmark, scores)
    rows = {row[1]: row for row in table.rows}
    assert {"kermany accuracy", "kermany AUC", "kermany balanced accuracy", "jsrt Dice"} <= rows.keys()
    assert {"nih accuracy", "nih AUC", "montgomery Dice"} <= rows.keys()
    mean = {(s.method, source, metric): score.estimate.value for (s, source, metric), score in scores.items()}
    dice = {m: mean[m, "jsrt", "dice_lungs"] for m in ("u-net", "umtl", "umtl-s")}
    assert max(dice, key=lambda m: dice[m]) == "u-net"
    assert rows["jsrt Dice"] == (
        *("100 class labels, 10 masks", "jsrt Dice"),
        *("U-Net", number(dice["u-net"]), "not recorded"),
        *("MultiMix", number(mean["multimix", "jsrt", "dice_lungs"]), "not recorded"),
    )
    auc = {METHODS[m].name: mean[m, "kermany", "auc"] for m in ("enc", "umtl", "umtl-s")}
    assert rows["kermany AUC"][2:4] == (max(auc, key=lambda m: auc[m]), number(max(auc.values())))
    # Of supervised methods alone; at two budgets.
    for c in (100, None):
        write_cell(tmp_path, "enc", 0, c=c)
    alone = read_benchmark(tmp_path)
    found = [(r[0], *r[2:3], *r[5:]) for r in baseline_table(alone, grid(alone, samples=10)).rows]
    assert set(found) == {
        ("100 class labels", "Enc", "", "", ""),
        ("all class labels", "Enc", "", "", ""),
    }


def tuned(folder: Path, **trials: int) -> str:
    """The summary of a grid far apart, whose spec says how often its methods were tuned."""
    for method in ("u-net", "multimix"):
        for seed in range(7):
            cell = write_cell(folder, method, seed)
            rows = pd.read_parquet(cell / "per_image.parquet")
            off = 0.05 if method == "u-net" else 0.0
            rows["dice_lungs"] = (rows["dice_lungs"] - off).clip(0, 1)
            rows.to_parquet(cell / "per_image.parquet")
    (folder / "spec.yaml").write_text(yaml.safe_dump({"trials": trials}))
    (summary, *_) = results_sections(folder)
    return markdown_sections([summary], 2)


def test_who_was_tuned_longer_is_ahead_and_not_better(tmp_path: Path):
    text = tuned(tmp_path / "b", **{"u-net": 1, "multimix": 4})
    assert "Tuning effort differs, so who is ahead may be so for that alone." in text
    assert "Settings tried: U-Net 1, MultiMix 4." in text
    assert "ahead, but tuned with more trials (4 against 1): jsrt Dice against U-Net" in text
    assert "better" not in text
    (row,) = [line for line in text.splitlines() if "jsrt Dice |" in line and line.startswith("| 100 class")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert (cells[2], cells[4], cells[5], cells[7]) == ("U-Net", "1", "MultiMix", "4")


def test_who_was_tuned_alike_may_be_better(tmp_path: Path):
    text = tuned(tmp_path / "b", **{"u-net": 4, "multimix": 4})
    assert "Every method was tuned over as many settings: 4." in text
    assert "better: jsrt Dice against U-Net" in text


def test_tuning_that_is_not_recorded_is_said_to_be(written: Written):
    assert "How many settings each method was tuned over is not recorded" in written.text.read_text("utf-8")


def test_looks_at_sealed_images_are_told(bench: Path, written: Written, tmp_path: Path):
    assert "nobody has counted how often they were looked at" in written.text.read_text("utf-8")
    folder = shutil.copytree(bench, tmp_path / "quick")
    log = tmp_path / "looks.jsonl"
    append_line(log, {"kind": "seal", "split": "test", "rule": "", "sources": {name: {} for name in SOURCES}})
    seal = read_seal(log)
    for plan in "abcdef":
        count_look(seal, ["kermany"], by="an earlier one", plan=plan)
    look = count_look(seal, list(SOURCES), by="benchmark quick", plan="this")
    for cell in folder.glob("*/cell.json"):
        stored = json.loads(cell.with_name("scores.json").read_text())
        stored["look"] = {"hash": look.hash, "numbers": look.numbers}
        cell.with_name("scores.json").write_text(json.dumps(stored))
        shutil.copy(log, cell.with_name("seal.jsonl"))
    said = looks(read_benchmark(folder))
    assert said[:2] == (
        "Test images of kermany: sealed, seen 7 times; this is look 7, so exploratory.",
        "Test images of nih: sealed, seen 1 time; this is look 1, so confirmatory.",
    )
    assert len(said) == 4
    # A later cell carries a longer log; one was never counted; one's log was edited.
    count_look(seal, ["nih"], by="a later one", plan="later")
    shutil.copy(log, folder / "umtl-c100-m10-s1" / "seal.jsonl")
    bare = folder / "u-net-m10-s0" / "scores.json"
    bare.write_text(json.dumps({k: v for k, v in json.loads(bare.read_text()).items() if k != "look"}))
    edited = folder / "umtl-c100-m10-s0" / "seal.jsonl"
    edited.write_text(edited.read_text().replace("an earlier one", "nobody"))
    said = looks(read_benchmark(folder))
    assert "Test images of nih: sealed, seen 2 times; this is look 1, so confirmatory." in said
    assert "Not counted as looks: u-net-m10-s0." in said
    assert "line 2: is not as it was written" in said[-1]


def test_the_main_budget_has_one_setting_per_method(tmp_path: Path):
    for c, m in ((100, 10), (1000, 10), (None, None)):
        write_cell(tmp_path, "umtl", 0, c=c, m=m)
    write_cell(tmp_path, "enc", 0, c=1000)
    write_cell(tmp_path, "u-net", 0, m=10)
    here = main_budget(read_benchmark(tmp_path))
    assert [(s.method, *s.budget) for s in here] == [
        ("u-net", "", "10"),
        ("enc", "1000", ""),
        ("umtl", "1000", "10"),
    ]


class Page(HTMLParser):
    """Everything on a page that could lead elsewhere, and its text."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.alts: list[str | None] = []
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        found = dict(attrs)
        self.links += [found[name] or "" for name in ("href", "src", "srcset") if name in found]
        self.ids += [found["id"] or ""] if "id" in found else []
        self.alts += [found.get("alt")] if tag == "img" else []

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_holds_everything_and_asks_for_nothing(written: Written):
    page = Page(written.page)
    assert not page.tags & {"script", "iframe", "object", "embed"}
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert all(page.alts)
    assert len(page.alts) == len(written.figures) >= 15
    text = " ".join(page.words)
    for heading in (
        "What it says",
        "In domain",
        "Cross domain",
        "Masks",
        "Classes",
        "Data card",
        "How it was made",
    ):
        assert heading in text
    assert "torch 9.9.9" in text
    assert "url(" not in written.page.read_text("utf-8")


def test_markdown_links_to_pictures_that_are_there(written: Written):
    text = written.text.read_text("utf-8")
    links = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert len(links) == len(written.figures)
    assert all((written.text.parent / link).is_file() for link in links)


def test_latex_tables_have_rows_of_one_length(written: Written):
    for path in written.tables:
        lines = path.read_text("utf-8").splitlines()
        rows = [line for line in lines if line.endswith("\\\\")]
        assert len({line.count(" & ") for line in rows}) == 1
        assert len(rows) >= 6
        assert lines[1] == "\\begin{table}"
        assert [line.strip() for line in lines if "rule" in line] == [
            "\\toprule",
            "\\midrule",
            "\\bottomrule",
        ]


def test_data_card_counts_roles_and_findings(bench: Path, tmp_path: Path):
    folder = tmp_path / "quick"
    shutil.copytree(bench, folder)
    finding = {
        "fault": "shared-patient",
        "severity": "wrong",
        "where": "train, test",
        "meaning": "Patient 7 is in both.",
        "advice": "Split by patient.",
    }
    audit = {
        "run": "x/umtl-c100-m10-s0",
        "findings": [finding],
        "unchecked": [],
        "checked": ["shared-patient"],
    }
    (folder / "audit.json").write_text(json.dumps([audit]))
    text = markdown_sections([data_card(read_benchmark(folder))], 2)
    assert "wrong: one patient in two splits, train, test: Patient 7 is in both. Split by patient." in text
    assert "| kermany | test | in domain | 12 NORMAL, 12 PNEUMONIA | 24 | 12 | 0 |" in text
    assert "| UMTL | 100 | 10 | labelled\\_classes | kermany | 6 | 3 |" in text
    (folder / "audit.json").write_text("[1]")
    with pytest.raises(ManifestError, match=r"audit\.json: expected audits"):
        data_card(read_benchmark(folder))


def test_data_card_counts_masks_whichever_cell_comes_first(tmp_path: Path):
    for method in ("enc", "umtl"):
        write_cell(tmp_path, method, 0)
    # A source of both kinds: the encoder's rows, which come first, have no masks.
    for cell in tmp_path.iterdir():
        table = pd.read_parquet(cell / "per_image.parquet")
        if "dice_lungs" in table:
            table.loc[table["source"] == "kermany", "dice_lungs"] = 0.9
            table.to_parquet(cell / "per_image.parquet")
    text = markdown_sections([data_card(read_benchmark(tmp_path))], 2)
    assert "| kermany | test | in domain | 12 NORMAL, 12 PNEUMONIA | 24 | 12 | 24 |" in text


def test_names_of_sources_are_text_not_markup(tmp_path: Path):
    cell = write_cell(tmp_path, "enc", 0)
    evil = "<b>ward & 3|x</b>/.."
    about = json.loads((cell / "cell.json").read_text().replace('"nih"', json.dumps(evil)))
    (cell / "cell.json").write_text(json.dumps(about))
    table = pd.read_parquet(cell / "per_image.parquet")
    table["source"] = table["source"].replace("nih", evil)
    table.to_parquet(cell / "per_image.parquet", index=False)
    done = write_report(tmp_path, tmp_path / "out")
    page = Page(done.page)
    assert "b" not in page.tags
    assert evil in " ".join(page.words)
    assert all(path.parent == tmp_path / "out" / "figures" for path in done.figures)
    assert "ward & 3" not in done.tables[1].read_text("utf-8")  # '&' would be a new column


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cell.json", "{", r"cell\.json: cannot be read as JSON"),
        ("cell.json", '{"method": "resnet"}', r"umtl-c100-m10-s0: not a cell of a benchmark .*'resnet'"),
        ("scores.json", "[]", r"scores\.json: expected a JSON object"),
        ("per_image.parquet", "PAR", r"per_image\.parquet: not a per-image table that can be read"),
    ],
)
def test_a_damaged_cell_is_named(tmp_path: Path, name: str, content: str, message: str):
    cell = write_cell(tmp_path, "umtl", 0)
    (cell / name).write_text(content)
    with pytest.raises(ManifestError, match=message):
        read_benchmark(tmp_path)


def test_cells_judged_on_different_images_have_no_mean(tmp_path: Path):
    write_cell(tmp_path, "umtl", 0)
    cell = write_cell(tmp_path, "umtl", 1)
    table = pd.read_parquet(cell / "per_image.parquet")
    table.iloc[1:].to_parquet(cell / "per_image.parquet", index=False)
    with pytest.raises(ManifestError, match=r"umtl-c100-m10-s1: judged on other images of 'kermany'"):
        grid(read_benchmark(tmp_path), samples=10)


def test_a_folder_that_is_no_benchmark_is_a_usage_error(tmp_path: Path):
    with pytest.raises(UsageError, match="no such folder"):
        read_benchmark(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="found no cell folders"):
        read_benchmark(tmp_path)
    (tmp_path / "umtl-c100-m10-s0").mkdir()
    with pytest.raises(UsageError, match="found 1 begun, none finished"):
        read_benchmark(tmp_path)


def test_the_command_says_what_it_wrote_and_what_is_missing(tmp_path: Path):
    write_cell(tmp_path / "b", "u-net", 0)
    write_cell(tmp_path / "b", "u-net", 1)
    write_cell(tmp_path / "b", "enc", 0)
    result = CliRunner().invoke(command, [str(tmp_path / "b"), "--out", str(tmp_path / "o")])
    assert result.exit_code == 0, result.output
    assert str(tmp_path / "o" / "report.html") in result.stdout
    assert "Not finished: 1 of 4 cells, such as enc-c100-s1." in result.stderr
    assert {"report.html", "report.md", "table_in_domain.tex", "table_cross_domain.tex", "figures"} == {
        path.name for path in (tmp_path / "o").iterdir()
    }


def test_the_results_page_is_rewritten_between_its_marks(
    bench: Path, written: Written, monkeypatch: pytest.MonkeyPatch
):
    root = Path(__file__).resolve().parents[2]
    spec = importlib.util.spec_from_file_location("results_page", root / "tools" / "results_page.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    sections = results_sections(bench)
    monkeypatch.setattr(tool, "results_sections", lambda folder: sections if folder.name == "quick" else None)
    text = tool.page("before\n<!-- quick:begin -->\nan older page\n<!-- quick:end -->\nafter\n")
    assert text.startswith("before\n<!-- quick:begin -->\n\n### What it says\n")
    assert text.endswith("<!-- quick:end -->\nafter\n")
    assert "an older page" not in text
    assert "![" not in text
    assert tool.page(text) == text
    short = tool.page("<!-- quick:begin grid questions -->\n<!-- quick:end -->")
    assert short.startswith("<!-- quick:begin grid questions -->\n\n### The grid\n")
    assert [line for line in short.splitlines() if line.startswith("### ")] == [
        *("### The grid", "### The questions, pair by pair"),
    ]
    # The page and the report say the same, though each was computed by itself.
    tables = [block for section in sections for block in section.blocks if isinstance(block, Table)]
    report = written.text.read_text("utf-8")
    assert len(tables) >= 8
    assert all(markdown_table(table) in text and markdown_table(table) in report for table in tables)


def test_numbers_claim_no_side_that_their_digits_do_not_show():
    assert number(-0.0004) == number(0.0004, sign=True) == "0.000"
    assert number(-0.0123, sign=True) == "−0.012"
    assert number(0.5, 1, sign=True) == "+0.5"
    assert number(float("nan")) == ""
    assert with_interval(0.5, 0.4, 0.6) == "0.500 [0.400, 0.600]"
    assert with_interval(0.5, float("nan"), float("nan")) == "0.500"


def test_a_table_as_markdown_and_latex():
    table = Table("t", "50 % of a_b", ("x", "y|z"), (("a & b", "−1 †"),), notes=("n",))
    assert markdown_table(table) == "50 % of a\\_b\n\n| x | y\\|z |\n| --- | ---: |\n| a & b | −1 † |\n\nn"
    lines = latex_table(table).splitlines()
    assert "  \\caption{50 \\% of a\\_b n}" in lines
    assert "    a \\& b & $-$1 $^\\dagger$ \\\\" in lines


FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """Chromium that logs its console and every request, or a skip that says what is absent."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    driver = shutil.which("chromedriver")
    if driver is None or not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()
    found.service.stop()


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)])
def test_a_browser_shows_the_page_without_complaint_or_request(
    browser, written: Written, width: int, dark: bool
):
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(written.page.as_uri())
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert sent  # the log is on: the page itself is in it
    assert all(url.startswith(("file:", "data:")) for url in sent)
    assert [url for url in sent if url.startswith("file:")] == [written.page.as_uri()]
    widths = browser.execute_script("return Array.from(document.images, i => i.naturalWidth)")
    assert len(widths) == len(written.figures)
    assert all(widths)
    # Wide tables scroll within themselves; the page does not.
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(21, 24, 28)" if dark else "rgb(254, 254, 254)")
    shown = browser.execute_script("return Array.from(document.images, i => i.currentSrc.slice(0, 26))")
    assert all(source.startswith("data:image/") for source in shown)


def test_names_of_structures_and_classes_that_contain_each_other() -> None:
    assert title("dice_left_heart", ["heart", "left_heart"]) == "Dice of left_heart"
    assert title("dice_heart", ["heart", "left_heart"]) == "Dice of heart"
    assert title("f1_heart", ["heart"]) == "F1 of heart"
    assert title("asd_mm_lungs", ["lungs"]) == "surface distance, mm"
