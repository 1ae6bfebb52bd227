"""The order of cases: complete, different each epoch, the same from any position and for any number of ranks."""

import pytest

from dermis.batch.sampler import EpochBatches


def epoch(order: EpochBatches, number: int, position: int = 0) -> list[list[tuple[int, int]]]:
    order.epoch, order.position = number, position
    return list(order)


def test_an_epoch_visits_each_case_at_most_once_and_epochs_differ():
    order = EpochBatches(103, 10, seed=1)
    rows = [[row for batch in epoch(order, e) for _, row in batch] for e in range(3)]
    assert all(len(set(r)) == 100 == len(r) for r in rows)
    assert rows[0] != rows[1] != rows[2]


@pytest.mark.parametrize("position", [0, 1, 7, 10])
def test_from_any_position_the_rest_is_the_same(position):
    order = EpochBatches(103, 10, seed=1)
    assert epoch(order, 4, position) == epoch(order, 4)[position:]


def test_ranks_share_out_the_batches_of_one_rank():
    whole = epoch(EpochBatches(103, 12, seed=5), 2)
    ranks = [epoch(EpochBatches(103, 4, seed=5, rank=r, world_size=3), 2) for r in range(3)]
    assert [[key for part in parts for key in part] for parts in zip(*ranks, strict=True)] == whole


def test_too_few_cases_for_a_batch_is_said():
    with pytest.raises(ValueError, match=r"use batch_size at most 2 \(--training\.batch-size 2; a stage: "):
        EpochBatches(5, 3, seed=0, world_size=2)
    with pytest.raises(ValueError, match=r"use batch_size at most 81 \(--training\.batch-size 64; "):
        EpochBatches(81, 128, seed=0)
