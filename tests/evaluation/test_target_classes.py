# ruff: noqa: I001
"""SM3's Table I: torchmetrics as its release uses it, and the digits that the release published."""

import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from dermis import torchvision_operators  # noqa: F401 (before torchmetrics, which imports torchvision)
from torchmetrics.functional import classification as tm

from dermis.cases.catalogue.derm7pt import DIAGNOSES
from dermis.cases.seven_point import CLASSES
from dermis.evaluation.bootstrap import intervals
from dermis.evaluation.target_classes import (
    METRICS,
    TARGETS,
    target_class_metrics,
    target_places,
    target_table,
    undefined_names,
)

N = 240
NAMES = {f"finding.{criterion}": tuple(classes) for criterion, classes in CLASSES.items()} | {
    "diagnosis": tuple(DIAGNOSES)
}
THEIRS = {
    "AUC": tm.multiclass_auroc,
    "Sens": tm.multiclass_recall,
    "Spec": tm.multiclass_specificity,
    "Prec": tm.multiclass_precision,
}


def cases(seed=0):
    """Probabilities that know something, and labels, for every column."""
    rng = np.random.default_rng(seed)
    score, label = {}, {}
    for column, names in NAMES.items():
        label[column] = rng.integers(len(names), size=N)
        logit_NC = rng.normal(size=(N, len(names))) + np.eye(len(names))[label[column]]
        score[column] = np.exp(logit_NC) / np.exp(logit_NC).sum(axis=1, keepdims=True)
    return score, label


