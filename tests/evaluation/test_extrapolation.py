"""Extrapolation as loops over cases: who may be a source, who is nearest, what the sources say together."""

import math

import numpy as np
import pandas as pd
import pytest

from dermis.cases.manifest import Manifest
from dermis.evaluation.extrapolation import NONE, combined, extrapolate, nearest

ANGLE = "lesion.tbp_lv_symm_2axis_angle"
COLUMNS = ["lesion.size", "lesion.site", "patient.age", "patient.sex", ANGLE]
N, M, D = 23, 41, 5


def manifest(name, n, seed):
    """Cases of few patients, some of whom are in both sets; about a third of every value is missing."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"case_id": [f"{name}{i}" for i in range(n)], "image": "x.jpg"})
    table["patient_id"] = [f"P{i}" for i in rng.integers(15, size=n)]
    table["lesion.size"] = rng.normal(size=n)
    table["lesion.site"] = rng.choice(["arm", "leg", "back"], size=n)
    table["patient.age"] = rng.integers(1, 8, size=n) * 10.0
    table["patient.sex"] = rng.choice(["female", "male"], size=n)
    table[ANGLE] = rng.uniform(0, 180, size=n)
    for column in COLUMNS:
        table.loc[rng.random(n) < 0.3, column] = None
    return Manifest.build(table, "/nowhere")


QUERY, REFERENCE = manifest("q", N, 1), manifest("r", M, 2)


def vectors(tied=False):
    rng = np.random.default_rng(3)
    x = [rng.normal(size=(n, D)).astype(np.float32) for n in (N, M)]
    return [np.sign(v) for v in x] if tied else x


def cosine(a, b):
    a, b = a.astype(float), b.astype(float)
    return float(a @ b / math.sqrt(a @ a) / math.sqrt(b @ b))


def by_hand(query_ND, reference_MD, k, near_duplicate=None):
    """Per query the (cosine, position) of its sources, nearest first."""
    out = []
    for n in range(N):
        found = []
        for m in range(M):
            if QUERY.table["patient_id"][n] == REFERENCE.table["patient_id"][m]:
                continue
            if not query_ND[n].any() or not reference_MD[m].any():
                continue
            c = cosine(query_ND[n], reference_MD[m])
            if near_duplicate is None or c < near_duplicate:
                found.append((c, m))
        out.append(sorted(found, key=lambda s: (-round(s[0], 9), s[1]))[:k])
    return out


def said(sources, column, weighting):
    """What the sources say: a vote, a mean, a mean direction."""
    values = [(REFERENCE.table[column][m], 1.0 if weighting == "uniform" else math.exp(c / 0.07)) for c, m in sources]
    values = [(v, w) for v, w in values if not pd.isna(v)]
    if not values:
        return None
    if column in REFERENCE.categories:
        votes = {}
        for v, w in values:  # nearest first, so that max takes the nearest of equals
            votes[v] = votes.get(v, 0) + w
        return max(votes, key=lambda v: round(votes[v] / max(votes.values()), 9))
    total = sum(w for _, w in values)
    if column == ANGLE:
        sin, cos = (sum(w * f(2 * math.pi * v / 180) for v, w in values) for f in (math.sin, math.cos))
        return math.atan2(sin, cos) % (2 * math.pi) * 180 / (2 * math.pi)
    return sum(v * w for v, w in values) / total


@pytest.mark.parametrize("cells", [1, 50, 10**6], ids=["one at a time", "few", "whole"])
@pytest.mark.parametrize("tied", [False, True], ids=["distinct", "tied"])
@pytest.mark.parametrize(("k", "weighting"), [(1, "uniform"), (4, "uniform"), (4, "similarity"), (M + 5, "similarity")])
def test_sources_and_what_they_say_are_the_loops(k, weighting, tied, cells):
    query_ND, reference_MD = vectors(tied)
    found = extrapolate(query_ND, QUERY, reference_MD, REFERENCE, COLUMNS, k=k, weighting=weighting, cells=cells)
    assert found.source.shape == (N, min(k, M))
    for n, sources in enumerate(by_hand(query_ND, reference_MD, k)):
        has = found.source[n] != NONE
        assert found.source[n][has].tolist() == [m for _, m in sources]
        np.testing.assert_allclose(found.similarity[n][has], [c for c, _ in sources], atol=1e-12)
        assert np.isnan(found.similarity[n][~has]).all()
        for column in COLUMNS:
            value = said(sources, column, weighting)
            got = found.table[column][n]
            if value is None:
                assert pd.isna(got)
            else:
                assert got == value if isinstance(value, str) else got == pytest.approx(value, rel=1e-9)


def test_many_sources_of_many_come_in_order():
    rng = np.random.default_rng(0)
    q_ND, r_MD = rng.normal(size=(7, 4)), rng.normal(size=(5000, 4))
    source_NK, similarity_NK = nearest(q_ND, r_MD, np.arange(7), np.arange(5000) + 7, 400, cells=20_000)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q_ND, r_MD)]
    order = np.argsort(-unit[0] @ unit[1].T, axis=1)[:, :400]
    np.testing.assert_array_equal(source_NK, order)
    assert (np.diff(similarity_NK, axis=1) <= 1e-9).all()


def test_one_source_is_copied_nulls_and_all():
    query_ND, reference_MD = vectors()
    found = extrapolate(query_ND, QUERY, reference_MD, REFERENCE)
    assert found.columns == COLUMNS
    expected = REFERENCE.table[COLUMNS].iloc[found.source[:, 0]].reset_index(drop=True)
    pd.testing.assert_frame_equal(found.table, expected)
    assert found.table.isna().any().all()


def test_a_patient_is_nobodys_source_for_itself():
    """Each query's own picture is in the reference, under another case and the same patient."""
    query_ND, _ = vectors()
    own = Manifest.build(QUERY.table.assign(case_id=[f"again{i}" for i in range(N)]), "/nowhere", QUERY.categories)
    found = extrapolate(query_ND, QUERY, query_ND, own)
    patients = QUERY.table["patient_id"].to_numpy()
    assert (patients[found.source[:, 0]] != patients).all()
    assert found.similarity.max() < 1 - 1e-6


