"""The one screen of `multimix demo`, from scores that are planted."""

from pathlib import Path

from rich.console import Console

from multimix.cli.demo import screen
from multimix.experiment.demo import DemoResult
from multimix.inference.predict_files import Summary
from multimix.types import Estimate, Scores


def test_both_methods_stand_beside_the_trivial_answer() -> None:
    nan = float("nan")
    scores = {}
    for method, value in (("multimix", 0.9), ("umtl", 0.8)):
        for source in ("phantom_a", "phantom_b"):
            metrics = {
                "accuracy": Estimate(value, value - 0.1, 1.0, 0.5),
                "auc": Estimate(value, nan, nan, 0.5),
                "dice_lungs": Estimate(value, nan, nan, None),
            }
            scores[method, source] = Scores(source, "test", 12, 12, metrics)
    console = Console(width=160, record=True)
    console.print(screen(DemoResult(scores, Summary(12, 0), Path("pictures"))))
    lines = [" ".join(line.replace("│", " ").split()) for line in console.export_text().splitlines()]
    assert "Learned from 40 class labels and 8 masks" in lines
    assert "accuracy, own domain 0.900 [0.800, 1.000] 0.800 [0.700, 1.000] 0.500" in lines
    assert "AUC, other hospital 0.900 0.800 0.500" in lines
    assert "Dice of the lungs, other hospital 0.900 0.800" in lines
