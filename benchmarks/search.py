"""Exact chunked search against faiss-flat, and what an IVF + SQ8 index misses: ratios within one run.

    python benchmarks/search.py [--sizes 100000x512 1000000x512] [--queries 256] [--rounds 3] [--threads 1]
    python benchmarks/search.py --embeddings EMBEDDINGS [--queries 256]

Without EMBEDDINGS (a folder of `dermis embed`) the vectors are synthetic: 2,000 Gaussian clusters, which flatter an
index; times hold for any vectors, recalls do not. Of EMBEDDINGS a tenth, at most --queries, are held out as queries.
Time is the process's CPU time, median of the rounds, the ways taking turns; ratio: rate over faiss-flat's, above 1 is
faster. `extra MB` is what the resident memory rises by over the vectors, in a process of its own (Linux). Recall@10 is
the mean share of the 10 exact neighbours that are found. Needs the extra `search`.
"""

import argparse
import subprocess
import sys
import time

import numpy as np
import torch
from measuring import extra_megabytes, medians

from dermis.search.exact import nearest
from dermis.search.folder import Embeddings
from dermis.search.index import build, nearest_by_index

K = 10
PROBES = (8, 32, 128)


def synthetic(count: int, dim: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and queries, float32, of unit length, around the same 2,000 centres."""
    rng = np.random.default_rng(0)
    centre_CD = rng.standard_normal((2000, dim), np.float32)
    made = np.empty((count + queries, dim), np.float32)
    for start in range(0, len(made), 50_000):
        part = made[start : start + 50_000]
        part[:] = centre_CD[rng.integers(2000, size=len(part))] + rng.standard_normal(part.shape, np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return made[:count], made[count:]


def real(folder: str, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and held-out queries of a folder of embeddings, of unit length."""
    vector_ND = np.array(Embeddings.open(folder).vectors)
    vector_ND /= np.maximum(np.linalg.norm(vector_ND, axis=1, keepdims=True), 1e-12)
    order = np.random.default_rng(0).permutation(len(vector_ND))
    held = min(queries, len(order) // 10)
    return vector_ND[order[held:]], vector_ND[order[:held]]


def recall(found_QK: np.ndarray, exact_QK: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found_QK.tolist(), exact_QK.tolist())]))  # noqa: B905


def measure(vector_ND: np.ndarray, query_QD: np.ndarray, rounds: int, what: str) -> None:
    """Print a table for these vectors."""
    import faiss

    length_N, one_1D = np.ones(len(vector_ND), np.float32), query_QD[:1]
    flat = faiss.IndexFlatIP(vector_ND.shape[1])
    flat.add(vector_ND)
    start = time.process_time()
    index = build(vector_ND)
    building = time.process_time() - start
    exact_QK = nearest(query_QD, vector_ND, K, length_N=length_N)[0]
    same = recall(flat.search(query_QD, K)[1], exact_QK)
    print(f"\n{what}: {len(vector_ND)} x {vector_ND.shape[1]}, {len(query_QD)} queries; index of {index.nlist} lists")
    print(f"built in {building:.1f} CPU s; faiss-flat finds {same:.4f} of what exact search finds\n")
    print(
        "| way | batch: ratio to faiss-flat | one query: ratio | one query, CPU ms | recall@10 |\n|---|---|---|---|---|"
    )
    ways = {"faiss-flat": lambda q: flat.search(q, K)}
    ways["exact, chunked"] = lambda q: nearest(q, vector_ND, K, length_N=length_N)
    found = {"faiss-flat": same, "exact, chunked": 1.0}
    for probes in PROBES:
        if probes <= index.nlist:
            name = f"IVF + SQ8, {probes} lists of {index.nlist}"
            ways[name] = lambda q, probes=probes: nearest_by_index(index, q, vector_ND, K, probes=probes)
            found[name] = recall(ways[name](query_QD)[0], exact_QK)
    batch = medians({name: lambda way=way: way(query_QD) for name, way in ways.items()}, rounds)
    one = medians({name: lambda way=way: way(one_1D) for name, way in ways.items()}, max(rounds, 5))
    for name in ways:
        ratios = batch["faiss-flat"] / batch[name], one["faiss-flat"] / one[name]
        print(f"| {name} | {ratios[0]:.2f} | {ratios[1]:.2f} | {1000 * one[name]:.1f} | {found[name]:.4f} |")


def own_extra_megabytes(way: str, vector_ND: np.ndarray, query_QD: np.ndarray) -> float:
    """What the peak of resident memory rises by while this process searches."""
    import faiss

    def by_faiss() -> None:
        flat = faiss.IndexFlatIP(vector_ND.shape[1])
        flat.add(vector_ND)
        flat.search(query_QD, K)

    nearest(query_QD[:2], vector_ND[:2000], K)
    faiss.IndexFlatIP(2).search(np.ones((1, 2), np.float32), 1)
    if way == "faiss":
        return extra_megabytes(by_faiss)
    return extra_megabytes(lambda: nearest(query_QD, vector_ND, K, length_N=np.ones(len(vector_ND), np.float32)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["100000x512"])
    parser.add_argument("--embeddings")
    parser.add_argument("--queries", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-of", choices=("exact", "faiss"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    import faiss

    faiss.omp_set_num_threads(options.threads)
    if options.memory_of:
        count, dim = (int(x) for x in options.sizes[0].split("x"))
        print(own_extra_megabytes(options.memory_of, *synthetic(count, dim, options.queries)))
        return
    if options.embeddings:
        measure(*real(options.embeddings, options.queries), options.rounds, f"real embeddings, {options.embeddings}")
        return
    for size in options.sizes:
        count, dim = (int(x) for x in size.split("x"))
        measure(*synthetic(count, dim, options.queries), options.rounds, "synthetic clusters")
        again = [sys.executable, __file__, "--sizes", size, "--threads", str(options.threads), "--memory-of"]
        extra = [float(subprocess.check_output([*again, way], text=True)) for way in ("exact", "faiss")]
        held = f"extra MB over the vectors' {count * dim * 4 / 2**20:.0f}"
        print(f"\n{held}: exact {extra[0]:.0f}, faiss-flat {extra[1]:.0f}")


if __name__ == "__main__":
    main()
