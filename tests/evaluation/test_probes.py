"""Nearest neighbours, linear probes and few-shot probes against scikit-learn and against their own definition."""

import tracemalloc

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dermis.evaluation.few_shot import draw, few_shot_scores, over_seeds, summarise_seeds
from dermis.evaluation.knn import knn_scores
from dermis.evaluation.linear_probe import GRID, _best, linear_probe, panderm_probe

C, D = 4, 10


def features(cases, seed=0, signal=1.0):
    rng = np.random.default_rng(seed)
    label = rng.integers(C, size=cases)
    label[:C] = np.arange(C)
    centres = np.random.default_rng(99).normal(size=(C, D))
    x = (signal * centres[label] + rng.normal(size=(cases, D))) * np.linspace(0.1, 10, D)
    return x.astype(np.float32), label


def test_neighbours_vote_as_in_scikit_learn():
    (train, label), (query, _) = features(200), features(50, seed=1)
    for k in (1, 7, 20):
        theirs = KNeighborsClassifier(k, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07)).fit(train, label)
        ours = knn_scores(train, label, query, C, k=k, cells=13 * 200)
        np.testing.assert_allclose(ours, theirs.predict_proba(query), atol=1e-4)


@pytest.mark.parametrize(("cases", "classes"), [(40_000, C), (50, 400)], ids=["many pictures", "many classes"])
def test_neighbours_of_many_need_little_memory(cases, classes):
    rng = np.random.default_rng(0)
    train, query = (rng.normal(size=(n, 3)).astype(np.float32) for n in (cases, 2000))
    label = rng.integers(classes, size=cases)
    tracemalloc.start()
    knn_scores(train, label, query, classes, cells=200_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # similarities, their order, one hot rows and what is returned; all similarities at once would be 640 MB
    assert peak < 200_000 * 40 + 8 * (cases + 2 * 2000) * classes + 8 * 3 * (cases + 2000)


def test_neighbours_of_a_small_training_set_all_vote():
    train, label = features(6)
    assert knn_scores(train, label, train, C, k=20).shape == (6, C)


def test_the_probe_is_scikit_learns_logistic_regression():
    (train, label), (query, _) = features(300), features(50, seed=1)
    ours = linear_probe(train, label, C, grid=(0.1,)).scores(query)
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=5000)).fit(train, label)
    np.testing.assert_allclose(ours, theirs.predict_proba(query), atol=1e-4)


def test_given_moments_replace_those_of_the_few_training_cases():
    (train, label), (query, _) = features(30), features(50, seed=1)
    ours = linear_probe(train, label, C, grid=(0.1,), moments=(np.full(D, 2.0), np.full(D, 5.0))).scores(query)
    theirs = LogisticRegression(C=0.1, max_iter=5000).fit((train - 2) / 5, label)
    np.testing.assert_allclose(ours, theirs.predict_proba((query - 2) / 5), atol=1e-4)


def test_two_classes_and_missing_classes_keep_their_places():
    train, label = features(200)
    two = linear_probe(train[label % 2 == 1], label[label % 2 == 1], C, grid=(0.1,)).scores(train)
    assert (two[:, [0, 2]] == 0).all()
    np.testing.assert_allclose(two.sum(axis=1), 1)
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=5000))
    theirs.fit(train[label % 2 == 1], label[label % 2 == 1])
    np.testing.assert_allclose(two[:, [1, 3]], theirs.predict_proba(train), atol=1e-4)


def test_c_is_the_best_on_valid():
    (train, label), (valid, valid_label) = features(80, signal=0.3), features(400, seed=1, signal=0.3)
    chosen = linear_probe(train, label, C, valid=(valid, valid_label))

    def loss(c):
        scores = linear_probe(train, label, C, grid=(c,)).scores(valid)
        return -np.log(scores[np.arange(400), valid_label]).mean()

    assert chosen.c == min(GRID, key=loss)
    assert min(GRID) < chosen.c < max(GRID)


def test_the_search_for_c_stops_after_two_rises():
    losses = {1: 5.0, 2: 3.0, 3: 4.0, 4: 2.0, 5: 3.0, 6: 4.0, 7: 0.0}
    walked = []
    assert _best(losses, lambda c: walked.append(c) or losses[c]) == 4
    assert walked == [1, 2, 3, 4, 5, 6]


