"""From the probabilities of the seven criteria to the seven-point score and the suspicion of melanoma.

A classifier's arg-max classes give one hard score. Its probabilities say more: the criteria are taken as independent
given the pictures (the same assumption as one cross-entropy per criterion), so the score is a sum of independent terms
and its whole distribution is their convolution, exact and without sampling. It is only as good as the probabilities
are calibrated.

Shapes: N cases, 7 criteria in the order of ``seven_point.POINTS``, S+1 scores 0 … S (10 weighted, 7 revised), R weight
vectors (bootstrap draws), C classes of a criterion, K cases whose truth is known. Unknown labels are −1, as everywhere.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dermis.cases.seven_point import POINTS, rule_of
from dermis.cases.targets import UNKNOWN
from dermis.evaluation.calibration import brier_score
from dermis.evaluation.metrics import UNDEFINED, positive_class_metrics, ratio
from dermis.evaluation.ranking import auroc
from dermis.registry import unknown


def suspicions(score: Mapping[str, np.ndarray], classes: Mapping[str, Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Each criterion's probability of its suspicious class, and whether that class is the arg-max, (N, 7) both.

    ``score``: criterion -> class probabilities (N, C); ``classes``: criterion -> the C names. Raises ValueError for a
    criterion that is missing or unknown, or has no suspicious class.
    """
    _all_seven(score)
    _all_seven(classes)
    at = {name: _place(name, classes[name]) for name in POINTS}
    probability_N7 = np.stack([np.asarray(score[name])[:, at[name]] for name in POINTS], axis=1)
    said_N7 = np.stack([np.asarray(score[name]).argmax(axis=1) == at[name] for name in POINTS], axis=1)
    return probability_N7, said_N7


def true_score(
    label: Mapping[str, np.ndarray], classes: Mapping[str, Sequence[str]], rule: str = "weighted"
) -> np.ndarray:
    """The score of the true classes, (N,) integers; −1 where a criterion's label is unknown (−1).

    ``label``: criterion -> positions in ``classes`` (N,). Raises ValueError as ``suspicions`` does.
    """
    _all_seven(label)
    _all_seven(classes)
    label_N7 = np.stack([np.asarray(label[name]) for name in POINTS], axis=1)
    score_N = hard_score(label_N7 == [_place(name, classes[name]) for name in POINTS], rule)
    return np.where((label_N7 == UNKNOWN).any(axis=1), UNKNOWN, score_N)


def hard_score(suspicious_N7: np.ndarray, rule: str = "weighted") -> np.ndarray:
    """Points of the suspicious criteria, (N,) integers; melanoma is suspected where it reaches the threshold."""
    return np.asarray(suspicious_N7, dtype=bool) @ np.array([rule_of(rule).points[name] for name in POINTS])


def score_distribution(probability_N7: np.ndarray, rule: str = "weighted") -> np.ndarray:
    """Probability of each score, (N, S+1), of independent criteria. Raises ValueError for what is no probability."""
    probability_N7 = np.asarray(probability_N7, dtype=np.float64)
    if probability_N7.ndim != 2 or probability_N7.shape[1] != len(POINTS):
        raise ValueError(f"probabilities must be (cases, {len(POINTS)} criteria); got {probability_N7.shape}.")
    if not ((probability_N7 >= 0) & (probability_N7 <= 1)).all():  # NaN is neither
        raise ValueError("probabilities of the criteria must lie in 0 … 1.")
    counted = rule_of(rule)
    distribution_NS = np.zeros((len(probability_N7), counted.highest + 1))
    distribution_NS[:, 0] = 1
    for name, p_N in zip(POINTS, probability_N7.T, strict=True):
        with_NS = np.zeros_like(distribution_NS)
        with_NS[:, counted.points[name] :] = distribution_NS[:, : -counted.points[name]]
        distribution_NS = (1 - p_N)[:, None] * distribution_NS + p_N[:, None] * with_NS
    return distribution_NS


