# ruff: noqa: I001
"""Every metric against scikit-learn or torchmetrics, with case weights, ties and absent classes."""

import warnings

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from dermis import torchvision_operators  # noqa: F401 (before torchmetrics, which imports torchvision)
from torchmetrics.functional import classification as tm

from dermis.evaluation.calibration import brier_score, expected_calibration_error, log_loss, reliability_curve
from dermis.evaluation.metrics import (
    classification_metrics,
    confusion_matrix,
    macro_one_vs_one_auroc,
    panderm_metrics,
    positive_class_metrics,
    top_k_accuracy,
    undefined_classes,
)
from dermis.evaluation.ranking import auroc, auroc_and_average_precision

N, C = 300, 5


def case(seed=0, decimals=None):
    """Probabilities that know something, labels, and integer weights as a bootstrap draws them."""
    rng = np.random.default_rng(seed)
    label_N = rng.choice(C, size=N, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    logit_NC = rng.normal(size=(N, C)) + 1.5 * np.eye(C)[label_N]
    score_NC = np.exp(logit_NC) / np.exp(logit_NC).sum(axis=1, keepdims=True)
    if decimals is not None:  # many ties, and rows that still sum to 1
        score_NC = score_NC.round(decimals)
        score_NC[:, -1] = np.maximum(0, 1 - score_NC[:, :-1].sum(axis=1))
        score_NC /= score_NC.sum(axis=1, keepdims=True)
    return score_NC, label_N, rng.poisson(1.0, size=(4, N)).astype(float)


@pytest.mark.parametrize("decimals", [None, 1], ids=["distinct scores", "tied scores"])
@pytest.mark.parametrize("seed", range(3))
def test_all_metrics_are_scikit_learns_under_weights(seed, decimals):
    score_NC, label_N, weight_RN = case(seed, decimals)
    ours = classification_metrics(score_NC, label_N, weight_RN, top=(1, 3), positive=3)
    said_N = score_NC.argmax(axis=1)
    one_hot_NC = np.eye(C)[label_N]
    for r, w in enumerate(weight_RN):
        theirs = {
            "accuracy": sk.accuracy_score(label_N, said_N, sample_weight=w),
            "accuracy@1": sk.accuracy_score(label_N, said_N, sample_weight=w),
            "balanced accuracy": sk.balanced_accuracy_score(label_N, said_N, sample_weight=w),
            "macro AUROC": np.mean(
                [sk.roc_auc_score(one_hot_NC[:, c], score_NC[:, c], sample_weight=w) for c in range(C)]
            ),
            "macro AUPR": sk.average_precision_score(one_hot_NC, score_NC, average="macro", sample_weight=w),
            "positive AUROC": sk.roc_auc_score(label_N == 3, score_NC[:, 3], sample_weight=w),
            "positive AUPR": sk.average_precision_score(label_N == 3, score_NC[:, 3], sample_weight=w),
            "positive specificity": sk.recall_score(label_N != 3, said_N != 3, sample_weight=w),
            "log loss": -np.average(np.log(score_NC[np.arange(N), label_N].clip(2**-23)), weights=w),
        }
        for name, score in (("precision", sk.precision_score), ("recall", sk.recall_score), ("F1", sk.f1_score)):
            theirs[f"macro {name}"] = score(label_N, said_N, average="macro", sample_weight=w)
            theirs[f"positive {name}"] = score(label_N == 3, said_N == 3, sample_weight=w)
        if decimals is None:
            theirs["accuracy@3"] = sk.top_k_accuracy_score(label_N, score_NC, k=3, sample_weight=w)
        for name, value in theirs.items():
            assert ours[name][r] == pytest.approx(value, abs=1e-6), name


def test_without_weights_every_case_counts_once():
    score_NC, label_N, _ = case()
    plain = classification_metrics(score_NC, label_N, positive=0)
    ones = classification_metrics(score_NC, label_N, np.ones((2, N)), positive=0)
    for name, value in plain.items():
        np.testing.assert_allclose(ones[name], value[0], rtol=1e-12, err_msg=name)


def test_calibration_error_is_torchmetrics():
    score_NC, label_N, weight_RN = case()
    theirs = tm.multiclass_calibration_error(torch.tensor(score_NC), torch.tensor(label_N), C, n_bins=15)
    assert expected_calibration_error(score_NC, label_N)[0] == pytest.approx(theirs.item(), abs=1e-6)
    for r, w in enumerate(weight_RN):  # a weight is a repetition
        rows = np.repeat(np.arange(N), w.astype(int))
        theirs = tm.multiclass_calibration_error(
            torch.tensor(score_NC[rows]), torch.tensor(label_N[rows]), C, n_bins=15
        )
        assert expected_calibration_error(score_NC, label_N, weight_RN)[r] == pytest.approx(theirs.item(), abs=1e-6)


def test_log_loss_is_scikit_learns():
    score_NC, label_N, weight_RN = case()
    theirs = sk.log_loss(label_N, score_NC, sample_weight=weight_RN[0])
    assert log_loss(score_NC, label_N, weight_RN)[0] == pytest.approx(theirs, abs=1e-6)


def test_class_names_add_each_classs_own_numbers():
    score_NC, label_N, _ = case()
    said_N = score_NC.argmax(axis=1)
    ours = classification_metrics(score_NC, label_N, class_names="abcde")
    for c, name in enumerate("abcde"):
        assert ours[f"recall: {name}"][0] == pytest.approx(sk.recall_score(label_N == c, said_N == c))
        assert ours[f"precision: {name}"][0] == pytest.approx(sk.precision_score(label_N == c, said_N == c))
        assert ours[f"AUROC: {name}"][0] == pytest.approx(sk.roc_auc_score(label_N == c, score_NC[:, c]))


def test_confidence_one_is_in_the_last_bin():
    score_NC = np.eye(2)[[0, 0, 1, 1]]
    confidence, accuracy, share = reliability_curve(score_NC, np.array([0, 0, 1, 0]), bins=4)
    assert (share[0] == [0, 0, 0, 1]).all()
    assert (confidence[0, -1], accuracy[0, -1]) == (1.0, 0.75)


def test_a_bin_holds_its_lower_edge():
    _, accuracy, share = reliability_curve(np.array([[0.5, 0.5], [0.5, 0.5]]), np.array([0, 1]), bins=4)
    assert (share[0] == [0, 0, 1, 0]).all()
    assert accuracy[0, 2] == 0.5


def test_brier_and_log_loss_by_hand():
    score_NC, label_N = np.array([[0.7, 0.3], [0.2, 0.8]]), np.array([0, 0])
    assert brier_score(score_NC, label_N)[0] == pytest.approx((0.09 + 0.09 + 0.64 + 0.64) / 2)
    assert log_loss(score_NC, label_N)[0] == pytest.approx(-(np.log(0.7) + np.log(0.2)) / 2)


def test_one_vs_one_auroc_is_scikit_learns():
    score_NC, label_N, _ = case()
    theirs = sk.roc_auc_score(label_N, score_NC, multi_class="ovo", average="macro")
    assert macro_one_vs_one_auroc(score_NC, label_N)[0] == pytest.approx(theirs, abs=1e-6)


def test_panderms_other_metrics_are_scikit_learns():
    score_NC, label_N, weight_RN = case(2)
    called_N = score_NC.argmax(axis=1)
    ours = panderm_metrics(score_NC, label_N, weight_RN)
    for r, weight_N in enumerate(weight_RN):
        f1 = sk.f1_score(label_N, called_N, average="weighted", sample_weight=weight_N)
        kappa = sk.cohen_kappa_score(label_N, called_N, sample_weight=weight_N)
        assert ours["weighted F1"][r] == pytest.approx(f1)
        assert ours["Cohen's kappa"][r] == pytest.approx(kappa)
    plain = panderm_metrics(score_NC, label_N)["macro AUROC (one vs one)"]
    assert plain == pytest.approx(macro_one_vs_one_auroc(score_NC, label_N))


def test_area_is_the_share_of_pairs_in_the_right_order():
    score = np.array([0.9, 0.5, 0.5, 0.1, 0.5])
    positive = np.array([True, True, False, False, True])
    pairs = [np.sign(p - n) / 2 + 0.5 for p in score[positive] for n in score[~positive]]
    assert auroc(score, positive)[0] == pytest.approx(np.mean(pairs))


def test_confusion_matrix_is_scikit_learns():
    score_NC, label_N, _ = case()
    said_N = score_NC.argmax(axis=1)
    np.testing.assert_array_equal(confusion_matrix(label_N, said_N, C), sk.confusion_matrix(label_N, said_N))


def without_class_4_and_never_saying_3():
    score_NC, label_N, _ = case()
    score_NC = score_NC[label_N != 4].copy()
    score_NC[:, 3] = 0
    return score_NC / score_NC.sum(axis=1, keepdims=True), label_N[label_N != 4]


def test_undefined_nan_leaves_out_what_undefined_zero_counts_as_nothing():
    score_NC, label_N = without_class_4_and_never_saying_3()
    said_N = score_NC.argmax(axis=1)
    assert (said_N == 4).any()
    assert not (said_N == 3).any()
    left_out = classification_metrics(score_NC, label_N)
    as_zero = classification_metrics(score_NC, label_N, undefined="zero")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, score in (("precision", sk.precision_score), ("recall", sk.recall_score), ("F1", sk.f1_score)):
            arguments = {"labels": range(C), "average": "macro"}
            assert left_out[f"macro {name}"][0] == pytest.approx(
                score(label_N, said_N, zero_division=np.nan, **arguments), abs=1e-6
            )
            assert as_zero[f"macro {name}"][0] == pytest.approx(
                score(label_N, said_N, zero_division=0, **arguments), abs=1e-6
            )
        torch_auroc = tm.multiclass_auroc(torch.tensor(score_NC), torch.tensor(label_N), C, average="none")
    assert torch_auroc[4] == 0
    assert as_zero["macro AUROC"][0] == pytest.approx(torch_auroc.mean().item(), abs=1e-6)
    assert left_out["macro AUROC"][0] == pytest.approx(torch_auroc[:4].mean().item(), abs=1e-6)
    assert undefined_classes(label_N, said_N, list("abcde")) == {"absent": ["e"], "unused": ["d"], "neither": []}


def test_a_positive_class_without_cases_is_undefined_not_zero():
    score_NC, label_N = without_class_4_and_never_saying_3()
    values = positive_class_metrics(score_NC, label_N, 4)
    assert np.isnan([values["positive recall"][0], values["positive AUROC"][0], values["positive AUPR"][0]]).all()
    assert positive_class_metrics(score_NC, label_N, 4, undefined="zero")["positive AUROC"][0] == 0


def test_published_positive_class_row_is_reproduced():
    """M2CG's ImageNet row on 100 monkeypox and 125 other pictures: 82 found, 24 false alarms."""
    label_N = np.r_[np.ones(100, int), np.zeros(125, int)]
    said_N = np.r_[np.ones(82, int), np.zeros(18, int), np.ones(24, int), np.zeros(101, int)]
    values = classification_metrics(np.eye(2)[said_N], label_N, positive=1)
    printed = {"positive precision": 77.36, "positive recall": 82.00, "positive F1": 79.61, "accuracy": 81.33}
    assert {name: round(100 * values[name][0], 2) for name in printed} == printed


def test_of_equal_scores_the_first_class_ranks_first_as_in_arg_max():
    score_NC = np.full((3, 3), 1 / 3)
    assert [top_k_accuracy(score_NC, np.array([0, 1, 2]), k)[0] for k in (1, 2, 3)] == pytest.approx([1 / 3, 2 / 3, 1])


def test_average_precision_needs_positives_and_the_area_both():
    score = np.array([0.1, 0.9])
    assert np.isnan(auroc_and_average_precision(score, np.array([False, False]))).all()
    area_R, precision_R = auroc_and_average_precision(score, np.array([True, True]))
    assert np.isnan(area_R[0])
    assert precision_R[0] == 1


@pytest.mark.parametrize(
    ("score", "label", "sentence"),
    [
        (np.eye(2), [0], "labels \\(cases,\\)"),
        (np.eye(2), [0, 2], "labels must lie in 0 … 1"),
        (np.zeros((0, 2)), [], "no case"),
        (np.array([[np.nan, 1.0]]), [0], "not finite"),
        (np.array([[3.0, -2.0]]), [0], "probabilities"),
    ],
)
def test_wrong_arrays_are_answered_with_a_sentence(score, label, sentence):
    with pytest.raises(ValueError, match=sentence):
        classification_metrics(score, np.array(label, dtype=int))


def test_wrong_options_are_answered_with_a_sentence():
    with pytest.raises(ValueError, match="Did you mean 'zero'"):
        classification_metrics(np.eye(2), np.array([0, 1]), undefined="zeros")
    with pytest.raises(ValueError, match="k must lie between 1 and the number of classes, 2"):
        top_k_accuracy(np.eye(2), np.array([0, 1]), 5)
    with pytest.raises(ValueError, match="positive class must be one of 0 … 1"):
        classification_metrics(np.eye(2), np.array([0, 1]), positive=2)
