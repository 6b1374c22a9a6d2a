"""The verdict of a heat map: words, and a way to a header and back."""

import json
from dataclasses import replace

import pytest

from multimix.reliability.map_verdict import TESTS, MapVerdict, in_words

GOOD = MapVerdict(
    90, "validation images of wards", figures={"pointing_structures_own": 0.85, "area_structures": 0.34}
)


def test_a_map_that_passed_is_shown():
    assert GOOD.passed
    assert in_words(GOOD) == GOOD.sentence()
    assert GOOD.sentence() == (
        "this model's heat map passed its tests on 90 validation images of wards: its brightest point lies in the "
        "segmented structures in 85 % of them, by chance it would in 34 %"
    )


@pytest.mark.parametrize("test", TESTS)
def test_a_map_that_fails_a_test_is_not_shown_and_the_reason_is_said(test: str):
    failed = replace(GOOD, failed=(test,))
    assert not failed.passed
    assert TESTS[test] in in_words(failed)
    assert "\n" not in in_words(failed)
    untested = replace(GOOD, untested=(test,))
    assert not untested.passed
    assert "could not be tested" in in_words(untested)


def test_a_bridge_that_carries_nothing_does_not_make_a_map_untrue():
    assert replace(GOOD, failed=("bridge",)).passed


def test_what_was_never_tested_is_told_so():
    assert "not been tested" in in_words(None)


def test_of_the_disease_where_its_place_is_known():
    figures = {**GOOD.figures, "pointing_finding_own": 0.5, "area_finding": 0.1}
    assert (
        "lies in the disease in 50 % of them, by chance it would in 10 %"
        in replace(GOOD, figures=figures).sentence()
    )


def test_it_comes_back_from_a_header():
    verdict = replace(GOOD, failed=("localises", "bridge"), untested=("faithful",))
    assert MapVerdict.unpack(json.loads(json.dumps(verdict.pack()))) == verdict


@pytest.mark.parametrize(
    "change",
    [{"images": 0}, {"failed": ["beauty"]}, {"untested": ["beauty"]}, {"figures": {"lift": float("nan")}}],
    ids=str,
)
def test_impossible_values_are_refused(change: dict[str, object]):
    with pytest.raises(ValueError, match=r"images|beauty"):
        MapVerdict.unpack(GOOD.pack() | change)
    with pytest.raises(KeyError):
        MapVerdict.unpack({})
