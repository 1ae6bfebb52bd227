"""multi_label: the shares of ranks that know few labels average to the loss of the whole batch."""

import pytest
import torch

from dermis.losses import multi_label

KNOWN = torch.tensor([[0, 2], [-1, 1], [-1, 0], [-1, 2], [-1, -1], [-1, 1]])


@pytest.mark.parametrize("ranks", [1, 2, 3, 6])
def test_shares_of_ranks_average_to_the_whole_also_where_most_know_nothing(ranks):
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(6, classes, generator=generator, dtype=torch.float64) for classes in (2, 3)]
    counts_L = (KNOWN >= 0).sum(0) / ranks
    shares = [
        multi_label([rows.chunk(ranks)[r] for rows in logits], KNOWN.chunk(ranks)[r], counts_L=counts_L)
        for r in range(ranks)
    ]
    torch.testing.assert_close(torch.stack(shares).mean(), multi_label(logits, KNOWN))


def test_a_label_that_nobody_knows_contributes_nothing():
    logits = [torch.zeros(6, 2, requires_grad=True), torch.zeros(6, 3)]
    loss = multi_label(logits, torch.where(torch.arange(2) == 0, -1, KNOWN))
    torch.testing.assert_close(loss, torch.tensor(3.0).log() / 2)
    loss.backward()
    assert logits[0].grad.eq(0).all()
