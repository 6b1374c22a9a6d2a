import importlib.util
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from multimix.metrics import classification
from multimix.statistics import bca_by_patient, bootstrap, bootstrap_by_patient, estimate
from multimix.statistics.paired import Difference, from_resamples, needed, paired_difference
from multimix.statistics.significance import delong, holm, mcnemar, wilcoxon


def names(groups):
    return [f"patient {g}" for g in groups]


def test_interval_of_a_mean_is_that_of_theory():
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap_by_patient(names(range(400)), partial(classification.mean, values))
    error = 1.96 * values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + error, abs=0.1 * error)


def test_two_patients_by_enumeration():
    # Two patients with means 0 (three images) and 1 (one image). Draws: (0, 0), (1, 1) and twice (0, 1),
    # means 0, 1 and 1/4 with chances 1/4, 1/4, 1/2. An interval of 40 % holds the middle one alone.
    patients, statistic = ["a", "b", "a", "a"], partial(classification.mean, np.array([0.0, 1.0, 0.0, 0.0]))
    assert bootstrap_by_patient(patients, statistic, level=0.4) == (0.25, 0.25)
    assert bootstrap_by_patient(patients, statistic, level=0.95) == (0, 1)


def test_repeated_images_of_a_patient_add_no_certainty():
    values = np.random.default_rng(1).normal(size=50)
    once = bootstrap_by_patient(names(range(50)), partial(classification.mean, values))
    often = bootstrap_by_patient(
        names(np.repeat(range(50), 4)), partial(classification.mean, np.repeat(values, 4))
    )
    assert often == pytest.approx(once)


def covered(resample_patients):
    """Share of 400 simulated studies of 60 patients with 1 to 5 alike images whose interval is right."""
    rng = np.random.default_rng(2)
    hits = 0
    for study in range(400):
        patient_of = np.repeat(np.arange(60), rng.integers(1, 6, size=60))
        values = rng.normal(size=60)[patient_of] + 0.3 * rng.normal(size=len(patient_of))
        groups = patient_of if resample_patients else range(len(values))
        low, high = bootstrap_by_patient(
            names(groups), partial(classification.mean, values), samples=400, seed=study
        )
        hits += low <= 0 <= high
    return hits / 400


def test_coverage_is_as_stated_by_patient_and_not_by_image():
    assert 0.92 <= covered(resample_patients=True) <= 0.98
    assert covered(resample_patients=False) < 0.85


def test_same_seed_same_interval():
    patients, statistic = (
        names(range(30)),
        partial(classification.mean, np.random.default_rng(3).normal(size=30)),
    )
    assert bootstrap_by_patient(patients, statistic, seed=1) == bootstrap_by_patient(
        patients, statistic, seed=1
    )
    assert bootstrap_by_patient(patients, statistic, seed=1) != bootstrap_by_patient(
        patients, statistic, seed=2
    )


def test_many_images_come_in_pieces_of_weights():
    seen = []

    def statistic(weights):
        seen.append(weights.shape)
        assert weights.sum() == weights.size  # as many patients as there are, one image each
        return weights.mean(axis=1)

    assert np.isnan(bootstrap_by_patient(names(range(3000)), statistic, samples=2000)).all()
    assert len(seen) > 1
    assert sum(rows for rows, _ in seen) == 2000
    assert {images for _, images in seen} == {3000}


def test_resamples_without_a_value_are_left_out():
    # One of 6 patients is positive: (5/6)^6 = 33 % of resamples have none, too many to say anything.
    labels, probabilities = np.array([0, 0, 0, 0, 0, 1]), np.linspace(0, 1, 6)
    answers = np.stack([1 - probabilities, probabilities], axis=1)
    few = bootstrap_by_patient(names(range(6)), partial(classification.auc, labels, answers))
    assert np.isnan(few).all()
    # Four of 16: (12/16)^16 = 1 %. Of the others most have the order perfect, and some lack the one that is wrong.
    labels, probabilities = np.repeat([0, 1], [12, 4]), np.linspace(0, 1, 16)
    probabilities[0] = 0.9
    answers = np.stack([1 - probabilities, probabilities], axis=1)
    low, high = bootstrap_by_patient(names(range(16)), partial(classification.auc, labels, answers))
    assert low < 45 / 48 < high == 1


