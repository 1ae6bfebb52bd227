"""Classification metrics as functions of case weights, so that one call serves the estimate and its bootstrap.

What cannot be computed (recall of a class without cases, precision of a class that is never predicted) is undefined.
``undefined="nan"`` (default) leaves it out of macro means, which are NaN only if nothing is left, and
``undefined_classes`` names it; ``undefined="zero"`` counts it as 0, as torchmetrics 1.x and scikit-learn do and as
some published tables therefore have it: there an absent class drags the mean. A bootstrap draw that happens to miss a
class is treated in the same way.

The decision is the class of the highest score, the first of equals. Shapes: N cases, C classes, R weight vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dermis.evaluation.calibration import brier_score, expected_calibration_error, log_loss
from dermis.evaluation.ranking import auroc_and_average_precision, one_vs_one_auroc, one_vs_rest
from dermis.registry import unknown

UNDEFINED = ("nan", "zero")


def classification_metrics(
    score_NC: np.ndarray,
    label_N: np.ndarray,
    weight_RN: np.ndarray | None = None,
    *,
    top: tuple[int, ...] = (),
    positive: int | None = None,
    class_names: Sequence[str] = (),
    undefined: str = "nan",
) -> dict[str, np.ndarray]:
    """All metrics of probabilities ``score_NC`` (rows sum to 1) against ``label_N``: name -> value (R,).

    ``top``: the k of accuracy@k. ``positive``: a class whose own precision, recall, specificity, F1, AUROC and AUPR
    (against all others, decided by arg-max) are added. ``class_names``: each class's recall, precision and AUROC are
    added as "recall: NAME". Raises ValueError for labels outside 0 … C−1 and scores that are not probabilities.
    """
    score_NC, label_N = checked(score_NC, label_N)
    if undefined not in UNDEFINED:
        raise unknown("handling of undefined metrics", undefined, UNDEFINED)
    weight_RN = np.ones((1, len(label_N))) if weight_RN is None else weight_RN
    counts = class_counts(label_N, score_NC.argmax(axis=1), score_NC.shape[1], weight_RN)
    auroc_RC, precision_RC = one_vs_rest(score_NC, label_N, weight_RN)
    values = decision_metrics(score_NC, label_N, weight_RN, top=top, undefined=undefined)
    values |= {"macro AUROC": macro_mean(auroc_RC, undefined), "macro AUPR": macro_mean(precision_RC, undefined)}
    values["ECE"] = expected_calibration_error(score_NC, label_N, weight_RN)
    values["Brier score"] = brier_score(score_NC, label_N, weight_RN)
    values["log loss"] = log_loss(score_NC, label_N, weight_RN)
    per_class = {"recall": counts.recall(), "precision": counts.precision(), "AUROC": auroc_RC}
    for metric, value_RC in per_class.items():
        values |= {f"{metric}: {name}": value_RC[:, c] for c, name in enumerate(class_names)}
    if positive is not None:
        values |= positive_class_metrics(score_NC, label_N, positive, weight_RN, undefined=undefined)
    return values


def decision_metrics(
    score_NC: np.ndarray,
    label_N: np.ndarray,
    weight_RN: np.ndarray | None = None,
    *,
    top: tuple[int, ...] = (),
    undefined: str = "nan",
) -> dict[str, np.ndarray]:
    """What the classes said are worth, whatever the scores are otherwise: name -> value (R,), NaN without cases."""
    weight_RN = np.ones((1, len(label_N))) if weight_RN is None else weight_RN
    counts = class_counts(label_N, score_NC.argmax(axis=1), score_NC.shape[1], weight_RN)
    values = {"accuracy": ratio(counts.true.sum(axis=1), weight_RN.sum(axis=1))}
    values |= {f"accuracy@{k}": top_k_accuracy(score_NC, label_N, k, weight_RN) for k in top}
    macro = {
        "balanced accuracy": counts.recall(),
        "macro precision": counts.precision(),
        "macro recall": counts.recall(),
        "macro F1": counts.f1(),
    }
    return values | {name: macro_mean(value_RC, undefined) for name, value_RC in macro.items()}


def positive_class_metrics(
    score_NC: np.ndarray,
    label_N: np.ndarray,
    positive: int,
    weight_RN: np.ndarray | None = None,
    *,
    undefined: str = "nan",
) -> dict[str, np.ndarray]:
    """Metrics of one class against all others, decided by arg-max: name -> value (R,)."""
    weight_RN = np.ones((1, len(label_N))) if weight_RN is None else weight_RN
    if not 0 <= positive < score_NC.shape[1]:
        raise ValueError(f"the positive class must be one of 0 … {score_NC.shape[1] - 1}; it is {positive}.")
    is_positive_N = label_N == positive
    said_N = score_NC.argmax(axis=1) == positive
    counts = class_counts(is_positive_N.astype(int), said_N.astype(int), 2, weight_RN)
    auroc_R, precision_R = auroc_and_average_precision(score_NC[:, positive], is_positive_N, weight_RN)
    values = {
        "precision": counts.precision()[:, 1],
        "recall": counts.recall()[:, 1],
        "specificity": counts.recall()[:, 0],
        "F1": counts.f1()[:, 1],
        "AUROC": auroc_R,
        "AUPR": precision_R,
    }
    return {f"positive {name}": value if undefined == "nan" else np.nan_to_num(value) for name, value in values.items()}


@dataclass(frozen=True)
class ClassCounts:
    """Weighted counts per class, (R, C) each: cases of the class, predictions of it, and both at once."""

    true: np.ndarray
    cases: np.ndarray
    predicted: np.ndarray

    def precision(self) -> np.ndarray:
        return ratio(self.true, self.predicted)

    def recall(self) -> np.ndarray:
        return ratio(self.true, self.cases)

    def f1(self) -> np.ndarray:
        return ratio(2 * self.true, self.cases + self.predicted)


def class_counts(label_N: np.ndarray, predicted_N: np.ndarray, classes: int, weight_RN: np.ndarray) -> ClassCounts:
    """What precision, recall and F1 are made of, for R weight vectors at once."""
    one_hot = np.eye(classes)
    correct_N = label_N == predicted_N
    return ClassCounts(
        true=weight_RN[:, correct_N] @ one_hot[label_N[correct_N]],
        cases=weight_RN @ one_hot[label_N],
        predicted=weight_RN @ one_hot[predicted_N],
    )


def top_k_accuracy(
    score_NC: np.ndarray, label_N: np.ndarray, k: int, weight_RN: np.ndarray | None = None
) -> np.ndarray:
    """Share of cases whose class is among the k highest scores, (R,); of equal scores the first class ranks first."""
    if not 1 <= k <= score_NC.shape[1]:
        raise ValueError(f"k must lie between 1 and the number of classes, {score_NC.shape[1]}; it is {k}.")
    weight_RN = np.ones((1, len(label_N))) if weight_RN is None else weight_RN
    own_N1 = score_NC[np.arange(len(label_N)), label_N][:, None]
    earlier_NC = np.arange(score_NC.shape[1]) < label_N[:, None]
    ahead_N = (score_NC > own_N1).sum(axis=1) + ((score_NC == own_N1) & earlier_NC).sum(axis=1)
    return ratio(weight_RN @ (ahead_N < k), weight_RN.sum(axis=1))


def macro_one_vs_one_auroc(
    score_NC: np.ndarray, label_N: np.ndarray, weight_RN: np.ndarray | None = None, *, undefined: str = "nan"
) -> np.ndarray:
    """Mean ROC area over pairs of classes (Hand & Till 2001), (R,): what PanDerm's tables call AUROC."""
    return macro_mean(one_vs_one_auroc(score_NC, label_N, weight_RN), undefined)