def expected_score(distribution_NS: np.ndarray) -> np.ndarray:
    """Mean of each case's score distribution, (N,), in points."""
    return distribution_NS @ np.arange(distribution_NS.shape[1])


def score_deviation(distribution_NS: np.ndarray) -> np.ndarray:
    """Standard deviation of each case's score distribution, (N,), in points."""
    away_NS = np.arange(distribution_NS.shape[1]) - expected_score(distribution_NS)[:, None]
    return np.sqrt((distribution_NS * away_NS**2).sum(axis=1))


def melanoma_probability(distribution_NS: np.ndarray, threshold: int) -> np.ndarray:
    """P(score ≥ threshold), (N,): how likely the checklist is to suspect melanoma, not how likely melanoma is.

    Raises ValueError for a threshold outside 1 … S, which would suspect every lesion or none.
    """
    _checked_threshold(threshold, distribution_NS.shape[1] - 1)
    return np.clip(distribution_NS[:, threshold:].sum(axis=1), 0, 1)


@dataclass(frozen=True)
class Checklist:
    """The seven-point checklist of one lesion, from a classifier's probabilities."""

    criteria: dict[str, float]
    """criterion -> probability of its suspicious class"""
    counted: tuple[str, ...]
    """the criteria whose suspicious class is the likeliest: those that make the score"""
    score: int
    """points of the classes that are the likeliest"""
    expected: float
    """mean of the score's distribution, points"""
    deviation: float
    """standard deviation of the score's distribution, points"""
    suspicion: float
    """probability that the score reaches the threshold; not the probability of melanoma"""
    suspected: bool
    """does ``score`` reach the threshold?"""
    threshold: int


def read_checklist(
    probabilities: Mapping[str, Mapping[str, float]], rule: str = "weighted", threshold: int | None = None
) -> Checklist:
    """The checklist of one case, from label -> class -> probability (``dermis.predict_labels``; ``finding.`` may
    stand before the criterion, other labels are ignored).

    Raises ValueError as ``suspicions``, and for an unknown rule or a threshold that suspects every lesion or none.
    """
    bare = {name.removeprefix("finding."): said for name, said in probabilities.items()}
    given = {name: said for name, said in bare.items() if name in POINTS}
    score = {name: np.array([list(said.values())]) for name, said in given.items()}
    sure_17, said_17 = suspicions(score, {name: list(said) for name, said in given.items()})
    distribution_1S = score_distribution(sure_17, rule)
    threshold = rule_of(rule).threshold if threshold is None else threshold
    points = int(hard_score(said_17, rule)[0])
    return Checklist(
        criteria=dict(zip(POINTS, sure_17[0].tolist(), strict=True)),
        counted=tuple(name for name, said in zip(POINTS, said_17[0], strict=True) if said),
        score=points,
        expected=float(expected_score(distribution_1S)[0]),
        deviation=float(score_deviation(distribution_1S)[0]),
        suspicion=float(melanoma_probability(distribution_1S, threshold)[0]),
        suspected=points >= threshold,
        threshold=threshold,
    )