def by_torchmetrics(score_NC, label_N):
    """metric -> value per class (C,), 0 where undefined, as the release calls it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            name: metric(
                torch.tensor(score_NC), torch.tensor(label_N), num_classes=score_NC.shape[1], average=None
            ).numpy()
            for name, metric in THEIRS.items()
        }


@pytest.mark.parametrize("seed", range(3))
def test_every_class_is_torchmetrics(seed):
    score, label = cases(seed)
    theirs = {column: by_torchmetrics(score[column], label[column]) for column in NAMES}
    for column, names in NAMES.items():
        for c in range(len(names)):
            ours = target_class_metrics(score[column], label[column], c)
            for name, value in ours.items():
                assert value[0] == pytest.approx(theirs[column][name][c], abs=1e-6), (column, c, name)
    table, places = target_table(score, label, NAMES), target_places(NAMES)
    for metric in METRICS:
        of_targets = [theirs[t.column][metric][places[t.name]] for t in TARGETS]
        assert [table[f"{metric}: {t.name}"][0] for t in TARGETS] == pytest.approx(of_targets, abs=1e-6)
        assert table[f"{metric}: AVG"][0] == pytest.approx(np.mean(of_targets), abs=1e-6)


def test_undefined_zero_is_torchmetrics_and_nan_leaves_out_and_says_which():
    score, label = cases()
    veil, vessels, places = "finding.blue_whitish_veil", "finding.vascular_structures", target_places(NAMES)
    label[veil][:] = 0  # nobody has a veil: no AUC, no sensitivity
    score[vessels] = np.full((N, 3), [0.6, 0.3, 0.1])  # irregular vessels are never predicted: no precision
    theirs = {column: by_torchmetrics(score[column], label[column]) for column in NAMES}
    left_out, as_zero = (target_table(score, label, NAMES, undefined=how) for how in ("nan", "zero"))
    missing = {"AUC": ["BWV"], "Sens": ["BWV"], "Prec": ["VS"]}
    assert undefined_names(left_out) == missing
    for metric in METRICS:
        values = {t.name: theirs[t.column][metric][places[t.name]] for t in TARGETS}
        for name, value in values.items():
            assert as_zero[f"{metric}: {name}"][0] == pytest.approx(value, abs=1e-6)
            assert np.isnan(left_out[f"{metric}: {name}"][0]) == (name in missing.get(metric, ()))
        assert as_zero[f"{metric}: AVG"][0] == pytest.approx(np.mean(list(values.values())), abs=1e-6)
        kept = [value for name, value in values.items() if name not in missing.get(metric, ())]
        assert left_out[f"{metric}: AVG"][0] == pytest.approx(np.mean(kept), abs=1e-6)
    assert left_out["Prec: BWV"][0] == as_zero["Prec: BWV"][0] == 0  # predicted, never rightly: defined


def test_a_case_without_a_label_is_left_out_of_that_column_only():
    score, label = cases()
    weight_RN = np.random.default_rng(1).poisson(1.0, size=(2, N)).astype(float)
    whole = target_table(score, label, NAMES, weight_RN)
    label["finding.streaks"] = np.where(np.arange(N) < 60, -1, label["finding.streaks"])
    ours = target_table(score, label, NAMES, weight_RN)
    rest = target_class_metrics(score["finding.streaks"][60:], label["finding.streaks"][60:], 2, weight_RN[:, 60:])
    for name, value in ours.items():
        metric, _, column = name.partition(": ")
        if column == "STR":
            np.testing.assert_array_equal(value, rest[metric])
        elif column != "AVG":
            np.testing.assert_array_equal(value, whole[name])
        assert (value != whole[name]).any() == (column in ("STR", "AVG"))


def test_a_column_that_nobody_annotated_has_no_numbers():
    score, label = cases()
    label["diagnosis"] = np.full(N, -1)
    assert undefined_names(target_table(score, label, NAMES)) == {metric: ["DIAG"] for metric in METRICS}
    assert np.isfinite(target_table(score, label, NAMES)["AUC: AVG"]).all()
    nothing = {column: np.full(N, -1) for column in NAMES}
    without = target_table(score, nothing, NAMES)
    assert undefined_names(without) == {metric: [t.name for t in TARGETS] for metric in METRICS}
    assert all(np.isnan(value[0]) for value in without.values())


def test_weights_are_repetitions_and_the_bootstrap_takes_the_table():
    score, label = cases()
    weight_RN = np.random.default_rng(2).poisson(1.0, size=(2, N)).astype(float)
    ours = target_table(score, label, NAMES, weight_RN)
    for r, w in enumerate(weight_RN):
        rows = np.repeat(np.arange(N), w.astype(int))
        repeated = target_table(*({c: x[rows] for c, x in given.items()} for given in (score, label)), NAMES)
        for name, value in repeated.items():
            assert ours[name][r] == pytest.approx(value[0], abs=1e-12), name
    found = intervals(lambda w: target_table(score, label, NAMES, w), np.arange(N) // 2, n_boot=30, seed=0)
    assert all(i.low < i.value < i.high for i in found.values())


# The release's linear_results.csv and finetune_results.csv (Dylan-H-Wang/skin-sm3 @ 255038f) on Derm7pt's 395 test
# cases, per cent: columns and classes in its order, with the cases of each class; then its five averages.
SUPPORTS = {
    "BWV": (320, 75), "DaG": (100, 118, 177), "PIG": (223, 48, 124), "PN": (156, 146, 93), "RS": (289, 106),
    "STR": (257, 44, 94), "VS": (313, 52, 30), "DIAG": (16, 219, 101, 40, 19),
}  # fmt: skip
PUBLISHED = {
    "linear": {
        "Sens": """95.9375,50.666664,55.0,61.864407,40.11299,94.618835,14.583333,31.451612,74.35898,68.49315,39.784946,
            99.30796,18.867926,82.101166,45.454548,41.489365,98.722046,17.307693,0.0,0.0,93.15069,56.435646,37.5,0.0,
            50.71706,34.851143,54.217003,31.767645,37.417267""",
        "Spec": """50.666664,95.9375,69.830505,69.31408,89.90826,33.139534,97.69452,94.46494,77.82427,77.10843,89.40398,
            18.867926,99.30796,52.173912,95.15669,86.04651,12.195122,98.542274,100.0,98.944595,56.25,93.877556,
            94.366196,100.0,77.1259,93.61834,74.08331,93.58131,88.68767""",
        "Prec": """89.24419,74.5098,38.194447,46.20253,76.344086,64.72393,46.666668,72.22222,68.63905,63.694267,
            53.623188,76.9437,90.909096,76.17329,54.05405,48.148148,81.102356,64.28571,0.0,0.0,72.59787,76.0,42.857143,
            0.0,57.380657,61.469566,62.40425,59.393787,38.291""",
    },
    "finetune": {
        "Sens": """99.0625,34.666668,62.0,68.64407,51.412426,73.09417,37.5,68.548386,84.61539,71.23288,32.258064,
            96.88581,25.471699,85.99222,52.272724,48.93617,99.041534,7.692308,20.0,0.0,94.06393,50.495052,42.5,
            5.263158,54.652046,41.473557,58.91194,40.18477,38.464428""",
        "Spec": """34.666668,99.0625,80.33898,70.39712,90.366974,73.25581,91.35446,80.4428,74.05857,79.518074,94.70199,
            25.471699,96.88581,60.144924,94.5869,89.701,24.390244,100.0,96.438354,100.0,53.977276,93.537415,94.366196,
            100.0,79.06932,92.64211,76.62015,92.51421,88.376175""",
        "Prec": """86.61202,89.655174,51.666664,49.693253,81.25,77.99043,37.5,61.5942,68.04124,67.09678,65.21739,
            77.99443,75.0,80.072464,54.761906,59.740257,83.33333,100.0,31.578945,0.0,71.777,72.85714,45.945946,100.0,
            66.224106,67.11163,68.35781,66.290855,58.11602""",
    },
}


def decisions(support_C, sensitivity_C, specificity_C):
    """Labels and arg-max decisions that have these supports and shares: the right ones are counts, the false alarms
    of a class are dealt to cases of other classes that are not found."""
    found_C = np.rint(sensitivity_C * support_C).astype(int)
    false_C = np.rint((1 - specificity_C) * (support_C.sum() - support_C)).astype(int)
    classes = np.arange(len(support_C))
    missed, alarms = np.repeat(classes, support_C - found_C), np.repeat(classes, false_C)
    at, to = linear_sum_assignment((missed[:, None] == alarms).astype(float))
    assert (missed[at] != alarms[to]).all()
    right = np.repeat(classes, found_C)
    return np.r_[right, missed[at]], np.r_[right, alarms[to]]


@pytest.mark.parametrize("run", PUBLISHED)
def test_the_releases_published_digits_are_reproduced(run):
    """All 24 classes of both result tables and their averages: supports and shares are whole counts of 395 cases."""
    printed = {metric: np.array(row.split(","), dtype=float) for metric, row in PUBLISHED[run].items()}
    score, label, values, start = {}, {}, {metric: [] for metric in printed}, 0
    for t in TARGETS:
        support_C = np.array(SUPPORTS[t.name])
        here = slice(start, start := start + len(support_C))
        label_N, said_N = decisions(support_C, printed["Sens"][here] / 100, printed["Spec"][here] / 100)
        label[t.column], score[t.column] = label_N, np.eye(len(support_C))[said_N]
        for c in range(len(support_C)):
            for metric, value in target_class_metrics(score[t.column], label_N, c, undefined="zero").items():
                values.setdefault(metric, []).append(100 * value[0])
    # NAMES are Derm7pt's classes in the release's order.
    table = target_table(score, label, NAMES, undefined="zero")
    for metric, row in printed.items():
        np.testing.assert_allclose(values[metric], row[:24], atol=2e-5)
        np.testing.assert_allclose(np.mean(values[metric]), row[24], atol=2e-5)
        np.testing.assert_allclose(100 * table[f"{metric}: AVG"], row[25], atol=2e-5)
        np.testing.assert_allclose(np.mean(values[metric][:19]), row[26], atol=2e-5)
        np.testing.assert_allclose(np.mean(values[metric][19:]), row[28], atol=2e-5)
        of_seven = [100 * table[f"{metric}: {t.name}"][0] for t in TARGETS[:-1]]
        np.testing.assert_allclose(np.mean(of_seven), row[27], atol=2e-5)
    if run == "linear":  # irregular vessels were never predicted: the release's 0 is an undefined precision
        assert undefined_names(target_table(score, label, NAMES)) == {"Prec": ["VS"]}
        assert 100 * target_table(score, label, NAMES)["Prec: AVG"][0] == pytest.approx(61.469566 * 8 / 7, abs=1e-4)


def test_linear_blue_whitish_veil_by_hand():
    """SM3-linear's first column in Table I, 50.7 / 95.9 / 74.5: 38 of 75 veils found, 13 false alarms in 320."""
    label_N = np.r_[np.ones(75, int), np.zeros(320, int)]
    said_N = np.r_[np.ones(38, int), np.zeros(37, int), np.ones(13, int), np.zeros(307, int)]
    values = target_class_metrics(np.eye(2)[said_N], label_N, 1)
    assert [round(100 * values[m][0], 4) for m in ("Sens", "Spec", "Prec")] == [50.6667, 95.9375, 74.5098]


