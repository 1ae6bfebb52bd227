"""Is what was copied true? The copies beside the truth where it is known, and beside copies from anybody.

Nearest pictures may only repeat what is common (most lesions are on the trunk), so each number stands beside a control:
the same columns taken from as many sources drawn at random among those allowed (no kin), and beside what needs
no picture at all: the reference's most frequent category, or its median. A column for which the nearest source is no
better than a random one adds nothing but the look of a complete table.

Shapes: N cases, S draws of random sources, K sources of a case, R vectors of case weights (bootstrap draws).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dermis.cases.table_schema import CIRCULAR
from dermis.evaluation.bootstrap import intervals
from dermis.evaluation.extrapolation import NONE, Extrapolated, combined
from dermis.evaluation.metrics import ratio
from dermis.evaluation.report import Entry, Section, entries

PROTOCOL = "extrapolation"
RANDOM, COMMON, MEDIAN = "random source", "most frequent", "median"


def agreement(
    found: Extrapolated,
    truth: pd.DataFrame,
    shared: Mapping[str, Any],
    *,
    draws: int = 5,
    n_boot: int = 1000,
    seed: int = 0,
) -> tuple[list[Entry], list[Section]]:
    """Entries of each column of which some truth is known (``class_name``), and a table of the cases.

    ``truth``: row n is query n; its columns may be fewer. ``shared``: what all entries say (model, dataset, split,
    seed, command). Categories: accuracy. Numbers: mean absolute error (of directions the way round that is shorter)
    and Spearman's r. A number is of the cases whose truth and whose source's value are known; intervals are the patient
    bootstrap over them, the sources stay. Raises ValueError for a truth of other cases or of another kind.
    """
    if len(truth) != len(found.table):
        raise ValueError(f"there must be one row of truth per case, {len(found.table)}; there are {len(truth)}.")
    rng = np.random.default_rng(seed)
    random = [random_sources(found, rng) for _ in range(draws)]
    groups = found.query.groups().to_numpy()
    out, cases = [], found.sources().drop_duplicates("case_id").drop(columns="rank").reset_index(drop=True)
    for column in found.columns:
        if column not in truth or not truth[column].notna().any():
            continue
        true, said = truth[column].reset_index(drop=True), found.table[column]
        cases[f"{column}: true"], cases[f"{column}: copied"] = true, said
        rows = np.flatnonzero(true.notna() & said.notna())
        if not len(rows):
            continue
        control = [combined(found.reference, [column], s_NK, np.ones(s_NK.shape))[column] for s_NK in random]
        of = _of_categories if column in found.reference.categories else _of_numbers
        statistics = of(column, *(x.iloc[rows] for x in (true, said)), [x.iloc[rows] for x in control], found)
        boot = {"n_boot": n_boot, "seed": seed}
        size = {"n": len(rows), "patients": len(set(groups[rows])), "class_name": column}
        note = f"of {int(true.notna().sum())} cases whose value is known"
        out += entries(intervals(statistics, groups[rows], **boot), protocol=PROTOCOL, notes=note, **size, **shared)
    about = (
        f"Columns copied from the most similar of {len(found.reference)} reference cases that are no kin, beside "
        f"{draws} random sources a case."
    )
    return out, [Section(str(shared["model"]), PROTOCOL, about, table=cases)]


def agreement_lines(found: Sequence[Entry]) -> list[str]:
    """One line for each column and metric: the copies, then in brackets what they stand beside."""
    by_name = {(e.class_name, e.metric): e for e in found}
    lines = []
    for (column, metric), entry in by_name.items():
        if " (" not in metric:
            beside = [
                f"{kind} {by_name[column, name].text()}"
                for kind in (RANDOM, COMMON, MEDIAN)
                if (column, name := f"{metric} ({kind})") in by_name
            ]
            lines.append(f"{column}: {metric} {entry.text()} ({', '.join(beside)}; n = {entry.n})")
    return lines


def random_sources(found: Extrapolated, rng: np.random.Generator) -> np.ndarray:
    """For each source that a case has another one (N, K), drawn alike from all reference cases that are no kin.

    Near duplicates by cosine are not left out: a random case is hardly ever one.
    """
    order_M = np.argsort(found.reference_kin, kind="stable")
    first_N, end_N = (
        np.searchsorted(found.reference_kin[order_M], found.query_kin, side) for side in ("left", "right")
    )
    free_N = len(order_M) - (end_N - first_N)
    drawn_NK = rng.integers(np.maximum(free_N, 1)[:, None], size=found.source.shape)
    drawn_NK += np.where(drawn_NK >= first_N[:, None], (end_N - first_N)[:, None], 0)  # over the kin, who lie together
    return np.where(found.source == NONE, NONE, order_M[np.minimum(drawn_NK, len(order_M) - 1)])


def weighted_spearman(x_N: np.ndarray, y_N: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    """Spearman's r (R,) of cases that occur ``weight`` times; NaN where one of the two does not vary."""
    a_RN, b_RN = _midranks(x_N, weight_RN), _midranks(y_N, weight_RN)
    total_R1 = weight_RN.sum(axis=1, keepdims=True)
    a_RN, b_RN = (r - (weight_RN * r).sum(axis=1, keepdims=True) / total_R1 for r in (a_RN, b_RN))
    covariance_R = (weight_RN * a_RN * b_RN).sum(axis=1)
    spread_R = np.sqrt((weight_RN * a_RN**2).sum(axis=1) * (weight_RN * b_RN**2).sum(axis=1))
    return np.divide(covariance_R, spread_R, out=np.full(len(spread_R), np.nan), where=spread_R > 1e-9)