def test_cross_validation_keeps_patients_whole():
    """Every patient has their own random look and one label: torn patients would favour memorising them (large C)."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(40), 10)
    label = rng.integers(2, size=40)[patient]
    x = rng.normal(size=(40, 60))[patient] + 0.1 * rng.normal(size=(400, 60))
    assert linear_probe(x, label, 2, groups_M=patient, seed=0).c < 0.01
    assert linear_probe(x, label, 2, groups_M=np.arange(400), seed=0).c > 1


def test_the_panderm_solver_reaches_the_minimum_of_its_objective():
    rng = np.random.default_rng(0)
    label = rng.integers(C, size=150)
    x = rng.normal(size=(150, 60)) + 0.5 * rng.normal(size=(C, 60))[label]
    probe = panderm_probe(x, label, C)
    assert probe.c == 60 * C / 100

    def objective(flat):
        weight, bias = flat[: C * 60].reshape(C, 60), flat[C * 60 :]
        logits = x @ weight.T + bias
        cross_entropy = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(150), label]
        return cross_entropy.mean() + (1 / 2.4) * 0.5 * np.linalg.norm(weight)  # the norm itself, not its square

    start = np.r_[0.01 * rng.normal(size=C * 60), np.zeros(C)]
    best = minimize(objective, start, method="L-BFGS-B", options={"maxiter": 10_000, "maxfun": 10**6})
    assert objective(np.r_[probe.weight.ravel(), probe.bias]) == pytest.approx(best.fun, abs=1e-4)
    # a ridge of the same constant is another classifier
    ridge = LogisticRegression(C=2.4 / 150, max_iter=5000).fit(x, label)
    assert np.abs(probe.scores(x) - ridge.predict_proba(x)).max() > 0.05


def test_the_panderm_solver_leaves_the_global_generator_alone():
    train, label = features(60)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = panderm_probe(train, label, C)
    assert torch.equal(torch.rand(3), expected)
    np.testing.assert_array_equal(first.weight, panderm_probe(train, label, C).weight)


def test_a_draw_has_k_cases_of_each_class_or_its_fraction():
    label = np.repeat([0, 1, 2], [100, 28, 3])
    assert np.bincount(label[draw(label, shots=5, seed=0)]).tolist() == [5, 5, 3]
    assert np.bincount(label[draw(label, fraction=0.1, seed=42)]).tolist() == [10, 2, 1]  # max(1, floor(p n))
    assert (draw(label, shots=5, seed=0) == draw(label, shots=5, seed=0)).all()
    assert (draw(label, shots=5, seed=0) != draw(label, shots=5, seed=1)).any()
    assert len(np.unique(draw(label, fraction=1.0, seed=0))) == 131


def test_more_shots_classify_better():
    (train, label), (query, query_label) = features(800, signal=0.8), features(300, seed=1, signal=0.8)
    accuracy = [
        (few_shot_scores(train, label, query, C, shots=shots, seeds=range(5)).argmax(axis=2) == query_label).mean()
        for shots in (1, 8, 64)
    ]
    assert accuracy == sorted(accuracy)
    assert accuracy[2] > accuracy[0] + 0.1


def test_few_shot_scores_come_per_seed_and_by_either_solver():
    (train, label), (query, _) = features(200), features(20, seed=1)
    scores = few_shot_scores(train, label, query, C, shots=4, seeds=(0, 1, 0))
    assert scores.shape == (3, 20, C)
    assert (scores[0] == scores[2]).all()
    assert (scores[0] != scores[1]).any()
    panderm = few_shot_scores(train, label, query, C, fraction=0.1, seeds=(42,), solver="panderm")
    rows = draw(label, fraction=0.1, seed=42)
    np.testing.assert_array_equal(panderm[0], panderm_probe(train[rows], label[rows], C).scores(query))


def test_drawing_seeds_too_widens_by_their_spread():
    value_RS = np.tile([0.0, 1.0, 2.0, 3.0], (20_000, 1))  # patients do not matter, seeds do
    found = over_seeds(value_RS, seed=0)
    assert found.mean() == pytest.approx(1.5, abs=0.02)
    assert found.std() == pytest.approx(np.std([0, 1, 2, 3]) / 2, rel=0.02)  # standard error of a mean of four


def test_several_seeds_have_a_deviation_divided_by_their_number_and_one_has_none():
    found = summarise_seeds(np.array([0.80, 0.82, 0.84]), np.full((5, 3), 0.82), seed=0)
    assert found.value == pytest.approx(0.82)
    assert found.deviation == pytest.approx(0.02 * (2 / 3) ** 0.5)  # 0.0163, where dividing by 2 would give 0.02
    assert summarise_seeds(np.array([0.8]), np.full((5, 1), 0.8), seed=0).deviation is None
    assert np.isnan(summarise_seeds(np.array([0.8, np.nan]), np.full((5, 2), 0.8), seed=0).deviation)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda x, y: knn_scores(x, y, x, C, k=0), "k must be at least 1"),
        (lambda x, y: linear_probe(x, y, C), "valid split, or the groups"),
        (lambda x, y: linear_probe(x, y * 0, C, grid=(1.0,)), "at least two classes"),
        (lambda x, y: panderm_probe(x, y % 2, C), "2 of 4"),
        (lambda x, y: draw(y, seed=0), "either shots"),
        (lambda x, y: draw(y, shots=0, seed=0), "shots must be at least 1"),
        (lambda x, y: draw(y, fraction=10, seed=0), "fraction must lie in"),
        (lambda x, y: few_shot_scores(x, y, x, C, shots=1, seeds=[0], solver="pandrem"), "Did you mean 'panderm'"),
    ],
)
def test_wrong_arguments_are_answered_with_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(*features(40))
