"""The published numbers: complete, as printed, and marked where they cannot be true."""

import csv
from pathlib import Path

import pytest

from multimix.experiment import published
from multimix.recipes import PAPER_METHODS


def test_there_are_108_rows_half_of_them_in_each_domain():
    domains = [row.domain for row in published.rows()]
    assert [domains.count(name) for name in published.DOMAINS] == [54, 54]


def test_a_row_is_as_printed():
    row = published.find("in-domain", "MultiMix", "100", "10")
    assert row is not None
    assert (row.scores["accuracy"], row.scores["dice"], row.scores["hausdorff"]) == (0.800, 0.954, 0.695)
    assert row.scores["auc"] == 0.806
    assert not row.impossible


def test_a_method_without_a_head_has_no_scores_of_it():
    enc, unet = published.find("in-domain", "Enc", "100", ""), published.find("in-domain", "U-Net", "", "10")
    assert enc is not None
    assert unet is not None
    assert set(enc.scores) == {"accuracy", "f1_normal", "f1_pneumonia", "auc"}
    assert set(unet.scores) == {"dice", "jaccard", "ssim", "hausdorff", "precision", "recall"}


def test_the_same_cell_differs_between_domains_and_an_unknown_budget_has_none():
    cross = published.find("cross-domain", "MultiMix", "100", "10")
    assert cross is not None
    assert cross.scores["dice"] == 0.857
    assert "auc" not in cross.scores
    assert published.find("in-domain", "MultiMix", "200", "10") is None


def test_26_rows_have_a_jaccard_above_the_dice():
    impossible = [row for row in published.rows() if row.impossible]
    assert len(impossible) == 26
    # Every in-domain row of the two methods that the bridge is measured against.
    against = [r for r in published.rows() if r.domain == "in-domain" and r.method in {"UMTL", "UMTL-SSL"}]
    assert len(against) == 18
    assert all(row.impossible for row in against)


def test_every_cross_domain_accuracy_is_below_always_normal():
    cross = [r for r in published.rows() if r.domain == "cross-domain" and "accuracy" in r.scores]
    assert len(cross) == 51
    assert all(row.below_trivial for row in cross)
    assert not any(row.below_trivial for row in published.rows() if row.domain == "in-domain")


def test_the_methods_are_those_of_the_recipes():
    assert {row.method for row in published.rows()} == {method.name for method in PAPER_METHODS.values()}


def test_dice_of_the_observer_by_hand():
    # J = 0.946: two masks of equal size a with intersection i, i / (2a - i) = 0.946, so i / a = 1.892 / 1.946.
    assert pytest.approx(1.892 / 1.946) == published.OBSERVER_DICE
    assert round(published.OBSERVER_DICE, 3) == 0.972


def test_the_packaged_rows_are_those_of_the_shared_table(shared: Path):
    with (shared / "paper" / "results.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(published.rows())
    for line, row in zip(lines, published.rows(), strict=True):
        assert (line["domain"], line["model"]) == (row.domain, row.method)
        assert line["accuracy"] == ("" if "accuracy" not in row.scores else f"{row.scores['accuracy']:.3f}")
        assert line["dice"] == ("" if "dice" not in row.scores else f"{row.scores['dice']:.3f}")