def _of_categories(column: str, true: pd.Series, said: pd.Series, control: list[pd.Series], found: Extrapolated) -> Any:
    common = found.reference.table[column].mode().iloc[0]
    right_N, common_N = (true == said).to_numpy(float), (true == common).to_numpy(float)
    known_SN = np.stack([c.notna() for c in control]).astype(float)
    random_SN = np.stack([(c == true).fillna(False) for c in control]).astype(float)

    def statistics(weight_RN: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "accuracy": _mean(right_N, weight_RN),
            f"accuracy ({RANDOM})": _mean(random_SN, weight_RN, known_SN),
            f"accuracy ({COMMON})": _mean(common_N, weight_RN),
        }

    return statistics


def _of_numbers(column: str, true: pd.Series, said: pd.Series, control: list[pd.Series], found: Extrapolated) -> Any:
    period = CIRCULAR.get(column)
    true_N, said_N = (x.to_numpy(np.float64) for x in (true, said))
    random_SN = np.stack([c.to_numpy(np.float64, na_value=np.nan) for c in control])
    known_SN = np.isfinite(random_SN)
    error_SN = np.where(known_SN, _distance(random_SN, true_N, period), 0)
    median = found.reference.table[column].median()

    def statistics(weight_RN: np.ndarray) -> dict[str, np.ndarray]:
        error = "mean absolute error"
        values = {
            error: _mean(_distance(said_N, true_N, period), weight_RN),
            f"{error} ({RANDOM})": _mean(error_SN, weight_RN, known_SN.astype(float)),
        }
        if period is not None:  # directions have neither a median nor an order
            return values
        values[f"{error} ({MEDIAN})"] = _mean(np.abs(median - true_N), weight_RN)
        values["Spearman r"] = weighted_spearman(said_N, true_N, weight_RN)
        r = [weighted_spearman(x[k], true_N[k], weight_RN[:, k]) for x, k in zip(random_SN, known_SN, strict=True)]
        return values | {f"Spearman r ({RANDOM})": np.mean(r, axis=0)}

    return statistics


def _distance(x: np.ndarray, y: np.ndarray, period: float | None) -> np.ndarray:
    apart = np.abs(x - y)
    return apart if period is None else np.minimum(apart % period, -apart % period)


def _mean(value: np.ndarray, weight_RN: np.ndarray, known_SN: np.ndarray | None = None) -> np.ndarray:
    """Weighted mean (R,) of (N,), or over the known ones of (S, N); NaN where none is."""
    value_N = value if known_SN is None else value.sum(axis=0)
    known_N = np.ones(len(value_N)) if known_SN is None else known_SN.sum(axis=0)
    return ratio(weight_RN @ value_N, weight_RN @ known_N)


def _midranks(x_N: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    """Ranks (R, N) of values that occur ``weight`` times; equal ones share their mean rank."""
    _, place_N, count_U = np.unique(x_N, return_inverse=True, return_counts=True)
    starts_U = np.cumsum(count_U) - count_U
    total_RU = np.add.reduceat(weight_RN[:, np.argsort(place_N, kind="stable")], starts_U, axis=1)
    return (np.cumsum(total_RU, axis=1) - total_RU + (total_RU + 1) / 2)[:, place_N]
