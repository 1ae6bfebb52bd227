"""What is measured of each label of a case, whatever it is called: ranking, decisions, one class of interest.

Shapes: N cases, K of them with a known label, C classes of a label, S seeds, R weight vectors (bootstrap draws).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dermis.cases.targets import UNKNOWN
from dermis.evaluation.config import EvaluationConfig
from dermis.evaluation.label_entries import told
from dermis.evaluation.label_predictions import LabelPredictions
from dermis.evaluation.measure import missing_note
from dermis.evaluation.metrics import decision_metrics, macro_mean, positive_class_metrics, undefined_classes
from dermis.evaluation.ranking import one_vs_rest
from dermis.evaluation.report import Entry
from dermis.evaluation.target_classes import AVERAGE
from dermis.registry import unknown


def each_label(found: LabelPredictions, config: EvaluationConfig, shared: dict[str, Any]) -> Iterator[Entry]:
    """Each label's entries, and the mean over labels of what all of them have; one label is told once, as the mean.

    Macro AUROC, accuracy, accuracy@k (labels of more than k classes), balanced accuracy, macro precision, macro F1;
    with ``config.positive`` that class's own numbers, of the labels that have it. Raises ValueError if none has.
    """
    label, places = found.labels, positive_places(found.classes, config.positive)
    single = len(label) == 1

    def values(score: dict[str, np.ndarray], weight_RN: np.ndarray, undefined: str) -> dict[str, np.ndarray]:
        by_metric: dict[str, dict[str, np.ndarray]] = {"macro AUROC": macro_aurocs(score, label, weight_RN, undefined)}
        for name, score_NC in score.items():
            known = label[name] != UNKNOWN
            given = score_NC[known], label[name][known]
            top = tuple(k for k in config.top if k < score_NC.shape[1])
            numbers = decision_metrics(*given, weight_RN[:, known], top=top, undefined=undefined)
            del numbers["macro recall"]  # the balanced accuracy by another name
            if name in places:
                numbers |= positive_class_metrics(*given, places[name], weight_RN[:, known], undefined=undefined)
            for metric, value_R in numbers.items():
                by_metric.setdefault(metric, {})[name] = value_R
        table = {}
        for metric, by_name in by_metric.items():
            if not single:
                table |= {f"{metric}: {name}": value_R for name, value_R in by_name.items()}
            if len(by_name) == len(label):
                table[f"{metric}: {AVERAGE}"] = macro_mean(np.stack(list(by_name.values()), axis=1), undefined)
        return table

    known = {name: label_N != UNKNOWN for name, label_N in label.items()}
    missing = {name: _missing(found, name, label[name]) for name in label}
    for entry in told(found, values, known, config, shared):
        name = next(iter(label)) if single else entry.class_name
        note = missing_note(entry.metric, missing[name], config.undefined) if name else ""
        yield replace(entry, notes="; ".join(part for part in (entry.notes, note) if part))


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


def positive_places(classes: Mapping[str, Sequence[str]], positive: str | None) -> dict[str, int]:
    """Label -> the place of the class ``positive`` among its own, of the labels that have it.

    Raises ValueError for a class that no label has.
    """
    places = {name: list(names).index(positive) for name, names in classes.items() if positive in names}
    if positive is not None and not places:
        raise unknown("positive class", positive, dict.fromkeys(c for names in classes.values() for c in names))
    return places


def _missing(found: LabelPredictions, name: str, label_N: np.ndarray) -> dict[str, list[str]]:
    """The label's classes that are undefined in some seed (``undefined_classes``)."""
    known, classes = label_N != UNKNOWN, found.classes[name]
    said_SK = found.scores[name][:, known].argmax(axis=2)
    of_seed = [undefined_classes(label_N[known], said_K, classes) for said_K in said_SK]
    return {kind: [c for c in classes if any(c in missing[kind] for missing in of_seed)] for kind in of_seed[0]}
