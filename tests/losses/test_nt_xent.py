"""nt_xent: against the equation as loops, against cross-entropy, reference values, chunks."""

import pytest
import torch
import torch.nn.functional as F

from dermis.losses.contrastive import nt_xent

VARIANTS = ("symmetric", "view1", "decoupled")


def equation(z1, z2, temperature, variant):
    """One anchor and one candidate at a time, on tensors so that it has a gradient."""
    views = [[x / x.norm() for x in z] for z in (z1, z2)]
    losses = []
    for i in range(len(z1)):
        for k in (0,) if variant == "view1" else (0, 1):
            anchor = views[k][i]
            denominator = 0.0
            for j in range(len(z1)):
                for m in (0, 1):
                    left_out = j == i if variant == "decoupled" else (j == i and m == k)
                    if not left_out:
                        denominator = denominator + torch.exp(anchor @ views[m][j] / temperature)
            losses.append(-torch.log(torch.exp(anchor @ views[1 - k][i] / temperature) / denominator))
    return torch.stack(losses).mean()


@pytest.fixture
def views(det):
    """Two views that resemble each other, not of unit length."""
    z1 = det((6, 16), 1)
    return z1.requires_grad_(), (0.6 * z1 + 0.8 * det((6, 16), 2)).detach().requires_grad_()


def assert_same(ours, theirs, inputs, value=1e-9, gradient=1e-8):
    torch.testing.assert_close(ours, theirs, atol=value, rtol=0)
    gradients = (torch.autograd.grad(loss, inputs) for loss in (ours, theirs))
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other, atol=gradient, rtol=0)


@pytest.mark.parametrize("chunk", [None, 1, 5, 100])
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_equation_as_loops(views, variant, chunk):
    loops = equation(*views, 0.3, variant)
    assert_same(nt_xent(*views, 0.3, variant=variant, chunk=chunk), loops, views)


@pytest.mark.parametrize(
    ("variant", "temperature", "value"),
    [("symmetric", 0.1, 0.700654379018), ("symmetric", 0.5, 1.565351433199), ("view1", 0.1, 1.013087223287)],
)
def test_equals_the_reference_values(views, variant, temperature, value):
    assert nt_xent(*views, temperature, variant=variant).item() == pytest.approx(value, abs=1e-9)


def test_equals_cross_entropy_without_the_diagonal(views):
    """The common implementation: classify the other view among all rows but oneself."""
    z = F.normalize(torch.cat(views), dim=-1)
    logits = (z @ z.T / 0.1).fill_diagonal_(-torch.inf)
    theirs = F.cross_entropy(logits, torch.arange(12).roll(6))
    assert_same(nt_xent(*views, 0.1), theirs, views)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_of_chunks_is_that_of_finite_differences(views, variant):
    assert torch.autograd.gradcheck(lambda *z: nt_xent(*z, 0.5, variant=variant, chunk=5), views)


@pytest.mark.parametrize("variant", VARIANTS)
def test_float32_is_close_to_float64(views, variant):
    single = nt_xent(*(z.detach().float() for z in views), 0.1, variant=variant, chunk=5)
    torch.testing.assert_close(single.double(), nt_xent(*views, 0.1, variant=variant).detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("chunk", [None, 3])
def test_shares_of_the_ranks_average_to_the_whole(views, variant, chunk):
    ranks = [nt_xent(*views, 0.1, variant=variant, chunk=chunk, first=first, rows=2) for first in (0, 2, 4)]
    assert_same(torch.stack(ranks).mean(), nt_xent(*views, 0.1, variant=variant), views, 1e-12, 1e-12)


def test_chunks_keep_no_logits_for_backward(kept_for_backward):
    z1, z2 = (torch.randn(32, 2, requires_grad=True) for _ in range(2))
    assert kept_for_backward(lambda: nt_xent(z1, z2, 0.1)) > 64 * 64
    assert kept_for_backward(lambda: nt_xent(z1, z2, 0.1, chunk=8)) < 64 * 64 / 2


def test_a_single_case_costs_nothing_and_has_no_decoupled_loss(views):
    one = [z[:1] for z in views]
    assert nt_xent(*one, 0.1).item() == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="needs at least 2 cases"):
        nt_xent(*one, 0.1, variant="decoupled")


def test_an_unknown_variant_names_the_nearest(views):
    with pytest.raises(ValueError, match=r"'symetric'. Did you mean 'symmetric'\?"):
        nt_xent(*views, 0.1, variant="symetric")
