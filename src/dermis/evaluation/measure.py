"""From a protocol's scores to the report's entries: over all cases, per class, per subgroup.

Shapes: N cases, C classes, R weight vectors (bootstrap draws), S draws of few-shot cases.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from dermis.evaluation.bootstrap import Interval, intervals, replicates
from dermis.evaluation.config import EvaluationConfig
from dermis.evaluation.few_shot import summarise_seeds
from dermis.evaluation.hierarchy import ClassPlaces, class_places, hierarchy_metrics
from dermis.evaluation.metrics import classification_metrics, panderm_metrics, undefined_classes
from dermis.evaluation.report import GAP, Entry, entries
from dermis.evaluation.scored import Scored
from dermis.evaluation.setting import Cases
from dermis.evaluation.subgroups import attributes, by_subgroup
from dermis.language.ontology import ontology_of


def measure(
    scored: Scored, cases: Cases, classes: list[str], config: EvaluationConfig, shared: dict[str, Any]
) -> Iterator[Entry]:
    """A protocol's entries; ``shared`` is what all entries say (model, dataset, split, seed, command).

    Few-shot scores (S, N, C) give means over the draws and no tables per class or subgroup.
    """
    groups, label_N = cases.manifest.groups(), cases.label
    boot = {"n_boot": config.n_boot, "seed": config.seed}
    common = shared | {"protocol": scored.protocol}
    size = {"n": len(label_N), "patients": groups.nunique()}
    if scored.scores.ndim == 3:
        found = _over_draws(scored.scores, label_N, groups, classes, config)
        yield from entries(found, notes=scored.notes, **size, **common)
        return
    score_NC = scored.scores
    found = intervals(
        lambda w: _metrics(score_NC, label_N, w, classes, config, scored.as_panderm, classes),
        groups,
        centred=("ECE",),
        **boot,
    )
    missing = undefined_classes(label_N, score_NC.argmax(axis=1), classes)
    for key, interval in found.items():
        metric, _, class_name = key.partition(": ")
        if not class_name:
            yield from entries({key: interval}, notes=missing_note(key, missing, config.undefined), **size, **common)
            continue
        of_class = label_N == classes.index(class_name)
        yield from entries(
            {metric: interval},
            class_name=class_name,
            notes=scored.class_notes.get(class_name, ""),
            n=int(of_class.sum()),
            patients=groups[of_class].nunique(),
            **common,
        )
    for column, attribute_N in attributes(cases.manifest, config.subgroups):
        yield from _by_group(score_NC, label_N, groups, column, attribute_N, boot, common)


def _metrics(
    score_NC: np.ndarray,
    label_N: np.ndarray,
    weight_RN: np.ndarray,
    classes: list[str],
    config: EvaluationConfig,
    as_panderm: bool = False,
    class_names: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    positive = None if config.positive is None else classes.index(config.positive)
    top = tuple(k for k in config.top if k < len(classes))
    values = classification_metrics(
        score_NC,
        label_N,
        weight_RN,
        top=top,
        positive=positive,
        undefined=config.undefined,
        class_names=class_names,
    )
    if as_panderm:
        values |= panderm_metrics(score_NC, label_N, weight_RN, undefined=config.undefined)
    if config.ontology is not None:
        places = places_of(tuple(classes), config.ontology)
        values |= hierarchy_metrics(places, label_N, score_NC.argmax(axis=1), weight_RN)
    return values


@cache
def places_of(classes: tuple[str, ...], source: str) -> ClassPlaces:
    """Where the classes stand in the ontology ``source`` (a file, or "default")."""
    return class_places(classes, ontology_of(source))


def _over_draws(
    score_SNC: np.ndarray, label_N: np.ndarray, groups: pd.Series, classes: list[str], config: EvaluationConfig
) -> dict[str, Interval]:
    def per_draw(weight_RN: np.ndarray) -> dict[str, np.ndarray]:
        values = [_metrics(score_NC, label_N, weight_RN, classes, config) for score_NC in score_SNC]
        return {metric: np.stack([v[metric] for v in values], axis=1) for metric in values[0]}

    values = per_draw(np.ones((1, len(label_N))))
    drawn = replicates(per_draw, groups, n_boot=config.n_boot, seed=config.seed)
    return {
        metric: summarise_seeds(value_1S[0], drawn[metric], config.seed, centre=metric == "ECE")
        for metric, value_1S in values.items()
    }


def _by_group(
    score_NC: np.ndarray,
    label_N: np.ndarray,
    patients: pd.Series,
    column: str,
    attribute_N: pd.Series,
    boot: dict,
    common: dict,
) -> Iterator[Entry]:
    groups, gaps = by_subgroup(score_NC, label_N, attribute_N, patients, name=column, **boot)
    for group in groups:
        size = {"n": group.cases, "patients": group.patients}
        yield from entries(group.metrics, subgroup=f"{column} = {group.name}", **size, **common)
    for gap in gaps:
        size = {"n": gap.cases, "patients": gap.patients}
        subgroup = f"{column}: {gap.best} minus {gap.worst}"
        yield from entries({gap.metric: gap.difference}, subgroup=subgroup, notes=GAP, **size, **common)


def missing_note(metric: str, missing: dict[str, list[str]], undefined: str) -> str:
    """What a macro mean says of the classes that have no value (``undefined_classes``); nothing where all have one."""
    if not metric.startswith(("macro", "balanced")):
        return ""
    kind = {"macro precision": "unused", "macro F1": "neither"}.get(metric, "absent")
    if not missing[kind]:
        return ""
    what = "counted as 0" if undefined == "zero" else "left out"
    why = "never predicted" if kind == "unused" else "without cases"
    shown = ", ".join(missing[kind][:5]) + (" …" if len(missing[kind]) > 5 else "")
    return f"{len(missing[kind])} classes {why} {what}: {shown}"
