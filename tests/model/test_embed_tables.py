"""Tables as vectors: the towers one row at a time, and pandas' own dummies."""

import numpy as np
import pandas as pd
import pytest
import torch

from dermis.batch.tables import LevelRows
from dermis.cases.manifest import Manifest
from dermis.cases.table_schema import TableSchema
from dermis.model.embed_tables import embed_tables, raw_tables
from dermis.recipe import to_mapping
from dermis.towers.branches import Branches
from dermis.towers.build import BranchesConfig, ImageTowerConfig, build_branches

N = 11
RNG = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {
        "case_id": [f"c{i}" for i in range(N)],
        "image": "x.jpg",
        "lesion.size": RNG.normal(size=N),
        "lesion.site": RNG.choice(["arm", "leg", "back"], size=N),
        "lesion.tbp_lv_symm_2axis_angle": RNG.uniform(0, 180, size=N),
        "patient.age": RNG.integers(20, 80, size=N).astype(float),
        "patient.sex": RNG.choice(["female", "male"], size=N),
    }
)
TABLE.loc[[1, 4], ["lesion.size", "patient.sex"]] = None
TABLE.loc[[2, 4], ["lesion.site", "lesion.tbp_lv_symm_2axis_angle"]] = None
CASES = Manifest.build(TABLE, "/nowhere")
SCHEMAS = {level: TableSchema.learn(CASES, level) for level in ("lesion", "patient")}


@pytest.fixture
def model() -> Branches:
    model = build_branches(BranchesConfig(image=ImageTowerConfig(name="test_vit")), seed=1)
    schemas = {level: to_mapping(schema) for level, schema in SCHEMAS.items()}
    model.add("tables", schemas=schemas, width=8, dropout=0.5)
    for p in model.parts["tables"].parameters():
        p.data += 0.1 * torch.randn_like(p)
    return model.train()


@pytest.mark.parametrize("levels", [None, ["patient"], ["patient", "lesion"]])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_vectors_are_the_towers_one_row_at_a_time(model, levels, batch_size):
    found = embed_tables(model, CASES.table, levels=levels, batch_size=batch_size)
    assert (found.dtype, model.training) == (np.float32, True)
    towers = model.parts["tables"].eval()
    for n in range(N):
        parts = []
        for level in levels or ["lesion", "patient"]:
            row = LevelRows(SCHEMAS[level], CASES.table.iloc[[n]], level).tensors
            parts.append(towers.encode(level, row)[0])
        np.testing.assert_allclose(found[n], torch.cat(parts).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_rows_that_differ_in_what_is_missing_differ(model):
    blank = CASES.table.drop(columns=[c for c in CASES.table if c.startswith("patient.")])
    full, without = (embed_tables(model, table, levels=["patient"]) for table in (CASES.table, blank))
    assert (np.abs(without - without[0]) < 1e-6).all()
    assert (np.abs(full - without).max(axis=1) > 1e-3).all()


def test_models_without_tables_and_unknown_levels_are_told(model):
    bare = build_branches(BranchesConfig(image=ImageTowerConfig(name="test_vit")), seed=1)
    for other in (bare, bare.picture_towers["image"]):
        with pytest.raises(ValueError, match=r"no towers for tables.*raw_tables"):
            embed_tables(other, CASES.table)
    with pytest.raises(ValueError, match="Did you mean 'lesion'"):
        embed_tables(model, CASES.table, levels=["lesions"])


def test_plain_features_are_those_of_pandas():
    found = raw_tables(SCHEMAS, CASES.table)
    assert found.dtype == np.float32
    expected = []
    for level, category in (("lesion", "site"), ("patient", "sex")):
        number = TABLE[f"{level}.{'size' if level == 'lesion' else 'age'}"]
        columns = [((number - number.mean()) / number.std(ddof=0)).fillna(0)]
        missing = [number.isna()]
        if level == "lesion":
            angle = np.radians(2 * TABLE["lesion.tbp_lv_symm_2axis_angle"])
            columns += [np.sin(angle).fillna(0), np.cos(angle).fillna(0)]
            missing += 2 * [angle.isna()]
        dummies = pd.get_dummies(TABLE[f"{level}.{category}"], dummy_na=True)
        names = list(dummies.columns)
        assert pd.isna(names[-1])
        dummies = dummies.iloc[:, [-1, *range(len(names) - 1)]]  # missing comes first here
        expected += [*columns, *missing, *(dummies.iloc[:, i] for i in range(dummies.shape[1]))]
    np.testing.assert_allclose(found, np.stack([np.asarray(c, float) for c in expected], axis=1), atol=1e-6)
    np.testing.assert_array_equal(
        np.concatenate([raw_tables(SCHEMAS["lesion"], CASES.table), raw_tables(SCHEMAS["patient"], CASES.table)], 1),
        found,
    )


def test_what_training_never_saw_is_missing():
    new = CASES.table.assign(**{"patient.sex": "other"}).drop(columns="patient.age")
    found = raw_tables(SCHEMAS["patient"], new)
    assert found.tolist() == [[0, 1, 1, 0, 0]] * N
