"""moco: against the equation as loops, against cross-entropy on joined logits, and what gets a gradient."""

import pytest
import torch
import torch.nn.functional as F

from dermis.losses.moco import moco


@pytest.fixture
def queries(det):
    """Five queries and keys of width 7 that resemble each other and a queue of 11, not of unit length."""
    query = det((5, 7), 1)
    return query.requires_grad_(), (0.6 * query + 0.8 * det((5, 7), 2)).detach(), det((7, 11), 3)


def equation(query, key, queue, temperature):
    losses = []
    for q, k in zip(query, key, strict=True):
        own = torch.exp(q @ k / (q.norm() * k.norm()) / temperature)
        total = own
        for n in queue.T:
            total = total + torch.exp(q @ n / (q.norm() * n.norm()) / temperature)
        losses.append(-torch.log(own / total))
    return sum(losses) / len(losses)


def joined(query, key, queue, temperature):
    """The common implementation: class 0 of one row of logits is the own key."""
    query, key, queue = F.normalize(query, dim=1), F.normalize(key, dim=1), F.normalize(queue, dim=0)
    logits = torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long))


@pytest.mark.parametrize("theirs", [equation, joined])
@pytest.mark.parametrize("temperature", [0.07, 0.2])
def test_equals_the_equation(queries, theirs, temperature):
    ours, theirs = (loss(*queries, temperature) for loss in (moco, theirs))
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)
    mine, other = (torch.autograd.grad(loss, queries[0])[0] for loss in (ours, theirs))
    torch.testing.assert_close(mine, other, atol=1e-8, rtol=0)


def test_keys_and_queue_get_no_gradient(queries):
    query, key, queue = (x.detach().requires_grad_() for x in queries)
    moco(query, key, queue, 0.2).backward()
    assert query.grad is not None
    assert key.grad is None
    assert queue.grad is None


def test_lengths_do_not_matter(queries):
    query, key, queue = queries
    longer = query * torch.tensor([[1.0], [3], [0.5], [2], [9]]), key * 4, queue * torch.linspace(0.5, 3, 11)
    torch.testing.assert_close(moco(*longer, 0.2), moco(*queries, 0.2), atol=1e-12, rtol=0)


def test_an_empty_place_in_the_queue_counts_as_unrelated(queries):
    query, key, queue = queries
    filled = torch.cat([queue, torch.zeros(7, 2)], dim=1)
    cosines = F.normalize(query, dim=1) @ F.normalize(queue, dim=0) / 0.2
    own = F.cosine_similarity(query, key) / 0.2
    total = own.exp() + cosines.exp().sum(1) + 2
    torch.testing.assert_close(moco(query, key, filled, 0.2), (total.log() - own).mean(), atol=1e-9, rtol=0)


def test_without_a_queue_there_is_nothing_to_tell_apart(queries):
    query, key, _ = queries
    loss = moco(query, key, torch.zeros(7, 0).double(), 0.2)
    assert loss.item() == 0
    assert torch.autograd.grad(loss, query)[0].abs().max() == 0


def test_shares_of_the_ranks_average_to_the_whole(queries):
    query, key, queue = (x.detach() for x in queries)
    query, key = torch.cat([query, key[:1]]), torch.cat([key, query[:1]])
    ranks = [moco(query[rows], key[rows], queue, 0.2) for rows in torch.arange(6).split(2)]
    torch.testing.assert_close(torch.stack(ranks).mean(), moco(query, key, queue, 0.2), atol=1e-12, rtol=0)


def test_float32_is_close_to_float64_and_small_temperatures_stay_finite(queries):
    single = [x.detach().float() for x in queries]
    loss = moco(*single, 0.07)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), moco(*queries, 0.07).detach(), atol=1e-5, rtol=0)
    query = single[0].requires_grad_()
    loss = moco(query, *single[1:], 1e-3)
    loss.backward()
    assert loss.item() == pytest.approx(joined(*queries, 1e-3).item(), rel=1e-4)
    assert query.grad.isfinite().all()


@pytest.mark.parametrize("wrong", [{"key_BD": torch.ones(4, 7)}, {"queue_DK": torch.ones(11, 7)}])
def test_wrong_shapes_are_explained(queries, wrong):
    given = dict(zip(("query_BD", "key_BD", "queue_DK"), queries, strict=True))
    with pytest.raises(ValueError, match=r"\(B, D\) alike and the queue \(D, K\), not \(5, 7\), "):
        moco(**(given | wrong), temperature=0.2)
