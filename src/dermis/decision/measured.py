"""What a decision is worth on cases that it has not seen: is the promise kept, for whom, and at what price?

The promise is about patients (``conformal``), so "coverage of patients" counts each patient once, by the share of their
cases; "coverage" counts cases. No group was promised anything (``classwise``: each diagnosis was), which is why they
are measured.

Shapes: N cases, C classes, R weight vectors (bootstrap draws).
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from dermis.cases.manifest import Manifest
from dermis.decision.decision import Decision, Judgement
from dermis.evaluation.bootstrap import intervals
from dermis.evaluation.calibration import expected_calibration_error, log_loss
from dermis.evaluation.report import Entry, entries
from dermis.evaluation.subgroups import AT_LEAST, attributes, rows_of

PROTOCOL = "decision"


def statistics(judged: Judgement, label_N: np.ndarray, patient_N: np.ndarray, weight_RN: np.ndarray) -> dict:
    """Name -> value (R,) over the weighted cases; NaN for a draw without any."""
    covered_N = judged.possible[np.arange(len(label_N)), label_N]
    right_N = judged.probability.argmax(axis=1) == label_N
    patient_size_N = pd.Series(patient_N).groupby(np.asarray(patient_N)).transform("size").to_numpy()
    return {
        "coverage": _mean(covered_N, weight_RN),
        "coverage of patients": _mean(covered_N, weight_RN / patient_size_N),
        "classes in a set": _mean(judged.size, weight_RN),
        "empty sets": _mean(judged.size == 0, weight_RN),
        "not sure": _mean(~judged.sure, weight_RN),
        "accuracy": _mean(right_N, weight_RN),
        "accuracy where sure": _mean(right_N, weight_RN * judged.sure),
    }


def _mean(value_N: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return weight_RN @ np.asarray(value_N, np.float64) / weight_RN.sum(axis=1)


def measure(
    decision: Decision,
    feature_ND: np.ndarray,
    label_N: np.ndarray,
    manifest: Manifest,
    shared: dict[str, Any],
    *,
    subgroups: Iterable[str],
    n_boot: int = 1000,
    seed: int = 0,
) -> Iterator[Entry]:
    """Entries over everybody, for each class, and for each group of ``subgroups`` (of ``AT_LEAST`` cases or more)."""
    judged, before_NC = decision.judge(feature_ND), decision.probe.scores(feature_ND)
    patient_N = manifest.groups().to_numpy(dtype=object)

    def of(rows: np.ndarray, everybody: bool = False) -> dict:
        part = Judgement(*(field[rows] for field in (judged.probability, judged.possible, judged.ood, judged.sure)))
        label, patient = label_N[rows], patient_N[rows]

        def values(weight_RN: np.ndarray) -> dict:
            found = {}
            for name, p_NC in {"before": before_NC, "after": judged.probability}.items() if everybody else ():
                found[f"log loss {name}"] = log_loss(p_NC, label_N, weight_RN)
                found[f"ECE {name}"] = expected_calibration_error(p_NC, label_N, weight_RN)
            return found | statistics(part, label, patient, weight_RN)

        found = intervals(values, patient, n_boot=n_boot, seed=seed, centred=("ECE before", "ECE after"))
        return {"found": found, "n": len(rows), "patients": len(set(patient))}

    shared = shared | {"protocol": PROTOCOL}
    yield from entries(**of(np.arange(len(label_N)), everybody=True), **shared)
    for c, name in enumerate(decision.classes):
        if len(rows := np.flatnonzero(label_N == c)):
            yield from entries(**of(rows), class_name=name, **shared)
    for column, attribute_N in attributes(manifest, subgroups):
        for group, rows in rows_of(attribute_N).items():
            if len(rows) >= AT_LEAST:
                yield from entries(**of(rows), subgroup=f"{column} = {group}", **shared)
