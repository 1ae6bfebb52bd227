"""Each label's own numbers: scikit-learn's, the positive class's, of several seeds, and digits of M2CG's tables."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from dermis.cases.manifest import Manifest
from dermis.evaluation.config import EvaluationConfig
from dermis.evaluation.each_label import each_label
from dermis.evaluation.evaluate import evaluate
from dermis.evaluation.label_metrics import measure_labels
from dermis.evaluation.label_predictions import LabelPredictions
from dermis.evaluation.metrics import decision_metrics

SHARED = {"model": "m", "dataset": "d", "split": "test", "seed": 0, "protocol": "p"}
CLASSES = {"diagnosis": ["a", "b", "c", "d", "e"], "finding.streaks": ["absent", "b"]}


def config(**changes) -> EvaluationConfig:
    return EvaluationConfig(**{"protocols": ["finetune"], "n_boot": 5, "subgroups": []} | changes)


def predictions(*columns: str, seeds: int = 1, n: int = 80, unknown: int = 0) -> LabelPredictions:
    """Guesses that know a little of the labels, the first ``unknown`` of which are null."""
    rng = np.random.default_rng(3)
    table, scores = pd.DataFrame({"case_id": [f"c{i}" for i in range(n)], "image": "x.png"}), {}
    for column in columns:
        classes = CLASSES[column]
        place_N = rng.integers(len(classes), size=n)
        table[column] = np.array(classes, dtype=object)[place_N]
        table.loc[: unknown - 1, column] = None
        p_SNC = rng.random((seeds, n, len(classes))) + 0.4 * np.eye(len(classes))[place_N]
        scores[column] = p_SNC / p_SNC.sum(axis=2, keepdims=True)
    return LabelPredictions("p", "", Manifest.build(table, "."), {c: CLASSES[c] for c in columns}, scores)


def numbers(found: LabelPredictions, **settings) -> dict[tuple[str, str], float]:
    return {(e.metric, e.class_name): e.value for e in each_label(found, config(**settings), SHARED)}


def theirs(found: LabelPredictions, column: str, positive: str) -> dict[str, float]:
    truth = found.cases.table[column].to_numpy()
    known = pd.notna(truth)
    p_NC, names = found.scores[column][0][known], np.array(found.classes[column], dtype=object)
    truth, said, average = truth[known], names[p_NC.argmax(axis=1)], {"average": "macro", "zero_division": 0}
    is_it, called = truth == positive, said == positive
    return {
        "accuracy": sk.accuracy_score(truth, said),
        "balanced accuracy": sk.balanced_accuracy_score(truth, said),
        "macro precision": sk.precision_score(truth, said, **average),
        "macro F1": sk.f1_score(truth, said, **average),
        "positive precision": sk.precision_score(is_it, called),
        "positive recall": sk.recall_score(is_it, called),
        "positive specificity": sk.recall_score(~is_it, ~called),
        "positive F1": sk.f1_score(is_it, called),
        "positive AUROC": sk.roc_auc_score(is_it, p_NC[:, list(names).index(positive)]),
    }


@pytest.mark.parametrize("unknown", [0, 15])
def test_one_label_is_told_once_with_scikit_learns_numbers(unknown):
    found = predictions("diagnosis", unknown=unknown)
    ours = numbers(found, positive="b", top=[2, 3, 5], undefined="zero")
    assert {name for _, name in ours} == {""}
    for metric, value in theirs(found, "diagnosis", "b").items():
        assert ours[metric, ""] == pytest.approx(value), metric
    truth = found.labels["diagnosis"]
    for k in (2, 3):
        score_NC = found.scores["diagnosis"][0][truth >= 0]
        theirs_k = sk.top_k_accuracy_score(truth[truth >= 0], score_NC, k=k)
        assert ours[f"accuracy@{k}", ""] == pytest.approx(theirs_k)
    assert ("accuracy@5", "") not in ours  # every case has it
    assert ("macro recall", "") not in ours  # the balanced accuracy by another name


def test_of_several_labels_each_has_its_own_and_the_mean_is_of_what_all_have():
    found = predictions("diagnosis", "finding.streaks")
    ours = numbers(found, positive="absent")
    for column in found.classes:
        for metric, value in theirs(found, column, "absent").items() if column != "diagnosis" else ():
            assert ours[metric, column] == pytest.approx(value), metric
    for metric in ("accuracy", "macro F1", "macro precision", "balanced accuracy", "macro AUROC"):
        each = [ours[metric, column] for column in found.classes]
        assert ours[metric, ""] == pytest.approx(np.mean(each))
    assert {name for metric, name in ours if metric == "accuracy@3"} == {"diagnosis"}  # the other has two classes
    assert {name for metric, name in ours if metric.startswith("positive")} == {"finding.streaks"}
    both = numbers(found, positive="b")
    each = [both["positive recall", column] for column in found.classes]
    assert both["positive recall", ""] == pytest.approx(np.mean(each))


def test_groups_have_the_three_metrics_of_groups_only():
    found = predictions("diagnosis")
    table = found.cases.table.assign(source=np.repeat(["one", "two"], 40))
    found = LabelPredictions("p", "", Manifest.build(table, "."), found.classes, found.scores)
    entries = list(measure_labels(found, config(positive="a", subgroups=["source"]), SHARED))
    by_group = {e.metric for e in entries if e.subgroup}
    assert by_group == {"macro AUROC", "accuracy", "balanced accuracy"}


def test_a_class_that_is_never_said_in_some_seed_is_named():
    found = predictions("diagnosis", seeds=2)
    found.scores["diagnosis"][1, :, 3] = 0
    notes = {e.metric: e.notes for e in each_label(found, config(), SHARED)}
    assert notes["macro precision"] == "1 classes never predicted left out: d"
    assert notes["accuracy"] == notes["macro F1"] == ""
    notes = {e.metric: e.notes for e in each_label(found, config(undefined="zero"), SHARED)}
    assert notes["macro precision"] == "1 classes never predicted counted as 0: d"


def test_no_known_label_is_no_number():
    found = predictions("diagnosis", "finding.streaks")
    table = found.cases.table.assign(diagnosis=None)
    found = LabelPredictions("p", "", Manifest.build(table, "."), found.classes, found.scores)
    ours = numbers(found)
    assert np.isnan(ours["accuracy", "diagnosis"])
    assert ours["accuracy", ""] == ours["accuracy", "finding.streaks"]
    assert np.isnan(ours["accuracy@3", "diagnosis"])


def monkeypox(*runs: tuple[int, int]) -> LabelPredictions:
    """Runs on M2CG's 100 monkeypox and 125 other pictures: how many were found, how many false alarms."""
    names = np.repeat(["monkeypox", "others"], [100, 125])
    table = pd.DataFrame({"case_id": [f"c{i}" for i in range(225)], "image": "x.png", "diagnosis": names})
    place = np.arange(225)
    said = [(place < found) | ((place >= 100) & (place < 100 + alarms)) for found, alarms in runs]
    score_SNC = np.stack([np.stack([s, ~s], axis=1) for s in said]).astype(float)
    classes = {"diagnosis": ["monkeypox", "others"]}
    return LabelPredictions("p", "", Manifest.build(table, "."), classes, {"diagnosis": score_SNC})


