"""The seven-point score's distribution against all 2^7 outcomes, its metrics against scikit-learn, and real labels."""

import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from dermis.cases.catalogue import import_set
from dermis.cases.seven_point import CLASSES, POINTS, RULES, seven_point_score
from dermis.evaluation.bootstrap import intervals
from dermis.evaluation.checklist import (
    checklist_metrics,
    expected_score,
    hard_score,
    melanoma_probability,
    read_checklist,
    score_deviation,
    score_distribution,
    suspicions,
    true_score,
)

N = 200
NAMES = {criterion: tuple(classes) for criterion, classes in CLASSES.items()}
# The papers' points, written out once more.
BY_HAND = {"weighted": (2, 2, 2, 1, 1, 1, 1), "revised": (1,) * 7}


def outcomes(probability_7, rule):
    """Every combination of the criteria: (its probability, its score)."""
    for suspicious in itertools.product((0, 1), repeat=7):
        chances = [p if s else 1 - p for s, p in zip(suspicious, probability_7, strict=True)]
        yield np.prod(chances), sum(s * w for s, w in zip(suspicious, BY_HAND[rule], strict=True))


def cases(seed=0):
    """Class probabilities of the criteria that know something, their labels, and who has melanoma."""
    rng = np.random.default_rng(seed)
    melanoma_N = rng.integers(2, size=N)
    score, label = {}, {}
    for criterion, classes in NAMES.items():
        suspicious = classes.index(POINTS[criterion][0])
        label[criterion] = np.where(rng.random(N) < 0.2 + 0.4 * melanoma_N, suspicious, 0)
        logit_NC = rng.normal(size=(N, len(classes))) + 1.5 * np.eye(len(classes))[label[criterion]]
        score[criterion] = np.exp(logit_NC) / np.exp(logit_NC).sum(axis=1, keepdims=True)
    return score, label, melanoma_N


@pytest.mark.parametrize("rule", ["weighted", "revised"])
def test_distribution_is_the_sum_over_all_outcomes(rule):
    probability_N7 = np.random.default_rng(1).random((20, 7))
    probability_N7[0], probability_N7[1], probability_N7[2, :3] = 0, 1, (0, 1, 0.5)
    distribution_NS = score_distribution(probability_N7, rule)
    assert distribution_NS.shape == (20, RULES[rule].highest + 1)
    mean_N, deviation_N = expected_score(distribution_NS), score_deviation(distribution_NS)
    for n, probability_7 in enumerate(probability_N7):
        every = list(outcomes(probability_7, rule))
        for score in range(distribution_NS.shape[1]):
            assert distribution_NS[n, score] == pytest.approx(sum(p for p, s in every if s == score), abs=1e-14)
        mean = sum(p * s for p, s in every)
        assert mean_N[n] == pytest.approx(mean, abs=1e-12)
        assert deviation_N[n] == pytest.approx(sum(p * (s - mean) ** 2 for p, s in every) ** 0.5, abs=1e-7)
        for threshold in range(1, distribution_NS.shape[1]):
            reached = sum(p for p, s in every if s >= threshold)
            assert melanoma_probability(distribution_NS, threshold)[n] == pytest.approx(reached, abs=1e-12)


def test_certain_criteria_give_the_hard_score_without_spread():
    said_N7 = np.random.default_rng(2).random((50, 7)) < 0.5
    for rule in RULES:
        distribution_NS = score_distribution(said_N7.astype(float), rule)
        np.testing.assert_array_equal(expected_score(distribution_NS), hard_score(said_N7, rule))
        assert not score_deviation(distribution_NS).any()
        np.testing.assert_array_equal(melanoma_probability(distribution_NS, 3), hard_score(said_N7, rule) >= 3)


def test_scores_of_labels_are_the_checklists():
    _, label, _ = cases()
    for rule in RULES:
        score_N = true_score(label, NAMES, rule)
        for n in range(N):
            found = {criterion: NAMES[criterion][label[criterion][n]] for criterion in NAMES}
            assert score_N[n] == seven_point_score(found, rule)
    label["streaks"] = label["streaks"].copy()
    label["streaks"][3] = -1
    assert (true_score(label, NAMES) == -1).nonzero()[0].tolist() == [3]


def test_the_suspicious_class_is_found_by_name_and_decided_by_arg_max():
    classes = NAMES | {"streaks": ("irregular", "absent", "regular")}
    score = {criterion: np.full((2, len(names)), 1 / len(names)) for criterion, names in classes.items()}
    score["streaks"] = np.array([[0.4, 0.35, 0.25], [0.4, 0.1, 0.5]])
    probability_N7, said_N7 = suspicions(score, classes)
    at = list(POINTS).index("streaks")
    assert probability_N7[:, at].tolist() == [0.4, 0.4]
    assert said_N7[:, at].tolist() == [True, False]  # 0.4 is the most likely of three classes once, and once not


