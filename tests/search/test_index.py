"""The approximate index (extra `search`): close to exact, kept beside the vectors, built again when they change."""

import sys

import numpy as np
import pytest

from dermis.cases.manifest import Manifest
from dermis.search.embedding import write_embeddings
from dermis.search.exact import nearest
from dermis.search.folder import Embeddings
from dermis.search.index import build, index_of, lists_for, nearest_by_index
from dermis.search.nearest import nearest_cases


@pytest.fixture
def made(tiny, manifest, tmp_path):
    return write_embeddings(tmp_path / "e", tiny(), manifest, source="model").embeddings


def clustered(count, seed=0):
    rng = np.random.default_rng(seed)
    vector_ND = rng.normal(size=(40, 32))[rng.integers(40, size=count)] + 0.3 * rng.normal(size=(count, 32))
    return (5 * vector_ND).astype(np.float32)


def test_it_finds_what_exact_search_finds_with_its_cosines():
    pytest.importorskip("faiss")
    vector_ND, query_QD = clustered(20_000), clustered(50, seed=1)
    index = build(vector_ND)
    row_QK, cosine_QK = nearest_by_index(index, query_QD, vector_ND, 10, probes=index.nlist)
    exact_QK = nearest(query_QD, vector_ND, 10)
    hits = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(row_QK.tolist(), exact_QK[0].tolist(), strict=True)])
    assert hits > 0.99  # every list is looked into: only 8 bits can hide a neighbour
    np.testing.assert_allclose(cosine_QK[:, 0], exact_QK[1][:, 0], atol=1e-9)
    few = nearest_by_index(index, query_QD, vector_ND, 10, probes=1)[0]
    assert 0 < np.mean([len(set(a) & set(b)) / 10 for a, b in zip(few.tolist(), exact_QK[0].tolist(), strict=True)]) < 1
    rows = np.flatnonzero(np.arange(20_000) % 3 == 0)
    some = nearest_by_index(index, query_QD, vector_ND, 10, rows=rows, probes=index.nlist)[0]
    assert (some % 3 == 0).all()
    assert (np.diff(cosine_QK) <= 0).all()


def test_too_few_found_are_missing_ones():
    pytest.importorskip("faiss")
    vector_ND = clustered(2000)
    rows = np.array([3, 5])
    found = nearest_by_index(build(vector_ND), vector_ND[:1], vector_ND, 5, rows=rows, probes=1000)
    assert sorted(found[0][0].tolist()) == [3, 5]
    with pytest.raises(ValueError, match="probes must be at least 1; it is 0"):
        nearest_by_index(build(vector_ND), vector_ND[:1], vector_ND, 5, probes=0)


def test_a_search_builds_it_once_keeps_it_and_agrees_with_exact(made, tiny, manifest, monkeypatch):
    pytest.importorskip("faiss")
    exact = nearest_cases(made, case="c3", k=4, where="patient.age>=20")
    hits = nearest_cases(made, case="c3", k=4, where="patient.age>=20", index_above=3)
    assert hits.equals(exact)
    monkeypatch.setattr("dermis.search.index.build", lambda *_, **__: 1 / 0)
    assert nearest_cases(made, case="c3", k=4, where="patient.age>=20", index_above=3).equals(exact)
    with monkeypatch.context() as unused:
        unused.setattr("dermis.search.nearest.nearest_by_index", lambda *_, **__: 1 / 0)
        assert len(nearest_cases(made, case="c3", k=4, index_above=9)) == 4  # 9 are left: too few for an index
    again = Embeddings.open(made.folder)
    assert index_of(again).ntotal == 10
    table = manifest.table.assign(diagnosis="nevus")
    relabelled = write_embeddings(made.folder, tiny(), Manifest.build(table, manifest.root), source="model").embeddings
    assert index_of(relabelled).ntotal == 10
    facts = made.folder / "index" / "index.json"
    facts.write_text(facts.read_text().replace('"count": 10', '"count": 11'))  # somebody put another one there
    with pytest.raises(ZeroDivisionError):
        index_of(relabelled)
    grown = write_embeddings(made.folder, tiny(), manifest.select(range(9)), source="model").embeddings
    with pytest.raises(ZeroDivisionError):
        index_of(grown)


def test_without_faiss_there_is_a_sentence_and_exact_search(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert len(nearest_cases(made, case="c3", k=4)) == 4
    with pytest.raises(ValueError, match=r"pip install 'dermis\[search\]'"):
        nearest_cases(made, case="c3", k=4, index_above=3)


def test_lists_have_enough_vectors():
    assert [lists_for(n) for n in (1, 100, 10_000, 1_000_000)] == [1, 1, 156, 2000]
