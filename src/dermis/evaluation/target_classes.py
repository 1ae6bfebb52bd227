"""SM3's Table I: eight label columns, of each the one class that speaks for melanoma, against all its others.

Wang et al. 2024 (SM3), section IV-B, and its release (@ 255038f, misc.py): AUC, sensitivity, specificity and precision
of the target class, the last three decided by arg-max, and AVG, the plain mean over the eight columns.

A class without cases has no AUC and no sensitivity, one that is never predicted has no precision.
``undefined="nan"`` (default): AVG is the mean over the columns that have a value, and ``undefined_names`` names the
others. ``undefined="zero"``: they count as 0 and drag AVG, as in the release's tables (torchmetrics 1.x); there the
precision of vascular structures is such a 0. A case without a label (−1) is left out of that column only.

By arithmetic with the test split's supports, the table's rows of other papers are not all comparable: HcCNN's BWV and
RS are about the class "absent", AMFAM's shares are of a transposed confusion matrix, GIIN's of another test split.

Shapes: N cases, C classes of a column, R weight vectors (bootstrap draws). Values are fractions, not per cent.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dermis.cases.seven_point import POINTS, melanomas
from dermis.cases.targets import UNKNOWN
from dermis.evaluation.metrics import UNDEFINED, checked, macro_mean, positive_class_metrics
from dermis.registry import unknown


@dataclass(frozen=True)
class Target:
    """A column of the table: its short name, the manifest's column, and the class that the numbers are about."""

    name: str
    column: str
    target: str


_CRITERIA = {
    "BWV": "blue_whitish_veil",
    "DaG": "dots_and_globules",
    "PIG": "pigmentation",
    "PN": "pigment_network",
    "RS": "regression_structures",
    "STR": "streaks",
    "VS": "vascular_structures",
}
TARGETS = (
    *(Target(name, f"finding.{criterion}", POINTS[criterion][0]) for name, criterion in _CRITERIA.items()),
    Target("DIAG", "diagnosis", "melanoma"),
)
"""in the table's order; the targets of the criteria are the classes that the seven-point checklist counts, that of the
diagnosis is the class that names melanoma"""
AVERAGE = "AVG"
METRICS = {
    "AUC": "positive AUROC",
    "Sens": "positive recall",
    "Spec": "positive specificity",
    "Prec": "positive precision",
}
"""the table's names -> those of ``metrics.positive_class_metrics``"""


def target_class_metrics(
    score_NC: np.ndarray,
    label_N: np.ndarray,
    target: int,
    weight_RN: np.ndarray | None = None,
    *,
    undefined: str = "nan",
) -> dict[str, np.ndarray]:
    """AUC, Sens, Spec and Prec of class ``target`` over the cases with a label: name -> value (R,).

    Raises ValueError for scores that are not probabilities, and for labels or a target that are not among the classes.
    """
    if undefined not in UNDEFINED:
        raise unknown("handling of undefined metrics", undefined, UNDEFINED)
    score_NC, label_N = np.asarray(score_NC), np.asarray(label_N)
    weight_RN = np.ones((1, len(label_N))) if weight_RN is None else weight_RN
    known = label_N != UNKNOWN
    if known.any():
        score_NC, label_N = checked(score_NC[known], label_N[known])
    else:  # a column that nobody annotated is undefined like a class without cases
        score_NC, label_N = score_NC[known], label_N[known].astype(np.int64)
    values = positive_class_metrics(score_NC, label_N, target, weight_RN[:, known], undefined=undefined)
    return {name: values[ours] for name, ours in METRICS.items()}


def target_table(
    score: Mapping[str, np.ndarray],
    label: Mapping[str, np.ndarray],
    classes: Mapping[str, Sequence[str]],
    weight_RN: np.ndarray | None = None,
    *,
    undefined: str = "nan",
) -> dict[str, np.ndarray]:
    """The table's row of one model: "AUC: BWV", …, "AUC: AVG", "Sens: BWV", … -> value (R,).

    ``score``, ``label`` and ``classes``: manifest column -> probabilities (N, C), labels (N,) and the C names, the same
    N cases everywhere. Raises ValueError as ``target_places``.
    """
    at = target_places(classes)
    values = {
        t.name: target_class_metrics(score[t.column], label[t.column], at[t.name], weight_RN, undefined=undefined)
        for t in TARGETS
    }
    table = {}
    for metric in METRICS:
        by_name = {name: value[metric] for name, value in values.items()}
        average_R = macro_mean(np.stack(list(by_name.values()), axis=1), undefined)
        table |= {f"{metric}: {name}": value_R for name, value_R in (by_name | {AVERAGE: average_R}).items()}
    return table


def undefined_names(table: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
    """Metric -> the names without a value, which AVG leaves out or counts as 0; metrics with all values are absent.

    ``table``: "metric: name" -> values of any shape (of several seeds: one without a value is enough), not AVG's alone,
    with undefined ones NaN.
    """
    missing: dict[str, list[str]] = {}
    for key, values in table.items():
        metric, _, name = key.partition(": ")
        if name != AVERAGE and np.isnan(values).any():
            missing.setdefault(metric, []).append(name)
    return missing


def target_places(classes: Mapping[str, Collection[str]]) -> dict[str, int]:
    """Short name -> the target's position among its column's classes.

    Raises ValueError for a column that is missing or has no target class, and for several classes of melanoma.
    """
    if missing := [t.column for t in TARGETS if t.column not in classes]:
        raise ValueError(f"the table needs eight label columns; missing: {', '.join(missing)}.")
    places = {}
    for t in TARGETS:
        names = list(classes[t.column])
        of_target = melanomas(names) if t.column == "diagnosis" else [name for name in names if name == t.target]
        if not of_target:
            raise ValueError(f"{t.column} has no class {t.target!r}; its classes: {', '.join(names)}.")
        if len(of_target) > 1:
            raise ValueError(
                f"{t.column} has several classes of {t.target}, the table is of one: {', '.join(of_target)}."
            )
        places[t.name] = names.index(of_target[0])
    return places
