import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy import stats

from multimix.cli.compare import compare as command
from multimix.errors import CheckpointError, ManifestError, MultimixError, UsageError
from multimix.evaluation.compare import compare, compare_cells, read_group
from multimix.evaluation.evaluate import summarise, write_scores
from multimix.io.run_folder import read_per_image
from multimix.io.tables import write_table


def classes(seed=0, images=80, skill=1.5, source="wards", labels_seed=7):
    """Answers about NORMAL and PNEUMONIA; every second patient has two images."""
    labels = np.random.default_rng(labels_seed).integers(2, size=images)
    labels[1::4] = labels[::4]
    noise = np.random.default_rng(labels_seed + 1).normal(size=images)  # images that are hard for everyone
    logits = skill * (2 * labels - 1) + 2 * noise + np.random.default_rng(seed).normal(size=images)
    positive = 1 / (1 + np.exp(-logits))
    names = np.array(["NORMAL", "PNEUMONIA"])
    return pd.DataFrame(
        {
            "image": [f"{source}/{i:03}.png" for i in range(images)],
            "source": source,
            "split": "test",
            "patient": [f"p{i - (i % 4 == 1):03}" for i in range(images)],
            "label": names[labels],
            "predicted": names[(positive > 0.5).astype(int)],
            "p_NORMAL": 1 - positive,
            "p_PNEUMONIA": positive,
        }
    )


def masks(seed=0, images=60, mean=0.9, source="lungs", spread=0.01):
    """Dice about `mean`, one image a patient, the hard ones hard for everyone."""
    hard = np.random.default_rng(3).exponential(0.03, size=images)
    dice = (mean - hard + spread * np.random.default_rng(seed).normal(size=images)).clip(0, 1)
    return pd.DataFrame(
        {
            "image": [f"{source}/{i:03}.png" for i in range(images)],
            "source": source,
            "split": "test",
            "patient": [f"q{i}" for i in range(images)],
            "label": "",
            "dice_lungs": dice,
            "hd95_px_lungs": 20 * (1 - dice),
            "reference_area_px_lungs": 1000,
        }
    )


def write(folder: Path, *tables: pd.DataFrame, cell: dict | None = None, name="per_image.parquet") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / name, pd.concat(tables, ignore_index=True))
    if cell is not None:
        (folder / "cell.json").write_text(json.dumps(cell))
    return folder


def cell(method, seed, **more):
    return {
        "method": method,
        "class_labels": 100,
        "mask_labels": 10,
        "seed": seed,
        "size": 64,
        "steps": 9,
    } | more


def seeds_of(folder, method, mean, count=3, spread=0.002):
    """A group of cells with masks, each seed's mean off by a little."""
    off = np.random.default_rng(len(method)).normal(0, spread, size=count)
    return [
        write(
            folder / f"{method}-c100-m10-s{s}",
            masks(seed=10 * s + len(method), mean=mean + off[s]),
            cell=cell(method, s),
        )
        for s in range(count)
    ]


def test_values_are_those_of_evaluate_and_p_those_of_scipy(tmp_path):
    a, b = (write(tmp_path / n, masks(seed=s, mean=m)) for n, s, m in (("a", 1, 0.9), ("b", 2, 0.89)))
    found = compare_cells([a], [b], "dice_lungs", "lungs")
    tables = [read_per_image(f / "per_image.parquet") for f in (a, b)]
    scores = [summarise(t, (), ("lungs",)).metrics["dice_lungs"].value for t in tables]
    assert (found.value_a, found.value_b) == pytest.approx(scores)
    assert found.value == pytest.approx(scores[0] - scores[1])
    difference = tables[0]["dice_lungs"] - tables[1]["dice_lungs"]
    interval = stats.ttest_1samp(difference, 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=5e-4)
    assert found.p_test == pytest.approx(stats.wilcoxon(difference, method="approx", correction=True).pvalue)
    assert (found.test, found.verdict, found.images, found.seeds) == ("Wilcoxon", "better", 60, 1)
    assert found.p == max(found.p_interval, found.p_test) == found.p_holm


