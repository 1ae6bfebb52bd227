"""k-means from given rows: SM3's pseudo-labels, and Lloyd's algorithm.

N points of width D, K clusters. float32 and float64, on any device, without gradient. Memory beyond the points is
O(chunk · (K + D)), with ``sample`` also that many rows. The same bits for any number of threads on a CPU; on a GPU sums
are made in any order unless ``torch.use_deterministic_algorithms`` asks otherwise.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dermis.losses.logsumexp import rows_at_a_time, slices
from dermis.registry import unknown

METRICS = ("dot", "euclid")


@torch.no_grad()
def kmeans(
    points_ND: Tensor,
    num_clusters: int,
    *,
    init_indices: Tensor | Sequence[int],
    iterations: int = 10,
    metric: str = "dot",
    sample: int | None = None,
    generator: torch.Generator | None = None,
    chunk: int | None = 8192,
) -> tuple[Tensor, Tensor]:
    """Clusters of the points, started from the rows ``init_indices``: (assignment_N as int64, centroids_KD).

    Up to ``iterations`` times: assign each point to its nearest centroid, then move each centroid to the mean of its
    points; fewer when an assignment repeats itself, which nothing changes any more. The assignment returned is that to
    the centroids returned; equally near centroids: the lower number.

    ``"dot"`` (SM3's release, Dylan-H-Wang/skin-sm3 @ 255038f, tools/mlc_train.py): nearest is the largest dot product.
    The first centroids are the rows as they are; after each move all centroids are scaled to unit length, also that of
    a cluster without points, which otherwise stays. Points are never normalised.

    ``"euclid"``: Lloyd's algorithm, as scikit-learn's ``KMeans(init=rows, n_init=1, max_iter=iterations, tol=0)``. As
    there, a cluster without points takes over the point that is farthest from its centroid (several clusters: the
    several farthest, lower numbers first; scikit-learn's order is open). With fewer distinct points than clusters some
    centroids are equal, and of these only the first has points.

    ``sample``: the centroids are moved by that many rows only, then all N are assigned once: the first rows, so that no
    cluster starts empty, and others drawn with ``generator``. None or N and more: all rows, and nothing is drawn.
    ``chunk``: rows at a time, None for all at once.

    Raises ValueError for points that are not (N, D) or not finite, fewer points or sampled rows than clusters, wrong
    first rows, an unknown metric, and iterations or a chunk below 1.
    """
    if metric not in METRICS:
        raise unknown("metric of kmeans", metric, METRICS)
    if iterations < 1:
        raise ValueError(f"k-means needs at least 1 iteration, not {iterations}.")
    init_K = _first_rows(points_ND, num_clusters, init_indices)
    chunk = len(points_ND) if chunk is None else rows_at_a_time(chunk)
    moving_SD = points_ND
    if sample is not None and sample < len(points_ND):
        moving_SD = points_ND[_sampled_rows(init_K, len(points_ND), sample, generator).to(points_ND.device)]

    centroids_KD = points_ND[init_K.to(points_ND.device)]
    assignment_S = None
    for _ in range(iterations):
        before_S, assignment_S = assignment_S, _nearest(moving_SD, centroids_KD, metric, chunk)
        if before_S is not None and torch.equal(before_S, assignment_S):
            break
        centroids_KD = _moved(moving_SD, assignment_S, centroids_KD, metric, chunk)
    return _nearest(points_ND, centroids_KD, metric, chunk), centroids_KD


def _nearest(points_ND: Tensor, centroids_KD: Tensor, metric: str, chunk: int) -> Tensor:
    if metric == "dot":
        return torch.cat([(points_ND[rows] @ centroids_KD.T).argmax(1) for rows in slices(len(points_ND), chunk)])
    # |x - c|² is smallest where x·c - |c|²/2 is largest; far from the origin float32 would lose it, so move the origin
    origin_D = centroids_KD.mean(0)
    centroids_KD = centroids_KD - origin_D
    offset_K = centroids_KD.square().sum(1) / -2
    return torch.cat(
        [
            torch.addmm(offset_K, points_ND[rows] - origin_D, centroids_KD.T).argmax(1)
            for rows in slices(len(points_ND), chunk)
        ]
    )


def _moved(points_ND: Tensor, assignment_N: Tensor, centroids_KD: Tensor, metric: str, chunk: int) -> Tensor:
    counts_K = torch.bincount(assignment_N, minlength=len(centroids_KD))
    # on a CPU as fast as a product with one-hot rows for few clusters and faster for many, and in a fixed order
    sums_KD = torch.zeros_like(centroids_KD).index_add_(0, assignment_N, points_ND)
    if metric == "euclid":
        _refill(sums_KD, counts_K, points_ND, assignment_N, centroids_KD, chunk)
    means_KD = sums_KD / counts_K.clamp_min(1)[:, None]
    centroids_KD = torch.where(counts_K[:, None] > 0, means_KD, centroids_KD)
    return F.normalize(centroids_KD, dim=1) if metric == "dot" else centroids_KD


def _refill(
    sums_KD: Tensor, counts_K: Tensor, points_ND: Tensor, assignment_N: Tensor, centroids_KD: Tensor, chunk: int
) -> None:
    """Gives each empty cluster one of the points farthest from their centroids, in place."""
    empty_E = (counts_K == 0).nonzero().squeeze(1)
    if len(empty_E) == 0:
        return
    distance_N = torch.cat(
        [(points_ND[rows] - centroids_KD[assignment_N[rows]]).square().sum(1) for rows in slices(len(points_ND), chunk)]
    )
    far_E = distance_N.topk(len(empty_E)).indices
    giver_E, far_ED = assignment_N[far_E], points_ND[far_E]
    sums_KD.index_add_(0, giver_E, -far_ED)
    counts_K.index_add_(0, giver_E, -torch.ones_like(giver_E))
    sums_KD[empty_E], counts_K[empty_E] = far_ED, 1


def _sampled_rows(init_K: Tensor, total: int, sample: int, generator: torch.Generator | None) -> Tensor:
    """The first rows and ``sample`` - K others, in order; drawn where the generator lives, so alike on any device."""
    if sample < len(init_K):
        raise ValueError(f"a sample of {sample} rows is too small for {len(init_K)} clusters.")
    other_N = torch.ones(total, dtype=torch.bool)
    other_N[init_K] = False
    device = torch.device("cpu") if generator is None else generator.device
    order_R = torch.randperm(total - len(init_K), generator=generator, device=device).cpu()
    drawn_R = other_N.nonzero().squeeze(1)[order_R[: sample - len(init_K)]]
    return torch.cat([init_K, drawn_R]).sort().values


def _first_rows(points_ND: Tensor, num_clusters: int, init_indices: Tensor | Sequence[int]) -> Tensor:
    """``init_indices`` on the CPU, where they are checked."""
    if points_ND.ndim != 2:
        raise ValueError(f"points must be (N, D), not {tuple(points_ND.shape)}.")
    if not 1 <= num_clusters <= len(points_ND):
        raise ValueError(f"{len(points_ND)} points cannot make {num_clusters} clusters: it takes 1 to N.")
    if not points_ND.sum().isfinite():
        raise ValueError("k-means needs finite points, but some are infinite or not a number.")
    init_K = torch.as_tensor(init_indices).cpu()
    if init_K.shape != (num_clusters,) or init_K.is_floating_point() or init_K.dtype == torch.bool:
        raise ValueError(f"init_indices must be {num_clusters} row numbers, not {init_K.dtype} {tuple(init_K.shape)}.")
    if init_K.min() < 0 or init_K.max() >= len(points_ND):
        raise ValueError(f"init_indices must lie in 0 … {len(points_ND) - 1}, not {init_K.min()} … {init_K.max()}.")
    if len(init_K.unique()) < num_clusters:
        raise ValueError(f"init_indices must be different rows, not {init_K.tolist()}.")
    return init_K.long()
