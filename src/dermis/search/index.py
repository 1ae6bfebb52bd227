"""An approximate index for millions of vectors: faiss IVF with 8-bit codes (extra ``search``), beside the vectors.

Vectors are sorted into lists around centroids and kept as one byte a number; a query looks into the ``probes`` nearest
lists. What it finds is compared again with the vectors themselves, so cosines and order are exact, and only a case of a
list that was not looked into can be missed. How many are missed depends on the vectors: docs/search.md says what was
measured, `benchmarks/search.py` measures it on yours.

Shapes: N vectors, D wide, Q queries, K neighbours, M candidates.
"""

import json
import math
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from dermis.evaluation.prompt_classification import unit_length
from dermis.search.exact import checked, rank
from dermis.search.folder import INDEX, Embeddings

PROBES = 32
AGAIN = 4
"""candidates for each neighbour that are compared again"""
TRAINING = 64
"""vectors for each centroid that the centroids are learnt from"""
ROWS = 65_536
CODES, FACTS = "ivf-sq8.faiss", "index.json"


def lists_for(count: int) -> int:
    """Number of lists for ``count`` vectors: twice the square root."""
    return max(1, min(int(2 * math.sqrt(count)), count // TRAINING))


def build(vector_ND: np.ndarray, *, seed: int = 0, progress: Callable[[int, int], None] | None = None) -> Any:
    """The index of ``vector_ND``, float32, made unit length a chunk at a time; ``seed`` draws what it learns from."""
    faiss = _faiss()
    count, dim = vector_ND.shape
    lists = lists_for(count)
    index = faiss.index_factory(dim, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    sample = np.random.default_rng(seed).permutation(count)[: TRAINING * lists]
    index.train(_unit(vector_ND[np.sort(sample)]))
    for start in range(0, count, ROWS):
        index.add(_unit(vector_ND[start : start + ROWS]))
        if progress:
            progress(min(start + ROWS, count), count)
    return index


def index_of(embeddings: Embeddings, *, progress: Callable[[int, int], None] | None = None) -> Any:
    """The index beside the vectors; built and kept if there is none, or one of other vectors.

    Raises ValueError, with a sentence, if faiss is not installed.
    """
    faiss, folder = _faiss(), embeddings.folder / INDEX
    facts = {"vectors": embeddings.facts["pictures"], "key": embeddings.facts["key"], "count": len(embeddings)}
    if (folder / CODES).is_file() and _read(folder / FACTS) == facts:
        return faiss.read_index(str(folder / CODES))
    index = build(embeddings.vectors, progress=progress)
    folder.mkdir(exist_ok=True)
    (folder / FACTS).unlink(missing_ok=True)  # what it says is true only of whole codes
    scratch = folder / f".{CODES}-{os.getpid()}"
    faiss.write_index(index, str(scratch))
    scratch.rename(folder / CODES)
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")
    return index


def nearest_by_index(
    index: Any,
    query_QD: np.ndarray,
    vector_ND: np.ndarray,
    k: int,
    *,
    rows: np.ndarray | None = None,
    probes: int = PROBES,
) -> tuple[np.ndarray, np.ndarray]:
    """As ``exact.nearest``, but a row may be missed; -1 and NaN where fewer than ``k`` were found."""
    faiss = _faiss()
    query_QD = checked(query_QD, vector_ND, k)
    if probes < 1:
        raise ValueError(f"probes must be at least 1; it is {probes}.")
    settings: dict[str, Any] = {"nprobe": min(probes, index.nlist)}
    if rows is not None:
        settings["sel"] = faiss.IDSelectorBatch(rows)
    wanted = min(AGAIN * k, index.ntotal)
    _, row_QM = index.search(query_QD.astype(np.float32), wanted, params=faiss.SearchParametersIVF(**settings))
    query_M, place_M = np.nonzero(row_QM >= 0)
    k = min(k, index.ntotal if rows is None else len(rows))
    return rank(query_QD, vector_ND, query_M, row_QM[query_M, place_M], k)


def _faiss() -> ModuleType:
    try:
        import faiss
    except ImportError:
        raise ValueError(
            "an index needs faiss: pip install 'dermis[search]'. Exact search needs nothing: leave --index-above out."
        ) from None
    return faiss


def _unit(x_ND: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(unit_length(x_ND), np.float32)


def _read(path: Any) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