@pytest.mark.parametrize(
    "metric", ["accuracy", "balanced_accuracy", "sensitivity_NORMAL", "f1_NORMAL", "auc", "brier", "ece"]
)
def test_class_scores_are_those_of_evaluate(tmp_path, metric):
    a, b = (write(tmp_path / n, classes(seed=s, skill=k)) for n, s, k in (("a", 1, 2.0), ("b", 2, 1.0)))
    found = compare_cells([a], [b], metric, "wards")
    for folder, value in ((a, found.value_a), (b, found.value_b)):
        scores = summarise(read_per_image(folder / "per_image.parquet"), ("NORMAL", "PNEUMONIA"), ())
        assert value == pytest.approx(scores.metrics[metric].value)
    tests = {"auc": "DeLong", "accuracy": "McNemar", "sensitivity_NORMAL": "McNemar"}
    assert found.test == tests.get(metric, "")
    of_class = classes(seed=1)[lambda table: table["label"] == "NORMAL"]["patient"].nunique()
    assert found.patients == (of_class if metric == "sensitivity_NORMAL" else 60)


def test_patients_that_are_not_known_give_no_verdict(tmp_path):
    tables = [
        masks(seed=s, mean=m).assign(patient=[f"?{i}" for i in range(60)]) for s, m in ((1, 0.9), (2, 0.8))
    ]
    a, b = (write(tmp_path / name, table) for name, table in zip("ab", tables, strict=True))
    found = compare_cells([a], [b], "dice_lungs", "lungs")
    assert np.isnan([found.low, found.high, found.p]).all()
    assert (found.patients, found.verdict, found.test) == (0, "cannot be told apart", "")
    assert found.sentence.endswith("no interval is given, because the patients are not known.")


def test_lower_is_better_for_distances(tmp_path):
    a, b = (write(tmp_path / n, masks(seed=s, mean=m)) for n, s, m in (("a", 1, 0.9), ("b", 2, 0.8)))
    found = compare_cells([a], [b], "hd95_px_lungs", "lungs")
    assert found.value < 0
    assert found.verdict == "better"
    assert compare_cells([b], [a], "hd95_px_lungs", "lungs").verdict == "worse"


def test_seeds_are_paired_by_cell_json_and_those_alone_left_out(tmp_path):
    a, b = seeds_of(tmp_path, "multimix", 0.9, 4), seeds_of(tmp_path, "u-net", 0.85)
    found, how = compare(read_group(f"{tmp_path}/multimix-*"), read_group(f"{tmp_path}/u-net-*"))
    assert how == "Paired by the seed in cell.json: 0, 1, 2. Left out, since only one side has them: 3."
    assert (found[0].seeds, found[0].verdict) == (3, "better")
    assert (found[0].name_a, found[0].name_b) == ("multimix-c100-m10", "u-net-c100-m10")
    # The order in which cells are named does not matter, since their seeds say what belongs together.
    assert compare_cells(a[:3][::-1], b, "dice_lungs", "lungs") == compare_cells(
        a[:3], b, "dice_lungs", "lungs"
    )


