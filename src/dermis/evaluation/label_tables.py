"""Label predictions for people: SM3's Table I of a model, and a table of the cases.

Shapes: N cases, C classes of a label, S seeds.
"""

import numpy as np
import pandas as pd

from dermis.cases.seven_point import rule_of
from dermis.evaluation.checklist import (
    expected_score,
    hard_score,
    melanoma_probability,
    score_deviation,
    score_distribution,
    suspicions,
)
from dermis.evaluation.label_entries import TARGET_NAMES
from dermis.evaluation.label_metrics import CRITERIA
from dermis.evaluation.label_predictions import LabelPredictions
from dermis.evaluation.report import Entry
from dermis.evaluation.target_classes import AVERAGE, METRICS


def table_lines(found: list[Entry], model: str) -> list[str]:
    """SM3's Table I of one model and protocol, in per cent with intervals, from its entries; none without them."""
    by_name = {(e.protocol, e.metric, e.class_name): e for e in found if e.model == model and not e.subgroup}
    protocols = dict.fromkeys(e.protocol for e in found if e.model == model and e.metric == "AUC")
    names = list(TARGET_NAMES.values())
    lines = []
    for protocol in protocols:
        lines += [f"{model}, {protocol}", "| | " + " | ".join([*names, AVERAGE]) + " |", "|---|" + "---:|" * 9]
        for metric in METRICS:
            cells = [_per_cent(by_name[protocol, metric, name]) for name in [*names, ""]]
            lines.append(f"| {metric} | " + " | ".join(cells) + " |")
        notes = {e.notes for (p, _, name), e in by_name.items() if p == protocol and not name and e.metric in METRICS}
        lines += [note for note in sorted(notes) if note]
    return lines


def _per_cent(entry: Entry) -> str:
    if np.isnan(entry.value):
        return "undefined"
    spread = "" if entry.deviation is None else f" ± {100 * entry.deviation:.1f}"
    return f"{100 * entry.value:.1f}{spread} [{100 * entry.low:.1f}, {100 * entry.high:.1f}]"


def case_table(found: LabelPredictions, rule: str = "weighted", threshold: int | None = None) -> pd.DataFrame:
    """A row a case: of each label the truth, the class said and the probability of each class (mean over seeds).

    With all seven criteria also the checklist: the score of the classes said, the expected score and its standard
    deviation when the criteria's probabilities are propagated, the probability that the score reaches ``threshold``
    (None: the rule's own), and whether the score said does, which is the suspicion of melanoma.
    """
    table: dict[str, object] = {"case_id": found.cases.table["case_id"].to_numpy()}
    mean = {name: score_SNC.mean(axis=0) for name, score_SNC in found.scores.items()}
    for name, classes in found.classes.items():
        table[name] = found.cases.table[name].to_numpy(dtype=object)
        table[f"{name}: said"] = np.array(classes, dtype=object)[mean[name].argmax(axis=1)]
        table |= {f"{name}: {c}": mean[name][:, i] for i, c in enumerate(classes)}
    if all(column in found.classes for column in CRITERIA.values()):
        classes = {name: found.classes[column] for name, column in CRITERIA.items()}
        sure_N7, said_N7 = suspicions({name: mean[column] for name, column in CRITERIA.items()}, classes)
        distribution_NS, score_N = score_distribution(sure_N7, rule), hard_score(said_N7, rule)
        threshold = rule_of(rule).threshold if threshold is None else threshold
        table |= {
            "score": score_N,
            "expected score": expected_score(distribution_NS),
            "deviation of the score": score_deviation(distribution_NS),
            f"probability of a score from {threshold}": melanoma_probability(distribution_NS, threshold),
            "melanoma suspected": score_N >= threshold,
        }
    return pd.DataFrame(table)
