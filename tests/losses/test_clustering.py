"""kmeans: against the release's procedure as loops and scikit-learn's Lloyd, samples, chunks, threads."""

import pytest
import torch
from sklearn.cluster import KMeans
from torch.utils._python_dispatch import TorchDispatchMode

from dermis.losses.clustering import _sampled_rows, kmeans


@pytest.fixture
def points(det):
    """90 points of width 5 in float64, off the origin."""
    return det((90, 5), 1) + torch.tensor([0.7, 0, -0.4, 0, 0.2])


@pytest.fixture
def blobs(det):
    """600 points around four far apart, in turn."""
    centres = torch.eye(4, dtype=torch.float64) * 20
    return centres.repeat(150, 1) + det((600, 4), 2)


def as_released(points, start, iterations):
    """SM3's pseudo-labels one point and one cluster at a time; also how often a cluster was empty."""
    centroids = [points[i].clone() for i in start]
    empty = 0
    for step in range(iterations + 1):
        assignment = []
        for x in points:
            scores = [(x * c).sum().item() for c in centroids]
            assignment.append(scores.index(max(scores)))
        if step == iterations:
            break
        for k in range(len(centroids)):
            members = [x for x, a in zip(points, assignment, strict=True) if a == k]
            empty += not members
            if members:
                centroids[k] = sum(members) / len(members)
            centroids[k] = centroids[k] / centroids[k].norm()
    return torch.tensor(assignment), torch.stack(centroids), empty


def lloyd(points, start, iterations):
    model = KMeans(len(start), init=points[start].numpy(), n_init=1, max_iter=iterations, tol=0, algorithm="lloyd")
    model.fit(points.numpy())
    return torch.from_numpy(model.labels_).long(), torch.from_numpy(model.cluster_centers_)


def assert_same(ours, theirs, tolerance=1e-9):
    assert ours[0].dtype == torch.int64
    assert ours[0].tolist() == theirs[0].tolist()
    torch.testing.assert_close(ours[1], theirs[1].to(ours[1].dtype), atol=tolerance, rtol=0)


@pytest.mark.parametrize("chunk", [8192, 7])
@pytest.mark.parametrize("iterations", [1, 2, 10])
@pytest.mark.parametrize("start", [[3, 40, 77], [0, 1, 2, 3, 4], [11, 80], [5]])
def test_dot_equals_the_release_as_loops(points, start, iterations, chunk):
    *theirs, _ = as_released(points, start, iterations)
    ours = kmeans(points, len(start), init_indices=start, iterations=iterations, chunk=chunk)
    assert_same(ours, theirs)