def test_the_same_case_and_the_same_picture_are_no_source_without_any_other_id():
    query_ND, _ = vectors()
    bare = Manifest.build(QUERY.table.drop(columns="patient_id"), "/nowhere", QUERY.categories)
    assert (extrapolate(query_ND, bare, query_ND, bare).source[:, 0] != np.arange(N)).all()
    named_anew = Manifest.build(bare.table.assign(case_id=[f"new{i}" for i in range(N)]), "/nowhere", bare.categories)
    assert (extrapolate(query_ND, bare, query_ND, named_anew).source[:, 0] == np.arange(N)).all()
    same_P2 = np.stack([np.arange(N), N + np.arange(N)], axis=1)
    assert (extrapolate(query_ND, bare, query_ND, named_anew, same_P2=same_P2).source[:, 0] != np.arange(N)).all()


@pytest.mark.parametrize("k", [1, 3])
def test_near_duplicates_are_left_out(k):
    query_ND, reference_MD = vectors()
    free = extrapolate(query_ND, QUERY, reference_MD, REFERENCE, k=k)
    limit = float(np.median(free.similarity[:, 0]))
    found = extrapolate(query_ND, QUERY, reference_MD, REFERENCE, k=k, near_duplicate=limit)
    expected = by_hand(query_ND, reference_MD, k, limit)
    assert [[m for m in row if m != NONE] for row in found.source] == [[m for _, m in s] for s in expected]
    assert np.nanmax(found.similarity) < limit <= free.similarity.max()


def test_without_an_allowed_source_a_case_stays_without():
    query_ND, reference_MD = vectors()
    query_ND[4] = 0  # could not be read
    reference_MD[7:] = 0
    found = extrapolate(query_ND, QUERY, reference_MD, REFERENCE, k=2)
    assert set(found.source.ravel()) <= {NONE, *range(7)}
    assert found.source[4].tolist() == [NONE, NONE]
    assert found.table.iloc[4].isna().all()
    alone = found.sources().query("case_id == 'q4'")
    assert alone[["rank"]].to_numpy().tolist() == [[1]]
    assert alone[["source_id", "similarity"]].isna().all(axis=None)
    alike = np.ones((N, D)), QUERY, np.ones((M, D)), REFERENCE
    everybody = extrapolate(*alike, near_duplicate=0.5)
    assert (everybody.source == NONE).all()
    assert everybody.table.isna().all(axis=None)


def test_sources_are_named_one_a_row():
    query_ND, reference_MD = vectors()
    found = extrapolate(query_ND, QUERY, reference_MD, REFERENCE, k=3)
    rows = [
        (f"q{n}", rank, f"r{m}", c)
        for n, sources in enumerate(by_hand(query_ND, reference_MD, 3))
        for rank, (c, m) in enumerate(sources, 1)
    ]
    expected = pd.DataFrame(rows, columns=["case_id", "rank", "source_id", "similarity"])
    pd.testing.assert_frame_equal(found.sources(), expected, check_dtype=False)


