"""What is measured of several labels a case: each label, SM3's Table I, the seven-point checklist.

Shapes: N cases, C classes of a label, S draws or seeds, R weight vectors (bootstrap draws).
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dermis.cases.seven_point import POINTS, rule_of
from dermis.cases.targets import UNKNOWN
from dermis.evaluation.bootstrap import Interval, replicates, summarise
from dermis.evaluation.checklist import checklist_metrics, suspicions, true_score
from dermis.evaluation.config import EvaluationConfig
from dermis.evaluation.few_shot import over_seeds
from dermis.evaluation.label_predictions import LabelPredictions
from dermis.evaluation.metrics import class_counts, macro_mean
from dermis.evaluation.ranking import one_vs_rest
from dermis.evaluation.report import Entry, entries
from dermis.evaluation.target_classes import AVERAGE, TARGETS, target_table, undefined_targets

MELANOMA = "melanoma"
CRITERIA = {name: f"finding.{name}" for name in POINTS}
"""criterion of the checklist -> its column"""
TARGET_NAMES = {t.name: f"{t.name} {t.target}" for t in TARGETS}
"""short name in Table I -> what an entry is about: "BWV present" """
Statistic = Callable[[dict[str, np.ndarray], np.ndarray], dict[str, np.ndarray]]
"""label -> probabilities (N, C), case weights (R, N) -> name -> values (R,)"""


def measure_labels(found: LabelPredictions, config: EvaluationConfig, shared: dict[str, Any]) -> Iterator[Entry]:
    """The entries of label predictions; ``shared`` is what all entries say (model, dataset, split, seed, command).

    Always the macro AUROC and the balanced accuracy of each label and their mean over labels; with Derm7pt's eight
    columns the table's AUC, Sens, Spec and Prec of each target class and their mean; with all seven criteria the
    checklist's. Several seeds give means over seeds, and intervals over seeds and patients.
    """
    groups, label = found.cases.groups(), found.labels
    known = {name: label_N != UNKNOWN for name, label_N in label.items()}
    any_known_N = np.logical_or.reduce(list(known.values()))
    size = {"n": int(any_known_N.sum()), "patients": groups[any_known_N].nunique()}
    columns = {t.name: t.column for t in TARGETS}
    sizes = {
        name: {"n": int(known_N.sum()), "patients": groups[known_N].nunique()}
        for name, known_N in (known | {t: known[c] for t, c in columns.items() if c in known}).items()
    } | {AVERAGE: size}
    boot = {"n_boot": config.n_boot, "seed": config.seed}

    def over(statistic: Statistic) -> dict[str, Interval]:
        return _over_seeds(found.scores, statistic, groups, **boot)

    numbers = over(lambda score, w: _per_label(score, label, w, config.undefined))
    yield from _told(numbers, sizes, shared | {"protocol": found.protocol}, {})
    if all(t.column in found.classes for t in TARGETS):
        numbers = over(lambda score, w: target_table(score, label, found.classes, w, undefined=config.undefined))
        first = {column: score_SNC[0] for column, score_SNC in found.scores.items()}
        missing = undefined_targets(first, label, found.classes)
        what = "counted as 0" if config.undefined == "zero" else "left out of the mean"
        flags = {metric: f"undefined, {what}: {', '.join(names)}" for metric, names in missing.items()}
        yield from _told(numbers, sizes, shared | {"protocol": found.protocol}, flags)
    if all(column in found.classes for column in CRITERIA.values()):
        classes = {name: found.classes[column] for name, column in CRITERIA.items()}
        truth_N = true_score({name: label[column] for name, column in CRITERIA.items()}, classes, config.checklist_rule)
        melanoma_N = _melanoma(found, label)

        def checklist(score: dict[str, np.ndarray], weight_RN: np.ndarray) -> dict[str, np.ndarray]:
            sure_N7, said_N7 = suspicions({name: score[column] for name, column in CRITERIA.items()}, classes)
            return checklist_metrics(
                sure_N7, said_N7, truth_N, melanoma_N, weight_RN,
                rule=config.checklist_rule, threshold=config.checklist_threshold, undefined=config.undefined,
            )  # fmt: skip

        threshold = config.checklist_threshold or rule_of(config.checklist_rule).threshold
        protocol = f"{found.protocol}, seven-point checklist ({config.checklist_rule}, from {threshold})"
        yield from entries(over(checklist), protocol=protocol, **size, **shared)


def _melanoma(found: LabelPredictions, label: dict[str, np.ndarray]) -> np.ndarray:
    """1 melanoma, 0 another diagnosis, -1 unknown, by the manifest's diagnosis."""
    if "diagnosis" not in found.cases:
        return np.full(len(found.cases), UNKNOWN)
    diagnosis = found.cases.table["diagnosis"]
    return np.where(diagnosis.notna(), (diagnosis == MELANOMA).to_numpy(dtype=np.int64), UNKNOWN)


def _per_label(
    score: dict[str, np.ndarray], label: dict[str, np.ndarray], weight_RN: np.ndarray, undefined: str
) -> dict[str, np.ndarray]:
    values: dict[str, dict[str, np.ndarray]] = {"macro AUROC": {}, "balanced accuracy": {}}
    for name, score_NC in score.items():
        known = label[name] != UNKNOWN
        label_K, score_KC, weight_RK = label[name][known], score_NC[known], weight_RN[:, known]
        counts = class_counts(label_K, score_KC.argmax(axis=1), score_KC.shape[1], weight_RK)
        values["macro AUROC"][name] = macro_mean(one_vs_rest(score_KC, label_K, weight_RK)[0], undefined)
        values["balanced accuracy"][name] = macro_mean(counts.recall(), undefined)
    table = {}
    for metric, by_name in values.items():
        table |= {f"{metric}: {name}": value_R for name, value_R in by_name.items()}
        table[f"{metric}: {AVERAGE}"] = macro_mean(np.stack(list(by_name.values()), axis=1), undefined)
    return table


def _over_seeds(
    scores: dict[str, np.ndarray], statistic: Statistic, groups: Any, *, n_boot: int, seed: int
) -> dict[str, Interval]:
    def each(weight_RN: np.ndarray) -> dict[str, np.ndarray]:
        seeds = len(next(iter(scores.values())))
        values = [statistic({k: v[s] for k, v in scores.items()}, weight_RN) for s in range(seeds)]
        return {name: np.stack([v[name] for v in values], axis=1) for name in values[0]}

    values = each(np.ones((1, len(groups))))
    drawn = replicates(each, groups, n_boot=n_boot, seed=seed)
    return {name: summarise(float(v[0].mean()), over_seeds(drawn[name], seed)) for name, v in values.items()}


def _told(
    numbers: dict[str, Interval], sizes: dict[str, dict[str, int]], shared: dict[str, Any], flags: dict[str, str]
) -> Iterator[Entry]:
    """ "AUC: BWV" is about one label, on the cases where it is known; "AUC: AVG" is the number of all."""
    for key, interval in numbers.items():
        metric, _, name = key.partition(": ")
        told = "" if name == AVERAGE else TARGET_NAMES.get(name, name)
        note = flags.get(metric, "") if name == AVERAGE else "undefined" if np.isnan(interval.value) else ""
        yield from entries({metric: interval}, class_name=told, notes=note, **sizes[name], **shared)