def test_one_patient_has_no_interval():
    assert np.isnan(
        bootstrap_by_patient(["a", "a"], partial(classification.mean, np.array([0.0, 1.0])))
    ).all()


def test_estimate_holds_value_interval_and_trivial_answer():
    values = np.array([0.0, 1.0, 1.0, 0.0])
    found = estimate(names(range(4)), partial(classification.mean, values), trivial=0.25)
    assert (found.value, found.trivial) == (0.5, 0.25)
    assert (found.low, found.high) == bca_by_patient(names(range(4)), partial(classification.mean, values))


def test_estimate_without_a_value_is_nan():
    answers = np.array([[0.2, 0.8], [0.6, 0.4]])
    found = estimate(["a", "b"], partial(classification.auc, np.array([1, 1]), answers))
    assert np.isnan([found.value, found.low, found.high]).all()


def test_leaving_out_groups_of_many_patients_is_as_good_and_costs_no_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.default_rng(0).lognormal(
        sigma=1.5, size=1200
    )  # skewed, so that the acceleration counts
    exact = bca_by_patient(names(range(1200)), partial(classification.mean, values))
    monkeypatch.setattr(bootstrap, "LEFT_OUT", 300)
    grouped = bca_by_patient(names(range(1200)), partial(classification.mean, values))
    monkeypatch.setattr(bootstrap, "LEFT_OUT", 1200)
    one_by_one = bca_by_patient(names(range(1200)), partial(classification.mean, values))
    width = one_by_one[1] - one_by_one[0]
    assert grouped == pytest.approx(one_by_one, abs=0.02 * width)
    assert exact == pytest.approx(one_by_one, abs=0.02 * width)
    monkeypatch.undo()
    many = np.random.default_rng(1).random(20_000)
    tracemalloc.start()
    bca_by_patient(names(range(20_000)), partial(classification.mean, many), samples=50)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 300e6  # 20,000 x 20,000 weights are 3.2e9 bytes


def test_bca_is_the_percentile_interval_where_nothing_is_to_correct():
    # Symmetric values, many patients: no bias, no acceleration, t is normal.
    half = np.random.default_rng(4).normal(size=1000)
    values, patients = np.concatenate([half, -half]), names(range(2000))
    found = bca_by_patient(patients, partial(classification.mean, values), samples=4000)
    plain = bootstrap_by_patient(patients, partial(classification.mean, values), samples=4000)
    assert found == pytest.approx(plain, abs=0.05 * (plain[1] - plain[0]))


def test_bca_equals_that_of_scipy_but_for_the_widening():
    values = np.random.default_rng(5).exponential(size=300)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    ours = bca_by_patient(names(range(300)), partial(classification.mean, values), samples=20_000)
    wider = np.sqrt(300 / 299) * stats.t.ppf(0.975, 299) / stats.norm.ppf(0.975)
    width = theirs.high - theirs.low
    assert ours[0] == pytest.approx(theirs.low - (wider - 1) * width / 2, abs=0.02 * width)
    assert ours[1] == pytest.approx(theirs.high + (wider - 1) * width / 2, abs=0.02 * width)
    # Skewed to the right: more room above than below.
    assert ours[1] - values.mean() > 1.05 * (values.mean() - ours[0])


def test_no_interval_of_scores_that_are_all_alike_or_of_one_patient():
    # None of 54 refused does not mean that none ever would be: up to 6.6 % may be (Clopper and Pearson).
    for alike in (0.0, 0.3, 1.0):
        assert np.isnan(
            bca_by_patient(names(range(54)), partial(classification.mean, np.full(54, alike)))
        ).all()
    assert np.isnan(bca_by_patient(["a", "a"], partial(classification.mean, np.array([0.0, 1.0])))).all()


