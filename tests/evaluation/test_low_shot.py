"""Shares of the training cases: which are drawn, which cells are left out, and what is said of those."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from dermis.evaluation.config import EvaluationConfig
from dermis.evaluation.evaluate import evaluate
from dermis.evaluation.few_shot import draw

CLASSES = ["melanoma", "nevus", "wart"]


def config(*protocols, **changes):
    base = {"probe_features": "trunk", "n_boot": 30, "subgroups": [], "pictures": 0, "shot_seeds": 3}
    return EvaluationConfig(protocols=list(protocols), **base | changes)


def counts(lesions):
    label = lesions.split("train").table["diagnosis"].map(CLASSES.index).to_numpy()
    return label, np.bincount(label)


def test_a_share_is_the_mean_over_draws_of_scikit_learns_probe(lesions, vectors):
    found = evaluate(None, lesions, config("low_shot", low_shot_fractions=[0.5]), embed=vectors)
    train, test = lesions.split("train"), lesions.split("test")
    x, y = vectors(train)[0].astype(float), train.table["diagnosis"].to_numpy()
    scaler = StandardScaler().fit(x)  # by all training pictures, whose labels it does not need
    label, _ = counts(lesions)
    areas, sizes = [], []
    for seed in range(3):
        rows = draw(label, fraction=0.5, seed=seed)
        probe = LogisticRegression(C=0.01, max_iter=2000).fit(scaler.transform(x[rows]), y[rows])
        p = probe.predict_proba(scaler.transform(vectors(test)[0]))
        areas.append(np.mean([roc_auc_score(test.table["diagnosis"] == c, p[:, i]) for i, c in enumerate(CLASSES)]))
        sizes.append(len(rows))
    entry = found.value("low-shot, 50% of training", "macro AUROC")
    assert entry.value == pytest.approx(np.mean(areas), abs=1e-3)
    assert len(set(areas)) == 3
    assert entry.low < entry.value < entry.high
    assert (entry.n, entry.notes) == (50, f"{sizes[0]} training cases a draw")


def test_two_shares_have_two_names(lesions, vectors):
    settings = EvaluationConfig(protocols=["panderm"], fractions=[0.5, 0.502, 1.0], n_boot=5, subgroups=[], pictures=0)
    found = evaluate(None, lesions, settings, embed=vectors)
    names = list(dict.fromkeys(e.protocol for e in found.entries))
    assert names == [f"linear probe, PanDerm solver, {share} of training" for share in ("50%", "50.2%", "100%")]


def test_shares_with_fewer_than_five_cases_of_a_class_are_left_out_and_said(lesions, vectors):
    _, have = counts(lesions)
    four, five = (next(f / 100 for f in range(1, 100) if int(min(have) * f / 100) == n) for n in (4, 5))
    fractions = [0.01, four, five, 1.0]
    drawn = {f: [max(1, int(n * f)) for n in have] for f in fractions}
    kept = [f for f in fractions if min(drawn[f]) >= 5]
    assert kept == [five, 1.0]
    found = evaluate(None, lesions, config("low_shot", low_shot_fractions=fractions), embed=vectors)
    names = list(dict.fromkeys(e.protocol for e in found.entries))
    assert names == [f"low-shot, {100 * f:.0f}% of training" for f in kept]
    for f in fractions:
        rarest = CLASSES[int(np.argmin(drawn[f]))]
        sentence = f"{100 * f:.0f}% is left out ({rarest}: {min(drawn[f])})"
        for text in (*found.notes[-1:], *(s.about for s in found.sections)):
            assert (sentence in text) == (f not in kept)
    one_class_lacks = evaluate(
        None,
        lesions,
        config("low_shot", low_shot_fractions=[1.0], classes=["melanoma", "keloid", "nevus", "wart"]),
        embed=vectors,
    )
    assert {e.protocol for e in one_class_lacks.entries} == {"low-shot, 100% of training"}


def test_where_every_share_is_left_out_the_report_still_says_so(lesions, vectors, tmp_path):
    found = evaluate(None, lesions, config("knn", "low_shot", low_shot_fractions=[0.01, 0.025]), embed=vectors)
    assert {e.protocol for e in found.entries} == {"kNN"}
    assert found.notes[-1].startswith(
        "low-shot: A share with fewer than 5 cases of a class says little; 1% is left out"
    )
    assert "2.5% is left out" in found.notes[-1]
    found.write(tmp_path)
    assert "2.5% is left out" in (tmp_path / "report.md").read_text()


def test_classes_with_fewer_cases_than_shots_are_said(lesions, vectors):
    _, have = counts(lesions)
    shots = int(sorted(have)[1])
    found = evaluate(None, lesions, config("few_shot", shots=[1, shots]), embed=vectors)
    few = [f"{c} ({n})" for c, n in zip(CLASSES, have, strict=True) if n < shots]
    note = f"{len(few)} classes have fewer than {shots} training cases: {', '.join(few)}"
    assert few
    assert found.value(f"few-shot, {shots} per class", "accuracy").notes == note
    assert found.value("few-shot, 1 per class", "accuracy").notes == ""
    assert [note in s.about for s in found.sections] == [False, True]
    assert f"few-shot, {shots} per class: {note}." in found.notes


def test_a_share_is_above_0_and_at_most_1():
    for wrong in (0.0, 1.5):
        with pytest.raises(ValueError, match=f"at most 1; one is {wrong}"):
            EvaluationConfig(protocols=["low_shot"], low_shot_fractions=[0.5, wrong])
