"""What is measured of several labels a case: each label, SM3's Table I, the seven-point checklist.

Shapes: N cases, C classes of a label, S draws or seeds, R weight vectors (bootstrap draws).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dermis.cases.seven_point import POINTS, melanomas, rule_of
from dermis.cases.targets import UNKNOWN
from dermis.evaluation.checklist import checklist_metrics, suspicions, true_score
from dermis.evaluation.config import EvaluationConfig
from dermis.evaluation.each_label import each_label
from dermis.evaluation.label_entries import told
from dermis.evaluation.label_predictions import LabelPredictions
from dermis.evaluation.report import Entry
from dermis.evaluation.subgroups import AT_LEAST, METRICS, attributes, rows_of
from dermis.evaluation.target_classes import TARGETS, target_table

CRITERIA = {name: f"finding.{name}" for name in POINTS}
"""criterion of the checklist -> its column"""


def measure_labels(
    found: LabelPredictions, config: EvaluationConfig, shared: dict[str, Any], diagnoses: Sequence[str] = ()
) -> Iterator[Entry]:
    """The entries of label predictions; ``shared`` is what all entries say (model, dataset, split, seed, command).

    Always what ``each_label`` measures, the means over labels also in each subgroup of at least ``AT_LEAST`` cases;
    with Derm7pt's eight columns the table's AUC, Sens, Spec and Prec of each target class and their mean; with all
    seven criteria the checklist's. Several seeds give means over seeds with their standard deviation, and intervals
    over seeds and patients. ``diagnoses``: all that there may be, among which the checklist's melanoma is found
    (default: those of the cases). Raises ValueError as ``each_label``, ``target_places`` and ``melanomas``.
    """
    shared = shared | {"protocol": found.protocol}
    yield from each_label(found, config, shared)
    if all(t.column in found.classes for t in TARGETS):
        label = found.labels
        known = {t.name: label[t.column] != UNKNOWN for t in TARGETS}

        def table(score: dict[str, np.ndarray], weight_RN: np.ndarray, undefined: str) -> dict[str, np.ndarray]:
            return target_table(score, label, found.classes, weight_RN, undefined=undefined)

        yield from told(found, table, known, config, shared)
    if all(column in found.classes for column in CRITERIA.values()):
        yield from _checklist(found, diagnoses, config, shared)
    for column, attribute_N in attributes(found.cases, config.subgroups):
        for name, rows in rows_of(attribute_N).items():
            if len(rows) >= AT_LEAST:
                part = each_label(found.select(rows), config, shared | {"subgroup": f"{column} = {name}"})
                yield from (e for e in part if e.metric in METRICS and not e.class_name)


def _checklist(
    found: LabelPredictions, diagnoses: Sequence[str], config: EvaluationConfig, shared: dict[str, Any]
) -> Iterator[Entry]:
    classes, label = {name: found.classes[column] for name, column in CRITERIA.items()}, found.labels
    truth_N = true_score({name: label[column] for name, column in CRITERIA.items()}, classes, config.checklist_rule)
    melanoma_N = _melanoma(found, diagnoses)

    def values(score: dict[str, np.ndarray], weight_RN: np.ndarray, undefined: str) -> dict[str, np.ndarray]:
        sure_N7, said_N7 = suspicions({name: score[column] for name, column in CRITERIA.items()}, classes)
        metrics = checklist_metrics(
            sure_N7, said_N7, truth_N, melanoma_N, weight_RN,
            rule=config.checklist_rule, threshold=config.checklist_threshold, undefined=undefined,
        )  # fmt: skip
        of = {name: "melanoma" if name.startswith("melanoma") else "score" for name in metrics}
        return {f"{name}: {of[name]}": value_R for name, value_R in metrics.items()}

    known = {"melanoma": melanoma_N != UNKNOWN, "score": truth_N != UNKNOWN}
    threshold = config.checklist_threshold or rule_of(config.checklist_rule).threshold
    protocol = f"{found.protocol}, seven-point checklist ({config.checklist_rule}, from {threshold})"
    for entry in told(found, values, known, config, shared | {"protocol": protocol}):
        yield replace(entry, class_name="")  # the name only said whose truth must be known


def _melanoma(found: LabelPredictions, diagnoses: Sequence[str]) -> np.ndarray:
    """1 melanoma, 0 another diagnosis, -1 unknown, by the manifest's diagnosis."""
    if "diagnosis" not in found.cases:
        return np.full(len(found.cases), UNKNOWN)
    diagnosis = found.cases.table["diagnosis"]
    names = melanomas(diagnoses or diagnosis.dropna().unique())
    return np.where(diagnosis.notna(), diagnosis.isin(names).to_numpy(dtype=np.int64), UNKNOWN)
