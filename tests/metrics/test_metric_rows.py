"""The rows of METRICS, and scores of a per-image table by hand."""

import numpy as np
import pandas as pd
import pytest

from multimix.errors import ManifestError
from multimix.metrics import per_image
from multimix.metrics.table import METRICS, find, metric_of, ranked_by, title


def table(**columns):
    """Four images; of A two and one, decided A, B, B, A."""
    return pd.DataFrame(
        {
            "image": list("wxyz"),
            "label": ["A", "A", "B", ""],
            "predicted": ["A", "B", "B", "A"],
            "p_A": [0.9, 0.4, 0.3, 0.8],
            "p_B": [0.1, 0.6, 0.7, 0.2],
        }
        | columns
    )


def scored(rows, **more):
    return per_image.scored(rows, ("A", "B"), ("lungs",), **more)


def test_names_lead_to_rows():
    assert find("auc") == (metric_of("auc"), "")
    row, of = find("auc_A_b")
    assert (row.name, row.each, of) == ("auc", "class", "A_b")
    assert find("hd95_px_left lung")[1] == "left lung"
    # As others name them: one sensitivity, of the one class that is meant.
    assert find("sensitivity")[0].high == 1
    assert find("mean_mask_dice_lungs") is None
    with pytest.raises(KeyError):
        metric_of("kappa")
    for metric in METRICS:
        assert (metric.values is None or metric.whole is None) or metric.each == "structure"


def test_none_is_best_for_always_giving_one_answer():
    ranked = {
        metric.name: ranked_by(f"{metric.name}_A" if metric.each else metric.name) for metric in METRICS
    }
    assert ranked["sensitivity"] == ranked["specificity"] == "balanced_accuracy"
    assert (ranked["accuracy"], ranked["dice"]) == ("accuracy", "dice_A")


def test_titles():
    assert title("dice_lungs", ["lungs"]) == "Dice"
    assert title("dice_lungs", ["lungs", "heart"]) == "Dice of lungs"
    assert title("f1_lungs", ["lungs"]) == "F1 of lungs"  # a class of that name
    assert title("auc_NORMAL", ["lungs"]) == "AUC of NORMAL"
    assert title("balanced_accuracy", []) == "balanced accuracy"


def test_directions_and_ranges():
    lower = {metric.name for metric in METRICS if metric.lower_is_better}
    assert lower == {"brier", "ece", "set_size", "asd_px", "hd95_px", "asd_mm", "hd95_mm"}
    assert metric_of("brier").high == 2
    assert metric_of("hd95_mm").high == np.inf


def test_scores_of_two_exclusive_classes_by_hand():
    found = scored(table())
    # The unlabelled image does not count. A: told of one of two; B: of its one. Base rates 2/3: always A.
    expected = {
        "accuracy": (2 / 3, 2 / 3),
        "auc": (1, 1 / 2),
        "balanced_accuracy": (3 / 4, 1 / 2),
        "sensitivity_A": (1 / 2, 1),
        "sensitivity_B": (1, 0),
        "f1_A": (2 / 3, 4 / 5),
        "f1_B": (2 / 3, 0),
        "brier": (2 * (0.01 + 0.36 + 0.09) / 3, 4 / 9),
        "ece": ((0.1 + 0.6 + 0.3) / 3, 0),
    }
    assert list(found) == list(expected)
    for name, (value, baseline) in expected.items():
        assert (found[name].value, found[name].baseline) == pytest.approx((value, baseline)), name
    assert found["sensitivity_A"].rows["image"].tolist() == ["w", "x"]
    assert found["sensitivity_A"].values.tolist() == [1, 0]
    weights = np.array([[3.0, 1.0, 5.0], [0.0, 2.0, 1.0]])
    assert found["accuracy"].statistic(weights).tolist() == pytest.approx([8 / 9, 1 / 3])
    assert found["balanced_accuracy"].statistic(weights).tolist() == pytest.approx([(3 / 4 + 1) / 2, 1 / 2])


def test_of_one_of_several_classes_specificity_is_told_too():
    rows = table(label=["A|B", "none", "B", "A"], predicted=["A", "A", "A|B", "none"])
    found = scored(rows, multi_label=True)
    # A is present in w and z and said of w, x and y; B in w and y and said of y.
    values = {name: found[name].value for name in found if name.startswith(("sens", "spec", "bal"))}
    assert values == pytest.approx(
        {
            "balanced_accuracy": (1 / 2 + 0 + 1 / 2 + 1) / 4,
            "sensitivity_A": 1 / 2,
            "sensitivity_B": 1 / 2,
            "specificity_A": 0,
            "specificity_B": 1,
        }
    )


def test_a_class_that_no_image_has_has_no_sensitivity():
    found = scored(table(label="A"))
    assert "sensitivity_B" not in found
    assert np.isnan([found["auc"].value, found["balanced_accuracy"].value]).all()


def test_mask_scores_are_over_the_images_with_a_reference():
    nan = np.nan
    rows = table(
        dice_lungs=[0.9, nan, 0.5, 0.7],
        asd_mm_lungs=[1.0, nan, nan, 2.0],
        asd_px_lungs=[1.0, nan, 6.0, 2.0],
        mean_mask_dice_lungs=[0.5, nan, 0.6, 0.7],
    )
    found = scored(rows)
    assert (found["dice_lungs"].value, found["dice_lungs"].baseline) == pytest.approx((0.7, 0.6))
    assert (found["asd_px_lungs"].value, found["asd_px_lungs"].baseline) == (3, None)
    assert "asd_mm_lungs" not in found  # a mean over some of them is another score
    assert "dice_heart" not in per_image.scored(rows, (), ("lungs", "heart"))


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"p_B": [0.1, np.nan, 0.7, 0.2]}, "x: has no number as p_B, but other probabilities"),
        ({"p_A": [np.nan, 0.4, 0.3, 0.8]}, "w: has no number as p_A"),
        ({"predicted": ["A", "", "B", "A"]}, "x: has probabilities but no class as `predicted`"),
        ({"predicted": ["A", "B", "C", "A"]}, "y: answer 'C' is not among"),
        ({"label": ["A", "A|B", "B", ""]}, r"x: label 'A\|B' is not among"),
    ],
)
def test_tables_that_would_give_another_score_are_refused(columns, words):
    # Each used to pass for an answer: NaN for the surest, none for the first class.
    with pytest.raises(ManifestError, match=words):
        scored(table(**columns))


def test_what_is_known_is_read_from_the_columns():
    rows = table(p_C=np.nan, dice_lungs=[np.nan, 1.0, np.nan, np.nan], dice_heart=np.nan)
    assert per_image.classes_of(rows) == ("A", "B")
    assert per_image.structures_of(rows) == ("lungs",)
    assert per_image.exclusive(rows)
    assert not per_image.exclusive(table(p_A=[0.9, 0.9, 0.9, 0.9]))
    assert per_image.scored(table(), (), ()) == {}
