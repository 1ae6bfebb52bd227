"""What a classifier is to say: label columns, their classes in order, labels as integers."""

import numpy as np
import pandas as pd
import pytest

from dermis.cases.manifest import Manifest
from dermis.cases.targets import labels_of, targets_of


def manifest(**columns) -> Manifest:
    rows = len(next(iter(columns.values())))
    ids = [str(i) for i in range(rows)]
    return Manifest.build(pd.DataFrame({"case_id": ids, "image": ids, **columns}), ".")


def test_classes_are_sorted_with_absent_first():
    cases = manifest(**{"finding.z": ["b", "absent", "a", None], "diagnosis": ["y", "x", "x", None]})
    assert targets_of(cases) == {"finding.z": ["absent", "a", "b"], "diagnosis": ["x", "y"]}
    assert targets_of(cases, ["diagnosis"]) == {"diagnosis": ["x", "y"]}


def test_labels_are_places_among_the_classes_and_null_is_unknown():
    cases = manifest(diagnosis=["y", None, "x"], **{"finding.z": ["a", "absent", None]})
    label_NL = labels_of(cases, {"diagnosis": ["x", "y"], "finding.z": ["absent", "a"]})
    assert label_NL.dtype == np.int64
    assert label_NL.tolist() == [[1, 1], [-1, 0], [0, -1]]


def test_a_column_of_nulls_is_unknown_and_a_missing_one_an_error():
    cases = manifest(diagnosis=["y", "x"], **{"finding.z": pd.Series([None, None], dtype="string")})
    assert labels_of(cases, {"finding.z": ["a"]}).tolist() == [[-1], [-1]]
    with pytest.raises(ValueError, match=r"the labels of these cases needs the column\(s\) finding\.q"):
        labels_of(cases, {"finding.q": ["a"]})


def test_what_cannot_be_learned_is_a_sentence():
    with pytest.raises(ValueError, match=r"neither a diagnosis nor a column finding\.NAME"):
        targets_of(manifest(caption=["a", "b"]))
    with pytest.raises(ValueError, match="diagnosis says 'x' of every case"):
        targets_of(manifest(diagnosis=["x", "x"]))
    with pytest.raises(ValueError, match="needs the column"):
        targets_of(manifest(diagnosis=["x", "y"]), ["finding.q"])
    with pytest.raises(ValueError, match=r"not among the classes.*Did you mean 'melanoma'"):
        labels_of(manifest(diagnosis=["melanom", "nevus"]), {"diagnosis": ["melanoma", "nevus"]})