# The 43 ovarian cancer patients of [DeLong et al. 1988] for whom all three tests are known: albumin, total protein, K-G
# score, 1 where surgery did not help. From the example "Comparing Receiver Operating Characteristic Curves" of the
# LOGISTIC procedure, SAS/STAT User's Guide. The paper's own areas, .72, .65 and .69, are of all 49.
# fmt: off
OVARIAN = np.array([
    (3, 5.8, 10, 0), (3.2, 6.3, 5, 1), (3.9, 6.8, 3, 1), (2.8, 4.8, 6, 0), (3.2, 5.8, 3, 1),
    (0.9, 4, 5, 0), (2.5, 5.7, 8, 0), (1.6, 5.6, 5, 1), (3.8, 5.7, 5, 1), (3.7, 6.7, 6, 1),
    (3.2, 5.4, 4, 1), (3.8, 6.6, 6, 1), (4.1, 6.6, 5, 1), (3.6, 5.7, 5, 1), (4.3, 7, 4, 1),
    (3.6, 6.7, 4, 0), (2.3, 4.4, 6, 1), (4.2, 7.6, 4, 0), (4, 6.6, 6, 0), (3.5, 5.8, 6, 1),
    (3.8, 6.8, 7, 1), (3, 4.7, 8, 0), (4.5, 7.4, 5, 1), (3.7, 7.4, 5, 1), (3.1, 6.6, 6, 1),
    (4.1, 8.2, 6, 1), (4.3, 7, 5, 1), (4.3, 6.5, 4, 1), (3.2, 5.1, 5, 1), (2.6, 4.7, 6, 1),
    (3.3, 6.8, 6, 0), (1.7, 4, 7, 0), (3.7, 6.1, 5, 1), (3.3, 6.3, 7, 1), (4.2, 7.7, 6, 1),
    (3.5, 6.2, 5, 1), (2.9, 5.7, 9, 0), (2.1, 4.8, 7, 1), (2.8, 6.2, 8, 0), (4, 7, 7, 1),
    (3.3, 5.7, 6, 1), (3.7, 6.9, 5, 1), (3.6, 6.6, 5, 1),
])
# fmt: on


@pytest.mark.parametrize(
    ("column", "difference", "error", "p"), [(0, 0.0108, 0.0953, 0.9102), (1, -0.0780, 0.1046, 0.4561)]
)
def test_delong_of_the_published_example(column, difference, error, p):
    positive, kg = OVARIAN[:, 3] == 1, 10 - OVARIAN[:, 2]
    patients = names(range(len(OVARIAN)))
    found = delong(positive, OVARIAN[None, :, column], kg[None], patients)
    assert (round(found.difference, 4), round(found.error, 4), round(found.p, 4)) == (difference, error, p)
    # The same by the paper's definition, pair by pair, so that the example stands without the guide's printout.
    slow = slow_delong(positive, OVARIAN[None, :, column], kg[None], patients)
    assert (round(slow[0], 4), round(slow[1], 4)) == (difference, error)


def slow_delong(positive, a, b, patients):
    """Variance of the difference by the definition: every pair, every pair of patients [Obuchowski 1997]."""

    def order(x, y):
        return 1.0 if x > y else 0.5 if x == y else 0.0

    ups, downs = np.flatnonzero(positive), np.flatnonzero(~positive)
    pairs = {
        (i, j): np.mean([order(x[i], x[j]) - order(y[i], y[j]) for x, y in zip(a, b, strict=True)])
        for i in ups
        for j in downs
    }
    theta = np.mean(list(pairs.values()))
    x = {i: np.mean([pairs[i, j] for j in downs]) - theta for i in ups}
    y = {j: np.mean([pairs[i, j] for i in ups]) - theta for j in downs}
    everyone = sorted(set(patients))
    xs = [sum(x[i] for i in ups if patients[i] == who) for who in everyone]
    ys = [sum(y[j] for j in downs if patients[j] == who) for who in everyone]
    with_ups, with_downs = (len({patients[i] for i in side}) for side in (ups, downs))
    variance = with_ups / (with_ups - 1) * sum(v * v for v in xs) / len(ups) ** 2
    variance += with_downs / (with_downs - 1) * sum(v * v for v in ys) / len(downs) ** 2
    both = len(everyone) / (len(everyone) - 1) * sum(v * w for v, w in zip(xs, ys, strict=True))
    return theta, (variance + 2 * both / len(ups) / len(downs)) ** 0.5


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("clustered", [False, True])
def test_delong_equals_a_slow_direct_computation(seeds, clustered):
    rng = np.random.default_rng(6)
    positive = rng.random(40) < 0.4
    a, b = np.round(rng.normal(size=(2, seeds, 40)) + positive, 1)  # rounded: ties
    patients = names(rng.integers(15, size=40) if clustered else range(40))
    found = delong(positive, a, b, patients)
    assert (found.difference, found.error) == pytest.approx(slow_delong(positive, a, b, patients))
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(found.difference) / found.error))
    wrong = names(range(40))
    assert clustered == (delong(positive, a, b, wrong).error != pytest.approx(found.error))