def test_one_run_copied_as_several_seeds_is_refused(tmp_path):
    a = seeds_of(tmp_path, "multimix", 0.9, 2)
    seeds_of(tmp_path, "u-net", 0.89, 3)
    # A third seed by name and cell.json, whose answers are the first's; rows in another order, as CSV, and with a
    # patient renamed, are the same answers still.
    copied = read_per_image(a[0] / "per_image.parquet").iloc[::-1].assign(patient="x")
    write(
        tmp_path / "multimix-c100-m10-s2",
        copied,
        cell=cell("multimix", 2),
        name="per_image.csv",
    )
    words = r"multimix-c100-m10-s0 and .*multimix-c100-m10-s2: .* the same for every image.* one run copied"
    with pytest.raises(UsageError, match=words):
        read_group(f"{tmp_path}/multimix-*")
    result = CliRunner().invoke(command, [f"{tmp_path}/multimix-*", f"{tmp_path}/u-net-*"])
    assert isinstance(result.exception, UsageError)
    # One answer that differs in its last digit is another run's.
    copied.loc[0, "dice_lungs"] = np.nextafter(copied.loc[0, "dice_lungs"], 0)
    write(
        tmp_path / "multimix-c100-m10-s2",
        copied,
        name="per_image.csv",
    )
    assert len(read_group(f"{tmp_path}/multimix-*").runs) == 3
    # Two that collapsed to no mask at all are alike and yet two.
    for s in (0, 1):
        write(tmp_path / f"empty-s{s}", masks().assign(dice_lungs=0.0), cell=cell("empty", s))
    assert len(read_group(f"{tmp_path}/empty-*").runs) == 2


def test_without_cell_json_runs_are_paired_in_natural_order(tmp_path):
    for n in (2, 10):
        for method in ("x", "y"):
            write(tmp_path / f"{method}-{n}", masks(seed=n))
    _, how = compare(read_group(f"{tmp_path}/x-*"), read_group(f"{tmp_path}/y-*"))
    assert "x-2 with y-2, x-10 with y-10" in how
    write(tmp_path / "y-11", masks())
    with pytest.raises(UsageError, match="x is 2 runs, y is 3"):
        compare(read_group(f"{tmp_path}/x-*"), read_group(f"{tmp_path}/y-*"))


def test_few_seeds_that_disagree_cannot_tell_what_one_pair_seems_to(tmp_path):
    a, b = seeds_of(tmp_path, "multimix", 0.9, spread=0.03), seeds_of(tmp_path, "u-net", 0.895, spread=0.03)
    one, all_three = (compare_cells(a[:n], b[:n], "dice_lungs", "lungs") for n in (1, 3))
    assert one.high - one.low < 0.3 * (all_three.high - all_three.low)
    assert all_three.verdict == "cannot be told apart"
    assert all_three.more_images is None  # more patients do not make seeds agree
    assert all_three.more_seeds is not None
    assert "or about" in all_three.sentence
    assert "no number of images with these seeds" in all_three.sentence


def test_holm_over_all_that_is_printed(tmp_path):
    a = write(tmp_path / "a", classes(seed=1, skill=2.0), masks(seed=1))
    b = write(tmp_path / "b", classes(seed=2, skill=1.5), masks(seed=2))
    found, how = compare(read_group(str(a)), read_group(str(b)))
    of_classes = ("accuracy", "auc", "balanced_accuracy", "sensitivity_NORMAL", "sensitivity_PNEUMONIA")
    assert [(c.source, c.metric) for c in found] == [
        *(("wards", name) for name in of_classes),
        ("lungs", "dice_lungs"),
    ]
    assert how == "One run on each side."
    smallest = min(found, key=lambda c: c.p)
    assert smallest.p_holm == pytest.approx(min(1, 6 * smallest.p))
    assert {c.family for c in found} == {6}
    assert all("after Holm over 6 comparisons" in c.sentence for c in found)


def test_a_difference_that_one_test_alone_finds_does_not_count(tmp_path):
    # Slightly better on nearly all images, much worse on a few: the mean says nothing, the ranks do.
    b = masks(seed=1)
    a = b.assign(dice_lungs=b["dice_lungs"] + np.where(np.arange(60) < 3, -0.3, 0.005 + np.arange(60) / 1e4))
    found = compare_cells([write(tmp_path / "a", a)], [write(tmp_path / "b", b)], "dice_lungs", "lungs")
    assert found.p_test < 0.01 < found.p_interval == found.p
    assert found.verdict == "cannot be told apart"


