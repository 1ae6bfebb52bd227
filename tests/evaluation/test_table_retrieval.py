"""Pictures and tables, phenotypes and patients: ranks by loops over plain similarities of the projected vectors."""

from math import comb

import numpy as np
import pytest
import torch

from dermis.cases.manifest import Manifest
from dermis.evaluation.config import EvaluationConfig
from dermis.evaluation.evaluate import evaluate
from dermis.evaluation.retrieval import by_chance
from dermis.model.embed_tables import embed_tables

METADATA = ["lesion.size", "lesion.site", "patient.age", "patient.sex"]


def config(**changes):
    return EvaluationConfig(protocols=["table_retrieval"], n_boot=20, **{"recall_at": [1, 5]} | changes)


def projected(model, name, h):
    with torch.inference_mode():
        x = model.parts["spaces"].project(name, torch.as_tensor(h)).double().numpy()
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def ranks(asking, answering, key_a, key_b):
    """Rank of the first right answer of each query; a wrong one that is as similar comes first."""
    similarity = (asking @ answering.T).round(9)
    found = []
    for i, row in enumerate(similarity):
        order = sorted(range(len(answering)), key=lambda j: (-row[j], key_a[i] == key_b[j]))
        found.append(1 + [key_a[i] == key_b[j] for j in order].index(True))
    return np.array(found)


def expect(report, protocol, rank, patients):
    for metric, value in {
        "mean rank": rank.mean(),
        "median rank": np.median(rank),
        "recall@1": (rank <= 1).mean(),
        "recall@5": (rank <= 5).mean(),
    }.items():
        entry = report.value(protocol, metric)
        assert entry.value == pytest.approx(value), (protocol, metric)
        assert (entry.n, entry.patients) == (len(rank), patients)


def keys(table, columns):
    """The values of a row as one thing that can be compared."""
    return [tuple(None if v != v else v for v in row) for row in table[columns].astype(object).to_numpy()]


@pytest.mark.parametrize(("levels", "level", "columns"), [(("lesion",), "lesion", 2), (("case",), "case", 4)])
def test_pictures_and_rows_find_each_other_as_in_the_loops(levels, level, columns, branches, lesions, vectors):
    model, test = branches(*levels), lesions.split("test")
    found = evaluate(model, lesions, config(), embed=vectors)
    table = test.table
    known = table[METADATA[:columns]].notna().any(axis=1).to_numpy()
    assert known.sum() == 48 if level == "case" else known.sum() <= 48
    picture = projected(model, "image", vectors(test)[0][known])
    rows = projected(model, level, embed_tables(model, table)[known])
    key = keys(table[known], METADATA[:columns])
    assert len(set(key)) < len(key)
    patients = table[known]["patient_id"].nunique()
    expect(found, f"image-to-table retrieval, {level}", ranks(picture, rows, key, key), patients)
    expect(found, f"table-to-image retrieval, {level}", ranks(rows, picture, key, key), patients)
    assert f"{len(set(key))} different rows" in found.sections[0].about
    assert len(found.sections) == 2


@pytest.mark.parametrize("levels", [("lesion", "patient"), ("patient",)], ids=["nested", "pictures alone"])
@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_phenotypes_and_patients_find_each_other_as_in_the_loops(levels, pooling, branches, lesions, vectors):
    model, test = branches(*levels, pooling=pooling), lesions.split("test")
    found = evaluate(model, lesions, config(), embed=vectors)
    h = [vectors(test)[0]]
    if "lesion" in levels:
        h.append(embed_tables(model, test.table, levels=["lesion"]))
    h = np.concatenate(h, axis=1)
    pooled, rows, key = [], [], []
    tables = projected(model, "patient", embed_tables(model, test.table, levels=["patient"]))
    for patient, of_patient in test.table.groupby("patient_id", sort=False):
        if patient == "p70":  # cases 140 and 141, of whom nothing is known
            continue
        places = of_patient.index.to_numpy()
        pooled.append(h[places].mean(axis=0) if pooling == "mean" else h[places].max(axis=0))
        rows.append(tables[places[0]])
        key.append(keys(of_patient, METADATA[2:])[0])
    assert len(set(key)) < len(key) == 24
    phenotype = projected(model, "phenotype", np.stack(pooled).astype(np.float32))
    expect(found, "phenotype-to-patient retrieval", ranks(phenotype, np.stack(rows), key, key), 24)
    expect(found, "patient-to-phenotype retrieval", ranks(np.stack(rows), phenotype, key, key), 24)
    assert len(found.sections) == 2 * len(levels)


