"""How wrong is wrong: accuracy at each level of an ontology, and how far off the errors are.

Taking one kind of nevus for another is a smaller error than taking a melanoma for one. Shapes: N cases, K classes,
L levels, R weight vectors (``evaluation/metrics.py``).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dermis.evaluation.metrics import ratio
from dermis.language.ontology import Ontology


class ClassPlaces(NamedTuple):
    """Where the classes of a protocol stand in an ontology."""

    ancestors: np.ndarray
    """(K, L) int64: which group the class belongs to at depth 1 … L of its lineage; equal number, same group"""
    distances: np.ndarray
    """(K, K) int64: edges between two classes"""
    unplaced: tuple[str, ...]
    """classes that the ontology does not know"""


def class_places(classes: Sequence[str], ontology: Ontology) -> ClassPlaces:
    """Places of ``classes`` in ``ontology``, found by any of their names.

    Below its own depth a class is a group of its own, so the last level tells all nodes apart. Classes that are one
    disease (lichen simplex and neurodermatitis of Fitzpatrick17k) agree at every level and have the distance 0. A class
    that the ontology does not know ("abnormal") is taken for a topmost node of its own and is named in ``unplaced``.
    """
    nodes = [ontology.find(name) for name in classes]
    lineages = [(name,) if node is None else ontology.lineage(node) for name, node in zip(classes, nodes, strict=True)]
    levels = max(map(len, lineages), default=0)
    number: dict[str, int] = {}
    ancestor_KL = [
        [number.setdefault(line[min(level, len(line) - 1)], len(number)) for level in range(levels)]
        for line in lineages
    ]
    distance_KK = [
        [
            (0 if i == j else len(lineages[i]) + len(lineages[j]))
            if a is None or b is None
            else ontology.distance(a, b)
            for j, b in enumerate(nodes)
        ]
        for i, a in enumerate(nodes)
    ]
    return ClassPlaces(
        np.array(ancestor_KL, dtype=np.int64).reshape(len(nodes), levels),
        np.array(distance_KK, dtype=np.int64).reshape(len(nodes), len(nodes)),
        tuple(name for name, node in zip(classes, nodes, strict=True) if node is None),
    )


def hierarchy_metrics(
    places: ClassPlaces, label_N: np.ndarray, predicted_N: np.ndarray, weight_RN: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """name -> value (R,): "accuracy at level 1" (broadest groups) … "accuracy at level L", "distance of errors".

    A case is right at a level if prediction and truth have the same ancestor there. The distance is the mean number of
    edges between prediction and truth over the cases of another class, NaN without any. Raises ValueError for labels
    or predictions outside 0 … K−1 and for no cases.
    """
    label_N, predicted_N = _checked(label_N, predicted_N, len(places.ancestors))
    weight_RN = np.ones((1, len(label_N))) if weight_RN is None else weight_RN
    agree_NL = places.ancestors[label_N] == places.ancestors[predicted_N]
    accuracy_RL = weight_RN @ agree_NL / weight_RN.sum(axis=1, keepdims=True)
    values = {f"accuracy at level {level + 1}": accuracy_RL[:, level] for level in range(agree_NL.shape[1])}
    wrong_RN = weight_RN * (label_N != predicted_N)
    values["distance of errors"] = ratio(wrong_RN @ places.distances[label_N, predicted_N], wrong_RN.sum(axis=1))
    return values


def _checked(label_N: np.ndarray, predicted_N: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    label_N, predicted_N = np.asarray(label_N), np.asarray(predicted_N)
    if label_N.shape != predicted_N.shape or label_N.ndim != 1:
        raise ValueError(f"labels and predictions must both be (cases,); got {label_N.shape}, {predicted_N.shape}.")
    if not len(label_N):
        raise ValueError("there is no case to score.")
    both = np.concatenate([label_N, predicted_N])
    if both.min() < 0 or both.max() >= classes:
        raise ValueError(f"labels and predictions must lie in 0 … {classes - 1}; got {both.min()} … {both.max()}.")
    return label_N.astype(np.int64), predicted_N.astype(np.int64)
