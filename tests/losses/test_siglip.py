"""siglip: against the paper's double sum, against open_clip, chunks, and rows of several ranks."""

import math

import pytest
import torch
import torch.nn.functional as F

import dermis.torchvision_operators  # noqa: F401 (before open_clip)
from dermis.losses.contrastive import siglip


def equation(u, v, scale, bias, same_text=None):
    """One pair at a time, on tensors so that it has a gradient."""
    texts = range(len(u)) if same_text is None else same_text.tolist()
    loss = 0.0
    for i in range(len(u)):
        for j in range(len(v)):
            y = 1 if texts[i] == texts[j] else -1
            loss = loss + torch.log1p(torch.exp(-y * (scale * u[i] @ v[j] + bias)))
    return loss / len(u)


@pytest.fixture
def inputs(pairs):
    """Pairs, scale 10 and bias -5 (so that neither kind of pair is negligible), in float64."""
    return *pairs, *(torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (10.0, -5.0))


def assert_same(ours, theirs, inputs, value=1e-9, gradient=1e-8):
    torch.testing.assert_close(ours, theirs, atol=value, rtol=0)
    gradients = (torch.autograd.grad(loss, inputs) for loss in (ours, theirs))
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other, atol=gradient, rtol=0)


@pytest.mark.parametrize("shared", [False, True], ids=["literal", "shared"])
@pytest.mark.parametrize("chunk", [None, 1, 3, 100])
def test_equals_the_papers_double_sum(inputs, same_text, chunk, shared):
    ids = same_text if shared else None
    assert_same(siglip(*inputs, chunk=chunk, same_text_B=ids), equation(*inputs, ids), inputs)


def test_equals_open_clip(inputs):
    theirs = pytest.importorskip("open_clip.loss").SigLipLoss()
    assert_same(siglip(*inputs), theirs(*inputs), inputs)


def test_gradient_of_chunks_is_that_of_finite_differences(inputs):
    assert torch.autograd.gradcheck(lambda *x: siglip(*x, chunk=3), inputs)


@pytest.mark.parametrize("chunk", [None, 3])
def test_float32_is_close_to_float64(inputs, chunk):
    single = siglip(*(x.detach().float() for x in inputs), chunk=chunk)
    torch.testing.assert_close(single.double(), siglip(*inputs).detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("chunk", [None, 2])
def test_large_scale_stays_finite_and_right(chunk):
    u = F.normalize(torch.eye(4) + 0.01, dim=-1).requires_grad_()
    loss = siglip(u, -u.detach(), 1000.0, -10.0, chunk=chunk)
    loss.backward()
    expected = equation(u.detach().double(), -u.detach().double(), 1000.0 / 10, -10.0)
    assert loss.item() > expected.item()
    assert loss.item() == pytest.approx(1000 + 10, rel=1e-5)  # softplus(1010) for the pair, nothing for the others
    assert u.grad.isfinite().all()


def test_first_step_loss_of_unrelated_pairs_is_small():
    eye = torch.eye(8)
    # each true pair scores 10·0 - 10 and costs softplus(10); one other per row scores 10 - 10 and costs log 2
    expected = math.log1p(math.exp(10)) + math.log(2) + 6 * math.log1p(math.exp(-10))
    assert siglip(eye, eye.roll(1, 0), 10.0, -10.0).item() == pytest.approx(expected, abs=1e-5)


def test_a_single_pair_is_one_question(inputs):
    u, v, scale, bias = inputs
    logit = (scale * u[0] @ v[0] + bias).item()
    assert siglip(u[:1], v[:1], scale, bias, chunk=1).item() == pytest.approx(math.log1p(math.exp(-logit)))


def test_chunks_keep_no_logits_for_backward(kept_for_backward):
    u, v = (F.normalize(torch.randn(64, 2), dim=-1).requires_grad_() for _ in range(2))

    def kept(chunk):
        return kept_for_backward(lambda: siglip(u, v, torch.tensor(10.0), torch.tensor(-10.0), chunk=chunk))

    assert kept(None) > 64 * 64
    assert kept(8) < 8 * 64 * 2


@pytest.mark.parametrize("shared", [False, True], ids=["literal", "shared"])
@pytest.mark.parametrize("chunk", [None, 2])
def test_shares_of_the_ranks_average_to_the_whole(inputs, same_text, chunk, shared):
    u, v, scale, bias = inputs
    u, v, ids = u[:6], v[:6], same_text[:6] if shared else None
    ranks = [siglip(u, v, scale, bias, chunk=chunk, first=i, rows=2, same_text_B=ids) for i in range(0, 6, 2)]
    whole = siglip(u, v, scale, bias, same_text_B=ids)
    assert_same(torch.stack(ranks).mean(), whole, inputs, 1e-12, 1e-12)


def test_a_chunk_below_one_is_explained(inputs):
    with pytest.raises(ValueError, match="chunk must be at least 1"):
        siglip(*inputs, chunk=-1)
