"""Several labels a case: who predicts them, and what is measured of it (SM3's Table I, the seven-point checklist).

Shapes: N cases, C classes of a label, S draws or seeds, R weight vectors (bootstrap draws).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dermis.cases.manifest import Manifest
from dermis.cases.seven_point import POINTS
from dermis.cases.targets import UNKNOWN, labels_of, targets_of
from dermis.evaluation.bootstrap import Interval, replicates, summarise
from dermis.evaluation.checklist import checklist_metrics, suspicions, true_score
from dermis.evaluation.config import EvaluationConfig
from dermis.evaluation.few_shot import over_seeds
from dermis.evaluation.linear_probe import linear_probe
from dermis.evaluation.metrics import class_counts, macro_mean
from dermis.evaluation.ranking import one_vs_rest
from dermis.evaluation.report import Entry, entries
from dermis.evaluation.setting import Setting
from dermis.evaluation.target_classes import AVERAGE, METRICS, TARGETS, target_table, undefined_targets

MELANOMA = "melanoma"
Statistic = Callable[[dict[str, np.ndarray], np.ndarray], dict[str, np.ndarray]]
"""label -> probabilities (N, C), case weights (R, N) -> name -> values (R,)"""


@dataclass(frozen=True)
class LabelPredictions:
    """``scores``: label column -> probabilities (S, N, C) of its ``classes`` for ``cases``, in their order."""

    protocol: str
    about: str
    cases: Manifest
    classes: dict[str, list[str]]
    scores: dict[str, np.ndarray]

    @property
    def labels(self) -> dict[str, np.ndarray]:
        """Label column -> the truth (N,), -1 where it is not known."""
        label_NL = labels_of(self.cases, self.classes)
        return dict(zip(self.classes, label_NL.T, strict=True))


def own_predictions(setting: Setting, columns: Sequence[str] = ()) -> LabelPredictions:
    """What the model itself says of the labels that it was taught, or of those of ``columns``.

    Raises ValueError for a model that was taught none.
    """
    if getattr(setting.model, "predicting", None) is None:
        raise ValueError("protocol 'labels' needs a model that was taught labels; this one was not (try `finetune`).")
    classes = {k: v for k, v in setting.model.predicting.classes.items() if not columns or k in columns}
    query = setting.cases(setting.config.split)
    scores = {k: v[None] for k, v in predicted(setting.model, query.trunk).items() if k in classes}
    return LabelPredictions("own predictions of labels", "", query.manifest, classes, scores)


def derm7pt_predictions(setting: Setting) -> LabelPredictions:
    """The eight labels of Derm7pt: the model's own predictions if it was taught all, else a linear probe for each.

    A probe is ``linear_probe`` on the frozen features of all pictures of the case; C by the log loss on `valid`, else
    by patients. Raises ValueError for a manifest without one of the eight columns.
    """
    columns = [t.column for t in TARGETS]
    setting.manifest.require(columns, "protocol derm7pt")
    query = setting.cases(setting.config.split)
    taught = getattr(setting.model, "predicting", None)
    if taught is not None and all(column in taught.classes for column in columns):
        return replace(own_predictions(setting, columns), protocol="derm7pt, own predictions")
    classes = targets_of(setting.manifest, columns)
    train = setting.cases("train")
    has_valid = bool((setting.manifest.table["split"] == "valid").any())
    scores, chosen = {}, []
    for column, names in classes.items():
        label_M = labels_of(train.manifest, {column: names})[:, 0]
        known = label_M != UNKNOWN
        valid = None
        if has_valid:
            other = setting.cases("valid")
            label_V = labels_of(other.manifest, {column: names})[:, 0]
            valid = (other.trunk[label_V != UNKNOWN], label_V[label_V != UNKNOWN])
        groups_M = train.manifest.groups().to_numpy()[known]
        probe = linear_probe(
            train.trunk[known], label_M[known], len(names), valid=valid, groups_M=groups_M, seed=setting.config.seed
        )
        chosen.append(f"{probe.c:g}")
        scores[column] = probe.scores(query.trunk)[None]
    how = "on valid" if has_valid else "in 5 folds of patients"
    about = f"Logistic regression on frozen features for each label, C chosen {how}: {', '.join(chosen)}."
    return LabelPredictions("derm7pt, linear probes", about, query.manifest, classes, scores)


def predicted(model: Any, trunk_ND: np.ndarray) -> dict[str, np.ndarray]:
    """The model's own label probabilities (N, C) from features of cases, in evaluation mode."""
    import torch

    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            h_ND = torch.as_tensor(trunk_ND, device=next(model.parameters()).device)
            return {name: p_NC.double().cpu().numpy() for name, p_NC in model.predict(h_ND).items()}
    finally:
        model.train(was_training)