def test_columns_are_the_tables():
    assert " ".join(t.name for t in TARGETS) == "BWV DaG PIG PN RS STR VS DIAG"
    targets = "present irregular irregular atypical present irregular irregular melanoma"
    assert " ".join(t.target for t in TARGETS) == targets
    assert list(target_places(NAMES).values()) == [1, 2, 2, 2, 1, 2, 2, 2]
    assert target_places(NAMES | {"diagnosis": ("nevus", "Malignant melanoma")})["DIAG"] == 1
    assert {t.column for t in TARGETS} == NAMES.keys()


def test_wrong_arguments_are_answered_with_a_sentence():
    score, label = cases()
    with pytest.raises(ValueError, match=r"eight label columns; missing: finding.streaks, diagnosis\."):
        target_table(score, label, {c: n for c, n in NAMES.items() if c not in ("diagnosis", "finding.streaks")})
    with pytest.raises(ValueError, match=r"none of the diagnoses names melanoma.*: nevus, other\."):
        target_table(score, label, NAMES | {"diagnosis": ("nevus", "other")})
    with pytest.raises(ValueError, match=r"several classes of melanoma, the table is of one: melanoma, melanoma \(in"):
        target_table(score, label, NAMES | {"diagnosis": ("melanoma", "melanoma (in situ)", "nevus")})
    with pytest.raises(ValueError, match="streaks has no class 'irregular'; its classes: absent, regular"):
        target_table(score, label, NAMES | {"finding.streaks": ("absent", "regular")})
    with pytest.raises(ValueError, match="Did you mean 'zero'"):
        target_class_metrics(score["diagnosis"], label["diagnosis"], 2, undefined="zeros")
    with pytest.raises(ValueError, match="probabilities"):
        target_class_metrics(np.log(score["diagnosis"]), label["diagnosis"], 2)
    with pytest.raises(ValueError, match="positive class must be one of 0 … 4"):
        target_class_metrics(score["diagnosis"], label["diagnosis"], 5)
    with pytest.raises(ValueError, match="labels must lie in 0 … 4"):
        target_class_metrics(score["diagnosis"], label["diagnosis"] + 1, 2)
