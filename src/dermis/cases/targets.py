"""What a classifier is to say of a case: label columns, their classes in order, and the cases' labels as integers."""

from collections.abc import Mapping, Sequence

import numpy as np

from dermis.cases.manifest import Manifest
from dermis.cases.seven_point import ABSENT
from dermis.registry import unknown

UNKNOWN = -1
"""the label of a case whose column is null"""


def targets_of(manifest: Manifest, columns: Sequence[str] = ()) -> dict[str, list[str]]:
    """Label column -> its classes in order: of ``columns``, or of the diagnosis and all findings of the manifest.

    Classes are sorted, but "absent" comes first. Raises ValueError if there is no such column, or one class only.
    """
    if not columns:
        columns = [c for c in manifest.table if (c == "diagnosis" or c.startswith("finding.")) and c in manifest]
        if not columns:
            raise ValueError("the manifest has nothing to learn: neither a diagnosis nor a column finding.NAME.")
    manifest.require(columns, "learning labels")
    targets = {}
    for column in columns:
        values = sorted(map(str, manifest.table[column].dropna().unique()))
        if len(values) < 2:
            raise ValueError(f"{column} says {values[0]!r} of every case: there is nothing to learn.")
        targets[column] = sorted(values, key=lambda value: value != ABSENT)
    return targets


def labels_of(manifest: Manifest, targets: Mapping[str, Sequence[str]]) -> np.ndarray:
    """Labels (N, L), int64: the place of each case's value among the classes, UNKNOWN where it is null.

    Raises ValueError for a value that is not among the classes, and for a missing column.
    """
    if missing := [column for column in targets if column not in manifest.table]:  # all null is no label known
        manifest.require(missing, "the labels of these cases")
    label_NL = np.full((len(manifest), len(targets)), UNKNOWN, dtype=np.int64)
    for i, (column, classes) in enumerate(targets.items()):
        place = {name: k for k, name in enumerate(classes)}
        values = manifest.table[column]
        for value in values.dropna().unique():
            if str(value) not in place:
                raise unknown(f"value of {column} (it is not among the classes)", value, classes)
        known = values.notna().to_numpy(dtype=bool)
        label_NL[known, i] = [place[str(value)] for value in values[known]]
    return label_NL
