"""Tables: standardised by the training cases, categories counted from 1, missing never mistaken for a value."""

import numpy as np
import pandas as pd
import torch
from sklearn.preprocessing import StandardScaler

from dermis.batch.tables import TableSchema
from dermis.cases.manifest import Manifest


def manifest(**columns) -> Manifest:
    rows = len(next(iter(columns.values())))
    table = pd.DataFrame({"case_id": [str(i) for i in range(rows)], "image": "x.jpg"} | columns)
    return Manifest.build(table, ".")


def test_numbers_are_standardised_as_scikit_learn_does():
    ages = np.array([20.0, 35, 35, 80, np.nan])
    cases = manifest(**{"patient.age": ages})
    made = TableSchema.learn(cases, "patient").tensors(cases.table, "patient")
    expected = StandardScaler().fit_transform(ages[:, None])
    np.testing.assert_allclose(made["patient_num_BF"][:4], expected[:4], rtol=1e-6)
    assert made["patient_num_BF"][4] == 0
    assert made["patient_missing_BF"].flatten().tolist() == [False] * 4 + [True]


def test_a_true_zero_is_not_missing():
    cases = manifest(**{"lesion.grew": [0.0, 1.0, None]})
    made = TableSchema.learn(cases, "lesion").tensors(cases.table, "lesion")
    assert made["lesion_missing_BF"].flatten().tolist() == [False, False, True]


def test_categories_never_seen_and_missing_are_zero():
    learnt = TableSchema.learn(manifest(**{"lesion.site": ["back", "face", "back"]}), "lesion")
    new = manifest(**{"lesion.site": ["face", None, "knee"], "lesion.other": [1.0, 2.0, 3.0]})
    made = learnt.tensors(new.table, "lesion")
    assert made["lesion_cat_BG"].flatten().tolist() == [2, 0, 0]
    assert made["lesion_num_BF"].shape == (3, 0)


def test_a_column_that_the_table_lacks_is_missing():
    learnt = TableSchema.learn(manifest(**{"patient.age": [1.0, 3.0], "patient.sex": ["m", "f"]}), "patient")
    made = learnt.tensors(manifest(**{"patient.sex": ["f"]}).table, "patient")
    assert torch.equal(made["patient_missing_BF"], torch.tensor([[True]]))
    assert made["patient_cat_BG"].tolist() == [[1]]