def test_a_lean_that_accuracy_hides_is_told(tmp_path):
    # 200 images, half of each class. A says PNEUMONIA of 20 more NORMAL and of 20 more PNEUMONIA than B: the same
    # accuracy, and fewer healthy children told to be so.
    labels = np.repeat(["NORMAL", "PNEUMONIA"], 100)
    tables = []
    for shift in (20, 0):
        said = np.r_[np.arange(100) < 10 + shift, np.arange(100) >= 30 - shift]
        p = np.where(said, 0.8, 0.2) + np.random.default_rng(shift).normal(0, 0.01, 200)
        table = pd.DataFrame({"image": [f"w/{i:03}" for i in range(200)], "source": "w", "split": "test"})
        table["patient"], table["label"] = [f"p{i}" for i in range(200)], labels
        tables.append(
            table.assign(predicted=np.where(said, "PNEUMONIA", "NORMAL"), p_NORMAL=1 - p, p_PNEUMONIA=p)
        )
    a, b = (read_group(str(write(tmp_path / n, t))) for n, t in zip("ab", tables, strict=True))
    found = {c.metric: c for c in compare(a, b)[0]}
    told = {name: (round(c.value, 3), c.verdict) for name, c in found.items() if name != "auc"}
    assert told == {
        "accuracy": (0, "cannot be told apart"),
        "balanced_accuracy": (0, "cannot be told apart"),
        "sensitivity_NORMAL": (-0.2, "worse"),
        "sensitivity_PNEUMONIA": (0.2, "better"),
    }


def test_equal_answers_are_no_difference(tmp_path):
    a, b = write(tmp_path / "a", masks(), classes()), write(tmp_path / "b", masks(), classes())
    for c in compare(read_group(str(a)), read_group(str(b)))[0]:
        assert (c.value, c.low, c.high, c.p, c.verdict) == (0, 0, 0, 1, "cannot be told apart")
        assert "no amount of data" in c.sentence


def test_too_few_of_a_class_for_an_interval(tmp_path):
    one = classes(images=12)
    one["label"] = ["PNEUMONIA", *["NORMAL"] * 11]
    other = one.assign(p_PNEUMONIA=one["p_NORMAL"], p_NORMAL=one["p_PNEUMONIA"])
    found = compare_cells([write(tmp_path / "a", one)], [write(tmp_path / "b", other)], "auc", "wards")
    assert np.isnan([found.low, found.high, found.p, found.p_holm]).all()
    assert "do not determine an interval" in found.sentence


def test_without_decisions_the_most_probable_class_counts(tmp_path):
    tables = [classes(seed=s) for s in (1, 2)]
    with_them, without = (
        compare_cells(
            [write(tmp_path / f"{name}-a", change(tables[0]))],
            [write(tmp_path / f"{name}-b", change(tables[1]))],
            "accuracy",
            "wards",
        )
        for name, change in (("with", lambda t: t), ("without", lambda t: t.drop(columns="predicted")))
    )
    assert (without.value_a, without.value_b) == (with_them.value_a, with_them.value_b)


def test_labels_that_are_not_exclusive(tmp_path):
    table = classes(seed=1)
    table["label"] = ["NORMAL|PNEUMONIA", "", "NORMAL", "PNEUMONIA"] * 20
    table["p_NORMAL"] = np.random.default_rng(0).random(80)
    decided = table[["p_NORMAL", "p_PNEUMONIA"]] >= 0.5
    table["predicted"] = ["|".join(c[2:] for c in decided if row[c]) for _, row in decided.iterrows()]
    a, b = write(tmp_path / "a", table), write(tmp_path / "b", table.assign(p_NORMAL=1 - table["p_NORMAL"]))
    scores = summarise(
        read_per_image(a / "per_image.parquet"), ("NORMAL", "PNEUMONIA"), (), multi_label=True
    ).metrics
    for metric, test in (("auc", ""), ("auc_NORMAL", "DeLong"), ("accuracy", "McNemar")):
        found = compare_cells([a], [b], metric, "wards")
        assert found.value_a == pytest.approx(scores[metric].value)
        assert found.test == test


