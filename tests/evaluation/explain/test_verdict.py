"""From a table to figures, by hand, and from figures to the tests that are passed."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from samples import sample

from multimix.evaluation.explain.columns import described
from multimix.evaluation.explain.summary import summarise
from multimix.evaluation.explain.verdict import judge, outcomes
from multimix.types import Estimate

KINDS = ("own", "edges", "gaussian", "random_network")


def table(count: int = 40, **own: float) -> pd.DataFrame:
    """A map that passes every test, but for the columns named, which have this value with a little noise."""
    rng = np.random.default_rng(0)
    values: dict[str, float] = {"area_structures": 0.3, "noise": 0.9, "cascade_block1": 0.05}
    for kind in KINDS:
        good = kind == "own"
        values[f"inside_structures_{kind}"] = 0.7 if good else 0.3
        values[f"pointing_structures_{kind}"] = 1.0 if good else 0.2
    for kind in (*KINDS, "random"):
        values |= {f"{measure}_{kind}": 0.9 if kind == "own" else 0.3 for measure in ("insertion", "road")}
        values[f"deletion_{kind}"] = 0.5
    values |= {"bridge_dice_zeros": 0.8, "bridge_dice_another_patient": 0.9, "bridge_change_zeros": -0.1}
    columns = {name: value + 0.01 * rng.random(count) for name, value in (values | own).items()}
    images = sample(np.ones((count, 16, 16), bool))
    return described(images, pd.DataFrame(columns), [f"{i}.png" for i in range(count)])


def results(**own: float) -> dict[str, bool | None]:
    made = table(**own)
    return outcomes(made, summarise(made, samples=200))


def test_figures_by_hand():
    two = pd.DataFrame(
        {
            "image": ["a.png", "b.png"],
            "source": ["s", "s"],
            "split": ["test", "test"],
            "patient": ["1", "2"],
            "label": ["", ""],
            "area_structures": [0.2, 0.6],
            **{f"inside_structures_{kind}": [0.2, 0.6] for kind in KINDS},
            **{f"pointing_structures_{kind}": [0.0, 1.0] for kind in KINDS},
            "noise": [0.5, 0.7],
        }
    )
    two["inside_structures_own"] = [0.6, 0.8]
    two["pointing_structures_own"] = [1.0, 1.0]
    found = {name: figure.value for name, figure in summarise(two, samples=50).items()}
    assert found["lift_structures_own"] == pytest.approx(1.4 / 0.8)
    assert found["lift_structures_own_minus_edges"] == pytest.approx((1.4 - 0.8) / 0.8)
    assert found["pointing_structures_own_minus_edges"] == pytest.approx(0.5)
    assert found["pointing_structures_own_minus_area"] == pytest.approx(1 - 0.4)
    assert found["noise"] == pytest.approx(0.6)
    assert found["inside_structures_own"] == pytest.approx(0.7)


def test_an_image_without_a_number_does_not_count():
    made = table()
    made.loc[0, [name for name in made if "structures" in name]] = np.nan
    figures = summarise(made, samples=50)
    assert figures["area_structures"].value == pytest.approx(made["area_structures"][1:].mean())
    assert np.isfinite(figures["lift_structures_own"].value)


def test_one_name_in_two_sources_is_two_patients():
    made = table(20)
    made["patient"] = "same"
    made.loc[10:, "source"] = "other"
    assert np.isfinite(summarise(made, samples=50)["noise"].low)
    made["source"] = "s"
    assert np.isnan(summarise(made, samples=50)["noise"].low)


def test_a_good_map_passes_every_test():
    assert results() == dict.fromkeys(("localises", "faithful", "sensitive", "repeatable", "bridge"), True)


@pytest.mark.parametrize(
    ("test", "own"),
    [
        ("localises", {"inside_structures_own": 0.3}),
        ("localises", {"inside_structures_gaussian": 0.8}),
        ("localises", {"pointing_structures_own": 0.2}),
        ("localises", {"pointing_structures_random_network": 1.0}),
        ("localises", {"area_structures": 1.0}),  # the brightest point could lie nowhere else
        ("faithful", {"insertion_own": 0.3}),
        ("faithful", {"road_edges": 0.95}),
        ("faithful", {"road_random": 0.9}),
        ("sensitive", {"cascade_block1": 0.8}),
        ("sensitive", {"shuffled_labels": 0.8}),
        ("repeatable", {"noise": 0.4}),
        ("bridge", {"bridge_dice_another_patient": 0.9995}),
    ],
    ids=str,
)
def test_each_fault_fails_its_test_and_no_other(test: str, own: dict[str, float]):
    found = results(**own)
    assert [name for name, passed in found.items() if passed is not True] == [test]
    assert found[test] is False


def test_deletion_is_not_judged():
    assert results(deletion_own=0.99)["faithful"]


def test_the_disease_counts_where_its_place_is_known():
    disease: dict[str, Any] = {f"inside_finding_{kind}": 0.1 for kind in KINDS}
    disease |= {f"pointing_finding_{kind}": 0.1 for kind in KINDS} | {"area_finding": 0.1}
    assert results(**disease)["localises"] is False
    there = {"inside_finding_own": 0.5, "pointing_finding_own": 0.9}
    assert results(**disease | there)["localises"] is True


def test_patients_who_are_not_known_give_no_interval_and_say_nothing():
    made = table()
    made.loc[0, "patient"] = "?0"
    figures = summarise(made, samples=50)
    assert np.isnan(figures["noise"].low)
    assert set(outcomes(made, figures).values()) == {None}


def test_few_patients_say_nothing():
    made = table(19)
    assert set(outcomes(made, summarise(made, samples=50)).values()) == {None}


def test_what_was_not_measured_is_untested_and_not_failed():
    made = table().drop(
        columns=[name for name in table() if name.startswith(("bridge", "road", "insertion"))]
    )
    verdict = judge(made, summarise(made, samples=200), "test images of s")
    assert verdict.failed == ()
    assert verdict.untested == ("faithful", "bridge")
    assert not verdict.passed


def test_a_figure_that_is_the_same_everywhere_has_no_interval_and_counts_all_the_same():
    made = table()
    made["noise"] = 1.0
    figures = summarise(made, samples=50)
    assert np.isnan(figures["noise"].low)
    assert outcomes(made, figures)["repeatable"] is True


def test_the_verdict_carries_the_main_figures():
    made = table()
    figures: dict[str, Estimate] = summarise(made, samples=50)
    verdict = judge(made, figures, "test images of s")
    assert (verdict.images, verdict.sample, verdict.passed) == (40, "test images of s", True)
    assert verdict.figures["lift_structures_own"] == figures["lift_structures_own"].value
    assert verdict.figures["bridge_dice_zeros"] == figures["bridge_dice_zeros"].value
