"""Can the probabilities be believed? Expected calibration error, Brier score, log loss, and the reliability curve.

Shapes: N cases, C classes, R weight vectors (bootstrap draws), K confidence bins.
"""

import numpy as np

BINS = 15
"""bins of equal width, as in Guo et al. 2017, section 5"""


def expected_calibration_error(
    probability_NC: np.ndarray, label_N: np.ndarray, weight_RN: np.ndarray | None = None, *, bins: int = BINS
) -> np.ndarray:
    """Guo et al. 2017, eq. 3, (R,): the mean distance of accuracy from confidence over bins of the top probability.

    A bin holds its lower edge; confidence 1 belongs to the last bin.
    """
    confidence_RK, accuracy_RK, share_RK = reliability_curve(probability_NC, label_N, weight_RN, bins=bins)
    return np.nansum(np.abs(confidence_RK - accuracy_RK) * share_RK, axis=1)


def reliability_curve(
    probability_NC: np.ndarray, label_N: np.ndarray, weight_RN: np.ndarray | None = None, *, bins: int = BINS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per bin of the top probability: mean confidence, accuracy and share of cases, (R, K) each; NaN in empty bins."""
    weight_RN = np.ones((1, len(label_N))) if weight_RN is None else weight_RN
    confidence_N = probability_NC.max(axis=1).astype(np.float64)
    correct_N = probability_NC.argmax(axis=1) == label_N
    edges = np.linspace(0, 1, bins + 1)
    bin_N = np.clip(np.searchsorted(edges, confidence_N, side="right") - 1, 0, bins - 1)
    in_bin_NK = np.eye(bins)[bin_N]
    total_RK = weight_RN @ in_bin_NK
    with np.errstate(invalid="ignore"):
        mean_RK = (weight_RN * confidence_N) @ in_bin_NK / total_RK
        accuracy_RK = (weight_RN * correct_N) @ in_bin_NK / total_RK
    return mean_RK, accuracy_RK, total_RK / weight_RN.sum(axis=1, keepdims=True)


def brier_score(probability_NC: np.ndarray, label_N: np.ndarray, weight_RN: np.ndarray | None = None) -> np.ndarray:
    """Brier 1950, (R,): the squared distance of the probabilities from the one-hot truth, summed over classes (0-2)."""
    weight_RN = np.ones((1, len(label_N))) if weight_RN is None else weight_RN
    truth_NC = np.eye(probability_NC.shape[1])[label_N]
    loss_N = ((probability_NC - truth_NC) ** 2).sum(axis=1)
    return weight_RN @ loss_N / weight_RN.sum(axis=1)


def log_loss(probability_NC: np.ndarray, label_N: np.ndarray, weight_RN: np.ndarray | None = None) -> np.ndarray:
    """Mean −log probability of the true class in nats, (R,); probabilities are clipped at float32's resolution."""
    weight_RN = np.ones((1, len(label_N))) if weight_RN is None else weight_RN
    chosen_N = probability_NC[np.arange(len(label_N)), label_N].astype(np.float64)
    loss_N = -np.log(np.clip(chosen_N, np.finfo(np.float32).eps, 1))
    return weight_RN @ loss_N / weight_RN.sum(axis=1)
