"""The same metrics for each skin tone, sex, age band and source, and how far the groups are apart.

A subgroup differs from the others in more than its name (its mix of diagnoses above all), so a gap is a finding to
explain and no proof of bias. Macro means compare only classes that both groups have.

Shapes: N cases, C classes, R weight vectors (bootstrap draws).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dermis.cases.manifest import Manifest
from dermis.evaluation.bootstrap import Interval, intervals
from dermis.evaluation.metrics import class_counts, macro_mean, ratio
from dermis.evaluation.ranking import one_vs_rest

AGE_BANDS = ((0, 20), (20, 40), (40, 60), (60, 80), (80, 200))
"""years, the upper end excluded"""
AT_LEAST = 20
"""a smaller group is counted but not measured"""


def _recalls(score_NC: np.ndarray, label_N: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    return class_counts(label_N, score_NC.argmax(axis=1), score_NC.shape[1], weight_RN).recall()


def _accuracy(score_NC: np.ndarray, label_N: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    return ratio(weight_RN @ (score_NC.argmax(axis=1) == label_N), weight_RN.sum(axis=1))[:, None]


def _areas(score_NC: np.ndarray, label_N: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    return one_vs_rest(score_NC, label_N, weight_RN)[0]


METRICS = {"accuracy": _accuracy, "balanced accuracy": _recalls, "macro AUROC": _areas}
"""metric -> its values before the mean over classes, (R, C) (accuracy: (R, 1)); NaN where a draw has no such cases"""


@dataclass(frozen=True)
class Subgroup:
    """One group of an attribute: its size and its metrics (none below ``AT_LEAST`` cases)."""

    attribute: str
    name: str
    cases: int
    patients: int
    metrics: dict[str, Interval]


@dataclass(frozen=True)
class Gap:
    """The difference of a metric between the best and the worst group of an attribute, as estimated.

    The two were picked for being apart, so the difference leans upwards; an interval that holds 0 is no difference.
    """

    attribute: str
    metric: str
    best: str
    worst: str
    cases: int
    patients: int
    difference: Interval


def attributes(manifest: Manifest, columns: Iterable[str]) -> Iterator[tuple[str, pd.Series]]:
    """Those of ``columns`` that the manifest has and that tell cases apart, with each case's group."""
    for column in columns:
        if column in manifest and manifest.table[column].nunique() > 1:
            yield column, attribute(manifest, column)


def attribute(manifest: Manifest, column: str) -> pd.Series:
    """Each case's group under ``column`` as strings, null where it is not recorded; ages in years become bands."""
    values = manifest.table[column]
    if column != "patient.age":
        return values.astype("string")
    years = pd.to_numeric(values)
    bands = pd.Series(pd.NA, index=values.index, dtype="string")
    for low, high in AGE_BANDS:
        bands[(years >= low) & (years < high)] = f"{low}-{high - 1}" if high < 200 else f"{low}+"
    return bands


def rows_of(attribute_N: pd.Series) -> dict[str, np.ndarray]:
    """Group -> positions of its cases, by name; those whose attribute is null are the last, "not recorded"."""
    group_N = attribute_N.fillna("not recorded").to_numpy(dtype=object)
    names = sorted(set(group_N), key=lambda name: (name == "not recorded", name))
    return {name: np.flatnonzero(group_N == name) for name in names}


def by_subgroup(
    score_NC: np.ndarray,
    label_N: np.ndarray,
    attribute_N: pd.Series,
    groups_N: pd.Series,
    *,
    name: str,
    n_boot: int = 1000,
    seed: int = 0,
) -> tuple[list[Subgroup], list[Gap]]:
    """Metrics within each group of one attribute, and the gaps between the best and the worst of them.

    Cases whose attribute is null form the group "not recorded", which takes no part in gaps. All numbers share the
    draws of patients, so a gap's interval knows that one patient can stand in two groups.
    """
    patients_N, found, members = np.asarray(groups_N), [], rows_of(attribute_N)
    for group, rows in members.items():
        metrics = {}
        if len(rows) >= AT_LEAST:
            score, label = score_NC[rows], label_N[rows]
            metrics = intervals(
                lambda w, s=score, y=label: {name: macro_mean(of(s, y, w)) for name, of in METRICS.items()},
                patients_N[rows],
                n_boot=n_boot,
                seed=seed,
            )
        found.append(Subgroup(name, group, len(rows), len(np.unique(patients_N[rows])), metrics))
    measured = [g for g in found if g.metrics and g.name != "not recorded"]
    gaps = [
        _gap(metric, measured, score_NC, label_N, members, patients_N, name, n_boot, seed)
        for metric in METRICS
        if sum(np.isfinite(g.metrics[metric].value) for g in measured) > 1
    ]
    return found, gaps


def _gap(
    metric: str,
    measured: list[Subgroup],
    score_NC: np.ndarray,
    label_N: np.ndarray,
    members: dict[str, np.ndarray],
    patients_N: np.ndarray,
    name: str,
    n_boot: int,
    seed: int,
) -> Gap:
    ranked = sorted(
        (g for g in measured if np.isfinite(g.metrics[metric].value)), key=lambda g: g.metrics[metric].value
    )
    worst, best = ranked[0], ranked[-1]
    rows = np.sort(np.concatenate([members[best.name], members[worst.name]]))
    score, label, inside = score_NC[rows], label_N[rows], np.isin(rows, members[best.name])

    def difference(weight_RN: np.ndarray) -> dict[str, np.ndarray]:
        pair = [METRICS[metric](score[side], label[side], weight_RN[:, side]) for side in (inside, ~inside)]
        shared = ~np.isnan(pair[0]) & ~np.isnan(pair[1])
        upper, lower = (macro_mean(np.where(shared, value, np.nan)) for value in pair)
        return {metric: upper - lower}

    found = intervals(difference, patients_N[rows], n_boot=n_boot, seed=seed)[metric]
    return Gap(name, metric, best.name, worst.name, len(rows), len(np.unique(patients_N[rows])), found)
