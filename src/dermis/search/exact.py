"""Exact nearest neighbours by cosine, in chunks: no index, and no memory that grows with the number of vectors.

A chunk's cosines are float32. Once k are found, only rows whose cosine comes near the k-th best are looked at, and of
blocks of rows only those whose maximum does, so that almost all of the time is the matrix product. The few that are
left are compared again in float64. Equal cosines (to 1e-9) are ordered by row: the answer is that of a full sort.

Shapes: N vectors, D wide, Q queries, K neighbours, n rows of a chunk, q queries of a block, M candidates.
"""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from dermis.evaluation.prompt_classification import unit_length

QUERIES = 256
"""queries that are compared at a time"""
CELLS = 2_097_152
"""cosines held at a time (rows of a chunk × queries)"""
ROWS = 65_536
"""most rows of a chunk"""
FIRST = 256
"""rows of the first chunk of many queries; of few more"""
BLOCK = 64
"""rows whose maximum is looked at first"""
SLACK = 1e-5
"""more than float32 can be wrong by: cosines nearer than that to the k-th best are compared again"""
SPARE = 64
"""candidates kept beside the k best; only more equal vectors than these could leave the order of rows"""


def nearest(
    query_QD: np.ndarray,
    vector_ND: np.ndarray,
    k: int,
    *,
    length_N: np.ndarray | None = None,
    rows: np.ndarray | None = None,
    cells: int = CELLS,
    device: str = "cpu",
) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` rows with the largest cosine, largest first: int64 (Q, K) and their cosines, float64 (Q, K).

    ``vector_ND``: float32, of any length, may be memory-mapped. ``length_N``: their lengths, if known. ``rows``: the
    only rows to look at, ascending (default: all). K is ``k``, or the number of those rows if there are fewer. A vector
    of zeros has cosine 0 with everything. Raises ValueError for k below 1, widths that differ, queries not finite.
    """
    query_QD = checked(query_QD, vector_ND, k)
    count = len(vector_ND) if rows is None else len(rows)
    k = min(k, count)
    if one := len(query_QD) == 1:
        query_QD = query_QD.repeat(2, axis=0)  # a product with two columns reads memory twice as fast as with one
    found = [np.empty((0, k), np.int64)], [np.empty((0, k))]
    for start in range(0, len(query_QD), QUERIES):
        some_qD = query_QD[start : start + QUERIES]
        step = max(BLOCK, min(ROWS, cells // len(some_qD)))
        best = _Best(len(some_qD), k)
        query_Dq = torch.from_numpy(some_qD.T.astype(np.float32)).to(device)
        edges = [0]  # chunks grow: the first ones say how good a candidate has to be
        while edges[-1] < count:
            edges.append(min(count, edges[-1] + min(step, max(FIRST, 4096 // len(some_qD), 2 * k, edges[-1]))))
        for first, last in pairwise(edges):
            part = slice(first, last) if rows is None else rows[first:last]
            x_nD = torch.from_numpy(np.ascontiguousarray(vector_ND[part], np.float32)).to(device)
            length_n = torch.linalg.vector_norm(x_nD, dim=1) if length_N is None else _tensor(length_N[part], device)
            cosine_nq = (x_nD @ query_Dq).div_(length_n.clamp_min(1e-12)[:, None])
            best.add(cosine_nq, first)
        row_M = best.row_M if rows is None else rows[best.row_M]
        row_qK, cosine_qK = rank(some_qD, vector_ND, best.query_M, row_M, k, cells=cells)
        found[0].append(row_qK)
        found[1].append(cosine_qK)
    row_QK, cosine_QK = np.concatenate(found[0]), np.concatenate(found[1])
    return (row_QK[:1], cosine_QK[:1]) if one else (row_QK, cosine_QK)


def checked(query_QD: np.ndarray, vector_ND: np.ndarray, k: int) -> np.ndarray:
    """The queries in float64 and of unit length; raises ValueError as ``nearest``."""
    query_QD = np.asarray(query_QD, np.float64)
    if k < 1:
        raise ValueError(f"k must be at least 1; it is {k}.")
    if query_QD.ndim != 2 or query_QD.shape[1] != vector_ND.shape[1]:
        raise ValueError(f"queries must be (queries, {vector_ND.shape[1]}), as the vectors; they are {query_QD.shape}.")
    if not np.isfinite(query_QD).all():
        raise ValueError("a query is not finite.")
    return unit_length(query_QD)


def rank(
    query_QD: np.ndarray, vector_ND: np.ndarray, query_M: np.ndarray, row_M: np.ndarray, k: int, *, cells: int = CELLS
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates (query, row) by their cosine in float64: rows (Q, k) and cosines (Q, k), -1 and NaN where there are
    fewer than ``k``. ``query_QD`` has unit length."""
    cosine_M, step = np.empty(len(row_M)), max(1, cells // vector_ND.shape[1])
    for start in range(0, len(row_M), step):
        some = slice(start, start + step)
        x_mD = vector_ND[row_M[some]].astype(np.float64)
        length_m = np.maximum(np.sqrt((x_mD * x_mD).sum(axis=1)), 1e-12)
        cosine_M[some] = (x_mD * query_QD[query_M[some]]).sum(axis=1) / length_m
    order_M, place_M = _by_query(query_M, row_M, np.rint(cosine_M * 1e9))
    order_M, place_M = order_M[place_M < k], place_M[place_M < k]
    row_QK, cosine_QK = np.full((len(query_QD), k), -1, np.int64), np.full((len(query_QD), k), np.nan)
    row_QK[query_M[order_M], place_M] = row_M[order_M]
    cosine_QK[query_M[order_M], place_M] = cosine_M[order_M]
    return row_QK, cosine_QK


class _Best:
    """Candidates of each query so far, and the cosine that a new one has to come near."""

    def __init__(self, queries: int, k: int) -> None:
        self.k = k
        self.floor_q = np.full(queries, -np.inf, np.float32)
        self.query_M, self.row_M = np.empty(0, np.int64), np.empty(0, np.int64)
        self.cosine_M = np.empty(0, np.float32)

    def add(self, cosine_nq: Tensor, first: int) -> None:
        """Look at a chunk whose first row is ``first``."""
        floor_q = torch.from_numpy(self.floor_q - np.float32(SLACK)).to(cosine_nq.device)
        whole = len(cosine_nq) // BLOCK * BLOCK
        near = [_near(cosine_nq[:whole].unflatten(0, (-1, BLOCK)), floor_q, first)] if whole else []
        if whole < len(cosine_nq):
            near.append(_near(cosine_nq[None, whole:], floor_q, first + whole))
        query_M, row_M, cosine_M = (np.concatenate(found) for found in zip(*near, strict=True))
        if not len(row_M):
            return
        query_M, row_M = np.concatenate([self.query_M, query_M]), np.concatenate([self.row_M, row_M])
        cosine_M = np.concatenate([self.cosine_M, cosine_M])
        order_M, place_M = _by_query(query_M, row_M, np.rint(cosine_M * 1e6))
        last_M = order_M[place_M == self.k - 1]
        self.floor_q[query_M[last_M]] = cosine_M[last_M]
        kept = (place_M < self.k + SPARE) & (cosine_M[order_M] > self.floor_q[query_M[order_M]] - np.float32(SLACK))
        order_M = order_M[kept]
        self.query_M, self.row_M, self.cosine_M = query_M[order_M], row_M[order_M], cosine_M[order_M]


def _near(cosine_bnq: Tensor, floor_q: Tensor, first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(query, row, cosine) of what lies above the queries' floors; ``first`` is the row of the first block's first."""
    block_m, query_m = torch.nonzero(cosine_bnq.amax(dim=1) > floor_q, as_tuple=True)
    cosine_mn = cosine_bnq[block_m, :, query_m]
    hit_M, row_M = torch.nonzero(cosine_mn > floor_q[query_m][:, None], as_tuple=True)
    found = query_m[hit_M], first + block_m[hit_M] * cosine_bnq.shape[1] + row_M, cosine_mn[hit_M, row_M]
    return tuple(values.cpu().numpy() for values in found)  # type: ignore[return-value]


def _by_query(query_M: np.ndarray, row_M: np.ndarray, key_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order by query, then falling key, then row; and of each in that order its place within its query."""
    order_M = np.lexsort((row_M, -key_M, query_M))
    sorted_M = query_M[order_M]
    return order_M, np.arange(len(order_M)) - np.searchsorted(sorted_M, sorted_M)


def _tensor(values: np.ndarray, device: str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(device)
