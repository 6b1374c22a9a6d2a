"""What the figures show is computed right, looks one way, and leaves matplotlib as it was."""

import itertools
import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from multimix.recipes import METHODS, PAPER_METHODS
from multimix.report.figures import style
from multimix.report.figures.classes import (
    Answers,
    Confidences,
    average_precision,
    precision_recall,
    precision_recall_of,
    reliability,
    reliability_of,
    roc,
    roc_of,
)
from multimix.report.figures.masks import agreement, area_difference, bland_altman, dice_boxes
from multimix.report.figures.overview import Difference, Point, budgets, differences, dots
from multimix.types import Estimate

PROTANOPIA = (
    (0.152286, 1.052583, -0.204868),
    (0.114503, 0.786281, 0.099216),
    (-0.003882, -0.048116, 1.051998),
)
DEUTERANOPIA = (
    (0.367322, 0.860646, -0.227968),
    (0.280085, 0.672501, 0.047413),
    (-0.011820, 0.042940, 0.968881),
)
"""Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB."""


def linear(colour: str) -> np.ndarray:
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(matrix @ rgb.clip(0, 1) / np.array([0.9505, 1, 1.089]))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


OWN = {name: colour for name, colour in style.COLOURS.items() if colour != style.FAINT}
"""Of the paper's methods and ours; ablations are grey and told apart by their marks."""


@pytest.mark.parametrize("palette", [OWN, style.DARK_COLOURS])
@pytest.mark.parametrize("seen", [np.eye(3), np.array(PROTANOPIA), np.array(DEUTERANOPIA)])
def test_methods_stay_apart_for_colour_blind_readers(palette: dict[str, str], seen: np.ndarray):
    colours = {name: lab(seen @ linear(colour)) for name, colour in palette.items()}
    for a, b in itertools.combinations(colours, 2):
        assert np.linalg.norm(colours[a] - colours[b]) > 25, (a, b)  # 2.3 is just noticeable


@pytest.mark.parametrize(("palette", "ground"), [(OWN, "#fefefe"), (style.DARK_COLOURS, "#15181c")])
def test_methods_stand_out_from_the_ground(palette: dict[str, str], ground: str):
    weights = np.array([0.2126, 0.7152, 0.0722])
    paper = linear(ground) @ weights
    for name, colour in palette.items():
        low, high = sorted((linear(colour) @ weights, paper))
        assert (high + 0.05) / (low + 0.05) > 2, name


def test_every_method_has_a_mark_of_its_own_and_each_but_the_ablations_a_colour():
    assert list(style.MARKS) == list(style.COLOURS) == list(METHODS)
    assert len(set(style.MARKS.values())) == len(METHODS)
    assert list(OWN) == list(style.DARK_COLOURS) == [*PAPER_METHODS, "multimix-plus"]
    assert len(set(OWN.values())) == len(set(style.DARK_COLOURS.values())) == len(OWN)


def test_a_dark_picture_changes_ink_ground_and_methods_once():
    document = f"<p {style.INK} {style.PAPER} {style.COLOURS['enc']}/>"
    assert style.darkened(document) == f"<p {style.DARK[style.INK]} #15181c {style.DARK_COLOURS['enc']}/>"


def masks(dice: list[float], predicted: list[float], reference: list[float]) -> pd.DataFrame:
    columns = {"dice_lungs": dice, "area_px_lungs": predicted, "reference_area_px_lungs": reference}
    return pd.DataFrame(columns)


def test_area_difference_is_in_per_cent_of_the_mean():
    table = masks([0, 0, 0, 0], [110, 0, 0, 90], [90, 50, 0, 110])
    np.testing.assert_allclose(area_difference(table, "lungs"), [20, -200, 0, -20])


def test_limits_of_agreement_by_hand():
    # Mean 1, sample standard deviation of (0, 1, 2) is 1.
    assert agreement(np.array([0.0, 1.0, 2.0])) == pytest.approx((1, 1 - 1.96, 1 + 1.96))
    bias, low, high = agreement(np.array([3.0]))
    assert bias == 3
    assert np.isnan([low, high]).all()


ANSWERS = Answers(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))


def test_roc_by_hand():
    # Thresholds .8, .4, .35, .1: one positive, then a negative, a positive, a negative.
    false, true = roc_of(ANSWERS)
    np.testing.assert_allclose(false, [0, 0, 0.5, 0.5, 1])
    np.testing.assert_allclose(true, [0, 0.5, 0.5, 1, 1])


