"""What is measured of several labels a case: each label, SM3's Table I, the seven-point checklist.

Shapes: N cases, C classes of a label, S draws or seeds, R weight vectors (bootstrap draws).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dermis.cases.seven_point import POINTS, melanomas, rule_of
from dermis.cases.targets import UNKNOWN
from dermis.evaluation.bootstrap import Interval, replicates, summarise
from dermis.evaluation.checklist import checklist_metrics, suspicions, true_score
from dermis.evaluation.config import EvaluationConfig
from dermis.evaluation.few_shot import over_seeds
from dermis.evaluation.label_predictions import LabelPredictions
from dermis.evaluation.metrics import class_counts, macro_mean
from dermis.evaluation.ranking import one_vs_rest
from dermis.evaluation.report import Entry, entries
from dermis.evaluation.subgroups import AT_LEAST, attributes, rows_of
from dermis.evaluation.target_classes import AVERAGE, TARGETS, target_table, undefined_names

CRITERIA = {name: f"finding.{name}" for name in POINTS}
"""criterion of the checklist -> its column"""
TARGET_NAMES = {t.name: f"{t.name} {t.target}" for t in TARGETS}
"""short name in Table I -> what an entry is about: "BWV present" """
Statistic = Callable[[dict[str, np.ndarray], np.ndarray, str], dict[str, np.ndarray]]
"""label -> probabilities (N, C), case weights (R, N), what becomes of the undefined -> "metric: name" -> values (R,)"""


def measure_labels(
    found: LabelPredictions, config: EvaluationConfig, shared: dict[str, Any], diagnoses: Sequence[str] = ()
) -> Iterator[Entry]:
    """The entries of label predictions; ``shared`` is what all entries say (model, dataset, split, seed, command).

    Always the macro AUROC and the balanced accuracy of each label and their mean over labels, the means also in each
    subgroup of at least ``AT_LEAST`` cases; with Derm7pt's eight columns the table's AUC, Sens, Spec and Prec of each
    target class and their mean; with all seven criteria the checklist's. Several seeds give means over seeds, and
    intervals over seeds and patients. ``diagnoses``: all that there may be, among which the checklist's melanoma is
    found (default: those of the cases). Raises ValueError as ``target_places`` and ``melanomas``.
    """
    shared = shared | {"protocol": found.protocol}
    yield from _each_label(found, config, shared)
    if all(t.column in found.classes for t in TARGETS):
        label = found.labels
        known = {t.name: label[t.column] != UNKNOWN for t in TARGETS}

        def table(score: dict[str, np.ndarray], weight_RN: np.ndarray, undefined: str) -> dict[str, np.ndarray]:
            return target_table(score, label, found.classes, weight_RN, undefined=undefined)

        yield from _told(found, table, known, config, shared)
    if all(column in found.classes for column in CRITERIA.values()):
        yield from _checklist(found, diagnoses, config, shared)
    for column, attribute_N in attributes(found.cases, config.subgroups):
        for name, rows in rows_of(attribute_N).items():
            if len(rows) >= AT_LEAST:
                part = _each_label(found.select(rows), config, shared | {"subgroup": f"{column} = {name}"})
                yield from (e for e in part if not e.class_name)


def macro_aurocs(
    score: Mapping[str, np.ndarray],
    label: Mapping[str, np.ndarray],
    weight_RN: np.ndarray | None = None,
    undefined: str = "nan",
) -> dict[str, np.ndarray]:
    """Label -> mean over its classes of the one-vs-rest AUROC (R,), over the cases whose label is known (not -1).

    ``score``: label -> probabilities (N, C). Classes without cases are left out or count as 0; a label without any is
    NaN or 0 (``undefined``).
    """
    values = {}
    for name, score_NC in score.items():
        known = label[name] != UNKNOWN
        weight_RK = np.ones((1, known.sum())) if weight_RN is None else weight_RN[:, known]
        values[name] = macro_mean(one_vs_rest(score_NC[known], label[name][known], weight_RK)[0], undefined)
    return values


def _each_label(found: LabelPredictions, config: EvaluationConfig, shared: dict[str, Any]) -> Iterator[Entry]:
    label = found.labels

    def values(score: dict[str, np.ndarray], weight_RN: np.ndarray, undefined: str) -> dict[str, np.ndarray]:
        recall = {}
        for name, score_NC in score.items():
            known = label[name] != UNKNOWN
            said_K, classes = score_NC[known].argmax(axis=1), score_NC.shape[1]
            counts = class_counts(label[name][known], said_K, classes, weight_RN[:, known])
            recall[name] = macro_mean(counts.recall(), undefined)
        table = {}
        by_metric = {"macro AUROC": macro_aurocs(score, label, weight_RN, undefined), "balanced accuracy": recall}
        for metric, by_name in by_metric.items():
            average_R = macro_mean(np.stack(list(by_name.values()), axis=1), undefined)
            table |= {f"{metric}: {name}": value_R for name, value_R in (by_name | {AVERAGE: average_R}).items()}
        return table

    known = {name: label_N != UNKNOWN for name, label_N in label.items()}
    yield from _told(found, values, known, config, shared)


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
    for entry in _told(found, values, known, config, shared | {"protocol": protocol}):
        yield replace(entry, class_name="")  # the name only said whose truth must be known


def _melanoma(found: LabelPredictions, diagnoses: Sequence[str]) -> np.ndarray:
    """1 melanoma, 0 another diagnosis, -1 unknown, by the manifest's diagnosis."""
    if "diagnosis" not in found.cases:
        return np.full(len(found.cases), UNKNOWN)
    diagnosis = found.cases.table["diagnosis"]
    names = melanomas(diagnoses or diagnosis.dropna().unique())
    return np.where(diagnosis.notna(), diagnosis.isin(names).to_numpy(dtype=np.int64), UNKNOWN)


