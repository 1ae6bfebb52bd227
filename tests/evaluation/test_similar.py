"""Pictures that find pictures of their class: the definitions as loops, and scikit-learn's average precision."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from dermis.cases.manifest import Manifest
from dermis.evaluation.config import EvaluationConfig
from dermis.evaluation.evaluate import evaluate
from dermis.evaluation.prompt_classification import unit_length
from dermis.evaluation.similar import nearest_right, similar_metrics

CLASSES = ["a", "b", "c"]
KS = [1, 4, 9]


def pictures(tied=False):
    rng = np.random.default_rng(0)
    label_N, label_M = rng.choice(3, size=30, p=[0.7, 0.2, 0.1]), rng.choice(3, size=40, p=[0.7, 0.2, 0.1])
    query, train = (np.eye(5)[label] + rng.normal(size=(len(label), 5)) for label in (label_N, label_M))
    return (np.sign(query), np.sign(train), label_N, label_M) if tied else (query, train, label_N, label_M)


def by_loops(query, train, label_N, label_M):
    """Each k's precision and average precision of each query."""
    similarity = (unit_length(query) @ unit_length(train).T).round(9)
    precision, average = {k: [] for k in KS}, {k: [] for k in KS}
    for q, own in enumerate(label_N):
        order = sorted(range(len(train)), key=lambda m: (-similarity[q, m], label_M[m] == own))
        right = [label_M[m] == own for m in order]
        for k in KS:
            precision[k].append(sum(right[:k]) / k)
            hits = [sum(right[: i + 1]) / (i + 1) for i in range(k) if right[i]]
            average[k].append(sum(hits) / min(k, sum(right)))
    return precision, average


@pytest.mark.parametrize("cells", [10, 200, 10**6], ids=["one query at a time", "few", "whole"])
@pytest.mark.parametrize("tied", [False, True], ids=["distinct similarities", "tied similarities"])
def test_precision_and_average_precision_equal_the_loops(tied, cells):
    query, train, label_N, label_M = pictures(tied)
    right = nearest_right(query, train, label_N, label_M, max(KS), cells=cells)
    ours = similar_metrics(right, np.bincount(label_M)[label_N], label_N, KS, CLASSES)
    precision, average = by_loops(query, train, label_N, label_M)
    for k in KS:
        of_class = [np.mean(np.array(precision[k])[label_N == c]) for c in range(3)]
        assert ours[f"precision@{k}"][0] == pytest.approx(np.mean(precision[k]))
        assert ours[f"macro precision@{k}"][0] == pytest.approx(np.mean(of_class))
        assert ours[f"mean average precision@{k}"][0] == pytest.approx(np.mean(average[k]))
        assert [ours[f"precision@{k}: {c}"][0] for c in CLASSES] == pytest.approx(of_class)


def test_among_all_training_pictures_it_is_scikit_learns_average_precision():
    query, train, label_N, label_M = pictures()
    right = nearest_right(query, train, label_N, label_M, len(train))
    ours = similar_metrics(right, np.bincount(label_M)[label_N], label_N, [len(train)], CLASSES)
    cosine = unit_length(query) @ unit_length(train).T
    theirs = [average_precision_score(label_M == own, row) for own, row in zip(label_N, cosine, strict=True)]
    assert ours[f"mean average precision@{len(train)}"][0] == pytest.approx(np.mean(theirs))


def test_weights_repeat_queries():
    query, train, label_N, label_M = pictures()
    right, all_right = nearest_right(query, train, label_N, label_M, 9), np.bincount(label_M)[label_N]
    weight_RN = np.random.default_rng(1).poisson(1.0, size=(3, 30)).astype(float)
    found = similar_metrics(right, all_right, label_N, KS, CLASSES, weight_RN)
    for r, w in enumerate(weight_RN):
        rows = np.repeat(np.arange(30), w.astype(int))
        alone = similar_metrics(right[rows], all_right[rows], label_N[rows], KS, CLASSES)
        for name, value in alone.items():
            assert found[name][r] == pytest.approx(value[0], nan_ok=True), name


def test_a_collapsed_model_finds_only_what_is_left_when_all_others_are_first():
    label_N, label_M = np.array([0, 1]), np.array([0] * 8 + [1] * 2)
    right = nearest_right(np.ones((2, 3)), np.ones((10, 3)), label_N, label_M, 5)
    assert right.tolist() == [[False, False, True, True, True], [False] * 5]


def config(**changes):
    base = {"probe_features": "trunk", "n_boot": 20, "subgroups": [], "pictures": 0}
    return EvaluationConfig(protocols=["similar"], **base | changes)


def test_the_report_has_the_loops_numbers_and_each_class(lesions, vectors):
    names = sorted(lesions.table["diagnosis"].unique())
    train, test = lesions.split("train"), lesions.split("test")
    labels = [m.table["diagnosis"].map(names.index).to_numpy() for m in (test, train)]
    precision, average = by_loops(vectors(test)[0].astype(float), vectors(train)[0].astype(float), *labels)
    found = evaluate(None, lesions, config(precision_at=KS), embed=vectors)
    for k in KS:
        entry = found.value("similar pictures", f"precision@{k}")
        assert entry.value == pytest.approx(np.mean(precision[k]))
        assert entry.low < entry.value < entry.high
        assert (entry.n, entry.patients) == (50, 25)
        assert found.value("similar pictures", f"mean average precision@{k}").value == pytest.approx(
            np.mean(average[k])
        )
    (wart,) = [e for e in found.entries if (e.metric, e.class_name) == ("precision@4", "wart")]
    assert wart.value == pytest.approx(np.array(precision[4])[labels[0] == names.index("wart")].mean())
    assert wart.n == (labels[0] == names.index("wart")).sum()


def test_who_has_nothing_to_find_is_no_query(lesions, vectors):
    table = lesions.table.copy()
    table.loc[(table["split"] == "train") & (table["diagnosis"] == "wart"), "diagnosis"] = None
    warts = int((lesions.split("test").table["diagnosis"] == "wart").sum())
    found = evaluate(None, Manifest.build(table, lesions.root), config(), embed=vectors)
    assert found.value("similar pictures", "precision@5").n == 50 - warts
    assert f"{warts} cases of classes without training pictures are no queries." in found.sections[0].about


def test_wrong_settings_are_answered_with_a_sentence(lesions, vectors):
    with pytest.raises(ValueError, match="above the number of training pictures, 70"):
        evaluate(None, lesions, config(precision_at=[71]), embed=vectors)
    with pytest.raises(ValueError, match=r"precision_at lists numbers of 1 or more; it is \[0\]"):
        config(precision_at=[0])
    with pytest.raises(ValueError, match="similar learns from the split `train`"):
        config(split="all")
