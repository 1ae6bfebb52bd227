"""Exact search against a full sort, with ties, in chunks of every size."""

import tracemalloc

import numpy as np
import pytest

from dermis.search.exact import _Best, nearest


def sorted_whole(query_QD, vector_ND, k, rows=None):
    """The definition: all cosines in float64, rounded to 1e-9, sorted by (cosine, row)."""
    rows = np.arange(len(vector_ND)) if rows is None else rows
    x_nD, q_QD = vector_ND[rows].astype(np.float64), query_QD.astype(np.float64)
    x_nD = x_nD / np.maximum(np.linalg.norm(x_nD, axis=1, keepdims=True), 1e-12)
    cosine_Qn = (q_QD / np.linalg.norm(q_QD, axis=1, keepdims=True)) @ x_nD.T
    order_Qn = np.argsort(-np.rint(cosine_Qn * 1e9), axis=1, kind="stable")[:, :k]
    return rows[order_Qn], np.take_along_axis(cosine_Qn, order_Qn, axis=1)


def random(count, dim, queries=7, seed=0):
    rng = np.random.default_rng(seed)
    vector_ND = rng.normal(size=(count, dim)) * rng.uniform(0.1, 9, size=(count, 1))
    return rng.normal(size=(queries, dim)).astype(np.float32), vector_ND.astype(np.float32)


def assert_same(found, expected):
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], atol=1e-12)
    assert found[0].dtype == np.int64


@pytest.mark.parametrize("count, k", [(5, 3), (64, 10), (1000, 10), (5003, 1), (5003, 100), (4096, 2000)])
@pytest.mark.parametrize("cells", [1, 1000, 10**7])
def test_equals_a_full_sort(count, k, cells):
    query_QD, vector_ND = random(count, 24)
    assert_same(nearest(query_QD, vector_ND, k, cells=cells), sorted_whole(query_QD, vector_ND, k))


def test_more_queries_than_a_block_and_known_lengths():
    query_QD, vector_ND = random(3000, 16, queries=600)
    length_N = np.linalg.norm(vector_ND, axis=1)
    expected = sorted_whole(query_QD, vector_ND, 10)
    assert_same(nearest(query_QD, vector_ND, 10, length_N=length_N), expected)


def test_equal_vectors_come_in_the_order_of_their_rows():
    """Copies at another length, all over the table, more of them than k and a chunk; and a picture of zeros."""
    query_QD, vector_ND = random(4000, 16, seed=1)
    copies = np.random.default_rng(2).permutation(4000)[:60]
    vector_ND[copies] = query_QD[0] * np.float32(2) ** np.random.default_rng(3).integers(-3, 3, size=(60, 1))
    vector_ND[0] = 0
    rows_QK, cosine_QK = nearest(query_QD, vector_ND, 40, cells=7 * 128)
    assert rows_QK[0].tolist() == sorted(copies.tolist())[:40]
    np.testing.assert_allclose(cosine_QK[0], 1, atol=1e-7)
    assert_same((rows_QK, cosine_QK), sorted_whole(query_QD, vector_ND, 40))


def test_neighbours_closer_than_float32_can_tell_are_told_apart():
    """60 vectors whose cosines differ in the eighth digit, the best last."""
    query_QD, vector_ND = random(2000, 16, queries=1, seed=4)
    unit_D = query_QD[0] / np.linalg.norm(query_QD[0])
    aside_D = np.eye(16)[0] - unit_D[0] * unit_D
    tilt = np.linspace(0.02, 0.0199, 60)
    vector_ND[1000:1060] = 30 * (unit_D + tilt[:, None] * aside_D)
    found = nearest(query_QD, vector_ND, 5)
    assert np.ptp(found[1]) < 1e-6
    assert_same(found, sorted_whole(query_QD, vector_ND, 5))


def test_the_worst_order_is_right_too():
    """Each vector is better than all before it, so every chunk is full of candidates."""
    vector_ND = np.stack([np.cos(a := np.linspace(1.5, 0.1, 3000)), np.sin(a)], axis=1).astype(np.float32)
    query_QD = np.array([[1.0, 0.0]], np.float32)
    assert nearest(query_QD, vector_ND, 4, cells=256)[0].tolist() == [[2999, 2998, 2997, 2996]]


def test_only_some_rows_and_fewer_than_k():
    query_QD, vector_ND = random(3000, 16)
    rows = np.flatnonzero(np.random.default_rng(5).random(3000) < 0.5)
    assert_same(nearest(query_QD, vector_ND, 9, rows=rows, cells=900), sorted_whole(query_QD, vector_ND, 9, rows))
    few = nearest(query_QD, vector_ND, 9, rows=rows[:4], length_N=np.linalg.norm(vector_ND, axis=1))
    assert_same(few, sorted_whole(query_QD, vector_ND, 4, rows[:4]))
    assert nearest(query_QD, vector_ND, 9, rows=rows[:0])[0].shape == (7, 0)
    assert nearest(query_QD[:0], vector_ND, 9)[0].shape == (0, 9)


def test_memory_does_not_grow_with_the_vectors(tmp_path, monkeypatch):
    query_QD, vector_ND = random(80_000, 64, queries=64)
    np.save(tmp_path / "vectors.npy", vector_ND)
    mapped_ND, peaks, chunks, add = np.load(tmp_path / "vectors.npy", mmap_mode="c"), [], [], _Best.add
    monkeypatch.setattr(_Best, "add", lambda self, x_nq, first: chunks.append(x_nq.numel()) or add(self, x_nq, first))
    for count in (5_000, 20_000, 80_000):
        length_N = np.ones(count, np.float32)
        tracemalloc.start()
        nearest(query_QD, mapped_ND[:count], 10, length_N=length_N, cells=64 * 1024)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 1.2 * min(peaks)  # what numpy held
    assert max(chunks) == 64 * 1024  # what torch held


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"k": 0}, "k must be at least 1; it is 0"),
        ({"query_QD": np.ones((2, 3))}, r"must be \(queries, 4\)"),
        ({"query_QD": np.full((1, 4), np.nan)}, "not finite"),
    ],
)
def test_wrong_input_is_a_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        nearest(**{"query_QD": np.ones((1, 4)), "vector_ND": np.ones((5, 4), np.float32), "k": 1} | change)