def _told(
    found: LabelPredictions,
    statistic: Statistic,
    known: dict[str, np.ndarray],
    config: EvaluationConfig,
    shared: dict[str, Any],
) -> Iterator[Entry]:
    """ "AUC: BWV" is about one label, on the cases where it is ``known`` (N,); "AUC: AVG" is the number of all.

    What is undefined in any seed is called so, and named beside the average.
    """
    numbers, missing = _over_seeds(found, statistic, config)
    groups = found.cases.groups()
    known = known | {AVERAGE: np.logical_or.reduce(list(known.values()))}
    what = "counted as 0" if config.undefined == "zero" else "left out of the mean"
    for key, interval in numbers.items():
        metric, _, name = key.partition(": ")
        without = missing.get(metric, [])
        if name == AVERAGE:
            note = f"undefined, {what}: {', '.join(without)}" if without else ""
        else:
            note = "" if name not in without else "undefined" if np.isnan(interval.value) else "undefined, counted as 0"
        size = {"n": int(known[name].sum()), "patients": groups[known[name]].nunique()}
        told = "" if name == AVERAGE else TARGET_NAMES.get(name, name)
        yield from entries({metric: interval}, class_name=told, notes=note, **size, **shared)


def _over_seeds(
    found: LabelPredictions, statistic: Statistic, config: EvaluationConfig
) -> tuple[dict[str, Interval], dict[str, list[str]]]:
    """Each number, the mean over seeds; and what has no value in some seed (``undefined_names``)."""
    groups, seeds = found.cases.groups(), len(next(iter(found.scores.values())))

    def each(weight_RN: np.ndarray, undefined: str = config.undefined) -> dict[str, np.ndarray]:
        of_seed = ({name: score_SNC[s] for name, score_SNC in found.scores.items()} for s in range(seeds))
        values = [statistic(score, weight_RN, undefined) for score in of_seed]
        return {key: np.stack([v[key] for v in values], axis=1) for key in values[0]}

    whole = np.ones((1, len(groups)))
    drawn = replicates(each, groups, n_boot=config.n_boot, seed=config.seed)
    numbers = {
        key: summarise(float(value_1S.mean()), over_seeds(drawn[key], config.seed))
        for key, value_1S in each(whole).items()
    }
    return numbers, undefined_names(each(whole, "nan"))
