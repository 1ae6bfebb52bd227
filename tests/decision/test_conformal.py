import math
from fractions import Fraction

import numpy as np
import pytest

from dermis.decision.conformal import (
    coverage_range,
    fewest,
    nonconformity,
    one_for_each,
    threshold,
    thresholds,
    tolerated,
)


def probabilities(n, classes=5, seed=0, decimals=None):
    p_NC = np.random.default_rng(seed).dirichlet(np.full(classes, 0.5), size=n)
    return p_NC if decimals is None else p_NC.round(decimals)


@pytest.mark.parametrize("decimals", [None, 1], ids=["distinct", "ties"])
def test_scores_are_their_definitions_as_loops(decimals):
    p_NC = probabilities(40, decimals=decimals)
    for n, p in enumerate(p_NC):
        for c in range(len(p)):
            assert nonconformity(p_NC)[n, c] == 1 - p[c]
            likelier = sum(q for q in p if q > p[c])
            assert nonconformity(p_NC, "aps")[n, c] == pytest.approx(likelier, abs=1e-12)
    adaptive_NC = nonconformity(p_NC, "aps")
    for n, c, d in np.argwhere(p_NC[:, :, None] == p_NC[:, None, :]):
        assert adaptive_NC[n, c] == adaptive_NC[n, d]
    assert (adaptive_NC.min(axis=1) == 0).all()


@pytest.mark.parametrize("alpha", ["0.05", "0.1", "0.15", "0.29"])
def test_the_rank_of_the_threshold_is_exact(alpha):
    for n in range(1, 400):
        rank = math.ceil((n + 1) * (1 - Fraction(alpha)))
        assert tolerated(n, float(alpha)) == n + 1 - rank
        if rank <= n:
            shuffled = np.random.default_rng(n).permutation(n) + 1.0
            assert threshold(shuffled, float(alpha)) == rank
        else:
            with pytest.raises(ValueError, match=f"at least {fewest(float(alpha))} calibration cases"):
                threshold(np.arange(n), float(alpha))
    assert tolerated(fewest(float(alpha)), float(alpha)) == 1
    assert tolerated(fewest(float(alpha)) - 1, float(alpha)) == 0


@pytest.mark.parametrize("score", ["lac", "aps"])
@pytest.mark.parametrize("ties", [False, True])
def test_the_promise_is_kept_over_many_draws_whatever_the_model(score, ties):
    """1,500 times 29 calibration cases and a new one, of a model that is half wrong; alpha = 0.1, l = 3 of 30."""
    rng, covered, draws = np.random.default_rng(1), 0, 1500
    for _ in range(draws):
        p_NC = rng.dirichlet(np.ones(4), size=30)
        label_N = (rng.random((30, 1)) > (0.5 * p_NC + 0.125).cumsum(axis=1)).sum(axis=1)
        score_NC = nonconformity(p_NC.round(1) if ties else p_NC, score)
        limit_C = thresholds(score_NC[:-1], label_N[:-1], 0.1)
        covered += score_NC[-1, label_N[-1]] <= limit_C[label_N[-1]]
    error = 3 * math.sqrt(0.9 * 0.1 / draws)
    assert covered / draws >= 0.9 - error
    if score == "lac" and not ties:  # (n + 1)(1 − α) is whole, so it is 0.9 exactly
        assert covered / draws <= 0.9 + error


def test_one_calibration_lies_where_the_range_says():
    rng, (low, high) = np.random.default_rng(0), coverage_range(99, 0.1)
    found = np.array([threshold(rng.random(99), 0.1) for _ in range(4000)])  # of uniform scores, their coverage
    assert found.mean() == pytest.approx(0.9, abs=0.002)
    np.testing.assert_allclose(np.quantile(found, [0.025, 0.975]), [low, high], atol=0.006)


def test_classwise_thresholds_are_those_of_each_class_alone():
    score_NC, label_N = nonconformity(probabilities(300, classes=3)), np.arange(300) % 3
    own = [threshold(score_NC[label_N == c, c], 0.2) for c in range(3)]
    assert thresholds(score_NC, label_N, 0.2, classwise=True).tolist() == own
    pooled = threshold(score_NC[np.arange(300), label_N], 0.2)
    assert thresholds(score_NC, label_N, 0.2).tolist() == [pooled] * 3
    with pytest.raises(ValueError, match="need 4 calibration cases of each class; class number 2 has 3"):
        thresholds(score_NC[:11], label_N[:11], 0.2, classwise=True)


def test_one_case_of_each_patient_is_drawn_and_any_of_theirs():
    groups = np.array(["b", "a", "b", "c", "b"], dtype=object)
    drawn = [one_for_each(groups, seed).tolist() for seed in range(50)]
    assert {tuple(rows) for rows in drawn} == {(0, 1, 3), (1, 2, 3), (1, 3, 4)}
    assert drawn[7] == one_for_each(groups, 7).tolist()


def test_one_picture_a_patient_keeps_the_promise_that_all_pictures_break():
    """Half of the calibration patients are easy and bring 40 pictures each: by pictures, the hard are missed."""
    rng, kept, broken, draws = np.random.default_rng(0), 0, 0, 600
    for _ in range(draws):
        hard_P = rng.random(20) < 0.5
        patient_N = np.repeat(np.arange(20), np.where(hard_P, 1, 40))
        score_N = hard_P[patient_N] + rng.random(len(patient_N))
        new = (rng.random() < 0.5) + rng.random()
        kept += new <= threshold(score_N[one_for_each(patient_N, int(rng.integers(1e6)))], 0.1)
        broken += new <= threshold(score_N, 0.1)
    assert kept / draws > 0.9 - 3 * math.sqrt(0.09 / draws)
    assert broken / draws < 0.7


def test_a_wrong_alpha_or_score_is_said():
    with pytest.raises(ValueError, match=r"between 0 and 1.*it is 90"):
        threshold(np.arange(100), 90)
    with pytest.raises(ValueError, match=r"unknown nonconformity score 'apps'\. Did you mean 'aps'"):
        nonconformity(probabilities(3), "apps")