def test_delong_where_there_is_nothing_to_tell():
    positive, scores = np.array([True, True, False, False]), np.array([[0.4, 0.9, 0.1, 0.2]])
    assert delong(positive, scores, scores, names(range(4))) == (0, 0, 1)
    one = np.array([True, False, False, False])  # one positive patient: no variance to be had
    assert np.isnan(delong(one, scores, scores[:, ::-1], names(range(4))).p)


def test_holm_by_hand():
    # Ordered .005, .01, .03, .04: times 4, 3, 2, 1 is .02, .03, .06, .04; never smaller than the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.9, 0.8]) == (1, 1)
    assert holm([]) == ()


def test_mcnemar_by_hand():
    # Six images that only A has right, one that only B has: 2 (C(7,0) + C(7,1)) / 2^7 = 0.125.
    differences = np.array([1.0] * 6 + [-1.0] + [0.0] * 20)
    assert mcnemar(differences, names(range(27))) == pytest.approx(0.125)
    # All of one patient: one voice, that of A.
    assert mcnemar(differences, ["a"] * 27) == 1
    assert mcnemar(np.zeros(3), names(range(3))) == 1


def test_tests_of_what_is_nan_are_nan():
    differences, patients = np.array([0.1, 0.2, np.nan, 0.3]), names(range(4))
    assert np.isnan([mcnemar(differences, patients), wilcoxon(differences, patients)]).all()
    positive, scores = np.array([True, True, False, False]), np.array([[0.4, np.nan, 0.1, 0.2]])
    assert np.isnan(delong(positive, scores, scores[:, ::-1], patients).p)


def test_wilcoxon_by_hand():
    # Ranks 1..5 all on one side: 2 / 2^5. Images of a patient are one difference, zeros are none.
    differences = np.array([0.1, 0.2, 0.3, 0.4, 0.4, 0.6, 0.0])
    assert wilcoxon(differences, [*names([1, 2, 3, 4]), "x", "x", "y"]) == pytest.approx(2 / 2**5)
    assert wilcoxon(np.zeros(4), names(range(4))) == 1


def of_seeds(table):
    """Statistics of each seed's differences (S, P), against zero."""
    zero = partial(classification.mean, np.zeros(table.shape[1]))
    return [partial(classification.mean, row) for row in table], [zero] * len(table)


def test_one_seed_is_a_paired_t_test():
    values = np.random.default_rng(7).normal(0.3, 1, size=40)
    found = paired_difference(names(range(40)), *of_seeds(values[None]), samples=50_000)
    theirs = stats.ttest_1samp(values, 0)
    interval = theirs.confidence_interval()
    assert found.p == pytest.approx(theirs.pvalue, rel=0.05)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.01)
    assert (found.seed_variance, found.noise_variance) == (0, 0)


def test_variance_components_are_those_of_a_two_way_table():
    rng = np.random.default_rng(8)
    table = rng.normal(size=(4, 1)) + rng.normal(size=(1, 60)) + 0.7 * rng.normal(size=(4, 60))
    found = paired_difference(names(range(60)), *of_seeds(table), samples=50_000)
    centred = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    noise = (centred**2).sum() / (3 * 59)
    assert found.noise_variance == pytest.approx(noise, rel=0.03)
    assert found.seed_variance == pytest.approx(table.mean(axis=1).var(ddof=1) - noise / 60, rel=0.03)
    assert found.patient_variance == pytest.approx(table.mean(axis=0).var(ddof=1) - noise / 4, rel=0.03)


