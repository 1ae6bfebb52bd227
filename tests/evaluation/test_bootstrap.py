"""The patient bootstrap against scipy, against loops over rows, and by its coverage on simulated patients."""

from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats

from dermis.evaluation import bootstrap
from dermis.evaluation.bootstrap import interval, intervals, replicates, summarise


def mean(x_N):
    return lambda weight_RN: weight_RN @ x_N / weight_RN.sum(axis=1)


def test_single_cases_give_scipys_percentile_interval():
    x = np.random.default_rng(1).exponential(size=60)
    ours = interval(mean(x), np.arange(60), n_boot=20_000, seed=0)
    theirs = stats.bootstrap((x,), np.mean, n_resamples=20_000, method="percentile", rng=0).confidence_interval
    spread = theirs.high - theirs.low
    assert ours.value == pytest.approx(x.mean(), rel=1e-12)
    assert abs(ours.low - theirs.low) < 0.03 * spread
    assert abs(ours.high - theirs.high) < 0.03 * spread


def test_weights_are_rows_drawn_by_whole_groups():
    rng = np.random.default_rng(2)
    groups = rng.integers(8, size=30).astype(str)
    x = rng.normal(size=30)
    weighted = replicates(lambda w: {"mean": mean(x)(w), "w": w}, groups, n_boot=50, seed=3)
    by_rows = [x[np.repeat(np.arange(30), w.astype(int))].mean() for w in weighted["w"]]
    np.testing.assert_allclose(weighted["mean"], by_rows, rtol=1e-12)
    names, group_of = np.unique(groups, return_inverse=True)
    for w in weighted["w"]:
        per_group = [set(w[group_of == g]) for g in range(len(names))]
        assert all(len(values) == 1 for values in per_group)  # nobody is torn apart
        assert sum(values.pop() for values in per_group) == len(names)  # as many draws as groups


def covered(groups_of, repetitions=200):
    """How often a 90 % interval of the mean holds 0, for 40 patients of 5 strongly alike cases each."""
    rng = np.random.default_rng(4)
    patient = np.repeat(np.arange(40), 5)
    hits = 0
    for seed in range(repetitions):
        x = (rng.normal(size=40)[patient] + 0.3 * rng.normal(size=200)).astype(float)
        found = interval(mean(x), groups_of(patient), n_boot=300, seed=seed, level=0.9)
        hits += found.low <= 0 <= found.high
    return hits / repetitions


def test_patients_cover_what_they_promise_and_single_cases_do_not():
    # 90 % promised, 200 trials: standard error 2 points
    assert 0.84 <= covered(lambda patient: patient) <= 0.95
    assert covered(lambda patient: np.arange(len(patient))) < 0.65


def test_the_same_seed_gives_the_same_draws_whatever_the_blocks(monkeypatch):
    x = np.random.default_rng(0).normal(size=50)
    whole = interval(mean(x), np.arange(50), n_boot=100, seed=7)
    monkeypatch.setattr(bootstrap, "CELLS", 7 * 50)
    again, other = (interval(mean(x), np.arange(50), n_boot=100, seed=seed) for seed in (7, 8))
    assert astuple(again)[:-1] == pytest.approx(astuple(whole)[:-1], rel=1e-12)
    assert again.deviation is None  # of one seed there is none
    assert other.low != pytest.approx(whole.low, rel=1e-6)


def test_draws_without_a_value_are_left_out_and_counted():
    positive = np.zeros(20)
    positive[0] = 1  # absent from a draw with probability (19/20)^20 = 0.358

    def only_with_positives(weight_RN):
        return np.where(weight_RN @ positive > 0, mean(np.arange(20.0))(weight_RN), np.nan)

    found = interval(only_with_positives, np.arange(20), n_boot=2000, seed=0)
    assert found.undefined / 2000 == pytest.approx(0.358, abs=0.035)
    assert np.isfinite([found.low, found.high]).all()


def test_nothing_defined_gives_no_limits():
    found = interval(lambda w: np.full(len(w), np.nan), np.arange(5), n_boot=10, seed=0)
    assert np.isnan([found.value, found.low, found.high]).all()
    assert found.undefined == 10


def test_a_centred_interval_holds_its_biased_estimate():
    x = np.random.default_rng(0).normal(size=100)

    def distance(weight_RN):
        return {"distance": np.abs(mean(x - x.mean())(weight_RN))}  # 0 as estimated, above 0 in every draw

    plain = intervals(distance, np.arange(100), seed=0)["distance"]
    centred = intervals(distance, np.arange(100), seed=0, centred=("distance",))["distance"]
    assert plain.low > plain.value
    assert centred.low == 0 <= centred.value < centred.high < plain.high


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: interval(mean(np.ones(2)), np.array(["a", None], dtype=object), seed=0), "1 cases have no group"),
        (lambda: interval(mean(np.ones(2)), np.arange(2), n_boot=0, seed=0), "n_boot must be at least 1"),
        (lambda: summarise(0.5, np.ones(3), level=95), "level must lie between 0 and 1"),
    ],
)
def test_wrong_arguments_are_answered_with_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