def test_precision_and_recall_by_hand():
    recall, precision = precision_recall_of(ANSWERS)
    np.testing.assert_allclose(recall, [0, 0.5, 0.5, 1, 1])
    np.testing.assert_allclose(precision, [1, 1, 1 / 2, 2 / 3, 1 / 2])
    assert average_precision(ANSWERS) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_reliability_by_hand():
    confidence = np.array([0.55] * 4 + [0.95] * 2 + [0.75])
    right = np.array([1, 1, 0, 0, 1, 1, 1])
    x, y, count = reliability_of(Confidences(confidence, right), least=2)
    np.testing.assert_allclose(x, [0.55, 0.95])  # the bin of one image is left out
    np.testing.assert_allclose(y, [0.5, 1])
    assert count.tolist() == [4, 2]


def points() -> list[Point]:
    return [
        Point("umtl", Estimate(0.8, 0.7, 0.9, 0.6), (0.78, 0.82), published=0.7),
        Point("multimix", Estimate(0.9, 0.85, 0.95, 0.6), (0.9,)),
    ]


def drawn(name: str) -> Figure:
    table = masks([0.9, 0.95, 0.7], [100, 120, 90], [90, 130, 100])
    rng = np.random.default_rng(0)
    confidences = {"umtl": Confidences(rng.uniform(0.5, 1, 60), rng.integers(0, 2, 60))}
    answers = {"enc": [ANSWERS, ANSWERS], "multimix": [ANSWERS]}
    areas = {"enc": 0.75, "multimix": 0.8}
    return {
        "boxes": lambda: dice_boxes({"umtl": table}, "lungs", "jsrt", trivial=0.8, observer=0.972),
        "areas": lambda: bland_altman({"umtl": table, "multimix": table}, "lungs", "jsrt"),
        "roc": lambda: roc(answers, areas, "kermany"),
        "pr": lambda: precision_recall(answers, areas, "kermany"),
        "calibration": lambda: reliability(confidences, {"umtl": 0.1}, "kermany"),
        "dots": lambda: dots(points(), "accuracy", "kermany", {"majority": 0.6}),
        "budgets": lambda: budgets(
            {"umtl": [("100", points()[0]), ("full", points()[1])]}, "masks", "Dice", "t", {}
        ),
        "differences": lambda: differences(
            [Difference("a − b", "umtl", 0.1, 0.05, 0.15)], "difference", "Dice"
        ),
    }[name]()


NAMES = ("boxes", "areas", "roc", "pr", "calibration", "dots", "budgets", "differences")


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_needs_nothing_from_elsewhere_and_is_the_same_each_time(name: str):
    before = dict(matplotlib.rcParams)
    document = style.svg(drawn(name))
    assert document == style.svg(drawn(name))
    assert dict(matplotlib.rcParams) == before
    links = re.findall(r'(?:href|src)="([^"]+)"|url\(([^)]+)\)', document)
    assert all(link.startswith(("#", "data:")) for pair in links for link in pair if link)
    assert "<script" not in document


def test_dots_stand_where_the_scores_are():
    axes = drawn("dots").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["MultiMix", "UMTL"]
    xs = [tuple(map(float, np.atleast_1d(line.get_xdata()))) for line in axes.lines]
    assert (0.85, 0.95) in xs  # the interval
    assert (0.78, 0.82) in xs  # the seeds
    assert (0.7,) in xs  # the published number


def test_a_difference_whose_interval_leaves_zero_out_is_filled():
    filled = drawn("differences").axes[0].lines[-1]
    assert filled.get_markerfacecolor() == style.COLOURS["umtl"]
    hollow = differences([Difference("a − b", "umtl", 0.1, -0.05, 0.25)], "d", "t").axes[0].lines[-1]
    assert hollow.get_markerfacecolor() == style.PAPER


def test_budgets_stand_in_order_with_all_labels_last():
    axes = budgets(
        {"umtl": [(b, points()[0]) for b in ("1000", "full", "100")]}, "class images", "accuracy", "t", {}
    ).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["100", "1000", "all"]


def test_areas_under_the_curve_stand_in_the_legend():
    legend = drawn("roc").axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["MultiMix  0.800", "Enc  0.750"]