def test_chance_is_that_of_random_orders(branches, lesions, vectors):
    positives, candidates = np.array([1, 1, 3, 7]), 12
    chance = by_chance(positives, candidates, (1, 4, 10))
    for k in (1, 4, 10):
        missed = np.mean([comb(candidates - m, k) / comb(candidates, k) for m in positives])
        assert chance[f"recall@{k}"] == pytest.approx(1 - missed)
    rng = np.random.default_rng(0)
    first = [1 + min(rng.permutation(candidates)[:m]) for m in positives for _ in range(20_000)]
    assert chance["mean rank"] == pytest.approx(np.mean(first), abs=0.05)

    found = evaluate(branches("patient"), lesions, config(), embed=vectors)
    patients = lesions.split("test").table.groupby("patient_id").first()[METADATA[2:]].dropna(how="all")
    same = np.array([(patients == row).all(axis=1).sum() for _, row in patients.iterrows()])
    expected = by_chance(same, 24, (1,))
    entry = found.value("phenotype-to-patient retrieval", "recall@1")
    assert entry.notes == f"by chance {expected['recall@1']:.3g}"
    assert found.value("phenotype-to-patient retrieval", "mean rank").notes == f"by chance {expected['mean rank']:.3g}"


def test_the_watch_looks_at_valid(branches, lesions, vectors):
    found = evaluate(
        branches("lesion", "patient"), lesions, config(split="valid", subgroups=[], pictures=0), embed=vectors
    )
    assert found.value("phenotype-to-patient retrieval", "mean rank").n == 15


def test_models_without_spaces_and_cases_without_metadata_are_refused(branches, lesions, vectors):
    with pytest.raises(ValueError, match="needs a model whose pictures and metadata share a space"):
        evaluate(None, lesions, config(), embed=vectors)
    table = lesions.table.copy()
    table.loc[table["split"] == "test", METADATA] = None
    bare = Manifest.build(table, lesions.root)
    sentence = r"two cases or more with a known value in the model's lesion columns lesion\.size, lesion\.site"
    with pytest.raises(ValueError, match=rf"{sentence}\."):
        evaluate(branches("lesion"), bare, config(), embed=vectors)
    with pytest.raises(ValueError, match=rf"{sentence} or the model's patient columns patient\.age, patient\.sex\."):
        evaluate(branches("lesion", "patient"), bare, config(), embed=vectors)


@pytest.mark.parametrize(
    ("level", "gone", "kept"),
    [("lesion", METADATA[:2], "phenotype"), ("patient", METADATA[2:], "retrieval, lesion")],
)
def test_a_level_without_values_is_left_out_and_named(level, gone, kept, branches, lesions, vectors):
    table = lesions.table.copy()
    table.loc[(table["split"] == "test") & (table["case_id"] != "case-110"), gone] = None
    model = branches("lesion", "patient")
    whole = evaluate(model, lesions, config(), embed=vectors)
    found = evaluate(model, Manifest.build(table, lesions.root), config(), embed=vectors)
    assert {e.protocol for e in found.entries} == {e.protocol for e in whole.entries if kept in e.protocol}
    (note,) = found.notes
    assert note == (
        f"table_retrieval: fewer than two cases have a known value in the model's {level} columns "
        f"{', '.join(gone)}: left out."
    )
    assert not whole.notes


def test_categories_that_the_model_never_saw_are_said(branches, lesions, vectors):
    model, table = branches("patient"), lesions.table.copy()
    is_test = table["split"] == "test"
    table.loc[is_test, "patient.sex"] = table.loc[is_test, "patient.sex"].map({"f": "F", "m": "M"})
    some = int(table.loc[is_test, "patient.sex"].notna().sum())
    common = table.loc[is_test, "patient.sex"].value_counts().index[0]
    found = evaluate(model, Manifest.build(table, lesions.root), config(), embed=vectors)
    (note,) = found.notes
    assert f"count as missing: patient.sex, all {some} values, such as '{common}' (known: f, m)." in note
    table.loc[is_test, "patient.age"] = None
    with pytest.raises(ValueError, match=rf"not known are patient\.sex, all {some} values"):
        evaluate(model, Manifest.build(table, lesions.root), config(), embed=vectors)