def test_seeds_that_differ_make_it_a_t_test_over_seeds():
    # No patient differs from another, so only the three seeds matter.
    table = np.repeat([[0.1], [0.2], [0.6]], 30, axis=1)
    found, theirs = (
        paired_difference(names(range(30)), *of_seeds(table)),
        stats.ttest_1samp([0.1, 0.2, 0.6], 0),
    )
    assert found.p == pytest.approx(theirs.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval()))


def test_p_is_the_level_at_which_the_interval_ends_at_zero():
    rng = np.random.default_rng(9)
    table = rng.normal(size=(3, 1)) + rng.normal(size=(3, 40))
    found = paired_difference(names(range(40)), *of_seeds(table))
    # Moved so that one end lies on zero: exactly 5 %.
    moved = paired_difference(names(range(40)), *of_seeds(table - found.low))
    assert moved.p == pytest.approx(0.05)


def of_three_seeds(scale=1.0):
    """Differences of 3 seeds, and resamples in which patients show nothing but noise, more than seeds spread by."""
    # Variance of the seeds' differences .07. Noise of a seed's mean .08: two resamples, +-(a, -a, 0) with
    # 2 a^2 / (3 - 1) = .08 (100 - 1) / 100, so that the seeds' own variance is estimated as max(0, .07 - .08) = 0.
    a = np.sqrt(0.08 * 99 / 100)
    return np.array([0.1, 0.2, 0.6]) * scale, np.array([[a, -a, 0], [-a, a, 0]]) * scale


def test_p_is_at_least_that_of_a_t_test_over_seeds_by_hand():
    # t = .3 / sqrt(.07 / 3) = 1.964; with 2 degrees of freedom p is 1 - t / sqrt(t^2 + 2) = .1885, and t(.975) 4.3027.
    # By 99 degrees of freedom, which an estimate of 0 used to give, the same t had p = .07.
    observed, drawn = of_three_seeds()
    found = from_resamples(observed, drawn, 100)
    assert found.seed_variance == 0
    assert found.p == pytest.approx(0.1885, abs=5e-5)
    assert found.high - 0.3 == pytest.approx(4.3027 * np.sqrt(0.07 / 3), rel=1e-4)
    assert 0.3 - found.low == pytest.approx(found.high - 0.3)
    # The scale of a score changes nothing, also where differences are tiny.
    assert from_resamples(*of_three_seeds(1e-4), 100).p == pytest.approx(found.p)


def test_more_seeds_are_asked_for_where_the_t_test_over_seeds_decides():
    # Seeds that spread by noise alone, 8 per patient: 100 patients would do by their own degrees of freedom.
    parts = Difference(0.3, -1.0, 1.0, 0.1, 100, 3, 0.0, 0.0, 0.8)
    # of 3 seeds: t(.975, 2) sqrt(.8 / n / 3) + .8416 sqrt(.8 / n / 3) <= .3, so n >= .8 / 3 (5.1443 / .3)^2 = 78.4
    assert needed(parts).patients == 79


def test_a_difference_that_is_always_the_same_is_as_sure_as_its_patients_are_many():
    found = paired_difference(names(range(5)), *of_seeds(np.full((2, 5), 0.5)))
    assert (found.low, found.high, found.p) == (0.5, 0.5, 2 / 2**5)
    # Five coins that all fall on one side: no test of five patients can say more.
    each = paired_difference(names(range(5)), *of_seeds(np.full((1, 5), 0.3)))
    assert each.p == 2 / 2**5
    perfect, wrong = np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.9, 0.8, 0.2, 0.1])
    positive = np.array([False, False, True, True])
    assert delong(positive, perfect[None], wrong[None], names(range(4)))[::2] == (1, 2 / 2**4)
    nothing = paired_difference(names(range(5)), *of_seeds(np.zeros((2, 5))))
    assert (nothing.low, nothing.high, nothing.p) == (0, 0, 1)
    assert np.isnan(paired_difference(["a", "a"], *of_seeds(np.zeros((1, 2)))).p)


