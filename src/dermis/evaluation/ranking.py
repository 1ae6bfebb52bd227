"""Areas under the ROC and precision-recall curves of one score, for many vectors of case weights from one sort.

Ties count half in the ROC area (Mann-Whitney) and share one threshold in the average precision, as in scikit-learn.

Shapes: N cases, R weight vectors (bootstrap draws; R = 1 with weight one is the plain value), C classes.
"""

import numpy as np


def auroc(score_N: np.ndarray, positive_N: np.ndarray, weight_RN: np.ndarray | None = None) -> np.ndarray:
    """Area under the ROC curve (R,): the chance that a positive scores above a negative. NaN without both kinds."""
    return auroc_and_average_precision(score_N, positive_N, weight_RN)[0]


def average_precision(score_N: np.ndarray, positive_N: np.ndarray, weight_RN: np.ndarray | None = None) -> np.ndarray:
    """Average precision (R,), the step-wise area under precision-recall ("AUPR"). NaN without positives."""
    return auroc_and_average_precision(score_N, positive_N, weight_RN)[1]


def auroc_and_average_precision(
    score_N: np.ndarray, positive_N: np.ndarray, weight_RN: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Both areas, (R,) each, from one sort of ``score_N``; ``positive_N`` is boolean."""
    score_N, positive_N = np.asarray(score_N), np.asarray(positive_N, dtype=bool)
    if not np.isfinite(score_N).all():
        raise ValueError(f"{int((~np.isfinite(score_N)).sum())} of {len(score_N)} scores are not finite numbers.")
    weight_RN = np.ones((1, len(score_N))) if weight_RN is None else weight_RN
    order = np.argsort(-score_N, kind="stable")
    weight_RN, positive_N, score_N = weight_RN[:, order], positive_N[order], score_N[order]
    hit_RU, all_RU = weight_RN * positive_N, weight_RN
    new = np.flatnonzero(np.r_[True, score_N[1:] != score_N[:-1]])
    if len(new) < len(score_N):  # equal scores are one threshold
        hit_RU, all_RU = np.add.reduceat(hit_RU, new, axis=1), np.add.reduceat(all_RU, new, axis=1)
    miss_RU = all_RU - hit_RU
    hits_R, misses_R = hit_RU.sum(1), miss_RU.sum(1)
    below_RU = misses_R[:, None] - np.cumsum(miss_RU, axis=1)  # negatives scored lower than this threshold
    at_least_RU = np.cumsum(all_RU, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        area_R = np.einsum("ru,ru->r", hit_RU, below_RU + 0.5 * miss_RU) / (hits_R * misses_R)
        precision_RU = np.where(at_least_RU > 0, np.cumsum(hit_RU, axis=1) / at_least_RU, 0.0)
        precision_R = np.einsum("ru,ru->r", hit_RU, precision_RU) / hits_R
    return np.where(hits_R * misses_R > 0, area_R, np.nan), np.where(hits_R > 0, precision_R, np.nan)


def one_vs_rest(
    score_NC: np.ndarray, label_N: np.ndarray, weight_RN: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Per class, against all others: ROC areas (R, C) and average precisions (R, C); NaN where a class is absent."""
    pairs = [auroc_and_average_precision(score_NC[:, c], label_N == c, weight_RN) for c in range(score_NC.shape[1])]
    return np.stack([a for a, _ in pairs], axis=1), np.stack([p for _, p in pairs], axis=1)


def one_vs_one_auroc(score_NC: np.ndarray, label_N: np.ndarray, weight_RN: np.ndarray | None = None) -> np.ndarray:
    """Hand & Till 2001: per ordered pair (a, b), the ROC area of score a among the cases of a and b, (R, C·(C−1))."""
    weight_RN = np.ones((1, len(label_N))) if weight_RN is None else weight_RN
    classes = range(score_NC.shape[1])
    areas = []
    for a in classes:
        for b in classes:
            if a != b:
                rows = (label_N == a) | (label_N == b)
                areas.append(auroc(score_NC[rows, a], label_N[rows] == a, weight_RN[:, rows]))
    return np.stack(areas, axis=1)
