"""What commands show: the tables, with numbers and brackets as they are."""

import io

import pandas as pd
import pytest
from rich.console import Console
from rich.table import Table

from multimix.cli.evaluate import scores_table
from multimix.cli.explain import bridge_in_words
from multimix.reliability.map_verdict import MapVerdict
from multimix.types import Estimate, Scores

NAN = float("nan")


def lines_of(table: Table, width: int) -> list[str]:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table)
    return [" ".join(line.replace("│", " ").split()) for line in console.export_text().splitlines()]


def test_scores() -> None:
    metrics = {
        "accuracy": Estimate(0.75, 0.5, 1.0, 0.6),
        "auc": Estimate(NAN, NAN, NAN, NAN),
        "hd95_px_lungs": Estimate(3.14159, 2.0, 4.0),
        "f1_[b]": Estimate(0.5, 0.25, 0.75, 0.0),
        "ece": Estimate(0.04, NAN, NAN, 0.0),
    }
    lines = lines_of(scores_table([Scores("clinic", "test", 12, 9, metrics)]), width=80)
    assert "clinic test accuracy 0.750 [0.500, 1.000] 0.600" in lines
    assert "12 images auc undefined undefined undefined" in lines
    assert "9 patients hd95_px_lungs 3.14 [2.00, 4.00]" in lines
    assert "f1_[b] 0.500 [0.250, 0.750] 0.000" in lines
    assert "ece 0.040 none 0.000" in lines


def test_scores_where_patients_are_not_known() -> None:
    scores = Scores("clinic", "test", 4, 0, {"accuracy": Estimate(0.75, NAN, NAN, 0.75)})
    lines = lines_of(scores_table([scores]), width=80)
    assert "clinic test accuracy 0.750 none 0.750" in lines
    assert "patients not known" in lines


@pytest.mark.parametrize(
    ("failed", "words"),
    [
        (
            ("bridge",),
            "Its masks are not shown to depend on its map: with another patient's map, Dice with its own ",
        ),
        ((), "Its masks depend on its map: with another patient's map, Dice with its own masks is 0.9884 "),
    ],
)
def test_the_bridge_in_words(failed: tuple[str, ...], words: str) -> None:
    pytest.importorskip("torch")
    from multimix.evaluation.explain import Explained

    figures = {"bridge_dice_another_patient": Estimate(0.9884, 0.9853, 0.9907)}
    verdict = MapVerdict(80, "test images of wards", failed=failed)
    result = Explained("wards", "test", 80, 68, figures, verdict, pd.DataFrame())
    console = Console(width=300, record=True, file=io.StringIO())
    for line in bridge_in_words(result):
        console.print(line)
    text = console.export_text()
    assert text.startswith(words)
    assert "0.9884 [0.9853, 0.9907]" in text
