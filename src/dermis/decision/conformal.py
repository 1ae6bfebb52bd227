"""Split-conformal prediction sets: the true class is in the set of at least 1 − α of new cases, whatever the model.

Vovk, Gammerman & Shafer 2005, chapter 2; Angelopoulos & Bates, "A gentle introduction to conformal prediction" 2021,
sections 1 and 2. Calibration cases, which neither the model nor its temperature has seen, are scored by how badly their
true class fits; a class belongs to a new case's set if it fits no worse than the ⌈(n + 1)(1 − α)⌉-th smallest of them:

    1 − α  ≤  P(y ∈ set)  <  1 − α + 1 / (n + 1)   (the right side if no two scores are equal)

The promise holds on average over cases that are exchangeable with the calibration cases, not for each kind of case.
Several pictures of one patient are not exchangeable, so one is drawn for each (``one_for_each``): what is promised then
is about a random picture of a new patient.

Shapes: N cases, C classes.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import beta

from dermis.registry import unknown

SCORES = {
    "lac": "1 − the probability of the class: the smallest sets on average, maybe empty (Sadinle et al., JASA 2019)",
    "aps": "the probability of all likelier classes: larger sets where it is hard, never empty (Romano et al. 2020)",
}
"""how badly a class fits"""


def nonconformity(probability_NC: np.ndarray, score: str = "lac") -> np.ndarray:
    """How badly each class fits each case, (N, C): ``SCORES``.

    ``aps`` is the adaptive score without randomisation, the class itself left out: the likeliest scores 0 and is in
    every set, and equally likely classes score alike. It covers more than it must; a random part would make it exact,
    but then the same picture could get two answers.
    """
    p_NC = np.asarray(probability_NC, np.float64)
    if score == "lac":
        return 1 - p_NC
    if score != "aps":
        raise unknown("nonconformity score", score, SCORES)
    order_NC = np.argsort(-p_NC, axis=1, kind="stable")
    sorted_NC = np.take_along_axis(p_NC, order_NC, axis=1)
    before_NC = np.zeros_like(p_NC)
    before_NC[:, 1:] = np.cumsum(sorted_NC, axis=1)[:, :-1]
    before_NC[:, 1:][sorted_NC[:, 1:] == sorted_NC[:, :-1]] = 0  # as good as the one before: its value, next line
    out_NC = np.empty_like(p_NC)
    np.put_along_axis(out_NC, order_NC, np.maximum.accumulate(before_NC, axis=1), axis=1)
    return out_NC


def threshold(score_N: np.ndarray, alpha: float) -> float:
    """The ⌈(n + 1)(1 − α)⌉-th smallest score; ValueError where n is too few for it, so that sets would hold all."""
    n = len(score_N)
    allowed = tolerated(n, alpha)
    if allowed < 1:
        raise ValueError(
            f"alpha {alpha:g} needs at least {fewest(alpha)} calibration cases, one for each patient; there are {n}."
        )
    return float(np.sort(np.asarray(score_N, np.float64))[n - allowed])


def tolerated(n: int, alpha: float) -> int:
    """⌊(n + 1) α⌋ = n + 1 − ⌈(n + 1)(1 − α)⌉: how many of n + 1 cases may fit worse than the threshold."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha lies between 0 and 1, such as 0.1 for sets that hold 90 %; it is {alpha}.")
    return int(np.floor((n + 1) * alpha + 1e-9))  # 100 × 0.29 must be 29, however it is rounded


def fewest(alpha: float) -> int:
    """The smallest n that a threshold for ``alpha`` can be taken from."""
    n = max(1, int(1 / alpha) - 2)
    while tolerated(n, alpha) < 1:
        n += 1
    return n


def thresholds(
    score_NC: np.ndarray, label_N: np.ndarray, alpha: float, *, classwise: bool = False, names: Sequence[str] = ()
) -> np.ndarray:
    """One threshold per class (C,): all the same, or ``classwise`` each from its own cases (Mondrian, Vovk et al. 2005,
    section 4.5), which keeps the promise for each diagnosis and needs enough cases of each.

    Raises ValueError for too few cases; ``names`` of the classes: to say which.
    """
    own_N = score_NC[np.arange(len(label_N)), label_N]
    classes = score_NC.shape[1]
    if not classwise:
        return np.full(classes, threshold(own_N, alpha))
    counts_C = np.bincount(label_N, minlength=classes)
    scarce = int(counts_C.argmin())
    if tolerated(int(counts_C[scarce]), alpha) < 1:
        raise ValueError(
            f"classwise sets with alpha {alpha:g} need {fewest(alpha)} calibration cases of each class; "
            f"{repr(names[scarce]) if names else f'class number {scarce}'} has {counts_C[scarce]}."
        )
    return np.array([threshold(own_N[label_N == c], alpha) for c in range(classes)])


def coverage_range(n: int, alpha: float, level: float = 0.95) -> tuple[float, float]:
    """Where the coverage of one calibration lies in ``level`` of all draws of n calibration cases (no ties).

    It is Beta(n + 1 − l, l) with l = ⌊(n + 1) α⌋ (Vovk 2012, "Conditional validity of inductive conformal predictors";
    Angelopoulos & Bates, section 3.2). The promise is about the mean of all of them.
    """
    allowed = tolerated(n, alpha)
    low, high = beta.ppf([(1 - level) / 2, (1 + level) / 2], n + 1 - allowed, allowed)
    return float(low), float(high)


def one_for_each(groups_N: np.ndarray, seed: int) -> np.ndarray:
    """Positions of one random case of each group, ascending."""
    order_N = np.random.default_rng(seed).permutation(len(groups_N))
    group_N, _ = pd.factorize(np.asarray(groups_N)[order_N])
    return np.sort(order_N[np.unique(group_N, return_index=True)[1]])