def test_dot_keeps_an_empty_cluster_and_scales_its_centroid(points):
    points[8] = (points[7] + points[9]) / 2  # never the largest of the three
    *theirs, empty = as_released(points, [7, 8, 9], 1)
    assert empty == 1
    ours = kmeans(points, 3, init_indices=[7, 8, 9], iterations=1)
    assert_same(ours, theirs)
    torch.testing.assert_close(ours[1][1], points[8] / points[8].norm(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("chunk", [None, 7])
@pytest.mark.parametrize("iterations", [1, 2, 10, 300])
@pytest.mark.parametrize("start", [[3, 40, 77], list(range(12)), [11, 80], [5]])
def test_euclid_equals_scikit_learn(points, start, iterations, chunk):
    ours = kmeans(points, len(start), init_indices=start, iterations=iterations, metric="euclid", chunk=chunk)
    assert_same(ours, lloyd(points, start, iterations))


@pytest.mark.parametrize("iterations", [1, 2, 10])
def test_euclid_gives_an_empty_cluster_the_farthest_point_as_scikit_learn_does(points, iterations):
    points[1] = points[0]
    ours = kmeans(points, 4, init_indices=[0, 1, 2, 3], iterations=iterations, metric="euclid", chunk=7)
    assert_same(ours, lloyd(points, [0, 1, 2, 3], iterations))
    assert ours[0].unique().tolist() == [0, 1, 2, 3]


def test_euclid_gives_several_empty_clusters_the_farthest_points(points):
    """scikit-learn leaves open which of them gets which point, so clusters are compared by their centroids."""
    points[1:3] = points[0]
    ours = kmeans(points, 5, init_indices=[0, 1, 2, 3, 4], iterations=1, metric="euclid")
    theirs = lloyd(points, [0, 1, 2, 3, 4], 1)
    ours, theirs = ({tuple(row) for row in (c * 1e9).round().tolist()} for c in (ours[1], theirs[1]))
    assert ours == theirs


def test_euclid_with_fewer_distinct_points_than_clusters_makes_equal_centroids():
    twice = torch.tensor([[1.0, 2], [4, 0]]).repeat(4, 1)  # whose means have no rounding
    assignment, centroids = kmeans(twice, 4, init_indices=[0, 1, 2, 3], metric="euclid")
    assert assignment.tolist() == [0, 1] * 4
    assert torch.equal(centroids[:2], twice[:2])
    assert torch.equal(centroids.unique(dim=0), twice[:2])


@pytest.mark.parametrize("metric", ["dot", "euclid"])
@pytest.mark.parametrize("iterations", [1, 3, 50])
def test_assignment_belongs_to_the_centroids(points, metric, iterations):
    assignment, centroids = kmeans(points, 6, init_indices=range(6), iterations=iterations, metric=metric)
    scores = points @ centroids.T if metric == "dot" else -torch.cdist(points, centroids)
    assert assignment.tolist() == scores.argmax(1).tolist()


def test_float32_far_from_the_origin_equals_float64(points):
    far = (points + 3000).float()
    ours = kmeans(far, 5, init_indices=range(5), metric="euclid")
    assert_same(ours, lloyd(far.double(), range(5), 10), 1e-2)
    assert_same(kmeans(points.float(), 5, init_indices=range(5)), as_released(points, range(5), 10), 1e-5)


def test_sample_moves_the_centroids_and_all_rows_are_assigned(points):
    start = [70, 2, 33]
    ours = kmeans(points, 3, init_indices=start, metric="euclid", sample=40, generator=torch.Generator().manual_seed(5))
    rows = _sampled_rows(torch.tensor(start), 90, 40, torch.Generator().manual_seed(5))
    assert len(rows.unique()) == 40
    assert set(start) <= set(rows.tolist())
    _, centroids = lloyd(points[rows], [rows.tolist().index(i) for i in start], 10)
    assert_same(ours, (torch.cdist(points, centroids).argmin(1), centroids))


def test_sample_of_clear_clusters_finds_them_whatever_is_drawn(blobs):
    for seed in range(3):
        ours, _ = kmeans(
            blobs, 4, init_indices=range(4), metric="euclid", sample=50, generator=torch.Generator().manual_seed(seed)
        )
        assert ours.tolist() == list(range(4)) * 150


@pytest.mark.parametrize("metric", ["dot", "euclid"])
@pytest.mark.parametrize("sample", [90, 1000])
def test_sample_of_all_is_none_and_draws_nothing(points, metric, sample):
    generator = torch.Generator().manual_seed(1)
    before = generator.get_state()
    ours = kmeans(points, 4, init_indices=range(4), metric=metric, sample=sample, generator=generator)
    assert_same(ours, kmeans(points, 4, init_indices=range(4), metric=metric), 0)
    assert torch.equal(generator.get_state(), before)


def test_sampled_rows_are_drawn_evenly():
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(10)
    for _ in range(2000):
        counts[_sampled_rows(torch.tensor([4, 1]), 10, 4, generator)] += 1
    assert counts[[1, 4]].tolist() == [2000, 2000]
    assert counts[[0, 2, 3, 5, 6, 7, 8, 9]].sub(500).abs().max() < 80  # four standard deviations


@pytest.mark.parametrize("metric", ["dot", "euclid"])
def test_repeats_its_bits_with_one_thread_and_two(metric):
    points = torch.randn(1500, 64, generator=torch.Generator().manual_seed(0))
    points[1] = points[0]  # an empty cluster at the start
    threads = torch.get_num_threads()
    torch.use_deterministic_algorithms(True)
    try:
        results = []
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            generator = torch.Generator().manual_seed(3)
            results.append(
                kmeans(points, 8, init_indices=range(8), metric=metric, sample=1000, generator=generator, chunk=256)
            )
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert torch.equal(results[0][0], other[0])
        assert torch.equal(results[0][1], other[1])


class Largest(TorchDispatchMode):
    """Remembers the most numbers that a tensor had."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and func is not torch.ops.aten.detach.default:
            self.numbers = max(self.numbers, out.numel())
        return out


@pytest.mark.parametrize("metric", ["dot", "euclid"])
def test_chunks_bound_memory(metric):
    points = torch.randn(4000, 3)
    points[1] = points[0]
    largest = {}
    for chunk in (100, None):
        with Largest() as watch:
            kmeans(points, 50, init_indices=range(50), metric=metric, chunk=chunk)
        largest[chunk] = watch.numbers
    assert largest[100] <= 100 * 50
    assert largest[None] == 4000 * 50


def test_points_are_left_alone_and_nothing_has_a_gradient(points):
    points.requires_grad_()
    before = points.detach().clone()
    for metric in ("dot", "euclid"):
        _, centroids = kmeans(points, 3, init_indices=torch.tensor([0, 1, 2]), metric=metric)
        assert not centroids.requires_grad
    assert torch.equal(points, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": "cosine"}, "metric of kmeans 'cosine'.* Allowed: dot, euclid"),
        ({"metric": "euclidean"}, r"Did you mean 'euclid'\?"),
        ({"iterations": 0}, "at least 1 iteration, not 0"),
        ({"num_clusters": 91, "init_indices": range(91)}, "90 points cannot make 91 clusters"),
        ({"num_clusters": 0, "init_indices": []}, "90 points cannot make 0 clusters"),
        ({"init_indices": [0, 1]}, r"3 row numbers, not torch.int64 \(2,\)"),
        ({"init_indices": torch.ones(3)}, r"3 row numbers, not torch.float32 \(3,\)"),
        ({"init_indices": torch.ones(3, dtype=torch.bool)}, r"3 row numbers, not torch.bool \(3,\)"),
        ({"init_indices": [0, 1, 90]}, "lie in 0 … 89, not 0 … 90"),
        ({"init_indices": [-1, 1, 2]}, "lie in 0 … 89, not -1 … 2"),
        ({"init_indices": [0, 1, 1]}, r"different rows, not \[0, 1, 1\]"),
        ({"sample": 2}, "sample of 2 rows is too small for 3 clusters"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"points_ND": torch.ones(90)}, r"points must be \(N, D\), not \(90,\)"),
        ({"points_ND": torch.full((90, 2), torch.nan)}, "needs finite points"),
    ],
)
def test_wrong_arguments_are_explained(points, change, message):
    with pytest.raises(ValueError, match=message):
        kmeans(**({"points_ND": points, "num_clusters": 3, "init_indices": [0, 1, 2]} | change))
