"""The plan of an experiment: which runs a spec names, and which specs are refused."""

from pathlib import Path

import pytest

from multimix.cli.benchmark import benchmark as command
from multimix.errors import UsageError
from multimix.experiment.spec import SPECS, Spec
from multimix.recipes import recipe


def test_the_grid_is_methods_times_the_budgets_they_use_times_seeds() -> None:
    spec = Spec(methods=("u-net", "enc", "umtl"), class_labels=(5, None), mask_labels=(3,), seeds=(0, 7))
    assert [cell.name for cell in spec.cells()] == [
        *("u-net-m3-s0", "enc-c5-s0", "umtl-c5-m3-s0", "enc-call-s0", "umtl-call-m3-s0"),
        *("u-net-m3-s7", "enc-c5-s7", "umtl-c5-m3-s7", "enc-call-s7", "umtl-call-m3-s7"),
    ]


def test_the_published_table_is_a_spec() -> None:
    cells = Spec.read(Path("paper")).cells()
    # Per seed: U-Net at 3 budgets, Enc and EncSSL at 3, five methods at 3 x 3.
    assert len(cells) == 5 * (3 + 2 * 3 + 5 * 9)


def test_a_method_may_depart_from_what_all_share() -> None:
    changes = {"objective": {"dice_weight": 9}, "optim": {"steps": 7}}
    spec = Spec(methods=("u-net", "multimix-plus"), seeds=(0,), own={"multimix-plus": changes})
    one, other = (cell.config(spec, Path("data")) for cell in spec.cells())
    assert (one.objective, one.optim) == (spec.run.objective, spec.run.optim)
    assert (other.objective.dice_weight, other.optim.steps) == (9.0, 7)
    ours = recipe("ours")
    rows = ("quick", "multimix-plus"), ("ours", "multimix-plus"), ("ours", "multimix-plus-class-style")
    for name, row in rows:
        run = Spec.read(Path(name)).run_of(row)
        assert (run.objective, run.streams) == (ours.objective, ours.streams)
    default = Spec.read(Path("long")).run_of("multimix-plus")
    assert (default.objective, default.streams, default.optim) == (ours.objective, ours.streams, ours.optim)
    with pytest.raises(UsageError, match=r"Unknown configuration field 'objective\.dice'"):
        Spec(own={"u-net": {"objective": {"dice": 1}}})
    with pytest.raises(UsageError, match="--method 'unet'"):
        Spec(own={"unet": {}})


def test_the_tuning_of_each_method_is_kept_where_it_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("trials: {u-net: 4, multimix: 0}")
    spec = Spec.read(tmp_path / "spec.yaml")
    assert spec.trials == {"u-net": 4, "multimix": 0}
    assert "trials:\n  u-net: 4\n  multimix: 0\n" in spec.to_yaml()
    assert "trials" not in Spec().to_yaml()  # a benchmark that was begun before goes on


@pytest.mark.parametrize("name", sorted(file.stem for file in SPECS.glob("*.yaml")))
def test_shipped_specs_say_how_they_were_tuned(name: str) -> None:
    assert Spec.read(Path(name)).tuning
    assert f" {name}" in str(command.help)


def test_a_bare_name_is_a_file_here_or_a_shipped_spec_but_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quick").mkdir()  # as `python -m benchmarks.stepmark quick --out quick` leaves it
    Path("smoke").write_text("seeds: [5]")
    assert Spec.read(Path("quick")) == Spec.read(SPECS / "quick.yaml")
    assert Spec.read(Path("smoke")).seeds == (5,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("methods: [magic]", "Unknown --method 'magic'"),
        ("seeds: []", "seeds: expected at least one"),
        ("class_labels: [100, 0]", "class_labels: expected numbers from 1, or null for all, got 0"),
        ("colour: red", "Unknown configuration field 'colour'"),
        ("run: {optim: {steps: 0}}", "--steps"),
        ("trials: {u-nett: 3}", "Unknown --method 'u-nett'"),
        ("trials: {u-net: many}", "trials.u-net: expected a value of type int, got 'many'"),
        ("trials: {u-net: -1}", "trials.u-net: expected a number from 0 on, got -1"),
        ("recipe: best", "Unknown --recipe 'best'"),
        ("[1, 2]", "expected a YAML mapping"),
        ("a: [", "not a readable YAML file"),
    ],
)
def test_specs_that_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "spec.yaml").write_text(text)
    with pytest.raises(UsageError, match=expected.replace("[", r"\[")):
        Spec.read(tmp_path / "spec.yaml")