def measure_labels(found: LabelPredictions, config: EvaluationConfig, shared: dict[str, Any]) -> Iterator[Entry]:
    """The entries of label predictions; ``shared`` is what all entries say (model, dataset, split, seed, command).

    Always the macro AUROC and the balanced accuracy of each label and their mean over labels; with Derm7pt's eight
    columns the table's AUC, Sens, Spec and Prec of each target class and their mean; with all seven criteria the
    checklist's. Several seeds give means over seeds, and intervals over seeds and patients.
    """
    groups, label = found.cases.groups(), found.labels
    size = {"n": len(groups), "patients": groups.nunique()}
    boot = {"n_boot": config.n_boot, "seed": config.seed}

    def over(statistic: Statistic) -> dict[str, Interval]:
        return _over_seeds(found.scores, statistic, groups, **boot)

    numbers = over(lambda score, w: _per_label(score, label, w, config.undefined))
    yield from _told(numbers, size | shared | {"protocol": found.protocol}, {})
    if all(t.column in found.classes for t in TARGETS):
        numbers = over(lambda score, w: target_table(score, label, found.classes, w, undefined=config.undefined))
        first = {column: score_SNC[0] for column, score_SNC in found.scores.items()}
        missing = undefined_targets(first, label, found.classes)
        what = "counted as 0" if config.undefined == "zero" else "left out of the mean"
        flags = {metric: f"undefined, {what}: {', '.join(names)}" for metric, names in missing.items()}
        yield from _told(numbers, size | shared | {"protocol": found.protocol}, flags)
    criteria = {name: f"finding.{name}" for name in POINTS}
    if all(column in found.classes for column in criteria.values()):
        classes = {name: found.classes[column] for name, column in criteria.items()}
        truth_N = true_score({name: label[column] for name, column in criteria.items()}, classes, config.checklist_rule)
        melanoma_N = _melanoma(found, label)

        def checklist(score: dict[str, np.ndarray], weight_RN: np.ndarray) -> dict[str, np.ndarray]:
            sure_N7, said_N7 = suspicions({name: score[column] for name, column in criteria.items()}, classes)
            return checklist_metrics(
                sure_N7, said_N7, truth_N, melanoma_N, weight_RN,
                rule=config.checklist_rule, threshold=config.checklist_threshold, undefined=config.undefined,
            )  # fmt: skip

        protocol = f"{found.protocol}, seven-point checklist ({config.checklist_rule})"
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


def _told(numbers: dict[str, Interval], shared: dict[str, Any], flags: dict[str, str]) -> Iterator[Entry]:
    """ "AUC: BWV" is about one label; "AUC: AVG" is the number of all."""
    target_of = {t.name: f"{t.name} {t.target}" for t in TARGETS}
    for key, interval in numbers.items():
        metric, _, name = key.partition(": ")
        told = "" if name == AVERAGE else target_of.get(name, name)
        note = flags.get(metric, "") if name == AVERAGE else "undefined" if np.isnan(interval.value) else ""
        yield from entries({metric: interval}, class_name=told, notes=note, **shared)


def table_lines(found: list[Entry], model: str) -> list[str]:
    """SM3's Table I of one model and protocol, in per cent with intervals, from its entries; none without them."""
    by_name = {(e.protocol, e.metric, e.class_name): e for e in found if e.model == model and not e.subgroup}
    protocols = dict.fromkeys(e.protocol for e in found if e.model == model and e.metric == "AUC")
    names = [f"{t.name} {t.target}" for t in TARGETS]
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
    return f"{100 * entry.value:.1f} [{100 * entry.low:.1f}, {100 * entry.high:.1f}]"