def test_opposite_directions_say_nothing_and_full_turns_everything():
    def direction(*angles):
        table = pd.DataFrame({"case_id": list("abcd")[: len(angles)], "image": "x.jpg", ANGLE: angles})
        rows, weights = np.arange(len(angles))[None], np.ones((1, len(angles)))
        return combined(Manifest.build(table, "/nowhere"), [ANGLE], rows, weights)[ANGLE][0]

    assert direction(175.0, 15.0) == pytest.approx(5)
    assert math.isnan(direction(10.0, 100.0))
    assert direction(10.0, 190.0, 10.0) == pytest.approx(10)


def test_what_a_case_knows_stays_unless_overwritten():
    query_ND, reference_MD = vectors()
    found = extrapolate(query_ND, QUERY, reference_MD, REFERENCE)
    filled, replaced = found.filled(), found.filled(overwrite=True)
    for column in COLUMNS:
        own, taken = QUERY.table[column], found.table[column]
        for n in range(N):
            for manifest, order in ((filled, (own[n], taken[n])), (replaced, (taken[n], own[n]))):
                expected = [value for value in order if not pd.isna(value)][:1]
                assert manifest.table[column][[n]].dropna().tolist() == expected
    untouched = [c for c in QUERY.table.columns if c not in COLUMNS]
    pd.testing.assert_frame_equal(filled.table[untouched], QUERY.table[untouched])
    assert filled.table.drop(columns=untouched).isna().sum().sum() < QUERY.table.isna().sum().sum()


def test_a_case_of_a_picture_alone_is_filled_and_written(tmp_path):
    query_ND, reference_MD = vectors()
    nothing = {"patient.sex": None, "patient.age": None, "lesion.size": np.nan}
    bare = Manifest.build(QUERY.table[["case_id", "image"]].assign(**nothing), "/x")
    assert "patient.age" in bare.categories  # nulls do not say that they would be numbers
    found = extrapolate(query_ND, bare, reference_MD, REFERENCE)
    again = Manifest.read(found.filled().write(tmp_path / "filled.parquet"))
    pd.testing.assert_frame_equal(again.table[COLUMNS], found.table, check_dtype=False)
    assert {c: again.categories[c] for c in REFERENCE.categories} == REFERENCE.categories
    assert set(again.categories) == set(REFERENCE.categories)


def test_categories_of_both_are_known():
    table = QUERY.table.assign(**{"lesion.site": ["scalp", *QUERY.table["lesion.site"][1:]]})
    query_ND, reference_MD = vectors()
    own = Manifest.build(table, "/nowhere")
    filled = extrapolate(query_ND, own, reference_MD, REFERENCE).filled()
    assert filled.categories["lesion.site"] == ["arm", "back", "leg", "scalp"]


PROXIED = Manifest.build(REFERENCE.table.assign(**{"lesion.dx_type": ["histo", *["follow_up"] * (M - 1)]}), "/nowhere")


def test_what_gives_the_diagnosis_away_is_taken_where_it_is_asked_for_by_name():
    query_ND, reference_MD = vectors()
    found = extrapolate(query_ND, QUERY, reference_MD, PROXIED, ["patient.age", "lesion.dx_type"])
    assert found.columns == ["patient.age", "lesion.dx_type"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"columns": ["patient.agee"]}, "Did you mean 'patient.age'"),
        ({"columns": ["case_id"]}, "unknown metadata column"),
        ({"near_duplicate": 0.0}, r"above 0 and at most 1; it is 0\.0"),
        ({"near_duplicate": 1.01}, r"above 0 and at most 1; it is 1\.01"),
        ({"near_duplicate": math.nan}, "above 0 and at most 1; it is nan"),
        ({"reference": PROXIED}, r"lesion\.dx_type gives the diagnosis away.*by name in columns \(--columns\)"),
        ({"k": 0}, "k must be at least 1"),
        ({"weighting": "similarity"}, "no effect with k = 1"),
        ({"k": 2, "weighting": "similar"}, "Did you mean 'similarity'"),
        ({"reference_MD": np.ones((M, D + 1))}, "5 and 6 wide"),
        ({"reference_MD": np.ones((M - 1, D))}, "the reference has 41 cases"),
        ({"query_ND": np.full((N, D), np.nan)}, "23 of 23 query vectors are not finite"),
        (
            {"query": Manifest.build(QUERY.table.assign(**{"patient.age": "old"}), "/x")},
            "holds categories in the query",
        ),
        ({"reference": Manifest.build(REFERENCE.table[["case_id", "image"]], "/x")}, "no column lesion.NAME"),
    ],
)
def test_what_does_not_fit_is_said(changes, sentence):
    query_ND, reference_MD = vectors()
    given = {"query_ND": query_ND, "query": QUERY, "reference_MD": reference_MD, "reference": REFERENCE} | changes
    with pytest.raises(ValueError, match=sentence):
        extrapolate(**given)