def checklist_metrics(
    probability_N7: np.ndarray,
    said_N7: np.ndarray,
    true_score_N: np.ndarray,
    melanoma_N: np.ndarray,
    weight_RN: np.ndarray | None = None,
    *,
    rule: str = "weighted",
    threshold: int | None = None,
    undefined: str = "nan",
) -> dict[str, np.ndarray]:
    """The checklist against diagnosis and true score: name -> value (R,).

    ``melanoma_N``: 1 melanoma, 0 another diagnosis, −1 unknown. ``threshold``: of the decision; default the rule's.
    Sensitivity, specificity and precision are of "hard score ≥ threshold"; the three areas are of the hard score (its
    ties count half), of P(score ≥ threshold) and of the expected score. Against the true score: the expected score's
    mean absolute error in points, and the Brier score (summed over both outcomes, 0 to 2) of P(score ≥ threshold). A
    case counts wherever its truth is known. ``undefined="zero"`` makes undefined shares and areas 0; an undefined
    error stays NaN, since 0 would be praise. Raises ValueError for what does not fit.
    """
    if undefined not in UNDEFINED:
        raise unknown("handling of undefined metrics", undefined, UNDEFINED)
    counted = rule_of(rule)
    threshold = counted.threshold if threshold is None else threshold
    _checked_threshold(threshold, counted.highest)
    true_score_N, melanoma_N = np.asarray(true_score_N), np.asarray(melanoma_N, dtype=np.int64)
    if not len(probability_N7) == len(said_N7) == len(true_score_N) == len(melanoma_N):
        lengths = [len(x) for x in (probability_N7, said_N7, true_score_N, melanoma_N)]
        raise ValueError(f"probabilities, arg-max, scores and diagnoses are of different numbers of cases: {lengths}.")
    if not np.isin(melanoma_N, (UNKNOWN, 0, 1)).all():
        raise ValueError("the diagnosis must be 1 (melanoma), 0 (another) or -1 (unknown).")
    weight_RN = np.ones((1, len(melanoma_N))) if weight_RN is None else weight_RN
    distribution_NS = score_distribution(probability_N7, rule)
    hard_N, expected_N = hard_score(said_N7, rule), expected_score(distribution_NS)
    suspected_N = melanoma_probability(distribution_NS, threshold)

    known, weight_RK = melanoma_N != UNKNOWN, weight_RN[:, melanoma_N != UNKNOWN]
    decision = np.eye(2)[(hard_N[known] >= threshold).astype(int)]
    decided = positive_class_metrics(decision, melanoma_N[known], 1, weight_RK)
    shares = {
        "melanoma sensitivity": decided["positive recall"],
        "melanoma specificity": decided["positive specificity"],
        "melanoma precision": decided["positive precision"],
    }
    ranked = {"hard score": hard_N, "probability of suspicion": suspected_N, "expected score": expected_N}
    for name, score_N in ranked.items():
        shares[f"melanoma AUROC by {name}"] = auroc(score_N[known], melanoma_N[known] == 1, weight_RK)
    if undefined == "zero":
        shares = {name: np.nan_to_num(value_R) for name, value_R in shares.items()}

    known, weight_RK = true_score_N != UNKNOWN, weight_RN[:, true_score_N != UNKNOWN]
    suspected_K2 = np.stack([1 - suspected_N, suspected_N], axis=1)[known]
    truly_K = (true_score_N[known] >= threshold).astype(int)
    error_R = ratio(weight_RK @ np.abs(expected_N - true_score_N)[known], weight_RK.sum(axis=1))
    with np.errstate(invalid="ignore"):  # a draw may hold no case with a known score: NaN
        brier_R = brier_score(suspected_K2, truly_K, weight_RK)
    return shares | {"seven-point score error": error_R, "Brier score of suspicion": brier_R}


def _all_seven(given: Collection[str]) -> None:
    for name in given:
        if name not in POINTS:
            raise unknown("seven-point criterion", name, POINTS)
    if missing := [name for name in POINTS if name not in given]:
        raise ValueError(f"the seven-point checklist needs all seven criteria; missing: {', '.join(missing)}.")


def _place(criterion: str, classes: Sequence[str]) -> int:
    suspicious = POINTS[criterion][0]
    if suspicious not in classes:
        raise ValueError(f"{criterion} has no class {suspicious!r}, which counts; its classes: {', '.join(classes)}.")
    return list(classes).index(suspicious)


def _checked_threshold(threshold: int, highest: int) -> None:
    if not 1 <= threshold <= highest:
        raise ValueError(f"the threshold must lie between 1 and the highest score, {highest}; it is {threshold}.")
