"""Seven equal pairs: how often is one called better or worse? `python benchmarks/false_verdicts.py` simulates more."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def simulation():
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "false_verdicts.py"
    spec = importlib.util.spec_from_file_location("false_verdicts", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_false_verdicts_after_holm_are_as_rare_as_stated(simulation):
    # Three seeds. Of 150 families a share of .05 strays by .018. Where most of the scatter is the seeds', as in most of
    # our comparisons, a rule that takes a seed variance estimated as 0 for none has .2.
    found = simulation.study(simulation.POPULATIONS[1], 3, 150)
    assert found["false"] <= found["interval"] <= 0.05 + 2 * 0.018
    assert found["(interval)"] > 0.12
    # What is there is found, and the larger the oftener.
    powers = [found[str(effect)] for effect in simulation.EFFECTS]
    assert powers == sorted(powers)
    assert powers[-1] > 0.2


@pytest.mark.parametrize("index", [0, 1, 3])
def test_simulated_differences_have_the_variances_that_they_state(simulation, index):
    population = simulation.POPULATIONS[index]
    observed = np.array([o for family in simulation.families(population, 3, 200) for o, _, _ in family])
    # One pair of runs: variance 1 (skewed, 1,400 of them). The mean of three has less, as seeds differ and noise does.
    assert observed[:, 0].var() == pytest.approx(1, abs=0.15)
    of_one = population.patients + 3 * (population.seeds + population.noise)
    assert observed.mean(axis=1).var() == pytest.approx(1 / of_one, abs=0.15)
    assert observed.mean() == pytest.approx(0, abs=0.1)
