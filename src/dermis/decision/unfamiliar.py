"""How unlike the training pictures is a picture? Distance to the k-th nearest, as a p-value against held-out pictures.

Sun et al., "Out-of-distribution detection with deep nearest neighbors", ICML 2022, eq. 2: unit-length features, and the
distance to the k-th nearest training case; here 1 − cosine, which orders alike (‖a − b‖² = 2 − 2 cos). The p-value is
conformal (Bates et al., Annals of Statistics 2023, eq. 3): with a familiar picture it is below any level u in at most a
share u of cases. A large one is no proof that a picture is familiar: what the tower does not see cannot count.

Shapes: N cases, M training cases, V held-out cases, D features.
"""

import numpy as np

from dermis.evaluation.prompt_classification import unit_length
from dermis.evaluation.retrieval import CELLS

AT_MOST = 4096
"""training cases that are kept; more are drawn from"""


def training_bank(train_MD: np.ndarray, *, at_most: int = AT_MOST, seed: int = 0) -> np.ndarray:
    """Unit-length float32 features of the training cases, or of ``at_most`` of them drawn by ``seed``."""
    if len(train_MD) > at_most:
        train_MD = train_MD[np.sort(np.random.default_rng(seed).choice(len(train_MD), at_most, replace=False))]
    return unit_length(np.asarray(train_MD, np.float32)).astype(np.float32)


def neighbour_distance(feature_ND: np.ndarray, bank_MD: np.ndarray, k: int, *, cells: int = CELLS) -> np.ndarray:
    """1 − cosine with the k-th nearest of the bank, (N,) float64; of fewer than k, with the farthest."""
    if k < 1:
        raise ValueError(f"k must be at least 1; it is {k}.")
    k, step = min(k, len(bank_MD)), max(1, cells // len(bank_MD))
    query_ND = unit_length(np.asarray(feature_ND, np.float32))
    kth_N = np.empty(len(query_ND))
    for start in range(0, len(query_ND), step):
        cosine_nM = query_ND[start : start + step] @ bank_MD.T
        kth_N[start : start + step] = np.partition(cosine_nM, -k, axis=1)[:, -k]
    return 1 - kth_N


def p_values(distance_N: np.ndarray, held_out_V: np.ndarray) -> np.ndarray:
    """(1 + number of held-out cases at least as far) / (V + 1), (N,); ``held_out_V`` ascends."""
    farther_N = len(held_out_V) - np.searchsorted(held_out_V, distance_N, side="left")
    return (1 + farther_N) / (len(held_out_V) + 1)
