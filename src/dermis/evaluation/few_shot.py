"""Few-shot probe: a logistic regression on k cases, or a fraction, of each class, repeated over draws of the cases.

No valid split is looked at, because whoever has few labels has few of those too: C is fixed. Features are standardised
by the whole training split, whose pictures are there even where their labels are not.

``fraction`` with ``seeds=(42,)`` and ``solver="panderm"`` is the low-label protocol of Derm1M @ 92d8fa9 (derm_data.py:
max(1, ⌊p · n_c⌋ cases per class, one seed). The rule is theirs, the cases drawn are not: the generators differ.

Shapes: M training cases, N cases to score, D features, C classes, S seeds.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dermis.evaluation.bootstrap import Interval, summarise
from dermis.evaluation.linear_probe import linear_probe, panderm_probe
from dermis.registry import unknown

PANDERM_SEEDS = (42,)
SOLVERS = ("standard", "panderm")


def draw(label_M: np.ndarray, *, shots: int | None = None, fraction: float | None = None, seed: int) -> np.ndarray:
    """Rows of a draw, sorted: ``shots`` cases of each class (all, where it has fewer), or max(1, ⌊fraction · n⌋)."""
    if (shots is None) == (fraction is None):
        raise ValueError("give either shots (cases per class) or fraction (of each class).")
    if shots is not None and shots < 1:
        raise ValueError(f"shots must be at least 1; it is {shots}.")
    if fraction is not None and not 0 < fraction <= 1:
        raise ValueError(f"fraction must lie in (0, 1]; it is {fraction}.")
    rng = np.random.default_rng(seed)
    chosen = []
    for c in np.unique(label_M):
        rows = rng.permutation(np.flatnonzero(label_M == c))
        chosen.append(rows[: shots if shots is not None else max(1, int(len(rows) * fraction))])
    return np.sort(np.concatenate(chosen))


def few_shot_scores(
    train_MD: np.ndarray,
    train_label_M: np.ndarray,
    query_ND: np.ndarray,
    classes: int,
    *,
    shots: int | None = None,
    fraction: float | None = None,
    seeds: Sequence[int],
    solver: str = "standard",
    c: float = 0.01,
) -> np.ndarray:
    """Class probabilities (S, N, C), one probe per seed. ``c`` is the standard solver's fixed penalty: 0.01 was best or
    near it for 1, 4 and 16 shots on HAM10000's valid split with DINOv2 features (log loss, balanced accuracy).
    """
    if solver not in SOLVERS:
        raise unknown("solver", solver, SOLVERS)
    moments = train_MD.mean(axis=0, dtype=np.float64), train_MD.std(axis=0, dtype=np.float64)
    scores = []
    for seed in seeds:
        rows = draw(train_label_M, shots=shots, fraction=fraction, seed=seed)
        if solver == "panderm":
            probe = panderm_probe(train_MD[rows], train_label_M[rows], classes)
        else:
            probe = linear_probe(train_MD[rows], train_label_M[rows], classes, grid=(c,), moments=moments)
        scores.append(probe.scores(query_ND))
    return np.stack(scores)


def over_seeds(value_RS: np.ndarray, seed: int) -> np.ndarray:
    """Mean over seeds (R,) where draw r of the bootstrap draws the seeds too; the interval then covers both."""
    seeds = value_RS.shape[1]
    drawn = np.random.default_rng(seed).integers(seeds, size=value_RS.shape)
    return np.take_along_axis(value_RS, drawn, axis=1).mean(axis=1)


def summarise_seeds(value_S: np.ndarray, drawn_RS: np.ndarray, seed: int, *, centre: bool = False) -> Interval:
    """The mean over seeds with its interval over seeds and cases; of several seeds also their standard deviation.

    The deviation divides by S, as the published "mean ± deviation over 3 seeds" does where it can be told (M2CG).
    """
    found = summarise(float(value_S.mean()), over_seeds(drawn_RS, seed), centre=centre)
    return found if len(value_S) == 1 else replace(found, deviation=float(value_S.std()))