def test_every_place_where_a_run_keeps_its_answers(tmp_path):
    tables = [masks(seed=s) for s in (1, 2)]
    other = write(tmp_path / "other", tables[1])
    expected = compare_cells([write(tmp_path / "plain", tables[0])], [other], "dice_lungs", "lungs")
    run = tmp_path / "RUN"
    places = [
        write(run / "evaluation" / "test-lungs", tables[0], name="per_image.csv"),
        run,
        run / "evaluation" / "test-lungs" / "per_image.csv",
        run / "evaluation",
    ]
    for place in places:
        found = compare_cells([place], [other], "dice_lungs", "lungs")
        assert (found.value, found.low, found.high) == (expected.value, expected.low, expected.high)
        assert found.name_a == "RUN"
    # A second evaluation, of another split, is not mixed in; the same one twice, as Parquet, is one.
    write(run / "evaluation" / "val-lungs", masks(seed=5).assign(split="val"))
    write(run / "evaluation" / "again", tables[0])
    assert compare_cells([run], [other], "dice_lungs", "lungs").value == expected.value
    write(run / "evaluation" / "again", masks(seed=9))
    with pytest.raises(ManifestError, match="judged more than once, with different answers"):
        read_group(str(run))


def test_what_evaluate_writes_can_be_compared(tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        table = pd.concat([classes(seed=seed), masks(seed=seed)], ignore_index=True)
        write_scores(tmp_path / name, [], [table], suffix=".csv")
    assert len(compare(read_group(str(tmp_path / "a")), read_group(str(tmp_path / "b")))[0]) == 6


@pytest.mark.parametrize(("older", "newer"), [("csv", "parquet"), ("parquet", "csv")])
def test_two_tables_of_one_evaluation_are_told(tmp_path, older, newer):
    run = tmp_path / "RUN"
    for place in (run, run / "evaluation" / "test-lungs"):
        for age, suffix in enumerate((newer, older)):
            file = write(place, masks(), name=f"per_image.{suffix}") / f"per_image.{suffix}"
            os.utime(file, (1000 - age, 1000 - age))
    words = rf"expected one of them\. Remove the older, per_image\.{older}, or judge the run again"
    for place in (run, run / "evaluation"):
        with pytest.raises(ManifestError, match=words):
            read_group(str(place))
    (run / f"per_image.{older}").unlink()
    assert len(read_group(str(run)).runs[0].table) == 60


def broken(tmp_path, case):
    """Arguments of a comparison that must be refused."""
    good, other = write(tmp_path / "good", masks(seed=1)), tmp_path / "other"
    if case == "fewer images":
        write(other, masks(seed=2).iloc[:50])
    elif case == "other patient":
        write(other, masks(seed=2).assign(patient="x"))
    elif case == "other reference":
        write(other, masks(seed=2).assign(reference_area_px_lungs=1001))
    elif case == "no source":
        write(other, classes())
    elif case == "no metric":
        write(other, classes(source="lungs"))
    elif case == "not a table":
        other.mkdir()
        (other / "per_image.parquet").write_bytes(b"PAR1nonsense")
    elif case == "no columns":
        write(other, masks().drop(columns="patient"), name="per_image.csv")
    elif case == "words for numbers":
        write(other, masks().assign(dice_lungs="good"), name="per_image.csv")
    elif case == "nothing there":
        other.mkdir()
    elif case == "benchmark":
        write(other / "u-net-s0", masks(), cell=cell("u-net", 0))
    elif case == "two settings":
        for count in (100, 200):
            write(tmp_path / f"m-c{count}-s0", masks(), cell=cell("m", 0, class_labels=count))
        other = tmp_path / "m-*"
    elif case == "no match":
        other = tmp_path / "z-*"
    elif case == "absent":
        other = tmp_path / "z"
    elif case == "itself":
        other = good
    elif case == "bad cell":
        write(other, masks(), cell={"method": "m"})
    return str(good), str(other)


@pytest.mark.parametrize(
    ("case", "error", "words"),
    [
        ("fewer images", UsageError, "on 60 images, .* on 50; 50 are common"),
        ("other patient", ManifestError, "patient q0 .* but x"),
        ("other reference", ManifestError, "reference_area_px_lungs"),
        ("no source", UsageError, "no source in common"),
        ("no metric", UsageError, "share no metric on lungs"),
        ("not a table", ManifestError, "not a per-image table"),
        ("no columns", ManifestError, "no column patient"),
        ("words for numbers", ManifestError, "not a per-image table"),
        ("nothing there", CheckpointError, "Judge the run first with `multimix evaluate`"),
        ("benchmark", UsageError, "this is a benchmark, not a run"),
        ("two settings", UsageError, "not seeds of one setting"),
        ("no match", UsageError, "found none"),
        ("absent", UsageError, "no such file or folder"),
        ("itself", UsageError, "stands on both sides"),
        ("bad cell", ManifestError, "whole number as `seed`"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, case, error, words):
    a, b = broken(tmp_path, case)
    with pytest.raises(error, match=words):
        compare(read_group(a), read_group(b))
    result = CliRunner().invoke(command, [a, b])
    assert isinstance(result.exception, MultimixError)  # the command line prints it in one line


def test_metrics_and_sources_that_are_not_there_are_named(tmp_path):
    a, b = (read_group(str(write(tmp_path / n, masks(seed=s)))) for n, s in (("a", 1), ("b", 2)))
    with pytest.raises(UsageError, match=r"--metric auc: .* Choose from dice_lungs, hd95_px_lungs"):
        compare(a, b, ["auc"])
    with pytest.raises(UsageError, match=r"--source wards: .* Choose from lungs"):
        compare(a, b, [], ["wards"])


def test_no_auc_where_only_one_class_is(tmp_path):
    tables = [classes(seed=s).assign(label="NORMAL") for s in (1, 2)]
    a, b = (read_group(str(write(tmp_path / n, t))) for n, t in zip("ab", tables, strict=True))
    assert [c.metric for c in compare(a, b)[0]] == ["accuracy", "sensitivity_NORMAL"]
    with pytest.raises(UsageError, match="--metric auc"):
        compare(a, b, ["auc"])


def test_command_line(tmp_path):
    for method, mean in (("multimix", 0.9), ("u-net", 0.85)):
        seeds_of(tmp_path, method, mean)
    groups, out = (
        [f"{tmp_path}/{method}-*" for method in ("multimix", "u-net")],
        tmp_path / "out" / "all.json",
    )
    result = CliRunner().invoke(
        command, [*groups, "--metric", "dice_lungs,hd95_px_lungs", "--json", str(out)]
    )
    assert result.exit_code == 0, result.output
    assert "multimix-c100-m10 is better than u-net-c100-m10 in dice_lungs on lungs" in result.output
    assert "Paired by the seed in cell.json: 0, 1, 2." in result.output
    stored = json.loads(out.read_text())
    assert len(stored["a"]) == len(stored["b"]) == 3
    first = stored["comparisons"][0]
    expected = compare(read_group(groups[0]), read_group(groups[1]), ["dice_lungs", "hd95_px_lungs"])[0][0]
    assert first["sentence"] == expected.sentence
    assert [first["value"], first["low"], first["high"]] == [expected.value, expected.low, expected.high]


def groups_tuned(tmp_path, trials_a, trials_b):
    """Two groups far apart, A ahead, with what their cells say of their tuning."""
    for method, mean, trials in (("multimix", 0.9, trials_a), ("u-net", 0.85, trials_b)):
        for run in seeds_of(tmp_path, method, mean, count=7):
            about = json.loads((run / "cell.json").read_text())
            (run / "cell.json").write_text(json.dumps(about | {"trials": trials}))
    return (read_group(f"{tmp_path}/{method}-*") for method in ("multimix", "u-net"))


@pytest.mark.parametrize(
    ("trials", "verdicts", "effort"),
    [
        ((4, 4), ("better", "worse"), ("", "")),
        ((None, None), ("better", "worse"), ("", "")),
        (
            (4, 1),
            ("ahead", "behind"),
            (
                ", but tuned with more trials (4 against 1)",
                ", but tuned with fewer trials (1 against 4)",
            ),
        ),
        (
            (0, 2),
            ("ahead", "behind"),
            (
                ", and tuned with fewer trials (0 against 2)",
                ", and tuned with more trials (2 against 0)",
            ),
        ),
        (
            (4, None),
            ("ahead", "behind"),
            (
                ", but how one side was tuned is not recorded (trials: 4 against not recorded)",
                ", but how one side was tuned is not recorded (trials: not recorded against 4)",
            ),
        ),
    ],
)
def test_who_was_tuned_with_other_effort_is_not_called_better(tmp_path, trials, verdicts, effort):
    a, b = groups_tuned(tmp_path, *trials)
    for first, second, verdict, words in ((a, b, verdicts[0], effort[0]), (b, a, verdicts[1], effort[1])):
        ((found,), _) = compare(first, second, ["dice_lungs"])
        assert found.verdict == verdict
        than = {"ahead": "ahead of", "behind": "behind"}.get(verdict, f"{verdict} than")
        start = f"{found.name_a} is {than} {found.name_b} in dice_lungs on lungs{words}: difference"
        assert found.sentence.startswith(start)
        assert ("better" in found.sentence) == (verdict == "better")


def test_an_error_that_is_smaller_is_ahead(tmp_path):
    a, b = groups_tuned(tmp_path, 4, 1)
    ((found,), _) = compare(a, b, ["hd95_px_lungs"])
    assert found.value < 0
    assert (found.verdict, found.effort) == ("ahead", "but tuned with more trials (4 against 1)")


def test_the_command_names_the_tuning_of_both_sides(tmp_path):
    groups_tuned(tmp_path, 4, None)
    (tmp_path / "spec.yaml").write_text(
        "trials: {u-net: 3, multimix: 7}"
    )  # of cells that do not say it themselves
    groups = [f"{tmp_path}/{method}-*" for method in ("multimix", "u-net")]
    said = CliRunner().invoke(command, groups).output
    assert "Settings tuned over (trials): 4 for A, 3 for B." in said
    assert "but tuned with more trials (4 against 3)" in said
    assert "better" not in said
    (tmp_path / "spec.yaml").write_text("trials: [")
    assert "4 for A, not recorded for B." in CliRunner().invoke(command, groups).output


def test_every_source_is_compared_over_its_seeds(tmp_path):
    for method, skill in (("x", 2.0), ("y", 1.8)):
        for s in range(3):
            tables = [classes(s, 490, skill, f"c{k}") for k in range(2)]
            tables += [masks(s, 177, 0.9, f"m{k}") for k in range(3)]
            write(tmp_path / f"{method}-{s}", *tables)
    found, _ = compare(read_group(f"{tmp_path}/x-*"), read_group(f"{tmp_path}/y-*"))
    assert len(found) == 2 * 5 + 3


def test_stored_results():
    results = Path(__file__).resolve().parents[2] / "results" / "quick"
    cells = [results / f"{name}-c100-m10-s0" for name in ("multimix", "umtl")]
    found = compare_cells([cells[0]], [cells[1]], "auc", "kermany")
    assert (round(found.value_a, 3), round(found.value_b, 3)) == (0.960, 0.940)  # as in their scores.json
    # The bootstrap over patients and DeLong's clustered variance are two ways to one standard error.
    error = (found.high - found.low) / 2 / stats.t.ppf(0.975, 337)
    assert 2 * stats.norm.sf(found.value / error) == pytest.approx(found.p_test, rel=0.5)
