"""Label-balanced batches: counts, queues without replacement, the same from any position and on any number of ranks."""

from collections import Counter

import numpy as np
import pytest

from dermis.batch.balanced import LabelBalancedBatches


def labels(cases: int = 120, seed: int = 0) -> np.ndarray:
    """Three skewed labels, 9 classes, some unknown."""
    draws = np.random.default_rng(seed)
    columns = [draws.choice(len(p), cases, p=p) for p in ([0.8, 0.15, 0.05], [0.9, 0.1], [0.6, 0.2, 0.15, 0.05])]
    label_NL = np.stack(columns, axis=1)
    label_NL[draws.random(label_NL.shape) < 0.1] = -1
    return label_NL


def epoch(order: LabelBalancedBatches, number: int, position: int = 0) -> list[list[tuple[int, int]]]:
    order.epoch, order.position = number, position
    return list(order)


def rows(batches: list[list[tuple[int, int]]]) -> list[list[int]]:
    return [[row for _, row in batch] for batch in batches]


def test_derm7pt_has_24_classes_and_413_cases_make_17_batches():
    label_NL = np.stack([np.arange(413) % c for c in (5, 3, 2, 3, 3, 3, 3, 2)], axis=1)
    order = LabelBalancedBatches(label_NL, 24, seed=0)
    assert len(order) == len(epoch(order, 0)) == 17
    with pytest.raises(ValueError, match=r"draw 24 classes equally often.* use 24 or 48, not 32"):
        LabelBalancedBatches(label_NL, 32, seed=0)


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_batch_holds_every_class_of_every_label(rounds):
    label_NL = labels()
    order = LabelBalancedBatches(label_NL, 9 * rounds, seed=1)
    for batch in rows(epoch(order, 3)):
        assert len(batch) == 9 * rounds
        for column in label_NL.T:
            counts = Counter(column[batch].tolist())
            assert all(counts[c] >= rounds for c in set(column.tolist()) - {-1})


def test_classes_of_one_label_are_equally_frequent():
    label_N1 = labels()[:, 2:]
    for batch in rows(epoch(LabelBalancedBatches(label_N1, 12, seed=1), 0)):
        assert Counter(label_N1[batch, 0].tolist()) == {0: 3, 1: 3, 2: 3, 3: 3}


def test_no_case_of_a_class_comes_twice_before_all_have_come_once():
    label_N1 = labels()[:, 2:]
    order = LabelBalancedBatches(label_N1, 8, seed=4)
    drawn = [row for e in range(12) for batch in rows(epoch(order, e)) for row in batch]
    for c in range(4):
        members = set(np.flatnonzero(label_N1[:, 0] == c).tolist())
        own = [row for row in drawn if row in members]
        turns = [own[i : i + len(members)] for i in range(0, len(own) - len(members) + 1, len(members))]
        assert len(turns) >= 3
        assert all(set(turn) == members for turn in turns)
        assert turns[0] != turns[1]


def test_the_seed_and_the_epoch_decide():
    label_NL = labels()
    first, again, other = (epoch(LabelBalancedBatches(label_NL, 18, seed=s), 2) for s in (1, 1, 2))
    assert first == again != other
    cases = [Counter(row for batch in batches for _, row in batch) for batches in (first, other)]
    assert cases[0] != cases[1]  # other cases, not only another order
    assert first != epoch(LabelBalancedBatches(label_NL, 18, seed=1), 3)
    assert all(e == 2 for batch in first for e, _ in batch)


@pytest.mark.parametrize("position", [0, 1, 5, 6])
def test_from_any_position_the_rest_is_the_same(position):
    order = LabelBalancedBatches(labels(), 18, seed=1)
    whole = epoch(order, 4)
    assert len(whole) == 6
    assert epoch(order, 4, position) == whole[position:]


@pytest.mark.parametrize("world_size, batch_size", [(2, 9), (3, 6)])
def test_ranks_share_out_the_batches_of_one_rank(world_size, batch_size):
    label_NL = labels()
    whole = epoch(LabelBalancedBatches(label_NL, 18, seed=5), 2)
    ranks = [
        epoch(LabelBalancedBatches(label_NL, batch_size, seed=5, rank=r, world_size=world_size), 2)
        for r in range(world_size)
    ]
    assert [[key for part in parts for key in part] for parts in zip(*ranks, strict=True)] == whole


def test_ranks_with_whole_rounds_each_hold_every_class():
    label_NL = labels()
    for rank in range(2):
        for batch in rows(epoch(LabelBalancedBatches(label_NL, 9, seed=5, rank=rank, world_size=2), 0)):
            assert all(set(column[batch].tolist()) >= set(column.tolist()) - {-1} for column in label_NL.T)


@pytest.mark.parametrize(
    "label_NL, arguments, sentence",
    [
        (None, {"batch_size": 9}, "need a method that learns labels"),
        (np.zeros(5, dtype=int), {"batch_size": 1}, "need a method that learns labels"),
        (np.full((5, 2), -1), {"batch_size": 1}, "no label of the training cases is known"),
        (labels(), {"batch_size": 8}, "multiple of 9: use 9, not 8"),
        (labels(), {"batch_size": 4, "world_size": 3}, "multiple of 3: use 3 or 6, not 4"),
        (labels(), {"batch_size": 126}, "120 cases do not fill one batch of 126"),
        (np.arange(4)[:, None], {"batch_size": 4, "world_size": 3}, r"4 cases cannot be balanced over 4 classes on 3"),
    ],
)
def test_what_cannot_be_balanced_is_said(label_NL, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        LabelBalancedBatches(label_NL, seed=0, **arguments)
