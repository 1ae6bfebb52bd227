"""Protocol `similar`: does a picture find pictures of its own class among the training pictures?

The training pictures are ranked by cosine. precision@k is the share of the first k that have the query's class, once as
the mean over cases and once as the mean over classes (macro), where a common class cannot hide the others. The mean
average precision@k is that of the k nearest: of a query the sum of precision@i over the places i ≤ k of right pictures,
over min(k, all right ones), so 1 says that no wrong picture stands before a right one that would have had room.

A wrong picture as similar as a right one (to 1e-9) comes first, as in ``retrieval``. A case of a class that no training
case has can find nothing and is no query.

Shapes: N queries, M training pictures, D features, K nearest, C classes, R weight vectors (bootstrap draws).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dermis.evaluation.bootstrap import intervals
from dermis.evaluation.metrics import macro_mean, ratio
from dermis.evaluation.prompt_classification import unit_length
from dermis.evaluation.report import Entry, Section, entries
from dermis.evaluation.retrieval import CELLS, ranking_key
from dermis.evaluation.setting import Setting

PROTOCOL = "similar pictures"


def similar(setting: Setting, shared: dict[str, Any]) -> tuple[list[Entry], list[Section]]:
    """Entries over all queries and for each class. Raises ValueError if no k fits the training pictures."""
    config, classes = setting.config, setting.classes
    train, query = (setting.cases(split).diagnosed() for split in ("train", config.split))
    ks = [k for k in config.precision_at if k <= len(train.label)]
    if not ks:
        raise ValueError(f"precision_at is above the number of training pictures, {len(train.label)}.")
    can_be_found = np.isin(query.label, train.label)
    if not can_be_found.any():
        raise ValueError("no case of the split has a class that a training case has, so nothing can be found.")
    lost, query = int((~can_be_found).sum()), query.select(np.flatnonzero(can_be_found))
    pictures = (cases.features(setting.probe_features) for cases in (query, train))
    right_NK = nearest_right(*pictures, query.label, train.label, max(ks))
    all_right_N = np.bincount(train.label, minlength=len(classes))[query.label]
    groups = query.manifest.groups()
    numbers = intervals(
        lambda w: similar_metrics(right_NK, all_right_N, query.label, ks, classes, w, undefined=config.undefined),
        groups,
        n_boot=config.n_boot,
        seed=config.seed,
    )
    found: list[Entry] = []
    for key, number in numbers.items():
        metric, _, name = key.partition(": ")
        rows = query.label == classes.index(name) if name else np.ones(len(groups), bool)
        size = {"n": int(rows.sum()), "patients": groups[rows].nunique(), "class_name": name}
        found += entries({metric: number}, protocol=PROTOCOL, **size, **shared)
    about = f"Among {len(train.label)} training pictures by cosine of {setting.probe_features} features."
    if lost:
        about += f" {lost} cases of classes without training pictures are no queries."
    return found, [Section(shared["model"], PROTOCOL, about)]


def nearest_right(
    query_ND: np.ndarray,
    train_MD: np.ndarray,
    label_N: np.ndarray,
    label_M: np.ndarray,
    k: int,
    *,
    cells: int = CELLS,
) -> np.ndarray:
    """Which of the ``k`` nearest training pictures, nearest first, have the query's class: bool (N, K).

    Never more than about ``cells`` similarities are held at a time.
    """
    query_ND, train_MD = (unit_length(np.asarray(x, dtype=np.float64)) for x in (query_ND, train_MD))
    right_NK, step = np.empty((len(query_ND), k), bool), max(1, cells // len(train_MD))
    for start in range(0, len(query_ND), step):
        rows = slice(start, start + step)
        key_nM = ranking_key(query_ND[rows] @ train_MD.T, label_N[rows, None] == label_M)
        right_NK[rows] = np.sort(np.partition(key_nM, k - 1, axis=1)[:, :k], axis=1) & 1
    return right_NK


def similar_metrics(
    right_NK: np.ndarray,
    all_right_N: np.ndarray,
    label_N: np.ndarray,
    ks: Sequence[int],
    classes: Sequence[str],
    weight_RN: np.ndarray | None = None,
    *,
    undefined: str = "nan",
) -> dict[str, np.ndarray]:
    """name -> value (R,); of a single class "precision@k: NAME". ``all_right_N``: training cases of the query's class.

    A class without queries is left out of macro means, or counts as 0 (``undefined``).
    """
    weight_RN = np.ones((1, len(label_N))) if weight_RN is None else weight_RN
    precision_NK = np.cumsum(right_NK, axis=1) / np.arange(1, right_NK.shape[1] + 1)
    member_NC = np.eye(len(classes))[label_N]
    of_class_RC, of_all_R = weight_RN @ member_NC, weight_RN.sum(axis=1)
    values, single = {}, {}
    for k in ks:
        precision_N = precision_NK[:, k - 1]
        hits_RC = weight_RN @ (member_NC * precision_N[:, None])
        by_class_RC = ratio(hits_RC, of_class_RC)
        average_N = (precision_NK * right_NK)[:, :k].sum(axis=1) / np.minimum(k, all_right_N)
        values[f"precision@{k}"] = weight_RN @ precision_N / of_all_R
        values[f"macro precision@{k}"] = macro_mean(by_class_RC, undefined)
        values[f"mean average precision@{k}"] = weight_RN @ average_N / of_all_R
        single |= {f"precision@{k}: {name}": by_class_RC[:, c] for c, name in enumerate(classes)}
    return values | single
