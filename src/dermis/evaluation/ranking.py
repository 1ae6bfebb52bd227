"""Areas under the ROC and precision-recall curves of one score, for many vectors of case weights from one sort.

Ties count half in the ROC area (Mann-Whitney) and share one threshold in the average precision, as in scikit-learn.

Shapes: N cases, R weight vectors (bootstrap draws; R = 1 with weight one is the plain value), C classes.
"""

import numpy as np


def auroc(score_N: np.ndarray, positive_N: np.ndarray, weight_RN: np.ndarray | None = None) -> np.ndarray:
    """Area under the ROC curve (R,): the chance that a positive scores above a negative. NaN without both kinds."""
    return auroc_and_average_precision(score_N, positive_N, weight_RN)[0]


def auroc_and_average_precision(
    score_N: np.ndarray, positive_N: np.ndarray, weight_RN: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Both areas, (R,) each, from one sort of ``score_N``; ``positive_N`` is boolean.

    Average precision is the step-wise area under precision-recall ("AUPR"), NaN without positives.
    """
    score_N, positive_N = np.asarray(score_N), np.asarray(positive_N, dtype=bool)
    if not np.isfinite(score_N).all():
        raise ValueError(f"{int((~np.isfinite(score_N)).sum())} of {len(score_N)} scores are not finite numbers.")
    weight_RN = np.ones((1, len(score_N))) if weight_RN is None else weight_RN
    order = np.argsort(-score_N, kind="stable")
    positive_N, score_N = positive_N[order], score_N[order]
    # Weights summed down to each rank, from a 0 above the first; all that follows looks at the P positives only.
    all_RN1 = np.zeros((len(weight_RN), len(order) + 1))
    np.cumsum(weight_RN[:, order], axis=1, out=all_RN1[:, 1:])
    at_P = np.flatnonzero(positive_N)
    weight_RP = weight_RN[:, order[at_P]]
    hits_RP1 = np.zeros((len(weight_RN), len(at_P) + 1))
    np.cumsum(weight_RP, axis=1, out=hits_RP1[:, 1:])
    # Equal scores are one threshold, from rank start_P up to (not including) rank end_P.
    falling_N = -score_N
    start_P = np.searchsorted(falling_N, falling_N[at_P], side="left")
    end_P = np.searchsorted(falling_N, falling_N[at_P], side="right")
    all_RP, hits_RP = all_RN1[:, end_P], hits_RP1[:, np.searchsorted(at_P, end_P)]
    above_RP = all_RN1[:, start_P] - hits_RP1[:, np.searchsorted(at_P, start_P)]  # negatives with higher scores
    hits_R = hits_RP1[:, -1]
    misses_R = all_RN1[:, -1] - hits_R
    below_RP = misses_R[:, None] - (all_RP - hits_RP)
    with np.errstate(invalid="ignore", divide="ignore"):
        # lower ones count 1 and equal ones ½: (below + (not above)) / 2
        area_R = np.einsum("rp,rp->r", weight_RP, (below_RP + misses_R[:, None] - above_RP) / 2) / (hits_R * misses_R)
        precision_RP = np.where(all_RP > 0, hits_RP / all_RP, 0.0)
        precision_R = np.einsum("rp,rp->r", weight_RP, precision_RP) / hits_R
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
