"""Temperature scaling (Guo et al., ICML 2017, section 4.2): softmax(z / T) with the T of least log loss.

One number for all classes: it changes how much is believed, never which class comes first.

Shapes: N cases, C classes.
"""

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

BOUNDS = (0.05, 20.0)
"""T is looked for in between; cases that are all classified right have no best T, the smaller the better"""


def tempered(logit_NC: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities softmax(z / T), (N, C) float64."""
    if not temperature > 0:
        raise ValueError(f"a temperature is above 0; it is {temperature}.")
    return softmax(np.asarray(logit_NC, np.float64) / temperature, axis=1)


def fit_temperature(logit_NC: np.ndarray, label_N: np.ndarray) -> float:
    """The T of least mean −log softmax(z / T)_y, never worse than T = 1 on these cases; 1 where none is better.

    The loss is convex in 1 / T, so it has one valley in log T too, and a bracketed search finds it.
    """
    logit_NC, label_N = np.asarray(logit_NC, np.float64), np.asarray(label_N)
    if logit_NC.ndim != 2 or label_N.shape != logit_NC.shape[:1] or not len(label_N):
        raise ValueError(f"a temperature needs logits (cases, classes) with labels; got {logit_NC.shape}.")
    if not np.isfinite(logit_NC).all():
        raise ValueError("a temperature needs finite logits.")

    def loss(log_temperature: float) -> float:
        log_p_NC = log_softmax(logit_NC / math.exp(log_temperature), axis=1)
        return -float(log_p_NC[np.arange(len(label_N)), label_N].mean())

    low, high = map(math.log, BOUNDS)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-8})
    return math.exp(min((0.0, found.x), key=loss))