def test_needed_numbers_by_the_textbook_formula():
    # Difference half a standard deviation: n = (1.96 + 0.84)^2 / 0.25 = 31.4, and about two more for t.
    one_seed = Difference(0.5, -1.0, 2.0, 0.3, 10, 1, 1.0, 0.0, 0.0)
    assert needed(one_seed).patients == 34
    assert needed(one_seed).seeds is None
    # Seeds alone: the same, in seeds; no number of patients helps, as seeds differ more than that.
    of_seeds = Difference(0.5, -1.0, 2.0, 0.3, 10, 3, 0.0, 1.0, 0.0)
    assert (needed(of_seeds).patients, needed(of_seeds).seeds) == (None, 34)
    nothing = needed(Difference(0.0, -1.0, 1.0, 1.0, 10, 3, 1.0, 1.0, 0.0))
    assert (nothing.patients, nothing.seeds) == (None, None)


def test_no_number_of_patients_outweighs_two_seeds():
    # Two seeds, t(0.975, 1) = 12.706: their mean's error alone, sqrt(1e-5 / 2), needs .0284 of an interval, and with
    # the power's .8416 times that .0303. By the weighted quantile, .026 had seemed to be enough at some number.
    few = Difference(0.0303, -1.0, 1.0, 0.5, 100, 2, 1.0, 1e-5, 0.0)
    assert needed(few).patients is None
    # Above it, the smallest number is that at which the formula of the docstring is met, and more never tell less.
    parts = Difference(0.0305, -1.0, 1.0, 0.5, 100, 2, 1.0, 1e-5, 0.0)

    def reach(patients: int) -> float:
        own, seeds = 1.0 / patients, 1e-5 / 2
        q = (own * stats.t.isf(0.025, patients - 1) + seeds * stats.t.isf(0.025, 1)) / (own + seeds)
        half = max(q * np.sqrt(own + seeds), stats.t.isf(0.025, 1) * np.sqrt(seeds))
        return float(half + stats.norm.ppf(0.8) * np.sqrt(own + seeds))

    wanted = needed(parts).patients
    assert wanted is not None
    assert reach(wanted) <= 0.0305 < reach(wanted - 1)
    grid = [reach(n) for n in np.geomspace(2, 1_000_000, 60).astype(int)]
    assert (np.diff(grid) <= 1e-12).all()


def test_so_many_patients_do_have_that_power():
    rng, wanted = (
        np.random.default_rng(10),
        needed(Difference(0.5, -1.0, 2.0, 0.3, 10, 1, 1.0, 0.0, 0.0)).patients,
    )
    assert wanted is not None
    p = stats.ttest_1samp(rng.normal(0.5, 1, size=(4000, wanted)), 0, axis=1).pvalue
    assert (p < 0.05).mean() == pytest.approx(0.8, abs=0.02)


@pytest.fixture(scope="module")
def simulation():
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_of_intervals", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_intervals_hold_their_nominal_coverage(simulation):
    # 150 studies: a share of .95 strays by .018; `python benchmarks/coverage.py` has 1,000 of each kind.
    assert 0.90 <= simulation.single(simulation.dice, 74, 150)["BCa, widened"] <= 0.99
    for seeds, share in ((3, 0.5), (5, 0.5)):
        assert 0.90 <= simulation.paired(simulation.dice_pairs, seeds, share, 1.0, 150)["compare"] <= 0.99
    found = simulation.paired(simulation.dice_pairs, 3, 0.9, 1.0, 150)
    assert 0.90 <= found["compare"] <= 0.99
    assert found["(seeds resampled)"] < 0.88
    assert 0.90 <= simulation.paired(simulation.auc_pairs, 3, 0.35, 0.5, 100)["compare"] <= 1


def test_patients_that_are_not_known_give_no_interval() -> None:
    """Where one patient may have several images, resampling images would pretend to know."""
    values = np.arange(20) / 20
    known, unknown = [f"p{i}" for i in range(20)], [f"?images/{i}" for i in range(20)]
    assert estimate(known, lambda w: w @ values / w.sum(axis=1)).low < 0.475
    for patients in (unknown, [*known[:19], "?images/19"]):
        found = estimate(patients, lambda w: w @ values / w.sum(axis=1))
        assert found.value == pytest.approx(0.475)
        assert np.isnan([found.low, found.high]).all()
        difference = paired_difference(patients, [lambda w: w[:, 0]], [lambda w: w[:, 1]])
        assert np.isnan([difference.low, difference.high, difference.p]).all()
        assert needed(difference).patients is None