@pytest.mark.parametrize("rule, threshold", [("weighted", None), ("weighted", 4), ("revised", None)])
def test_metrics_are_scikit_learns_under_weights(rule, threshold):
    score, label, melanoma_N = cases()
    weight_RN = np.random.default_rng(3).poisson(1.0, size=(3, N)).astype(float)
    probability_N7, said_N7 = suspicions(score, NAMES)
    truth_N = true_score(label, NAMES, rule)
    ours = checklist_metrics(probability_N7, said_N7, truth_N, melanoma_N, weight_RN, rule=rule, threshold=threshold)
    at = {"weighted": 3, "revised": 1}[rule] if threshold is None else threshold
    every = [list(outcomes(probability_7, rule)) for probability_7 in probability_N7]
    hard_N = (said_N7 * BY_HAND[rule]).sum(axis=1)
    expected_N = np.array([sum(p * s for p, s in case) for case in every])
    suspected_N = np.array([sum(p for p, s in case if s >= at) for case in every]).clip(0, 1)
    for r, w in enumerate(weight_RN):
        theirs = {
            "melanoma sensitivity": sk.recall_score(melanoma_N, hard_N >= at, sample_weight=w),
            "melanoma specificity": sk.recall_score(melanoma_N == 0, hard_N < at, sample_weight=w),
            "melanoma precision": sk.precision_score(melanoma_N, hard_N >= at, sample_weight=w),
            "melanoma AUROC by hard score": sk.roc_auc_score(melanoma_N, hard_N, sample_weight=w),
            "melanoma AUROC by probability of suspicion": sk.roc_auc_score(melanoma_N, suspected_N, sample_weight=w),
            "melanoma AUROC by expected score": sk.roc_auc_score(melanoma_N, expected_N, sample_weight=w),
            "seven-point score error": sk.mean_absolute_error(truth_N, expected_N, sample_weight=w),
            "Brier score of suspicion": 2 * np.average((suspected_N - (truth_N >= at)) ** 2, weights=w),
        }
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert ours[name][r] == pytest.approx(value, abs=1e-9), name


def test_cases_of_unknown_truth_are_left_out_where_it_is_asked_for():
    score, label, melanoma_N = cases()
    probability_N7, said_N7 = suspicions(score, NAMES)
    truth_N = true_score(label, NAMES)
    whole = checklist_metrics(probability_N7, said_N7, truth_N, melanoma_N)
    no_diagnosis, no_score = np.arange(N) < 50, np.arange(N) >= 150
    weight_RN = np.ones((1, N))
    ours = checklist_metrics(
        probability_N7,
        said_N7,
        np.where(no_score, -1, truth_N),
        np.where(no_diagnosis, -1, melanoma_N),
        weight_RN,
    )
    diagnosed = checklist_metrics(*(x[50:] for x in (probability_N7, said_N7, truth_N, melanoma_N)))
    scored = checklist_metrics(*(x[:150] for x in (probability_N7, said_N7, truth_N, melanoma_N)))
    for name, value in ours.items():
        assert value[0] == (diagnosed if name.startswith("melanoma") else scored)[name][0], name
        assert value[0] != whole[name][0], name


def test_undefined_is_nan_or_on_request_nothing_but_never_a_perfect_error():
    score, _, _ = cases()
    probability_N7, said_N7 = suspicions(score, NAMES)
    nobody, unknown_N = np.zeros(N, int), np.full(N, -1)
    values = checklist_metrics(probability_N7, said_N7, unknown_N, nobody)
    assert np.isnan([values["melanoma sensitivity"][0], values["melanoma AUROC by hard score"][0]]).all()
    assert values["melanoma specificity"][0] > 0
    assert values["melanoma precision"][0] == 0  # some were suspected, none rightly
    as_zero = checklist_metrics(probability_N7, said_N7, unknown_N, nobody, undefined="zero")
    assert as_zero["melanoma sensitivity"][0] == as_zero["melanoma AUROC by hard score"][0] == 0
    for name in ("seven-point score error", "Brier score of suspicion"):
        assert np.isnan([values[name][0], as_zero[name][0]]).all()


def test_the_patient_bootstrap_takes_the_metrics():
    score, label, melanoma_N = cases()
    probability_N7, said_N7 = suspicions(score, NAMES)
    truth_N = true_score(label, NAMES)
    found = intervals(
        lambda w: checklist_metrics(probability_N7, said_N7, truth_N, melanoma_N, w),
        np.arange(N) // 2,
        n_boot=50,
        seed=0,
    )
    assert all(i.low < i.value < i.high and i.undefined == 0 for i in found.values())


