import numpy as np
import pytest
import torch

from dermis.decision.temperature import fit_temperature, tempered


def simulated(temperature, n=20_000, seed=0):
    """Logits of a model whose softmax at ``temperature`` is the truth, and labels drawn from it."""
    rng = np.random.default_rng(seed)
    logit_NC = 3 * temperature * rng.normal(size=(n, 4))
    p_NC = torch.softmax(torch.from_numpy(logit_NC) / temperature, dim=1).numpy()
    return logit_NC, (rng.random((n, 1)) > p_NC.cumsum(axis=1)).sum(axis=1)


def log_loss(logit_NC, label_N, temperature=1.0):
    logit, label = torch.from_numpy(np.asarray(logit_NC, float)), torch.from_numpy(np.asarray(label_N))
    return torch.nn.functional.cross_entropy(logit / temperature, label).item()


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_known_temperature_is_found_again(temperature):
    assert fit_temperature(*simulated(temperature)) == pytest.approx(temperature, rel=0.03)


def test_no_temperature_of_a_fine_grid_is_better():
    logit_NC, label_N = simulated(1.7, n=150, seed=1)
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 2001))
    best = min(log_loss(logit_NC, label_N, t) for t in grid)
    assert log_loss(logit_NC, label_N, fit_temperature(logit_NC, label_N)) <= best + 1e-9


@pytest.mark.parametrize("seed", range(20))
def test_it_is_never_worse_than_no_temperature(seed):
    rng = np.random.default_rng(seed)
    logit_NC, label_N = rng.normal(size=(5, 3)) * 10.0 ** rng.integers(-3, 4), rng.integers(3, size=5)
    assert log_loss(logit_NC, label_N, fit_temperature(logit_NC, label_N)) <= log_loss(logit_NC, label_N) + 1e-12


def test_logits_that_say_nothing_are_left_alone():
    assert fit_temperature(np.zeros((4, 3)), np.array([0, 1, 2, 0])) == 1


def test_cases_that_are_all_right_give_the_smallest_temperature():
    assert fit_temperature(np.eye(3), np.arange(3)) == pytest.approx(0.05, rel=1e-3)


def test_probabilities_are_the_softmax_and_keep_their_order():
    logit_NC = np.random.default_rng(0).normal(size=(50, 6)) * 100
    expected = torch.softmax(torch.from_numpy(logit_NC) / 3.0, dim=1).numpy()
    np.testing.assert_allclose(tempered(logit_NC, 3.0), expected, rtol=1e-10)
    assert (tempered(logit_NC, 3.0).argmax(axis=1) == logit_NC.argmax(axis=1)).all()


def test_what_cannot_be_fitted_is_said():
    with pytest.raises(ValueError, match="above 0; it is 0"):
        tempered(np.zeros((1, 2)), 0)
    with pytest.raises(ValueError, match=r"labels; got \(0, 2\)"):
        fit_temperature(np.zeros((0, 2)), np.zeros(0, int))
    with pytest.raises(ValueError, match="finite"):
        fit_temperature(np.array([[0, -np.inf]]), np.zeros(1, int))
