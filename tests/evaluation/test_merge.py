"""Classes made of diagnoses: who is in them, who is left out, and two classes measured as scikit-learn does."""

import numpy as np
import pytest
import tyro
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, recall_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from dermis.cases.manifest import Manifest
from dermis.evaluation.config import LEARNING, EvaluationConfig
from dermis.evaluation.evaluate import evaluate
from dermis.evaluation.setting import diagnoses_of, merged_classes
from dermis.recipe import build

TWO = {"malignant": ["melanoma"], "benign": ["wart", "nevus"]}
WITHOUT_WARTS = {"malignant": ["melanoma"], "benign": ["nevus"]}


def config(*protocols, **changes):
    base = {"probe_features": "trunk", "n_boot": 5, "subgroups": [], "pictures": 0, "merge": TWO}
    return EvaluationConfig(protocols=list(protocols), **base | changes)


def test_cases_get_the_class_of_their_diagnosis(lesions):
    classes = merged_classes(lesions, WITHOUT_WARTS)
    label_N = diagnoses_of(lesions, classes, WITHOUT_WARTS)
    expected = [{"melanoma": 0, "nevus": 1}.get(d, -1) for d in lesions.table["diagnosis"]]
    assert classes == ["malignant", "benign"]
    assert label_N.tolist() == expected


def test_two_classes_are_measured_as_scikit_learn_does(lesions, vectors):
    settings = {"low_shot_fractions": [1.0], "shot_seeds": 2, "positive": "malignant", "merge": WITHOUT_WARTS}
    found = evaluate(None, lesions, config("low_shot", **settings), embed=vectors)
    x, y = {}, {}
    for split in ("train", "test"):
        part = lesions.split(split)
        part = part.select((part.table["diagnosis"] != "wart").to_numpy())
        x[split], y[split] = vectors(part)[0].astype(float), (part.table["diagnosis"] == "melanoma").to_numpy()
    train = lesions.split("train")
    scaler = StandardScaler().fit(x["train"])
    probe = LogisticRegression(C=0.01, max_iter=2000).fit(scaler.transform(x["train"]), y["train"])
    p = probe.predict_proba(scaler.transform(x["test"]))[:, 1]
    protocol = "low-shot, 100% of training"
    area = roc_auc_score(y["test"], p)
    assert 0.5 < area < 1
    for metric in ("positive AUROC", "macro AUROC"):
        assert found.value(protocol, metric).value == pytest.approx(area, abs=2e-3)
    assert found.value(protocol, "positive AUPR").value == pytest.approx(
        average_precision_score(y["test"], p), abs=5e-3
    )
    assert found.value(protocol, "positive recall").value == recall_score(y["test"], p > 0.5)
    assert found.value(protocol, "macro AUROC").n == len(p) < len(lesions.split("test")) < len(train.table)


def test_who_is_left_out_is_said(lesions, vectors):
    found = evaluate(None, lesions, config("knn", "similar", merge=WITHOUT_WARTS), embed=vectors)
    warts = int((lesions.split("test").table["diagnosis"] == "wart").sum())
    assert found.notes == [
        f"{warts} cases of other diagnoses (wart) take no part in `knn`, `similar`.",
        "2 classes: malignant (melanoma), benign (nevus).",
    ]
    assert evaluate(None, lesions, config("knn"), embed=vectors).notes == [
        "2 classes: malignant (melanoma), benign (wart, nevus)."
    ]


@pytest.mark.parametrize("protocol", [p for p in LEARNING if p != "panderm"])
def test_merged_labels_are_those_of_a_manifest_that_says_so_itself(protocol, lesions, vectors):
    """The same numbers as from diagnoses that were renamed beforehand."""
    of = {d: name for name, diagnoses in TWO.items() for d in diagnoses}
    renamed = Manifest.build(lesions.table.assign(diagnosis=lesions.table["diagnosis"].map(of)), lesions.root)

    def embed(manifest):
        order = manifest.table["case_id"].str.removeprefix("case-").astype(int).to_numpy()
        return vectors(lesions)[0][order], np.ones(len(order), bool)

    small = {"few_shot": {"shots": [3]}, "low_shot": {"low_shot_fractions": [1.0]}}.get(protocol, {})
    merged = evaluate(None, lesions, config(protocol, **small), embed=vectors)
    own = evaluate(None, renamed, config(protocol, merge=None, classes=list(TWO), **small), embed=embed)
    assert [(e.metric, e.text(), e.n) for e in merged.entries] == [(e.metric, e.text(), e.n) for e in own.entries]


def test_classes_are_words_of_the_command_line_and_lines_of_a_recipe(capsys):
    classes = {"malignant": ["melanoma", "basal cell carcinoma"], "benign": ["nevus"]}
    told = build(EvaluationConfig, {"protocols": ["knn", "similar"], "merge": classes})
    words = ["malignant=melanoma", "malignant=basal cell carcinoma", "benign=nevus"]
    assert tyro.cli(EvaluationConfig, args=["--protocols", "knn", "similar", "--merge", *words]) == told
    assert tyro.cli(EvaluationConfig, args=["--n-boot", "5"], default=told).merge == classes == told.merge
    assert tyro.cli(EvaluationConfig, args=[]).merge is build(EvaluationConfig, {"merge": None}).merge is None
    with pytest.raises(SystemExit):
        tyro.cli(EvaluationConfig, args=["--protocols", "knn", "--merge", "malignant"])
    assert "'malignant' is not CLASS=DIAGNOSIS." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"merge": {"a": ["melanom"], "b": ["nevus"]}},
            "unknown diagnosis in merge 'melanom'. Did you mean 'melanoma'",
        ),
        ({"merge": {"a": ["melanoma"], "b": []}}, "class 'b' of merge has no diagnosis"),
        ({"merge": {"a": ["melanoma"], "b": ["nevus", "melanoma"]}}, "merge names diagnosis 'melanoma' twice"),
        ({"classes": ["melanoma"]}, "classes has no effect beside merge"),
        ({"ontology": "default"}, "leave it out where merge makes classes"),
        ({"merge": {"a": ["melanoma"]}}, "needs at least two classes"),
        ({"positive": "melanoma"}, "unknown class 'melanoma'"),
    ],
)
def test_wrong_merges_are_answered_with_a_sentence(settings, sentence, lesions, vectors):
    with pytest.raises(ValueError, match=sentence):
        evaluate(None, lesions, config("knn", **settings), embed=vectors)