@pytest.mark.data
def test_the_experts_checklist_on_derm7pt(shared_data):
    """The annotators' own findings: of 252 melanomas and 759 others, counted in the table's words and scores."""
    table = import_set("derm7pt", shared_data / "derm7pt_tables").table
    label = {c: table[f"finding.{c}"].map(names.index).to_numpy() for c, names in NAMES.items()}
    certain = suspicions({c: np.eye(len(names))[label[c]] for c, names in NAMES.items()}, NAMES)
    melanoma_N = (table["diagnosis"] == "melanoma").to_numpy()
    for rule, found, cleared in (("weighted", 234, 624), ("revised", 250, 309)):
        values = checklist_metrics(*certain, true_score(label, NAMES, rule), melanoma_N, rule=rule)
        assert values["melanoma sensitivity"][0] == pytest.approx(found / 252)
        assert values["melanoma specificity"][0] == pytest.approx(cleared / 759)
        assert values["seven-point score error"][0] == values["Brier score of suspicion"][0] == 0
    scores = pd.read_csv(shared_data / "derm7pt_tables" / "meta.csv")["seven_point_score"]
    values = checklist_metrics(*certain, true_score(label, NAMES), melanoma_N)
    assert values["melanoma AUROC by expected score"][0] == pytest.approx(sk.roc_auc_score(melanoma_N, scores))


def test_wrong_arguments_are_answered_with_a_sentence():
    score, label, melanoma_N = cases()
    probability_N7, said_N7 = suspicions(score, NAMES)
    truth_N = true_score(label, NAMES)
    fitting = (probability_N7, said_N7, truth_N, melanoma_N)
    with pytest.raises(ValueError, match="Did you mean 'streaks'"):
        suspicions(score | {"streak": score["streaks"]}, NAMES)
    with pytest.raises(ValueError, match="all seven criteria; missing: streaks, dots_and_globules"):
        true_score({c: x for c, x in label.items() if c not in ("streaks", "dots_and_globules")}, NAMES)
    with pytest.raises(ValueError, match="streaks has no class 'irregular', which counts; its classes: absent, regul"):
        suspicions(score, NAMES | {"streaks": ("absent", "regular")})
    with pytest.raises(ValueError, match=r"\(cases, 7 criteria\); got \(200, 6\)"):
        score_distribution(probability_N7[:, :6])
    for wrong in (1.01, -0.01, np.nan):
        with pytest.raises(ValueError, match="must lie in 0 … 1"):
            score_distribution(np.full((2, 7), wrong))
    for threshold in (0, 8):
        with pytest.raises(ValueError, match=f"between 1 and the highest score, 7; it is {threshold}"):
            checklist_metrics(*fitting, rule="revised", threshold=threshold)
    with pytest.raises(ValueError, match=r"different numbers of cases: \[200, 200, 200, 199\]"):
        checklist_metrics(*fitting[:3], melanoma_N[1:])
    with pytest.raises(ValueError, match="1 \\(melanoma\\), 0 \\(another\\) or -1"):
        checklist_metrics(*fitting[:3], melanoma_N + 1)
    with pytest.raises(ValueError, match="Did you mean 'nan'"):
        checklist_metrics(*fitting, undefined="nano")


def test_the_checklist_of_one_case():
    sure = {"pigment_network": 0.9, "blue_whitish_veil": 0.2, "vascular_structures": 0.6, "pigmentation": 0.1}
    said = {f"finding.{c}": {"absent": 1 - sure.get(c, 0.0), kind: sure.get(c, 0.0)} for c, (kind, _) in POINTS.items()}
    read = read_checklist(said | {"diagnosis": {"melanoma": 1.0}}, threshold=4)
    assert (read.score, read.suspected, read.threshold) == (4, True, 4)
    assert read.expected == pytest.approx(2 * 0.9 + 2 * 0.2 + 2 * 0.6 + 0.1)
    assert read.deviation == pytest.approx((4 * (0.09 + 0.16 + 0.24) + 0.09) ** 0.5)
    at_least_two = 0.9 * 0.2 * 0.6 + 0.9 * 0.2 * 0.4 + 0.9 * 0.8 * 0.6 + 0.1 * 0.2 * 0.6
    assert read.suspicion == pytest.approx(at_least_two)
    assert read.criteria["streaks"] == 0
    assert read_checklist(said, rule="revised").score == 2
    with pytest.raises(ValueError, match="missing: streaks"):
        read_checklist({k: v for k, v in said.items() if k != "finding.streaks"})
