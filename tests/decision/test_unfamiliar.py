import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.neighbors import NearestNeighbors

from dermis.decision.unfamiliar import neighbour_distance, p_values, training_bank


def features(n, d=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32) + 1


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("cells", [4_000_000, 250])
def test_the_distance_is_scikit_learns(k, cells):
    train_MD, query_ND = features(80), features(30, seed=1)
    expected = NearestNeighbors(n_neighbors=k, metric="cosine").fit(train_MD).kneighbors(query_ND)[0][:, -1]
    np.testing.assert_allclose(
        neighbour_distance(query_ND, training_bank(train_MD), k, cells=cells), expected, atol=1e-6
    )


def test_of_fewer_than_k_the_farthest_counts_and_length_does_not():
    bank_MD = training_bank(np.array([[1, 0], [0, 2], [3, 3]]))
    np.testing.assert_allclose(neighbour_distance(np.array([[5.0, 0]]), bank_MD, 10), [1])
    assert np.isfinite(neighbour_distance(np.zeros((1, 2)), bank_MD, 1)).all()
    assert len(neighbour_distance(np.zeros((0, 2)), bank_MD, 1)) == 0
    with pytest.raises(ValueError, match="k must be at least 1; it is 0"):
        neighbour_distance(np.zeros((1, 2)), bank_MD, 0)


def test_the_bank_is_bounded_and_drawn_by_a_seed():
    train_MD = features(500)
    bank_MD = training_bank(train_MD, at_most=60, seed=3)
    whole = {row.tobytes() for row in training_bank(train_MD)}
    assert bank_MD.shape == (60, 6)
    assert bank_MD.dtype == np.float32
    assert len({row.tobytes() for row in bank_MD} & whole) == 60
    assert (bank_MD == training_bank(train_MD, at_most=60, seed=3)).all()
    assert (bank_MD != training_bank(train_MD, at_most=60, seed=4)).any()


def test_p_values_are_counts_with_ties_on_the_safe_side():
    held_out_V = np.array([0.1, 0.2, 0.2, 0.4])
    expected = [(1 + sum(h >= d for h in held_out_V)) / 5 for d in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)]
    assert p_values(np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5]), held_out_V).tolist() == expected
    assert expected[-1] == 0.2


def test_p_values_of_familiar_pictures_are_uniform_and_of_strange_ones_small():
    bank_MD = training_bank(features(400))
    distance = [neighbour_distance(features(n, seed=s), bank_MD, 10) for n, s in ((4000, 1), (1500, 2))]
    p_N = p_values(distance[1], np.sort(distance[0]))
    assert kstest(p_N, "uniform").pvalue > 0.01
    for level in (0.02, 0.1, 0.5):
        assert (p_N <= level).mean() == pytest.approx(level, abs=0.035)
    strange = neighbour_distance(-features(200, seed=3) - 3, bank_MD, 10)
    assert (p_values(strange, np.sort(distance[0])) < 0.01).all()