PRINTED = ("accuracy", "positive precision", "positive recall", "positive F1")


@pytest.mark.parametrize(
    ("counts", "printed"),  # the means of M2CG's Table I
    [
        ((82, 24), (81.33, 77.36, 82.00, 79.61)),
        ((93, 8), (93.33, 92.08, 93.00, 92.54)),
    ],
)
def test_counts_of_one_confusion_matrix_print_m2cgs_digits(counts, printed):
    ours = numbers(monkeypox(counts), positive="monkeypox")
    assert [round(100 * ours[metric, ""], 2) for metric in PRINTED] == list(printed)


@pytest.mark.parametrize(
    ("runs", "printed"),
    [
        (((83, 9), (86, 14), (87, 17)), "87.56 ± 0.72, 86.62 ± 2.72, 85.33 ± 1.70, 85.92 ± 0.48"),  # SimCLR
        (((82, 10), (83, 7), (86, 14)), "88.15 ± 0.83, 89.12 ± 2.54, 83.67 ± 1.70, 86.26 ± 0.82"),  # MoCo
        (((76, 19), (81, 16), (82, 20)), "82.81 ± 1.46, 81.30 ± 1.57, 79.67 ± 2.62, 80.46 ± 1.82"),  # M3AE
        (((89, 13), (92, 15)), "89.56 ± 0.23, 86.62 ± 0.64, 90.50 ± 1.50, 88.51 ± 0.39"),  # CLIP
    ],
)
def test_counts_of_the_runs_print_m2cgs_means_and_deviations(runs, printed):
    """The deviation divides by the number of runs: divided by one less no counts would fit."""
    found = {e.metric: e for e in each_label(monkeypox(*runs), config(positive="monkeypox"), SHARED)}
    pairs = [part.split(" ± ") for part in printed.split(", ")]
    for metric, (mean, deviation) in zip(PRINTED, pairs, strict=True):
        assert 100 * found[metric].value == pytest.approx(float(mean), abs=0.0101)
        assert 100 * found[metric].deviation == pytest.approx(float(deviation), abs=0.0101)
    recalls = [count / 100 for count, _ in runs]
    assert found["positive recall"].deviation == pytest.approx(np.std(recalls, ddof=0))


def test_one_seed_has_no_deviation_and_several_have_that_of_each_number():
    assert all(e.deviation is None for e in each_label(predictions("diagnosis"), config(), SHARED))
    several = predictions("diagnosis", seeds=3)
    for e in each_label(several, config(), SHARED):
        if e.metric == "accuracy":
            truth, p_SNC = several.labels["diagnosis"], several.scores["diagnosis"]
            of_seed = [decision_metrics(p_NC, truth)["accuracy"][0] for p_NC in p_SNC]
            assert e.deviation == pytest.approx(np.std(of_seed))
            assert e.text().startswith(f"{np.mean(of_seed):.3f} ± {np.std(of_seed):.3f} [")
        assert e.deviation is not None


def test_a_positive_class_that_no_label_has_is_refused_before_anything_is_trained(monkeypatch):
    import torch

    monkeypatch.setattr("dermis.evaluation.finetune.finetune", lambda *_, **__: pytest.fail("it was trained"))
    table = pd.DataFrame({"case_id": ["1", "2"], "image": "x.png", "split": "test", "diagnosis": ["nevus", "wart"]})
    with pytest.raises(ValueError, match=r"unknown positive class 'warts'\. Did you mean 'wart'"):
        evaluate(torch.nn.Linear(2, 2), Manifest.build(table, "."), config(positive="warts"))
    with pytest.raises(ValueError, match="positive has no effect"):
        EvaluationConfig(protocols=["retrieval"], positive="wart")
