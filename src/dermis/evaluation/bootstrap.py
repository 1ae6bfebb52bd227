"""Confidence intervals by resampling patients: percentile bootstrap over groups (Efron & Tibshirani 1993, ch. 13).

Several pictures of one patient are not independent, so patients (else lesions) are drawn with replacement and each
drawn patient brings all their cases. A draw is a vector of case weights 0, 1, 2, …, therefore a statistic here is a
function of weights: ``statistic(weight_RN) -> value_R`` for R draws at once. The estimate itself is the statistic at
weight one.

Shapes: N cases, G groups, R draws.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

Statistic = Callable[[np.ndarray], np.ndarray]
"""case weights (R, N) -> one value per draw (R,)"""

CELLS = 4_000_000
"""weights held at a time: draws are made in blocks of about this many numbers (32 MB)"""


@dataclass(frozen=True)
class Interval:
    """An estimate and its percentile interval; ``undefined`` of the ``n_boot`` draws had no value (an absent class).

    ``deviation``: of a mean over seeds their standard deviation; none where there is one seed.
    """

    value: float
    low: float
    high: float
    n_boot: int
    undefined: int
    deviation: float | None = None


def interval(
    statistic: Statistic, groups_N: np.ndarray | pd.Series, *, n_boot: int = 1000, seed: int, level: float = 0.95
) -> Interval:
    """Estimate and percentile interval of one statistic; ``groups_N`` is each case's patient (any hashable)."""
    values = {"": statistic(np.ones((1, len(groups_N))))}
    draws = replicates(lambda weight_RN: {"": statistic(weight_RN)}, groups_N, n_boot=n_boot, seed=seed)
    return summarise(float(values[""][0]), draws[""], level=level)


def intervals(
    statistics: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    groups_N: np.ndarray | pd.Series,
    *,
    n_boot: int = 1000,
    seed: int,
    level: float = 0.95,
    centred: Collection[str] = (),
) -> dict[str, Interval]:
    """``interval`` for many statistics that share their work and their draws: ``weight_RN -> {name: value_R}``.

    ``centred`` names the statistics that resampling biases (see ``summarise``).
    """
    values = statistics(np.ones((1, len(groups_N))))
    draws = replicates(statistics, groups_N, n_boot=n_boot, seed=seed)
    return {
        name: summarise(float(value[0]), draws[name], level=level, centre=name in centred)
        for name, value in values.items()
    }


def replicates(
    statistics: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    groups_N: np.ndarray | pd.Series,
    *,
    n_boot: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """The statistics' values over ``n_boot`` draws of groups, each (n_boot, ...). Same seed, same draws."""
    if n_boot < 1:
        raise ValueError(f"n_boot must be at least 1; it is {n_boot}.")
    group_N, names = pd.factorize(np.asarray(groups_N))
    if (group_N < 0).any():
        raise ValueError(f"{int((group_N < 0).sum())} cases have no group: every case needs a patient, lesion or id.")
    rng = np.random.default_rng(seed)
    blocks = []
    per_block = max(1, CELLS // max(1, len(group_N)))
    for start in range(0, n_boot, per_block):
        draws = min(per_block, n_boot - start)
        blocks.append(statistics(_draw(rng, len(names), draws)[:, group_N]))
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _draw(rng: np.random.Generator, groups: int, draws: int) -> np.ndarray:
    """How often each group is drawn, (draws, groups)."""
    drawn = rng.integers(groups, size=(draws, groups)) + groups * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * groups).reshape(draws, groups).astype(np.float64)


def summarise(value: float, draw_R: np.ndarray, *, level: float = 0.95, centre: bool = False) -> Interval:
    """The percentile interval of the draws that have a value; NaN limits where the estimate or all draws have none.

    ``centre`` moves the draws' mean onto the estimate and cuts at 0. It is for the calibration error: a draw adds noise
    to every bin and the error adds up absolute values, so plain percentiles can lie wholly above the estimate.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; it is {level}.")
    defined = draw_R[np.isfinite(draw_R)]
    undefined = len(draw_R) - len(defined)
    if np.isnan(value) or not len(defined):
        return Interval(value, float("nan"), float("nan"), len(draw_R), undefined)
    if centre:
        defined = np.maximum(defined - defined.mean() + value, 0)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), len(draw_R), undefined)
