"""distributed: two gloo ranks against what one process computes by hand. One pair of processes serves all tests."""

import pytest
import torch

from dermis.distributed import (
    all_reduce_mean,
    barrier,
    first_own_row,
    gather_ragged,
    gather_rows,
    is_main,
    rank,
    seed_everything,
    world_size,
)

EVEN = torch.arange(12, dtype=torch.float64).reshape(2, 3, 2)  # three rows on each rank
RAGGED = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])]
WEIGHTS = torch.tensor([[1.0, -2.0], [0.5, 3.0], [2.0, 0.0], [-1.0, 1.0]])


def _worker(number):
    found = {"rank": rank(), "world_size": world_size(), "main": is_main(), "first": first_own_row(3)}

    # transposed, so not contiguous; each rank weighs the gathered rows differently
    even = EVEN[number].T.contiguous().T.requires_grad_()
    found["even"] = gather_rows(even)
    ((number + 1) * found["even"].square()).sum().backward()
    found["even_grad"] = even.grad

    ragged = RAGGED[number].clone().requires_grad_()
    found["ragged"], found["ragged_first"] = gather_ragged(ragged)
    ((number + 1) * found["ragged"] * WEIGHTS).sum().backward()
    found["ragged_grad"] = ragged.grad

    found["empty"], _ = gather_ragged(RAGGED[number][: 1 - number])  # rank 1 has no row at all
    found["integers"] = gather_rows(torch.tensor([2**62 + number]))
    found["mean"] = all_reduce_mean(torch.tensor(1.0 + number))
    seed_everything(5)
    found["drawn"] = torch.rand(3)
    barrier()
    return {k: v.detach() if isinstance(v, torch.Tensor) else v for k, v in found.items()}


@pytest.fixture(scope="module")
def ranks(two_ranks):
    return two_ranks(_worker)


def test_ranks_know_themselves(ranks):
    assert [(r["rank"], r["world_size"], r["main"], r["first"]) for r in ranks] == [(0, 2, True, 0), (1, 2, False, 3)]


def test_rows_are_gathered_in_rank_order(ranks):
    for r in ranks:
        assert torch.equal(r["even"], EVEN.reshape(6, 2))
        assert r["integers"].tolist() == [2**62, 2**62 + 1]


def test_gradient_of_a_gathered_row_is_the_sum_over_ranks(ranks):
    # rank 0 weighs the squares by 1 and rank 1 by 2, so every row's gradient is (1 + 2) · 2x on whichever rank it lives
    for number, r in enumerate(ranks):
        assert torch.equal(r["even_grad"], 6 * EVEN[number])


def test_ragged_rows_are_gathered_without_padding(ranks):
    for r in ranks:
        assert torch.equal(r["ragged"], torch.cat(RAGGED))
        assert torch.equal(r["empty"], RAGGED[0])
    assert [r["ragged_first"] for r in ranks] == [0, 1]


def test_gradient_of_ragged_rows_is_the_sum_over_ranks(ranks):
    for number, rows in enumerate((WEIGHTS[:1], WEIGHTS[1:])):
        assert torch.equal(ranks[number]["ragged_grad"], 3 * rows)


def test_logged_values_are_averaged(ranks):
    assert [r["mean"].item() for r in ranks] == [1.5, 1.5]


def test_ranks_draw_different_numbers_from_one_seed(ranks):
    assert not torch.equal(ranks[0]["drawn"], ranks[1]["drawn"])
    seed_everything(5)
    assert torch.equal(torch.rand(3), ranks[0]["drawn"])


def test_one_process_is_one_rank_of_one():
    x = torch.randn(3, 2, requires_grad=True)
    assert (rank(), world_size(), is_main(), first_own_row(3)) == (0, 1, True, 0)
    assert gather_rows(x) is x
    assert gather_ragged(x) == (x, 0)
    assert torch.equal(all_reduce_mean(x), x)
    barrier()
