"""From numbers about several labels to the report's entries: intervals, means over seeds, what has no value.

Shapes: N cases, C classes of a label, S draws or seeds, R weight vectors (bootstrap draws).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from dermis.evaluation.bootstrap import Interval, replicates
from dermis.evaluation.config import EvaluationConfig
from dermis.evaluation.few_shot import summarise_seeds
from dermis.evaluation.label_predictions import LabelPredictions
from dermis.evaluation.report import Entry, entries
from dermis.evaluation.target_classes import AVERAGE, TARGETS, undefined_names

TARGET_NAMES = {t.name: f"{t.name} {t.target}" for t in TARGETS}
"""short name in Table I -> what an entry is about: "BWV present" """
Statistic = Callable[[dict[str, np.ndarray], np.ndarray, str], dict[str, np.ndarray]]
"""label -> probabilities (N, C), case weights (R, N), what becomes of the undefined -> "metric: name" -> values (R,)"""


def told(
    found: LabelPredictions,
    statistic: Statistic,
    known: Mapping[str, np.ndarray],
    config: EvaluationConfig,
    shared: dict[str, Any],
) -> Iterator[Entry]:
    """ "AUC: BWV" is about one label, on the cases where it is ``known`` (N,); "AUC: AVG" is the number of all.

    What is undefined in any seed is called so, and named beside the average.
    """
    numbers, missing = _over_seeds(found, statistic, config)
    groups = found.cases.groups()
    known = {**known, AVERAGE: np.logical_or.reduce(list(known.values()))}
    what = "counted as 0" if config.undefined == "zero" else "left out of the mean"
    for key, interval in numbers.items():
        metric, _, name = key.partition(": ")
        without = missing.get(metric, [])
        if name == AVERAGE:
            note = f"undefined, {what}: {', '.join(without)}" if without else ""
        else:
            note = "" if name not in without else "undefined" if np.isnan(interval.value) else "undefined, counted as 0"
        size = {"n": int(known[name].sum()), "patients": groups[known[name]].nunique()}
        about = "" if name == AVERAGE else TARGET_NAMES.get(name, name)
        yield from entries({metric: interval}, class_name=about, notes=note, **size, **shared)


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
    numbers = {key: summarise_seeds(value_1S[0], drawn[key], config.seed) for key, value_1S in each(whole).items()}
    return numbers, undefined_names(each(whole, "nan"))