def panderm_metrics(
    score_NC: np.ndarray, label_N: np.ndarray, weight_RN: np.ndarray | None = None, *, undefined: str = "nan"
) -> dict[str, np.ndarray]:
    """What the tables of PanDerm and Derm1M print beside accuracy and balanced accuracy, (R,) each: weighted F1 (by the
    classes' cases), Cohen's kappa, and the ROC area over pairs of classes."""
    weight_RN = np.ones((1, len(label_N))) if weight_RN is None else weight_RN
    counts = class_counts(label_N, score_NC.argmax(axis=1), score_NC.shape[1], weight_RN)
    total_R = weight_RN.sum(axis=1)
    by_chance_R = (counts.cases * counts.predicted).sum(axis=1) / total_R**2
    return {
        "weighted F1": np.nansum(counts.f1() * counts.cases, axis=1) / total_R,
        "Cohen's kappa": ratio(counts.true.sum(axis=1) / total_R - by_chance_R, 1 - by_chance_R),
        "macro AUROC (one vs one)": macro_one_vs_one_auroc(score_NC, label_N, weight_RN, undefined=undefined),
    }


def macro_mean(value_RC: np.ndarray, undefined: str = "nan") -> np.ndarray:
    """Mean over classes, (R,); see the module's docstring for ``undefined``."""
    if undefined == "zero":
        return np.nan_to_num(value_RC).mean(axis=1)
    defined_RC = ~np.isnan(value_RC)
    return ratio(np.where(defined_RC, value_RC, 0).sum(axis=1), defined_RC.sum(axis=1))


def undefined_classes(label_N: np.ndarray, predicted_N: np.ndarray, classes: list[str]) -> dict[str, list[str]]:
    """The classes without cases ("absent": no recall, AUROC, AUPR), those never predicted ("unused": no precision), and
    those that are both ("neither": no F1, which is 0 where one of the two has cases)."""
    absent = [name for c, name in enumerate(classes) if not (label_N == c).any()]
    unused = [name for c, name in enumerate(classes) if not (predicted_N == c).any()]
    return {"absent": absent, "unused": unused, "neither": [name for name in absent if name in unused]}


def confusion_matrix(label_N: np.ndarray, predicted_N: np.ndarray, classes: int) -> np.ndarray:
    """Counts (C, C): rows are the truth, columns the decision."""
    return np.bincount(label_N * classes + predicted_N, minlength=classes * classes).reshape(classes, classes)


def checked(score_NC: np.ndarray, label_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels as arrays that fit each other; raises ValueError with a sentence if they do not."""
    score_NC, label_N = np.asarray(score_NC), np.asarray(label_N)
    if score_NC.ndim != 2 or label_N.shape != score_NC.shape[:1]:
        raise ValueError(f"scores must be (cases, classes) and labels (cases,); got {score_NC.shape}, {label_N.shape}.")
    if not len(label_N):
        raise ValueError("there is no case to score.")
    if label_N.min() < 0 or label_N.max() >= score_NC.shape[1]:
        raise ValueError(f"labels must lie in 0 … {score_NC.shape[1] - 1}; got {label_N.min()} … {label_N.max()}.")
    if not np.isfinite(score_NC).all():
        raise ValueError(f"{int((~np.isfinite(score_NC)).any(axis=1).sum())} cases have scores that are not finite.")
    if score_NC.min() < 0 or np.abs(score_NC.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError("scores must be probabilities: not negative, each row summing to 1.")
    return score_NC, label_N.astype(np.int64)


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """``above`` / ``below``, NaN where ``below`` is 0."""
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=np.asarray(below) > 0)
