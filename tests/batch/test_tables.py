"""Rows of tables: the batch's names, equal rows found, and corruption that keeps each column's own distribution."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom, chisquare

from dermis.batch.dataset import CaseDataset, Collate
from dermis.batch.tables import LevelRows
from dermis.cases.manifest import Manifest
from dermis.cases.table_schema import TableSchema

ANGLE = "lesion.tbp_lv_symm_2axis_angle"


def cases(rows=50, seed=0) -> Manifest:
    """Every known value of a row differs from every other row's, except the sites; some are missing."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "case_id": [str(i) for i in range(rows)],
            "image": "x.jpg",
            "lesion.area": np.arange(rows) + 1.0,
            "lesion.border": rng.permutation(rows) * 0.5,
            ANGLE: np.arange(rows) * 180.0 / rows,
            "lesion.site": rng.choice(["arm", "face", "back"], rows),
            "patient.age": rng.choice([35.0, 40.0, np.nan], rows),
            "patient.sex": rng.choice(["f", "m"], rows),
        }
    )
    table.loc[rng.random(rows) < 0.2, "lesion.area"] = np.nan
    table.loc[rng.random(rows) < 0.2, "patient.sex"] = None
    return Manifest.build(table, ".")


def schemas(manifest):
    return {level: TableSchema.learn(manifest, level) for level in ("lesion", "patient")}


def test_samples_hold_the_rows_of_both_levels():
    manifest = cases()
    dataset = CaseDataset(manifest, tables=schemas(manifest))
    batch = Collate(tables=dataset.tables)([dataset[0, row] for row in (3, 3, 7)])
    for level, schema in schemas(manifest).items():
        num_NF, cat_NG, missing_NF = schema.arrays(manifest.table)
        for name, expected in (("num_BF", num_NF), ("cat_BG", cat_NG), ("missing_BF", missing_NF)):
            np.testing.assert_array_equal(batch[f"{level}_{name}"], expected[[3, 3, 7]])
        assert batch[f"{level}_same_B"].dtype == torch.int64


def test_equal_rows_have_equal_numbers_as_pandas_groups_them():
    manifest = cases(rows=200)
    made = LevelRows(TableSchema.learn(manifest, "patient"), manifest.table, "patient")
    groups = manifest.table.groupby(["patient.age", "patient.sex"], dropna=False, sort=False).ngroup()
    assert made.tensors["patient_same_B"].tolist() == groups.tolist()
    assert groups.nunique() == 9


def test_a_missing_number_is_not_the_same_as_the_mean():
    table = pd.DataFrame({"case_id": list("abcd"), "image": "x.jpg", "patient.age": [10.0, 20.0, 30.0, None]})
    manifest = Manifest.build(table, ".")
    made = LevelRows(TableSchema.learn(manifest, "patient"), manifest.table, "patient")
    assert made.tensors["patient_num_BF"][1] == made.tensors["patient_num_BF"][3]
    assert made.tensors["patient_same_B"].tolist() == [0, 1, 2, 3]


def corrupted(manifest, rate, draws=4000, row=5):
    rows = LevelRows(TableSchema.learn(manifest, "lesion"), manifest.table, "lesion")
    source_BC = np.stack([rows.sources(row, rate, np.random.default_rng([9, i])) for i in range(draws)])
    return rows, rows.batch([row] * draws, source_BC)


def test_each_column_is_drawn_by_itself_and_as_often_as_it_should():
    manifest, rate, draws = cases(), 0.3, 4000
    rows, made = corrupted(manifest, rate, draws)
    other_BC = made["lesion_num_BF"][:, [1, 2]] != rows.tensors["lesion_num_BF"][5, [1, 2]]
    # of the rows that are drawn, one in 50 is the row itself
    low, high = binom.interval(1 - 1e-6, draws, rate * (1 - 1 / 50))
    assert all(low <= count <= high for count in other_BC.sum(0))
    both = binom.interval(1 - 1e-6, draws, (rate * (1 - 1 / 50)) ** 2)
    assert both[0] <= other_BC.all(1).sum() <= both[1]


def test_values_come_from_their_own_column_as_often_as_there():
    manifest = cases()
    rows, made = corrupted(manifest, 1.0)
    num_NF, missing_NF = rows.tensors["lesion_num_BF"], rows.tensors["lesion_missing_BF"]
    for f in range(num_NF.shape[1]):
        pairs = [(a.item(), b.item()) for a, b in zip(num_NF[:, f], missing_NF[:, f], strict=True)]
        drawn = zip(made["lesion_num_BF"][:, f], made["lesion_missing_BF"][:, f], strict=True)
        check_frequencies(pairs, [(a.item(), b.item()) for a, b in drawn])
    check_frequencies(rows.tensors["lesion_cat_BG"][:, 0].tolist(), made["lesion_cat_BG"][:, 0].tolist())


def check_frequencies(of_column, drawn):
    expected, found = (pd.Series(x).value_counts(normalize=True) for x in (of_column, drawn))
    assert set(found.index) <= set(expected.index)
    found = found.reindex(expected.index, fill_value=0)
    assert chisquare(found * len(drawn), expected * len(drawn)).pvalue > 1e-6


def test_sin_and_cos_stay_together_and_other_columns_do_not():
    manifest = cases()
    rows, made = corrupted(manifest, 1.0, draws=500)

    def places(features):  # which row of the table holds these values, -1 if none does
        known = {tuple(v): n for n, v in enumerate(rows.tensors["lesion_num_BF"][:, features].tolist())}
        return [known.get(tuple(v), -1) for v in made["lesion_num_BF"][:, features].tolist()]

    assert min(places([2, 3])) >= 0
    assert len(set(places([2, 3]))) > 20
    assert min(places([1, 2])) == -1


def seen(dataset, epoch, row):
    return Collate(tables=dataset.tables)([dataset[epoch, row]])


def test_corruption_depends_on_seed_and_key_and_leaves_the_identity():
    manifest = cases()
    tables = schemas(manifest)
    one, two, other_seed, none = (
        CaseDataset(manifest, tables=tables, corruption=rate, seed=seed)
        for rate, seed in ((0.5, 1), (0.5, 1), (0.5, 2), (0.0, 1))
    )
    keys = [(epoch, row) for epoch in range(2) for row in range(20)]
    backwards = {key: seen(two, *key) for key in reversed(keys)}
    changed = {"seed": False, "epoch": False, "rate": False}
    for epoch, row in keys:
        sample = seen(one, epoch, row)
        for name in sample.keys() - {"quarantined"}:
            assert torch.equal(sample[name], backwards[epoch, row][name])
        for level in tables:
            assert sample[f"{level}_same_B"] == seen(none, epoch, row)[f"{level}_same_B"]
        num = sample["lesion_num_BF"]
        changed["seed"] |= not torch.equal(num, seen(other_seed, epoch, row)["lesion_num_BF"])
        changed["epoch"] |= not torch.equal(num, seen(one, 1 - epoch, row)["lesion_num_BF"])
        changed["rate"] |= not torch.equal(num, seen(none, epoch, row)["lesion_num_BF"])
    assert all(changed.values())


def test_a_rate_of_nothing_changes_nothing():
    manifest = cases()
    rows, made = corrupted(manifest, 0.0, draws=50)
    for name, values in rows.tensors.items():
        assert torch.equal(made[name], values[5].expand(50, *values[5].shape))


def test_a_wrong_rate_is_a_sentence():
    with pytest.raises(ValueError, match=r"a probability from 0 to 1, not 1\.5"):
        CaseDataset(cases(), corruption=1.5)
