"""Schemas of tables: learnt from the training cases, no value for what is missing, plain enough for a recipe."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.preprocessing import StandardScaler

from dermis.cases.manifest import Manifest
from dermis.cases.table_schema import TableSchema
from dermis.recipe import build, to_mapping, write_yaml

ANGLE = "lesion.tbp_lv_symm_2axis_angle"


def manifest(**columns) -> Manifest:
    rows = len(next(iter(columns.values())))
    table = pd.DataFrame({"case_id": [str(i) for i in range(rows)], "image": "x.jpg"} | columns)
    return Manifest.build(table, ".")


def mixed(rows=60, seed=0) -> Manifest:
    """Numbers, categories and a direction, a fifth of everything missing."""
    rng = np.random.default_rng(seed)
    columns = {
        "lesion.area": rng.gamma(2, 3, rows),
        "lesion.site": rng.choice(["arm", "face", "back"], rows).astype(object),
        ANGLE: rng.integers(0, 36, rows) * 5.0,
        "lesion.border": rng.integers(0, 3, rows).astype(float),
    }
    for values in columns.values():
        values[rng.random(rows) < 0.2] = None
    return manifest(**columns)


def test_arrays_are_the_rows_as_a_loop_reads_them():
    cases = mixed()
    schema = TableSchema.learn(cases, "lesion")
    num_NF, cat_NG, missing_NF = schema.arrays(cases.table)
    assert (num_NF.dtype, cat_NG.dtype, missing_NF.dtype) == (np.float32, np.int64, bool)
    for n, row in cases.table.iterrows():
        expected = []
        for column in ("lesion.area", "lesion.border"):
            known = [x for x in cases.table[column] if not math.isnan(x)]
            mean = sum(known) / len(known)
            deviation = math.sqrt(sum((x - mean) ** 2 for x in known) / len(known))
            expected.append((row[column] - mean) / deviation)
        expected += [f(2 * math.radians(row[ANGLE])) for f in (math.sin, math.cos)]
        assert missing_NF[n].tolist() == [math.isnan(x) for x in expected]
        assert num_NF[n] == pytest.approx([0 if math.isnan(x) else x for x in expected], abs=1e-6)
        site = row["lesion.site"]
        assert cat_NG[n].tolist() == [0 if pd.isna(site) else 1 + ["arm", "back", "face"].index(site)]
    assert missing_NF.any(0).all()
    assert schema.column_of_F == [0, 1, 2, 2]


def test_numbers_are_standardised_as_scikit_learn_does():
    ages = np.array([20.0, 35, 35, 80, np.nan])
    cases = manifest(**{"patient.age": ages})
    num_NF, _, missing_NF = TableSchema.learn(cases, "patient").arrays(cases.table)
    np.testing.assert_allclose(num_NF[:4], StandardScaler().fit_transform(ages[:4, None]), rtol=1e-6)
    assert missing_NF[:, 0].tolist() == [False] * 4 + [True]
    assert num_NF[4] == 0


def test_a_true_zero_and_the_mean_are_not_missing():
    cases = manifest(**{"lesion.grew": [0.0, 1.0, 0.5, None]})
    num_NF, _, missing_NF = TableSchema.learn(cases, "lesion").arrays(cases.table)
    assert num_NF[2] == num_NF[3] == 0
    assert missing_NF[:, 0].tolist() == [False, False, False, True]


def test_a_constant_column_keeps_deviation_one():
    cases = manifest(**{"lesion.scale": [0.1] * 3 + [None]})
    assert np.std([0.1] * 3) > 0  # the trap: rounding
    schema = TableSchema.learn(cases, "lesion")
    assert schema.numbers["lesion.scale"][1] == 1.0
    assert np.abs(schema.arrays(cases.table).num_NF).max() < 1e-6


def test_categories_never_seen_and_missing_are_zero():
    whole = manifest(**{"lesion.site": ["back", "face", "back", "knee"]})
    learnt = TableSchema.learn(whole.select([0, 1, 2]), "lesion")
    assert learnt.categories == {"lesion.site": ["back", "face"]}  # the knee is in the manifest's list only
    new = manifest(**{"lesion.site": ["face", None, "knee"], "lesion.other": [1.0, 2.0, 3.0]})
    num_NF, cat_NG, _ = learnt.arrays(new.table)
    assert cat_NG[:, 0].tolist() == [2, 0, 0]
    assert num_NF.shape == (3, 0)


def test_a_direction_is_whole_after_its_period():
    cases = manifest(**{ANGLE: [0.0, 180.0, 1.0, 179.0, 90.0, -90.0, None]})
    schema = TableSchema.learn(cases, "lesion")
    assert schema.circular == {ANGLE: 180.0}
    num_NF, _, missing_NF = schema.arrays(cases.table)
    assert num_NF[0].tobytes() == num_NF[1].tobytes()
    assert num_NF[4].tobytes() == num_NF[5].tobytes()
    assert np.linalg.norm(num_NF[2] - num_NF[3]) == pytest.approx(2 * math.sin(math.radians(2)), rel=1e-5)
    assert missing_NF.tolist() == [[False, False]] * 6 + [[True, True]]


def test_a_direction_that_a_reader_took_apart_is_read_the_same():
    angle = np.array([0.0, 30, 175, 90, np.nan])
    apart = manifest(**{f"{ANGLE}_sin": np.sin(np.deg2rad(2 * angle)), f"{ANGLE}_cos": np.cos(np.deg2rad(2 * angle))})
    whole = manifest(**{ANGLE: angle})
    schema = TableSchema.learn(apart, "lesion")
    assert schema == TableSchema.learn(whole, "lesion") == TableSchema.learn(apart, [f"{ANGLE}_sin", f"{ANGLE}_cos"])
    for a, b in zip(schema.arrays(apart.table), schema.arrays(whole.table), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_column_that_the_table_lacks_is_missing():
    learnt = TableSchema.learn(mixed(), "lesion")
    num_NF, cat_NG, missing_NF = learnt.arrays(manifest(**{"lesion.site": ["face", "arm"]}).table)
    assert missing_NF.all()
    assert not num_NF.any()
    assert cat_NG.tolist() == [[3], [1]]


def test_a_schema_is_plain_data(tmp_path):
    cases = mixed()
    schema = TableSchema.learn(cases, ["lesion.site", ANGLE, "lesion.area"])
    assert schema.columns == ["lesion.area", ANGLE, "lesion.site"]
    assert build(TableSchema, json.loads(json.dumps(to_mapping(schema)))) == schema
    write_yaml(schema, tmp_path / "schema.yaml")
    again = build(TableSchema, yaml.safe_load((tmp_path / "schema.yaml").read_text()))
    assert again == schema
    assert again.columns == schema.columns  # the order of the features too
    for a, b in zip(again.arrays(cases.table), schema.arrays(cases.table), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_cannot_be_learnt_or_read_is_said():
    cases = manifest(**{"lesion.site": ["back", "face"], "lesion.area": [1.0, 2.0], "diagnosis": ["a", "b"]})
    sentence = r"at least one column, and there is no column patient\.NAME with a value\. They come in by `dermis"
    with pytest.raises(ValueError, match=sentence):
        TableSchema.learn(cases, "patient")
    assert TableSchema.learn(cases, "patient", empty=True).columns == []
    with pytest.raises(ValueError, match="no column in the list"):
        TableSchema.learn(cases, [])
    with pytest.raises(ValueError, match="Did you mean 'lesion'"):
        TableSchema.learn(cases, "lesions")
    with pytest.raises(ValueError, match=r"a table needs the column\(s\) lesion.are"):
        TableSchema.learn(cases, ["lesion.are"])
    with pytest.raises(ValueError, match="diagnosis must hold numbers; it holds text such as 'a'"):
        TableSchema.learn(cases, ["diagnosis"])
    learnt = TableSchema.learn(cases, "lesion")
    with pytest.raises(ValueError, match=r"lesion\.area must hold numbers"):
        learnt.arrays(manifest(**{"lesion.area": ["big", "small"]}).table)
    with pytest.raises(ValueError, match=r"lesion\.site must hold categories such as back, face"):
        learnt.arrays(manifest(**{"lesion.site": [1.0, 2.0]}).table)
    with pytest.raises(ValueError, match=r"deviation or period of lesion\.x, lesion\.y must be above 0"):
        TableSchema({"lesion.x": (0.0, 0.0)}, {}, {"lesion.y": 0.0})
    with pytest.raises(ValueError, match="of one kind only"):
        TableSchema({"lesion.x": (0.0, 1.0)}, {"lesion.x": ["a"]})


def test_words_among_measurements_are_named_and_codes_are_not_measurements():
    def learnt(values):
        table = pd.DataFrame({"case_id": [str(i) for i in range(len(values))], "image": "x.jpg", "lesion.size": values})
        return TableSchema.learn(Manifest.build(table, "/nowhere"), "lesion")

    with pytest.raises(ValueError, match=r"lesion\.size holds numbers, such as '1', and words, such as 'large'"):
        learnt(["1", "2.5", "large", None])
    with pytest.raises(ValueError, match=r"such as 'large': leave the words empty"):
        learnt([*map(str, range(30)), "large"])
    assert learnt(["1", "2", "1-2", "other"]).categories == {"lesion.size": ["1", "1-2", "2", "other"]}
    assert learnt(["1.5", "2.5"]).category_sizes == [2]
